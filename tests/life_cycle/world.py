"""A registry some of whose calls of AWS fail, and a client that pushes and deletes everywhere; ``Site`` is such a client of any
registry, ``World`` one that lies in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from chalicelib.registry.adoption import Adoption
from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.records import contents, is_pending, text
from chalicelib.registry.times import seconds
from chalicelib.registry.upload_records import new_identifier
from chalicelib.wire.http import Response
from tests.agreement import is_named, live_state
from tests.faulty import Faults, FaultyBlobs, FaultyTable
from tests.frozen_clock import FrozenClock
from tests.memory_signer import MemorySigner
from tests.surface import Surface

ONE, OTHER = "admin/one", "admin/other"
SIGNER = MemorySigner()
_TOKEN_LASTS = timedelta(minutes=2)

Seen = Mapping[str, tuple[frozenset[str], Mapping[str, str], frozenset[str]]]
"""Of each repository by name: its manifests, its tags and where they point, its blobs."""


class Site:
    """A registry and its client. ``spared`` says how nothing fails for a while; fetching a token meets no fault."""

    def __init__(self, surface: Surface, token: str = "", token_until: datetime | None = None) -> None:
        self.surface = surface
        self.clock = surface.clock
        self._token, self._token_until = token, token_until or self.clock.now()

    def spared(self) -> AbstractContextManager[None]:
        """Nothing fails meanwhile, nor is it counted."""
        raise NotImplementedError

    def call(self, method: str, url: str, body: bytes = b"", **headers: str) -> Response:
        """One request of a client that may do everything."""
        with self.spared():
            if self.clock.now() >= self._token_until:
                self._token = self.surface.token(*(f"repository:{name}:pull,push,delete" for name in (ONE, OTHER)))
                self._token_until = self.clock.now() + _TOKEN_LASTS
        return self.surface.send(method, url, body, **headers, authorization=f"Bearer {self._token}")

    def push_blob(self, name: str, content: bytes) -> int:
        """In one request; the status."""
        return self.call("POST", f"/v2/{name}/blobs/uploads/?digest={Digest.of(content)}", content).status

    def push_in_chunks(self, name: str, content: bytes) -> int:
        """As a client does that goes on as far as it is told to."""
        answer = self.call("POST", f"/v2/{name}/blobs/uploads/")
        for chunk in (content[:3], content[3:5], content[5:]):
            if answer.status != 202:
                return answer.status
            answer = self.call("PATCH", answer.headers["Location"], chunk)
        if answer.status != 202:
            return answer.status
        return self.call("PUT", f"{answer.headers['Location']}&digest={Digest.of(content)}").status

    def put_directly(self, name: str, content: bytes) -> str:
        """What the edge lets a client do by itself; the object's key."""
        with self.spared():
            repository = self.surface.registry.repositories.ensure(RepositoryName.parse(name))
            key = f"direct/{repository.id}/{Digest.of(content)}/{new_identifier(seconds(self.clock))}"
            self.surface.store.put(key, content)
        return key

    def adopt(self, key: str) -> None:
        """The store tells of it."""
        parts = self.surface.registry
        Adoption(self.surface.store, parts.blobs, parts.repositories, self.clock).adopt(key)

    def put(self, name: str, reference: str, content: bytes, *, tags: tuple[str, ...] = ()) -> int:
        """A manifest's PUT, under a tag or ("") its digest."""
        reference = reference or str(Digest.of(content))
        query = "?" + urlencode([("tag", tag) for tag in tags]) if tags else ""
        media_type = "index" if b'"manifests"' in content else "manifest"
        url = f"/v2/{name}/manifests/{reference}{query}"
        return self.call("PUT", url, content, content_type=f"application/vnd.oci.image.{media_type}.v1+json").status

    def delete(self, name: str, what: str) -> int:
        """``what``: manifests/<reference> or blobs/<digest>."""
        return self.call("DELETE", f"/v2/{name}/{what}").status

    def seen(self) -> Seen:
        """What a client may see."""
        with self.spared():
            items = live_state(self.surface).items
        seen = {}
        for named, attributes in items.items():
            if is_named(named):
                partition = contents(text(attributes, "id"))
                within = {each.sort: items[each] for each in items if each.partition == partition}
                manifests = {sort for sort, each in within.items() if sort.startswith("manifest/") and not is_pending(each)}
                tags = {sort: str(each["digest"]) for sort, each in within.items() if sort.startswith("tag/")}
                links = {sort for sort in within if sort.startswith("blob/")}
                seen[named.partition] = (frozenset(manifests), tags, frozenset(links))
        return seen


class World(Site):
    """One registry in memory. ``faults`` are of the table and the store."""

    def __init__(self, clock: FrozenClock | None = None) -> None:
        self.faults = Faults()
        clock = clock or FrozenClock()
        self.table = FaultyTable(self.faults)
        self.store = FaultyBlobs(self.faults, clock)
        super().__init__(Surface(table=self.table, clock=clock, blobs=self.store, signer=SIGNER))

    def copied(self) -> World:
        """Another one with the same contents, whose instance has just started."""
        world = World.__new__(World)
        world.faults = Faults()
        clock = FrozenClock(self.clock.moment)
        world.table = copied(self.table, FaultyTable(world.faults))
        world.store = FaultyBlobs(world.faults, clock)
        world.store._objects = dict(self.store._objects)
        surface = Surface(table=world.table, clock=clock, blobs=world.store, signer=SIGNER)
        Site.__init__(world, surface, self._token, self._token_until)
        return world

    @contextmanager
    def spared(self) -> Iterator[None]:
        """See ``Site.spared``."""
        inside, self.faults._inside = self.faults._inside, True
        try:
            yield
        finally:
            self.faults._inside = inside


def copied(table: FaultyTable, into: FaultyTable) -> FaultyTable:
    """``into``, with the items of another table."""
    into._items = dict(table._items)  # what an item holds is never changed, but the item replaced
    into._sorts = {partition: [*sorts] for partition, sorts in table._sorts.items()}
    return into


@dataclass(frozen=True)
class Flow:
    """Something that is done to a registry: what it begins with, and one try of it, which gives a status. ``done``: a status
    of success; ``again``: one of a try after one that failed; ``refused``: how else it may fail but as everything does.
    ``told``: blobs that whoever is told of success counts on."""

    prepare: Callable[[World], object]
    act: Callable[[Site], int]
    done: frozenset[int] = frozenset({201})
    again: frozenset[int] = frozenset({201})
    refused: frozenset[int] = frozenset()
    told: tuple[bytes, ...] = ()
