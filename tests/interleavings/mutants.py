"""Wrong programs: each is the real one but for one mistake, as other registries have made it, or as somebody may make it here.
The walks must find out every one of them (``test_interleavings.py``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

from chalicelib.registry.blobs import Blob, Blobs
from chalicelib.registry.condemned import Bytes, Link, acquit, unlink
from chalicelib.registry.errors import UploadUnknown
from chalicelib.registry.images import Image, Images
from chalicelib.registry.manifests import OCI_MANIFEST, read_manifest
from chalicelib.registry.names import Digest
from chalicelib.registry.needs import Need, Needs, is_restorable
from chalicelib.registry.ports import (
    Attributes,
    BlobStore,
    Check,
    Clock,
    Delete,
    Exists,
    Item,
    Key,
    Piece,
    Put,
    Table,
    Update,
    Walked,
    Write,
)
from chalicelib.registry.pushes import Pushes
from chalicelib.registry.records import (
    CONDEMNED_PARTITION,
    RETIRED_PARTITION,
    REVISION,
    blob_key,
    contents,
    is_pending,
    last_segment,
    manifest_key,
    removed_manifest_key,
    retired_key,
    revised,
    text,
)
from chalicelib.registry.removals import Removals
from chalicelib.registry.repositories import Repositories
from chalicelib.registry.upkeep.expiry import Expiry
from chalicelib.registry.upkeep.garbage import Garbage
from chalicelib.registry.upkeep.leftovers import Leftovers
from chalicelib.registry.upkeep.pace import Pace
from chalicelib.registry.upkeep.remains import Remains
from chalicelib.registry.upload_records import Upload, UploadRecords
from chalicelib.registry.uploads import Uploads
from tests.interleavings.process import REAL, Program, Silent

Alter: TypeAlias = Callable[[Write], "Write | None"]


class Altered:
    """A table that changes what is written to it; None is not written at all."""

    def __init__(self, inner: Table, alter: Alter) -> None:
        self._inner = inner
        self._alter = alter

    def get(self, key: Key) -> Attributes | None:
        return self._inner.get(key)

    def batch_get(self, keys: Sequence[Key]) -> Mapping[Key, Attributes]:
        return self._inner.batch_get(keys)

    def write(self, write: Put | Update | Delete) -> None:
        altered = self._alter(write)
        if altered is not None and not isinstance(altered, Check):
            self._inner.write(altered)

    def transact(self, writes: Sequence[Write]) -> None:
        if altered := [each for each in map(self._alter, writes) if each is not None]:
            self._inner.transact(altered)

    def query(
        self, partition: str, *, prefix: str = "", after: str = "", limit: int | None = None, backward: bool = False
    ) -> Sequence[Item]:
        return self._inner.query(partition, prefix=prefix, after=after, limit=limit, backward=backward)

    def walk(self, cursor: str | None = None, limit: int = 100) -> Walked:
        return self._inner.walk(cursor, limit)


# -------------------------------------------------------------------------------------------------------- what is altered


def _is(key: Key, kind: str) -> bool:
    return key.partition.startswith("repository/") and key.sort.startswith(f"{kind}/")


def without_condition(kind: str, *types: type) -> Alter:
    """Writes of these records ask nothing."""

    def alter(write: Write) -> Write | None:
        if isinstance(write, types) and _is(write.key, kind) and not isinstance(write, Check):
            return replace(write, condition=None)
        return write

    return alter


def without_check(kind: str) -> Alter:
    """Nobody looks whether these are, or are not, there."""
    return lambda write: None if isinstance(write, Check) and _is(write.key, kind) else write


def without_revision(kind: str) -> Alter:
    """An update leaves the revision as it is."""

    def alter(write: Write) -> Write | None:
        if isinstance(write, Update) and _is(write.key, kind):
            return replace(write, set={name: value for name, value in write.set.items() if name != REVISION})
        return write

    return alter


def without(partition: str) -> Alter:
    """Nothing is put into this partition."""
    return lambda write: None if isinstance(write, Put) and write.key.partition == partition else write


def condemning_nothing(write: Write) -> Write | None:
    """Neither is it noted, nor is a manifest's record told."""
    if isinstance(write, Update) and _is(write.key, "manifest"):
        return None
    return without(CONDEMNED_PARTITION)(write)


def keeping_blobs_as_they_are(write: Write) -> Write | None:
    """Bytes that come again change nothing of the blob."""
    if isinstance(write, Update) and write.key.partition.startswith("blob/"):
        return Check(write.key, write.condition or Exists())
    return write


def _with(pushes: Alter) -> type[Pushes]:
    class Mutant(Pushes):
        def __init__(
            self, table: Table, store: BlobStore, repositories: Repositories, events: Silent, clock: Clock, **more: object
        ) -> None:
            super().__init__(Altered(table, pushes), store, repositories, events, clock, **more)  # type: ignore[arg-type]

    return Mutant


def _blobs(alter: Alter) -> type[Blobs]:
    class Mutant(Blobs):
        def __init__(self, table: Table, store: BlobStore, repositories: Repositories, clock: Clock) -> None:
            super().__init__(Altered(table, alter), store, repositories, clock)

    return Mutant


def _removals(alter: Alter) -> type[Removals]:
    class Mutant(Removals):
        def __init__(self, table: Table, repositories: Repositories, events: Silent, clock: Clock) -> None:
            super().__init__(Altered(table, alter), repositories, events, clock)

    return Mutant


def _expiry(alter: Alter) -> type[Expiry]:
    class Mutant(Expiry):
        def __init__(self, table: Table, clock: Clock, images: Images) -> None:
            super().__init__(Altered(table, alter), clock, images)

    return Mutant


def _garbage(alter: Alter) -> type[Garbage]:
    class Mutant(Garbage):
        def __init__(self, table: Table, store: BlobStore, clock: Clock, **more: object) -> None:
            super().__init__(Altered(table, alter), store, clock, **more)  # type: ignore[arg-type]

    return Mutant


# ---------------------------------------------------------------------------------------------------------- the collector


class IgnoresLinkRevision(Garbage):
    """What it has seen of a link holds for ever."""

    def _settle_link(self, link: Link, record: Attributes, noted: Key, pace: Pace) -> None:
        if set(self._needs.of_blob(link.repository, link.digest).values()):
            super()._settle_link(link, record, noted, pace)
            return
        self._table.transact([*unlink(link, int(self._clock.now().timestamp()), Exists()), Delete(noted)])


class ReadsLinkRevisionLate(Garbage):
    """The revision is that after it has looked who needs the link."""

    def _settle_link(self, link: Link, record: Attributes, noted: Key, pace: Pace) -> None:
        if set(self._needs.of_blob(link.repository, link.digest).values()):
            super()._settle_link(link, record, noted, pace)
        elif (late := self._table.get(link.key)) is not None:
            self._table.transact([*unlink(link, int(self._clock.now().timestamp()), revised(late)), Delete(noted)])


class IgnoresBlobRevision(Garbage):
    """What it has seen of the holders holds for ever."""

    def _settle_blob(self, blob: Bytes, record: Attributes, noted: Key, pace: Pace) -> None:
        if self._table.query(blob.key.partition, prefix="link/", limit=1):
            super()._settle_blob(blob, record, noted, pace)
            return
        key = text(record, "key")
        self._table.transact([Delete(blob.key), Put(retired_key(key), {}), Delete(noted)])
        self._delete(key, pace)


class ReadsBlobRevisionLate(Garbage):
    """The revision is that after it has looked who holds the blob."""

    def _settle_blob(self, blob: Bytes, record: Attributes, noted: Key, pace: Pace) -> None:
        if self._table.query(blob.key.partition, prefix="link/", limit=1):
            super()._settle_blob(blob, record, noted, pace)
        elif (late := self._table.get(blob.key)) is not None:
            key = text(late, "key")
            self._table.transact([Delete(blob.key, revised(late)), Put(retired_key(key), {}), Delete(noted)])
            self._delete(key, pace)


class BytesFirst(Garbage):
    """The object goes before the record."""

    def _settle_blob(self, blob: Bytes, record: Attributes, noted: Key, pace: Pace) -> None:
        if not self._table.query(blob.key.partition, prefix="link/", limit=1):
            self._store.delete(text(record, "key"))
        super()._settle_blob(blob, record, noted, pace)


class AcquitsBlindly(Garbage):
    """A blob that was held a moment ago lives on."""

    def _settle_blob(self, blob: Bytes, record: Attributes, noted: Key, pace: Pace) -> None:
        if self._table.query(blob.key.partition, prefix="link/", limit=1):
            self._table.transact([acquit(blob, Exists()), Delete(noted)])
        else:
            super()._settle_blob(blob, record, noted, pace)


class TrashFirst(Needs):
    """What was removed is read before what is there: a manifest that moves in between is seen nowhere."""

    def states(self, repository: str, digests: Sequence[Digest]) -> Mapping[Digest, Need]:
        removed = {digest: removed_manifest_key(repository, digest) for digest in digests}
        there = {digest: manifest_key(repository, digest) for digest in digests}
        kept = self._table.batch_get(list(removed.values()))
        found = self._table.batch_get(list(there.values()))
        states = dict.fromkeys(digests, Need.NONE)
        for digest in digests:
            if there[digest] in found:
                states[digest] = Need.PENDING if is_pending(found[there[digest]]) else Need.VISIBLE
            elif removed[digest] in kept and is_restorable(kept[removed[digest]]):
                states[digest] = Need.RESTORABLE
        return states

    def _clear(self, repository: str, notes: Sequence[Key]) -> None:
        """What it has not seen it does not ask for again."""


class LooksIntoTrashFirst(Garbage):
    def __init__(self, table: Table, store: BlobStore, clock: Clock, **more: object) -> None:
        super().__init__(table, store, clock, **more)  # type: ignore[arg-type]
        self._needs = TrashFirst(table)


class MarkAndSweep(Garbage):
    """Walks all manifests, then takes away every old blob that none of them named; as distribution does."""

    def _settle_link(self, link: Link, record: Attributes, noted: Key, pace: Pace) -> None:
        marked = set()
        for item in self._table.query(contents(link.repository), prefix="content/"):
            digest = Digest.parse(last_segment(item.key.sort))
            manifest = read_manifest(cast("bytes", item.attributes["content"]), OCI_MANIFEST, digest)
            marked |= {blob.digest for blob in manifest.blobs}
        if link.digest in marked:
            self._table.transact([acquit(link, Exists()), Delete(noted)])
        else:
            self._table.transact([*unlink(link, int(self._clock.now().timestamp()), Exists()), Delete(noted)])


class ForgetsWhatItTookFromTheDirectLane(Garbage):
    """The store may tell of an object again after its record went, and before it goes itself."""

    def _settle_blob(self, blob: Bytes, record: Attributes, noted: Key, pace: Pace) -> None:
        if self._table.query(blob.key.partition, prefix="link/", limit=1):
            super()._settle_blob(blob, record, noted, pace)
            return
        key = text(record, "key")
        self._table.transact([Delete(blob.key, revised(record)), Put(retired_key(key), {}), Delete(noted)])
        self._delete(key, pace)


class ClearsRepositoriesCarelessly(Garbage):
    """The blobs of a repository that was deleted are not condemned."""

    def __init__(self, table: Table, store: BlobStore, clock: Clock, **more: object) -> None:
        super().__init__(table, store, clock, **more)  # type: ignore[arg-type]
        self._remains = Remains(Altered(table, without(CONDEMNED_PARTITION)), clock)


class CollectsWhatIsNeeded(Removals):
    """An index may come to need what is being deleted."""

    def __init__(self, table: Table, repositories: Repositories, events: Silent, clock: Clock) -> None:
        super().__init__(Altered(table, without_condition("manifest", Delete)), repositories, events, clock)


# --------------------------------------------------------------------------------------------------------------- clients


class NeverRenews(Blobs):
    """HEAD tells what is there, and leaves it as it is."""

    def keep(self, blob: Blob) -> Blob:
        return blob


class NeverRenewsManifests(Pushes):
    def keep(self, image: Image) -> None:
        """Nothing is done."""


class OneKeyForEach(Uploads):
    """Bytes that come again come to where they lay, so that a late delete hits them."""

    def _adopt_new(self, upload: Upload, digest: Digest, body: bytes) -> Blob:
        known = self._table.get(blob_key(digest))
        piece = Piece(text(known, "key"), len(body)) if known else self._put(upload, body)
        self._store.put(piece.key, body)
        return self._adopt(upload, digest, piece.key, piece.size)


class CancelsBytesFirst(Uploads):
    """The bytes go before the record says so."""

    def _drop(self, upload: Upload, refused: str = "") -> None:
        self._drop_bytes(upload.id, upload.writing, upload.multipart)
        self._records.end(upload.id, refused)


class EndsBlindly(UploadRecords):
    """An upload is ended whatever became of it."""

    def end(self, identifier: str, refused: str = "") -> None:
        try:
            super().end(identifier, refused)
        except UploadUnknown:
            return


class CancelsBlindly(Uploads):
    def __init__(self, table: Table, store: BlobStore, blobs: Blobs, clock: Clock) -> None:
        super().__init__(table, store, blobs, clock)
        self._records = EndsBlindly(table, clock)


class SweepsWithoutClosing(Leftovers):
    """Bytes go while somebody may still adopt them."""

    def _close(self, upload: str, digest: Digest | None) -> None:
        """Nothing is written."""

    def _is_taken(self, key: str, upload: str, digest: Digest | None) -> bool:
        return super()._is_taken(key, upload, digest)


class SweepsAtOneLook(Leftovers):
    """What was not taken before it was closed is not looked at again."""

    def _is_taken(self, key: str, upload: str, digest: Digest | None) -> bool:
        taken = key not in self._looked and super()._is_taken(key, upload, digest)
        self._looked.add(key)
        return taken

    def __init__(self, table: Table, store: BlobStore, clock: Clock) -> None:
        super().__init__(table, store, clock)
        self._looked = set[str]()


class ExpiresRecordFirst(Expiry):
    """The trash's record goes before what it needed is condemned: whoever dies in between leaves that for ever."""

    def _give_up(self, repository: str, digest: Digest, removed: Attributes) -> bool:
        self._table.write(Delete(removed_manifest_key(repository, digest)))
        return super()._give_up(repository, digest, removed)


@dataclass(frozen=True)
class Mutant:
    """A wrong program, and a scenario (or a variant of it) that finds it out. ``loose``: only where reads come apart."""

    name: str
    program: Program
    scenarios: tuple[str, ...]


def mutants() -> Iterator[Mutant]:
    """All of them."""
    yield Mutant(
        "a collector that ignores a link's revision", replace(REAL, garbage=IgnoresLinkRevision), ("link/push+collect",)
    )
    yield Mutant(
        "a collector that reads a link's revision after its needs",
        replace(REAL, garbage=ReadsLinkRevisionLate),
        ("link/push+collect",),
    )
    yield Mutant(
        "a collector that ignores a blob's revision", replace(REAL, garbage=IgnoresBlobRevision), ("blob/upload+collect",)
    )
    yield Mutant(
        "a collector that reads a blob's revision after its holders",
        replace(REAL, garbage=ReadsBlobRevisionLate),
        ("blob/upload+collect",),
    )
    yield Mutant("an object deleted before its record", replace(REAL, garbage=BytesFirst), ("blob/upload+collect",))
    yield Mutant("a blob acquitted upon what was seen", replace(REAL, garbage=AcquitsBlindly), ("held/delete+collect",))
    yield Mutant("the trash read before the manifests", replace(REAL, garbage=LooksIntoTrashFirst), ("again/delete+collect",))
    yield Mutant("mark and sweep", replace(REAL, garbage=MarkAndSweep), ("link/push+collect",))
    yield Mutant(
        "an object of the direct lane adopted while it goes",
        replace(REAL, garbage=ForgetsWhatItTookFromTheDirectLane),
        ("adopted/adopt+collect",),
    )
    yield Mutant(
        "no note of an object that is to go",
        replace(REAL, garbage=_garbage(without(RETIRED_PARTITION))),
        ("blob/upload+collect~collect",),
    )
    yield Mutant(
        "a push that leaves the revision of its blobs",
        replace(REAL, pushes=_with(without_revision("blob"))),
        ("link/push+delete",),
    )
    yield Mutant(
        "a push that does not ask for its blobs",
        replace(REAL, pushes=_with(without_condition("blob", Update))),
        ("link/push+delete",),
    )
    yield Mutant(
        "a push that does not ask for its manifests",
        replace(REAL, pushes=_with(without_condition("manifest", Update))),
        ("index/second+share",),
    )
    yield Mutant(
        "a tag that moves whatever it points to",
        replace(REAL, pushes=_with(without_condition("tag", Put))),
        ("image/again+switch",),
    )
    yield Mutant(
        "a mount that does not ask for its source",
        replace(REAL, blobs=_blobs(without_check("blob"))),
        ("link/delete+collect+mount ahead",),
    )
    yield Mutant(
        "a blob deleted at any revision", replace(REAL, blobs=_blobs(without_condition("blob", Delete))), ("link/push+delete",)
    )
    yield Mutant(
        "a link that nobody condemned", replace(REAL, blobs=_blobs(without(CONDEMNED_PARTITION))), ("link/upload+elsewhere",)
    )
    yield Mutant("a manifest deleted at any revision", replace(REAL, removals=CollectsWhatIsNeeded), ("index/second+share",))
    yield Mutant("a HEAD that does not renew", replace(REAL, blobs=NeverRenews), ("link/head+collect",))
    yield Mutant(
        "a HEAD of a manifest that does not renew", replace(REAL, pushes=NeverRenewsManifests), ("untagged/head+collect",)
    )
    yield Mutant(
        "notes cleared though the manifest came back and was removed again",
        replace(REAL, expiry=_expiry(without_check("removed"))),
        ("trash/collect+delete",),
    )
    yield Mutant(
        "notes cleared though the manifest is back",
        replace(REAL, expiry=_expiry(without_check("manifest"))),
        ("trash/push+collect", "trash/restore+collect"),
    )
    yield Mutant(
        "a record of the trash that goes first", replace(REAL, expiry=ExpiresRecordFirst), ("trash/collect+unlink~collect",)
    )
    yield Mutant("a key that is used again", replace(REAL, uploads=OneKeyForEach), ("blob/upload+collect",))
    yield Mutant("a cancel that drops bytes first", replace(REAL, uploads=CancelsBytesFirst), ("upload/finish+cancel",))
    yield Mutant("a cancel that does not ask", replace(REAL, uploads=CancelsBlindly), ("upload/finish+cancel",))
    yield Mutant("a sweep that does not close", replace(REAL, leftovers=SweepsWithoutClosing), ("direct/adopt+sweep",))
    yield Mutant("a sweep that looks once", replace(REAL, leftovers=SweepsAtOneLook), ("direct/adopt+sweep",))
    yield Mutant(
        "a repository cleared away and its blobs forgotten",
        replace(REAL, garbage=ClearsRepositoriesCarelessly),
        ("link/collect+drop",),
    )
    yield Mutant(
        "bytes that come again, and a blob that is not told",
        replace(REAL, blobs=_blobs(keeping_blobs_as_they_are)),
        ("blob/upload+collect",),
    )
    yield Mutant(
        "an untagging that condemns nothing",
        replace(REAL, removals=_removals(condemning_nothing)),
        ("index/untag+collect",),
    )
