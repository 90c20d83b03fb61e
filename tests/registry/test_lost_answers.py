"""The table does what it was asked for and its answer is lost: nothing that was acknowledged, or is recorded, is taken away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

import pytest

from chalicelib.registry.adoption import Adoption, Arrival
from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.ports import Conflict, Delete, Put, Stored, Update, Write
from chalicelib.registry.upkeep.leftovers import GRACE, Leftovers
from chalicelib.registry.upload_records import new_identifier
from tests.counts import Counts
from tests.frozen_clock import FrozenClock
from tests.memory_blobs import MemoryBlobs
from tests.memory_multipart import MemoryMultipart
from tests.memory_table import MemoryTable
from tests.surface import Surface

NAME = "admin/app"
CONTENT = b"a layer in three parts"


class LosingTable(MemoryTable):
    """Loses the answer to the ``nth`` change of the table, which it has made."""

    def __init__(self, nth: int) -> None:
        super().__init__()
        self.left = nth
        self.is_on = False

    def write(self, write: Put | Update | Delete) -> None:
        super().write(write)
        self._lose()

    def transact(self, writes: Sequence[Write]) -> None:
        super().transact(writes)
        self._lose()

    def _lose(self) -> None:
        if self.is_on:
            self.left -= 1
            if self.left == 0:
                raise Conflict("TransactionInProgressException")


def losing(nth: int) -> Surface:
    clock = FrozenClock()
    store = MemoryBlobs(clock)
    surface = Surface(table=LosingTable(nth), clock=clock, blobs=store, multipart=MemoryMultipart(store, clock, smallest=1))
    surface.push_image(NAME, "before", b"before")
    return surface


def begin(surface: Surface) -> str:
    return surface.call("POST", f"/v2/{NAME}/blobs/uploads/").headers["Location"]


def finish(surface: Surface, location: str, body: bytes = b"") -> int:
    return surface.call("PUT", f"{location}&digest={Digest.of(CONTENT)}", body).status


def in_one_put(surface: Surface) -> int:
    return finish(surface, begin(surface), CONTENT)


def in_chunks(surface: Surface) -> int:
    location = begin(surface)
    for chunk in (CONTENT[:5], CONTENT[5:9], CONTENT[9:]):
        answer = surface.call("PATCH", location, chunk)
        if answer.status != 202:
            location = surface.call("GET", location).headers["Location"]
            continue
        location = answer.headers["Location"]
    return finish(surface, location)


def by_a_relay(surface: Surface) -> int:
    location = begin(surface)
    path, _, query = location.partition("?")
    told = json.loads(surface.call("POST", f"/_relay{path}/begin?{query}", b"{}").body)
    if "writer" not in told:
        return 429
    multipart = surface.multipart
    assert isinstance(multipart, MemoryMultipart)
    sent = multipart.send(told["urls"][0], CONTENT)
    end = {"writer": told["writer"], "parts": [{"number": 1, "etag": sent.etag, "size": len(CONTENT)}], "size": len(CONTENT)}
    body = json.dumps({**end, "sha256": None, "attestation": None}).encode()
    answers = [surface.send("POST", f"/_relay{path}/end", body) for _ in range(2)]
    return finish(surface, answers[-1].headers.get("Location", location))


def by_a_relay_after_one_that_sent_nothing(surface: Surface) -> int:
    location = begin(surface)
    path, _, query = location.partition("?")
    surface.call("POST", f"/_relay{path}/begin?{query}", b"{}")
    answer = surface.call("PATCH", location, CONTENT)
    if answer.status != 202:
        answer = surface.call("GET", location)
    return finish(surface, answer.headers.get("Location", location))


def directly(surface: Surface) -> int:
    adopt_direct(surface)
    return 201


def adopt_direct(surface: Surface) -> str:
    repository = surface.registry.repositories.ensure(RepositoryName.parse(NAME))
    key = f"direct/{repository.id}/{Digest.of(CONTENT)}/{new_identifier(int(surface.clock.now().timestamp()))}"
    surface.store.put(key, CONTENT)
    for _ in range(2):
        adoption(surface).adopt(key)
    return key


def adoption(surface: Surface) -> Adoption:
    return Adoption(surface.store, surface.registry.blobs, surface.registry.repositories, surface.clock)


def assert_all_is_there(surface: Surface) -> None:
    """Each blob that the registry knows of has exactly its bytes."""
    for item in surface.table.walk(limit=10_000).items:
        if item.key.sort == "blob":
            digest = Digest.parse(item.key.partition.removeprefix("blob/"))
            assert surface.store.check(str(item.attributes["key"]), digest) == item.attributes["size"], digest


@pytest.mark.parametrize("push", [in_one_put, in_chunks, by_a_relay, by_a_relay_after_one_that_sent_nothing, directly])
@pytest.mark.parametrize("nth", range(1, 9))
def test_a_push_whose_nth_change_is_not_answered(push: Callable[[Surface], int], nth: int) -> None:
    surface = losing(nth)
    assert isinstance(surface.table, LosingTable)
    surface.table.is_on = True
    status = push(surface)
    surface.table.is_on = False
    assert_all_is_there(surface)
    held = surface.status("HEAD", f"/v2/{NAME}/blobs/{Digest.of(CONTENT)}")
    assert status in {201, 400, 404, 416, 429}
    assert held == 307 if status == 201 else held in {307, 404}
    assert in_one_put(surface) == 201, "and again"
    assert_all_is_there(surface)


class RacingLeftovers(Leftovers):
    """Something happens between the sweep's two looks."""

    meanwhile: Callable[[], object]

    def _close(self, upload: str, digest: Digest | None) -> None:
        self.meanwhile()
        super()._close(upload, digest)


def test_what_is_adopted_while_the_sweep_looks_stays_however_often_it_is_told_of() -> None:
    surface = losing(0)
    repository = surface.registry.repositories.ensure(RepositoryName.parse(NAME))
    key = f"direct/{repository.id}/{Digest.of(CONTENT)}/{new_identifier(int(surface.clock.now().timestamp()))}"
    surface.store.put(key, CONTENT)
    surface.clock.advance(GRACE + 60)
    leftovers = RacingLeftovers(surface.table, surface.store, surface.clock, surface.multipart)
    leftovers.meanwhile = lambda: adoption(surface).adopt(key)
    leftovers.sweep(Counts())
    for _ in range(2):
        blob = adoption(surface).adopt(key)
        assert blob is not None
        assert blob.key == key
    assert_all_is_there(surface)


def test_bytes_that_were_lost_are_made_good_by_whoever_pushes_them_again() -> None:
    surface = losing(0)
    digest = surface.push_blob("admin/first", CONTENT)
    surface.store.delete(surface.registry.blobs.get(RepositoryName.parse("admin/first"), digest).key)
    surface.push_blob(NAME, CONTENT)
    assert_all_is_there(surface)
    blob = surface.registry.blobs.get(RepositoryName.parse(NAME), digest)
    assert surface.store.check(blob.key, digest) == len(CONTENT)


class CountingBlobs(MemoryBlobs):
    lists = 0

    def list(self, prefix: str, after: str = "") -> Iterator[Stored]:
        self.lists += 1
        return super().list(prefix, after)


def test_a_manifest_of_invented_blobs_costs_no_listing_for_each() -> None:
    clock = FrozenClock()
    store = CountingBlobs(clock)
    surface = Surface(clock=clock, blobs=store)
    key = adopt_direct(surface)
    repository = key.split("/")[1]
    store.lists = 0
    digests = [Digest.of(b"%d" % number) for number in range(10_000)]
    assert adoption(surface).catch_up(repository, [*digests, Digest.of(CONTENT)]) == {Arrival.ABSENT, Arrival.ADOPTED}
    assert store.lists <= 2
