"""What may be wrong with manifests, tags, and what lies in the trash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chalicelib.registry.condemned import Listed, condemn
from chalicelib.registry.configuration import Configuration
from chalicelib.registry.errors import ManifestInvalid
from chalicelib.registry.images import Images
from chalicelib.registry.manifests import Descriptor, Manifest, read_manifest
from chalicelib.registry.names import Digest, Tag
from chalicelib.registry.needs import EXPIRED, Needs, is_restorable
from chalicelib.registry.ports import (
    Absent,
    All,
    Attributes,
    BlobMissing,
    Check,
    Clock,
    Condition,
    Delete,
    Equals,
    Exists,
    Key,
    Lacks,
    Put,
    Table,
    Update,
    Write,
)
from chalicelib.registry.pushes import Sparse, referrer
from chalicelib.registry.records import (
    CONDEMNED_AT,
    REFERENCED,
    REVISION,
    content_key,
    fresh_revision,
    is_pending,
    link_key,
    manifest_key,
    needed_blob_key,
    needed_manifest_key,
    number,
    pending_key,
    referrer_key,
    removed_manifest_key,
    removed_tag_key,
    restorable_key,
    revised,
    tag_key,
    tagged_key,
    text,
)
from chalicelib.registry.times import seconds
from chalicelib.registry.upkeep.drift import ABSENT, DAMAGED, LOST, Drift, repair, still, unnoted

_AT_ONCE = 40
"""Needs that are noted in one transaction: two writes each."""

_READ = 50
"""Needs that are looked at at a time: two keys each."""

_THERE: Condition = All((Exists(), Lacks("pending")))


class ManifestDrift:
    """Examines them; every method reads afresh, and raises Changed if somebody was there meanwhile. ``sparse``: which manifests
    may lack what they name."""

    def __init__(self, table: Table, images: Images, clock: Clock, configuration: Configuration, sparse: Sparse) -> None:
        self._table = table
        self._configuration = configuration
        self._images = images
        self._clock = clock
        self._sparse = sparse
        self._needs = Needs(table)

    # -------------------------------------------------------------------------------------------------------- manifests

    def of_manifest(self, listed: Listed) -> Iterator[Drift]:
        """It is stored, what it needs knows of it, and something keeps it or it is condemned and noted."""
        record = self._table.get(listed.key)
        if record is None:
            return
        same = Check(listed.key, revised(record))
        if is_pending(record):
            noted = pending_key(number(record, "begun_at"), listed.repository, listed.digest)
            if self._table.get(noted) is None:
                yield repair(f"{listed}: it was on its way for good", same, Put(noted, {}))
            return
        stored = self._table.get(content_key(listed.repository, listed.digest))
        found = self._read(listed, record, stored)
        if isinstance(found, Drift):
            still(self._table, listed.key, record)
            yield found
        else:
            yield from self._unlisted(listed, found, same)
            for drift in self._unknown(listed, found, same, visible=True):
                if not drift.writes:
                    still(self._table, listed.key, record)
                yield drift
        if CONDEMNED_AT in record:
            if self._configuration.recent().untagged_days:  # else nobody waits for it
                yield from unnoted(self._table, self._clock, listed, record)
        elif not self._needs.of_listed(listed.repository, listed.digest, record):
            unchanged = All((_THERE, revised(record)))
            yield repair(f"{listed}: nothing keeps it", *condemn(listed, seconds(self._clock), unchanged))

    def _read(self, listed: Listed, record: Attributes, stored: Attributes | None) -> Manifest | Drift:
        """The manifest of a record, given the record of its bytes."""
        try:
            content = None if stored is None else self._images.stored(stored)
        except BlobMissing:
            content = None
        if content is None:
            return Drift(LOST, f"{listed}: its bytes are not there")
        if Digest.of(content, listed.digest.algorithm) != listed.digest:
            return Drift(DAMAGED, f"{listed}: its bytes are others")
        try:
            return read_manifest(content, text(record, "media_type"), listed.digest)
        except ManifestInvalid:
            return Drift(DAMAGED, f"{listed}: it is no manifest")

    def _unlisted(self, listed: Listed, manifest: Manifest, same: Check) -> Iterator[Drift]:
        """A manifest that speaks of another one, and is not in the list of those."""
        if manifest.subject is not None:
            key = referrer_key(listed.repository, manifest.subject, listed.digest)
            if self._table.get(key) is None:
                yield repair(f"{listed}: not among the referrers of {manifest.subject}", same, Put(key, referrer(manifest)))

    def _unknown(self, listed: Listed, manifest: Manifest, same: Check, *, visible: bool) -> Iterator[Drift]:
        """Things that are there and do not know that they are needed; and those that are not there. What gets a note gets
        another revision as well, and only together with what needs it."""
        wanted = [*manifest.blobs, *manifest.manifests]
        for start in range(0, len(wanted), _READ):
            entries = wanted[start : start + _READ]
            things = {entry.digest: _needed(listed, manifest, entry.digest) for entry in entries}
            found = self._table.batch_get([key for pair in things.values() for key in pair])
            here = {d: pair for d, pair in things.items() if pair[0] in found and not is_pending(found[pair[0]])}
            missing = [pair for pair in here.values() if pair[1] not in found]
            for first in range(0, len(missing), _AT_ONCE):
                noted = missing[first : first + _AT_ONCE]
                line = f"{listed}: {len(noted)} that it needs did not know of it"
                yield repair(line, same, *(write for pair in noted for write in _note(*pair, visible=visible)))
            if visible:
                yield from self._missing(listed, manifest, [entry for entry in entries if entry.digest not in here])

    def _missing(self, listed: Listed, manifest: Manifest, entries: Sequence[Descriptor]) -> Iterator[Drift]:
        may_lack = self._sparse is Sparse.ALL or (self._sparse is Sparse.INDEXES and manifest.is_index)
        for entry in entries:
            if entry.is_distributed:
                yield Drift(ABSENT if may_lack else LOST, f"{listed}: it names {entry.digest}, which is not there")

    def of_part(self, listed: Listed, key: Key) -> Iterator[Drift]:
        """An item that comes and goes with its manifest, in its transactions."""
        if self._table.get(listed.key) is None and self._table.get(key) is not None:
            yield repair(f"{key.sort}: without its manifest", Delete(key, Exists()), Check(listed.key, Absent()))

    # ------------------------------------------------------------------------------------------------------------ tags

    def of_tag(self, repository: str, tag: Tag) -> Iterator[Drift]:
        """A tag points to a manifest, which knows of it."""
        record = self._table.get(tag_key(repository, tag))
        if record is None:
            return
        digest = Digest.parse(text(record, "digest"))
        manifest, tagged = manifest_key(repository, digest), tagged_key(repository, digest, tag)
        found = self._table.batch_get([manifest, tagged])
        same = Equals("digest", str(digest))
        if manifest not in found:
            line = f"tag/{repository}/{tag}: it pointed to {digest}, which is not there"
            yield repair(line, Delete(tag_key(repository, tag), same), Delete(tagged), Check(manifest, Absent()))
        elif tagged not in found and not is_pending(found[manifest]):
            # As a push does: who would take the manifest away takes the tags along that it saw.
            known = Update(manifest, set={REVISION: fresh_revision()}, remove=(CONDEMNED_AT,), condition=_THERE)
            line = f"tag/{repository}/{tag}: {digest} did not know of it"
            yield repair(line, Check(tag_key(repository, tag), same), Put(tagged, {}), known)

    def of_tagged(self, repository: str, digest: Digest, tag: Tag) -> Iterator[Drift]:
        """The index item by which a manifest knows of a tag."""
        record = self._table.get(tag_key(repository, tag))
        if record is not None and text(record, "digest") == str(digest):
            return
        listed, tagged = Listed(repository, digest), tagged_key(repository, digest, tag)
        found = self._table.batch_get([tagged, listed.key])
        if tagged in found:
            elsewhere = Absent() if record is None else Equals("digest", text(record, "digest"))
            is_there = listed.key in found and not is_pending(found[listed.key])
            condemned = condemn(listed, seconds(self._clock)) if is_there else []
            writes: list[Write] = [Delete(tagged, Exists()), Check(tag_key(repository, tag), elsewhere), *condemned]
            yield repair(f"{listed}: it was tagged {tag} no longer", *writes)

    # ----------------------------------------------------------------------------------------------------------- trash

    def of_removed(self, repository: str, digest: Digest) -> Iterator[Drift]:
        """A removed manifest ends some day, and until then it can come back."""
        key = removed_manifest_key(repository, digest)
        record = self._table.get(key)
        if record is None:
            return
        listed, noted = Listed(repository, digest), restorable_key(number(record, "removed_at"), repository, digest)
        if self._table.get(noted) is None:
            yield repair(f"removed {listed}: it was never to end", Check(key, revised(record)), Put(noted, {}))
        if not is_restorable(record):
            return
        found = self._read(listed, record, record)
        if isinstance(found, Drift):
            still(self._table, key, record)
            yield Drift(found.what, f"removed {found.line}")
        else:
            in_trash = Check(key, All((revised(record), Lacks(EXPIRED))))
            yield from self._unknown(listed, found, in_trash, visible=False)

    def of_removed_tag(self, repository: str, tag: Tag, removed_at: int) -> Iterator[Drift]:
        """A removed tag ends some day."""
        key, noted = removed_tag_key(repository, tag, removed_at), restorable_key(removed_at, repository, tag)
        found = self._table.batch_get([key, noted])
        if key in found and noted not in found:
            yield repair(f"removed tag/{repository}/{tag}: it was never to end", Check(key, Exists()), Put(noted, {}))


def _needed(listed: Listed, manifest: Manifest, digest: Digest) -> tuple[Key, Key]:
    """Where a thing that the manifest names is, and where it is noted that it is needed."""
    repository = listed.repository
    if manifest.is_index:
        return manifest_key(repository, digest), needed_manifest_key(repository, digest, listed.digest)
    return link_key(repository, digest), needed_blob_key(repository, digest, listed.digest)


def _note(thing: Key, noted: Key, *, visible: bool) -> tuple[Write, Write]:
    changes: dict[str, int | bool] = {REVISION: fresh_revision(), **({REFERENCED: True} if visible else {})}
    return Update(thing, set=changes, remove=(CONDEMNED_AT,), condition=_THERE), Put(noted, {})
