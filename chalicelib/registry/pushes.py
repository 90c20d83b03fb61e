"""Pushing manifests: what a client is told is stored stays pullable.

A manifest becomes visible in one transaction that also checks each blob and manifest it needs, raises their revisions and
notes that it needs them; whoever would take one of those away must find nobody noted, at an unchanged revision
(``records.py``). Tags move in the same transaction.

A manifest that needs more than a transaction holds is written as *pending* first, then its needs in batches, and then
made visible. A pending one is nobody's to pull, yet its needs count; an interrupted push is taken up by the next one.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from chalicelib.registry.attempts import Changed, retried
from chalicelib.registry.errors import Busy, ManifestBlobUnknown, ManifestInvalid
from chalicelib.registry.images import is_pending
from chalicelib.registry.manifests import Descriptor, Manifest
from chalicelib.registry.names import Digest, RepositoryName, Tag
from chalicelib.registry.ports import (
    MAX_TRANSACTION,
    Absent,
    All,
    Attributes,
    BlobStore,
    Clock,
    Condition,
    Delete,
    Equals,
    Exists,
    Key,
    Lacks,
    Put,
    StoreFull,
    Table,
    Update,
    Write,
)
from chalicelib.registry.records import (
    REFERENCED,
    REVISION,
    content_key,
    link_key,
    manifest_key,
    needed_blob_key,
    needed_manifest_key,
    number,
    referrer_key,
    tag_key,
    tagged_key,
    text,
)
from chalicelib.registry.repositories import Repositories, Repository

_INLINE = 256 * 1024
"""Bytes of a manifest that lies in the table itself at most; a larger one goes to the BlobStore."""

_INLINE_DESCRIPTOR = 64 * 1024
"""Bytes of a referrer's descriptor in its index item at most; a larger one is made from the manifest when listed."""


class Sparse(Enum):
    """Which manifests may lack content that they name: none, indexes their manifests, or all manifests anything."""

    NONE = "none"
    INDEXES = "indexes"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class _Need:
    """One thing that the manifest needs and the repository holds: its record, and the index item that notes the need."""

    record: Key
    note: Key

    def writes(self) -> tuple[Write, Write]:
        condition = All((Exists(), Lacks("pending")))
        return Update(self.record, set={REFERENCED: True}, add={REVISION: 1}, condition=condition), Put(self.note, {})


class _StoredContent:
    """A manifest's bytes on their way to the content item: those of a large one go to the BlobStore, once, before any
    record names them, and only if the push comes so far that a record will."""

    def __init__(self, store: BlobStore, manifest: Manifest) -> None:
        self._store = store
        self._content = manifest.content
        self._key = ""

    def attributes(self) -> Attributes:
        """Raises StoreFull."""
        if len(self._content) <= _INLINE:
            return {"content": self._content}
        if not self._key:
            key = f"manifests/{secrets.token_hex(16)}"
            self._store.put(key, self._content)
            self._key = key
        return {"key": self._key}

    def drop(self) -> None:
        """The push failed before any record could name the stored bytes."""
        if self._key:
            self._store.delete(self._key)


class Pushes:
    """Writes manifests and tags."""

    def __init__(
        self, table: Table, store: BlobStore, repositories: Repositories, clock: Clock, sparse: Sparse = Sparse.NONE
    ) -> None:
        self._table = table
        self._store = store
        self._repositories = repositories
        self._clock = clock
        self._sparse = sparse

    def push(self, name: RepositoryName, manifest: Manifest, tags: Sequence[Tag]) -> None:
        """Store a manifest and point tags to it, all or nothing.

        Raises ManifestBlobUnknown with everything that is missing, ManifestInvalid, StoreFull, Busy.
        """
        if self._repositories.find(name) is None:
            self._refuse_missing(manifest, [*manifest.blobs, *manifest.manifests])
        repository = self._repositories.ensure(name)
        content = _StoredContent(self._store, manifest)
        try:
            retried(lambda: self._push(repository, manifest, tags, content))
        except (Busy, ManifestBlobUnknown, ManifestInvalid, StoreFull):
            content.drop()
            raise

    def _push(self, repository: Repository, manifest: Manifest, tags: Sequence[Tag], content: _StoredContent) -> None:
        needs = self._needs(repository.id, manifest)
        record = self._table.get(manifest_key(repository.id, manifest.digest))
        visible = [*self._appear(repository.id, manifest, record, content), *self._point(repository.id, manifest, tags)]
        writes = [write for need in needs for write in need.writes()]
        if len(visible) + len(writes) <= MAX_TRANSACTION:
            self._table.transact([*visible, *writes])
        else:
            self._push_in_batches(repository.id, manifest, record, writes, visible)

    def _push_in_batches(
        self,
        repository: str,
        manifest: Manifest,
        record: Attributes | None,
        writes: Sequence[Write],
        visible: Sequence[Write],
    ) -> None:
        key = manifest_key(repository, manifest.digest)
        if record is None:
            self._table.write(Put(key, {**_record(manifest), "pending": True, REVISION: 1}, Absent()))
            raise Changed  # so that the last step below is decided from the record as it is now
        for start in range(0, len(writes), MAX_TRANSACTION):
            self._table.transact(writes[start : start + MAX_TRANSACTION])
        self._table.transact(visible)

    def _appear(
        self, repository: str, manifest: Manifest, record: Attributes | None, content: _StoredContent
    ) -> Iterable[Write]:
        """The writes that make a manifest visible, given its record as it was read. A revision raised elsewhere since is
        no harm; that it was deleted since is, and is refused by the condition."""
        key = manifest_key(repository, manifest.digest)
        if record is None:
            yield Put(key, {**_record(manifest), REVISION: 1}, Absent())
        elif is_pending(record):
            yield Update(key, add={REVISION: 1}, remove=("pending",), condition=Exists())
        else:
            yield Update(key, add={REVISION: 1}, condition=All((Exists(), Lacks("pending"))))
        if record is None or is_pending(record):
            yield Put(content_key(repository, manifest.digest), content.attributes())
        if manifest.subject is not None:
            yield Put(referrer_key(repository, manifest.subject, manifest.digest), _referrer(manifest))

    def _point(self, repository: str, manifest: Manifest, tags: Sequence[Tag]) -> Iterable[Write]:
        """The writes that point tags here, on the condition that they point where they did when this was decided."""
        pointing = self._table.batch_get([tag_key(repository, tag) for tag in tags])
        for tag in tags:
            key = tag_key(repository, tag)
            old = text(pointing[key], "digest") if key in pointing else None
            unchanged: Condition = Absent() if old is None else Equals("digest", old)
            yield Put(key, {**_tag(manifest), "pushed_at": int(self._clock.now().timestamp())}, unchanged)
            yield Put(tagged_key(repository, manifest.digest, tag), {})
            if old is not None and old != str(manifest.digest):
                yield Delete(tagged_key(repository, Digest.parse(old), tag))

    def _needs(self, repository: str, manifest: Manifest) -> Sequence[_Need]:
        """What of the needed content is there. Raises ManifestBlobUnknown for the rest, unless it may be missing."""
        digest = manifest.digest
        records = {blob.digest: link_key(repository, blob.digest) for blob in manifest.blobs}
        records.update((child.digest, manifest_key(repository, child.digest)) for child in manifest.manifests)
        found = self._table.batch_get(list(records.values()))
        wanted = [*manifest.blobs, *manifest.manifests]
        here = [entry for entry in wanted if _is_there(found, records[entry.digest])]
        self._refuse_missing(manifest, [entry for entry in wanted if not _is_there(found, records[entry.digest])])
        for entry in here:
            _check_size(entry, found[records[entry.digest]])
        note = needed_manifest_key if manifest.is_index else needed_blob_key
        return [_Need(records[entry.digest], note(repository, entry.digest, digest)) for entry in here]

    def _refuse_missing(self, manifest: Manifest, missing: Sequence[Descriptor]) -> None:
        if self._sparse is Sparse.ALL or (self._sparse is Sparse.INDEXES and manifest.is_index):
            return
        refused = tuple(str(entry.digest) for entry in missing if entry.is_distributed)
        if refused:
            raise ManifestBlobUnknown(refused)


def _is_there(found: Mapping[Key, Attributes], key: Key) -> bool:
    return key in found and not is_pending(found[key])


def _check_size(entry: Descriptor, record: Attributes) -> None:
    """A descriptor with a wrong size makes an image that containerd and others refuse to pull: better to refuse the push."""
    size = number(record, "size")
    if entry.size != size:
        raise ManifestInvalid(
            "a descriptor's size is not that of the content", digest=str(entry.digest), size=entry.size, actual=size
        )


def _record(manifest: Manifest) -> dict[str, str | int]:
    record: dict[str, str | int] = {"media_type": manifest.media_type, "size": len(manifest.content)}
    if manifest.subject is not None:
        record["subject"] = str(manifest.subject)
    return record


def _tag(manifest: Manifest) -> dict[str, str | int]:
    return {"digest": str(manifest.digest), "media_type": manifest.media_type, "size": len(manifest.content)}


def _referrer(manifest: Manifest) -> Attributes:
    descriptor = json.dumps(manifest.descriptor(), separators=(",", ":"), ensure_ascii=False)
    if len(descriptor.encode()) > _INLINE_DESCRIPTOR:
        return {"artifact_type": manifest.artifact_type}
    return {"artifact_type": manifest.artifact_type, "descriptor": descriptor}
