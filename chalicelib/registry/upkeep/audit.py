"""The audit: a slow walk over the whole table and then over the whole store, which puts right where the two have drifted apart
and tells what it cannot put right. It costs some calls for each thing there is; everything else that runs by itself looks
only at what was noted. ``drift.py`` says why it hurts nobody who is at work meanwhile.

On its way it counts what is stored (``storage.py``), and keeps, for each blob's object, whose it is: so that of the objects
in the store, which do not say that, only the few that nobody seems to own have to be looked into (``leftovers.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

from chalicelib.registry.attempts import retried, settled
from chalicelib.registry.condemned import Bytes, Link, Listed
from chalicelib.registry.configuration import Configuration
from chalicelib.registry.errors import DigestInvalid
from chalicelib.registry.images import Images
from chalicelib.registry.keys import DATA, DIRECT, MANIFESTS, PROOFS
from chalicelib.registry.names import Digest, Tag
from chalicelib.registry.ports import (
    Absent,
    BlobStore,
    Check,
    Clock,
    Delete,
    Equals,
    Exists,
    Item,
    Key,
    Put,
    Stored,
    Table,
)
from chalicelib.registry.pushes import Sparse
from chalicelib.registry.records import (
    OBJECTS_PARTITION,
    REMOVED_PARTITION,
    Malformed,
    blob_key,
    identity_key,
    is_pending,
    last_segment,
    number,
    removed_key,
    text,
)
from chalicelib.registry.times import seconds
from chalicelib.registry.upkeep.blob_drift import BlobDrift
from chalicelib.registry.upkeep.drift import Drift, repair
from chalicelib.registry.upkeep.leftovers import Leftovers
from chalicelib.registry.upkeep.manifest_drift import ManifestDrift
from chalicelib.registry.upkeep.pace import Resumable
from chalicelib.registry.upkeep.storage import Numbers, Storage

PER_SECOND = 200
"""Items of the table, and objects of the store, that are looked at in a second at most."""

_STRETCH = 100

_REPAIRS = 1_000
"""Repairs of one thing at most, one after another; the rest is for the next audit."""

_TABLE = "table"
_PLACES = (DATA, DIRECT, MANIFESTS, PROOFS)

_KINDS = frozenset(
    {"repository", "blob", "manifest", "content", "tag", "tagged", "needed", "referrer", "removed", "grant", "event"}
)
"""What lies in a repository's partition."""

_OTHERS = frozenset(
    {
        "name",
        "catalog",
        "public",
        "removed",
        "condemned",
        "untagged",
        "restorable",
        "retired",
        "upload",
        "pending",
        "unfinished",
    }
    | {"account", "accounts", "admins", "user", "organization", "robot", "team", "configuration", "events", "token", "refresh"}
    | {"family", "attempts", "keys", "job", "jobs", "open", "crons", "storage", "store", "scrub"}
)
"""What partitions begin with that are others' business."""


@dataclass(frozen=True, slots=True)
class _Place:
    """How far an audit has come: in the table or in a place of the store, behind ``after`` ("" for its beginning)."""

    where: str = _TABLE
    after: str = ""
    numbers: Numbers = field(default_factory=Numbers)

    @classmethod
    def parse(cls, cursor: str) -> _Place:
        if not cursor:
            return cls()
        where, after, numbers = json.loads(cursor)
        return cls(where, after, Numbers.of(numbers))

    def __str__(self) -> str:
        return json.dumps([self.where, self.after, self.numbers.attributes()], separators=(",", ":"))


class Audit:
    """Audits. ``sparse``: which manifests may lack what they name."""

    def __init__(
        self,
        table: Table,
        store: BlobStore,
        clock: Clock,
        *,
        images: Images,
        leftovers: Leftovers,
        configuration: Configuration,
        sparse: Sparse = Sparse.NONE,
    ) -> None:
        self.table = table
        self._store = store
        self.clock = clock
        self._leftovers = leftovers
        self._storage = Storage(table)
        self.blobs = BlobDrift(table, store, clock)
        self.manifests = ManifestDrift(table, images, clock, configuration, sparse)

    def run(self, run: Resumable) -> None:
        """From where ``run`` says to the end; the numbers are kept when the table is done. Raises Busy, and what it raises."""
        place = _Place.parse(run.cursor)
        while place.where == _TABLE:
            place = self._walk(run, place)
        for where in _PLACES[_PLACES.index(place.where) :]:
            self._list(run, place if place.where == where else _Place(where))

    # ------------------------------------------------------------------------------------------------------- the table

    def _walk(self, run: Resumable, place: _Place) -> _Place:
        """One stretch; where to go on."""
        walked = self.table.walk(place.after or None, limit=_STRETCH)
        stretch = _Stretch(self, run, str(place))
        numbers = place.numbers
        for item in walked.items:
            try:
                numbers = stretch.look(item, numbers)
            except (Malformed, DigestInvalid) as error:
                run.log(f"{item.key.partition} {item.key.sort}: not readable: {error!r}")
                run.count("unreadable")
            run.checkpoint(str(place))
        self._own(walked.items)
        run.count("items", len(walked.items))
        if walked.cursor is None:
            settled(partial(self._storage.write, numbers, seconds(self.clock)))
        going_on = _Place(DATA) if walked.cursor is None else replace(place, after=walked.cursor, numbers=numbers)
        self._pause(run, going_on, len(walked.items))
        return going_on

    def _own(self, items: Iterable[Item]) -> None:
        """Keep whose the objects of these blobs are."""
        owned = {
            Key(OBJECTS_PARTITION, str(item.attributes["key"])): item.key.partition.removeprefix("blob/")
            for item in items
            if item.key.partition.startswith("blob/") and item.key.sort == "blob" and "key" in item.attributes
        }
        known = self.table.batch_get(list(owned)) if owned else {}
        new = [Put(key, {"digest": digest}) for key, digest in owned.items() if known.get(key, {}).get("digest") != digest]
        if new:
            settled(partial(self.table.transact, new))

    # ------------------------------------------------------------------------------------------------------- the store

    def _list(self, run: Resumable, place: _Place) -> None:
        listed = self._store.list(place.where, place.after)
        while stretch := list(islice(listed, _STRETCH)):
            owned = self._owned(stretch) if place.where == DATA else set()
            for stored in stretch:
                if stored.key not in owned and self._leftovers.drop(stored, partial(run.checkpoint, str(place))):
                    run.count("orphans")
                    run.log(f"{stored.key}: nobody's, {stored.size} bytes")
                run.checkpoint(str(place))
            run.count("objects", len(stretch))
            place = replace(place, after=stretch[-1].key)
            self._pause(run, place, len(stretch))

    def _owned(self, stretch: Sequence[Stored]) -> set[str]:
        """The keys of those that are blobs' objects."""
        keys = {Key(OBJECTS_PARTITION, stored.key): stored.key for stored in stretch}
        owners = {keys[key]: Digest.parse(text(item, "digest")) for key, item in self.table.batch_get(list(keys)).items()}
        blobs = self.table.batch_get([blob_key(digest) for digest in set(owners.values())]) if owners else {}
        return {key for key, digest in owners.items() if blobs.get(blob_key(digest), {}).get("key") == key}

    def _pause(self, run: Resumable, place: _Place, looked_at: int) -> None:
        run.checkpoint(str(place))
        self.clock.sleep(looked_at / PER_SECOND)


class _Stretch:
    """Looks at the items of one stretch, which are mostly of the same few repositories."""

    def __init__(self, audit: Audit, run: Resumable, cursor: str) -> None:
        self._table = audit.table
        self._clock = audit.clock
        self._blobs = audit.blobs
        self._manifests = audit.manifests
        self._run = run
        self._go_on = partial(run.checkpoint, cursor)
        self._alive: dict[str, bool] = {}

    def look(self, item: Item, numbers: Numbers) -> Numbers:
        """Put right what an item shows to be wrong; the numbers with what it adds. Raises Busy, Malformed, DigestInvalid."""
        kind, _, name = item.key.partition.partition("/")
        if kind == "blob":
            return self._blob(item, Digest.parse(name), numbers)
        if kind == "repository":
            return self._content(item, name, numbers)
        if kind == OBJECTS_PARTITION:
            retried(partial(self._object, item))
        elif kind not in _OTHERS:
            self._run.count("unknown")
        return numbers

    def _blob(self, item: Item, digest: Digest, numbers: Numbers) -> Numbers:
        blob = Bytes(digest)
        if item.key.sort.startswith("link/"):
            self._mend(partial(self._blobs.of_holder, Link(last_segment(item.key.sort), digest)))
        elif item.key.sort == "blob":
            self._mend(partial(self._blobs.of_blob, blob))
            record = self._table.get(blob.key)
            if record is not None:
                return numbers.with_blob(self._blobs.use(blob, self._go_on), number(record, "size"))
        else:
            self._run.count("unknown")
        return numbers

    def _content(self, item: Item, repository: str, numbers: Numbers) -> Numbers:
        kind = item.key.sort.partition("/")[0]
        if kind not in _KINDS:
            self._run.count("unknown")
            return numbers
        if repository not in self._alive:
            self._mend(partial(self._abandoned, item, repository))
            self._alive[repository] = self._table.get(identity_key(repository)) is not None
        if not self._alive[repository]:
            return numbers  # the collector clears it away
        examine = self._examination(kind, repository, item.key)
        if examine is not None:
            self._mend(examine)
        return numbers.with_manifest() if kind == "manifest" and not is_pending(item.attributes) else numbers

    def _examination(self, kind: str, repository: str, key: Key) -> Callable[[], Iterable[Drift]] | None:
        """How to look at an item of a repository's contents, if there is anything to look at."""
        names = key.sort.split("/")[1:]
        if kind in {"blob", "manifest", "content", "referrer"}:
            return self._of_digest(kind, repository, Digest.parse(names[-1]), key)
        if kind == "tag":
            return partial(self._manifests.of_tag, repository, Tag(names[0]))
        if kind == "tagged":
            return partial(self._manifests.of_tagged, repository, Digest.parse(names[0]), Tag(names[1]))
        if kind == "removed" and names[0] == "manifest":
            return partial(self._manifests.of_removed, repository, Digest.parse(names[1]))
        if kind == "removed":
            return partial(self._manifests.of_removed_tag, repository, Tag(names[1]), int(names[2]))
        return None

    def _of_digest(self, kind: str, repository: str, digest: Digest, key: Key) -> Callable[[], Iterable[Drift]]:
        if kind == "blob":
            return partial(self._blobs.of_link, Link(repository, digest))
        listed = Listed(repository, digest)
        return (
            partial(self._manifests.of_manifest, listed)
            if kind == "manifest"
            else partial(self._manifests.of_part, listed, key)
        )

    def _abandoned(self, item: Item, repository: str) -> Iterable[Drift]:
        """Contents of a repository that is gone, and that nobody clears away. It is deleted in one transaction with the note
        that it was, which stays until its contents are gone: an item that is still there when neither is belongs to none."""
        identity = identity_key(repository)
        if self._table.get(identity) is not None or self._is_noted(repository):
            return
        if self._table.get(item.key) is None or self._table.get(identity) is not None or self._is_noted(repository):
            return
        removed = Put(removed_key(seconds(self._clock), repository), {"name": ""})
        yield repair(f"{repository}: nobody's contents", removed, Check(identity, Absent()), Check(item.key, Exists()))

    def _is_noted(self, repository: str) -> bool:
        return any(last_segment(item.key.sort) == repository for item in self._table.query(REMOVED_PARTITION))

    def _object(self, item: Item) -> None:
        """Forget whose an object is that is no blob's any more."""
        digest = text(item.attributes, "digest")
        blob = self._table.get(blob_key(Digest.parse(digest)))
        if blob is None or blob.get("key") != item.key.sort:
            self._table.write(Delete(item.key, Equals("digest", digest)))

    def _mend(self, examine: Callable[[], Iterable[Drift]]) -> None:
        """Repair one thing after another until nothing is left to, and tell the rest."""
        for _ in range(_REPAIRS):
            repaired = retried(partial(self._step, examine))
            if not repaired:
                return
            self._go_on()

    def _step(self, examine: Callable[[], Iterable[Drift]]) -> bool:
        told = []
        for drift in examine():
            if drift.writes:
                self._table.transact(drift.writes)
                self._tell(drift)
                return True
            told.append(drift)
        for drift in told:
            self._tell(drift)
        return False

    def _tell(self, drift: Drift) -> None:
        self._run.count(drift.what)
        self._run.log(f"{drift.what}: {drift.line}")
