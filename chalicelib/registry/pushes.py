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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial

from chalicelib.registry.adoption import Adoption, Arrival
from chalicelib.registry.attempts import Changed, moments, retried, settled
from chalicelib.registry.condemned import Listed, condemn, condemnation, is_young, note
from chalicelib.registry.errors import Busy, ManifestBlobUnknown, ManifestInvalid, ManifestUnknown, TagExists, Unproven
from chalicelib.registry.events import Actor, Event, Events
from chalicelib.registry.images import Image
from chalicelib.registry.keys import MANIFESTS
from chalicelib.registry.manifests import Descriptor, Manifest
from chalicelib.registry.names import Digest, RepositoryName, Tag
from chalicelib.registry.needs import Needs
from chalicelib.registry.ports import (
    MAX_TRANSACTION,
    Absent,
    All,
    Attributes,
    BlobStore,
    Clock,
    Condition,
    ConditionFailed,
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
from chalicelib.registry.proofs import WAIT
from chalicelib.registry.records import (
    CONDEMNED_AT,
    PENDING_PARTITION,
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
    revised,
    tag_key,
    tagged_key,
    text,
)
from chalicelib.registry.repositories import Repositories, Repository
from chalicelib.registry.times import seconds

_INLINE = 256 * 1024
"""Bytes of a manifest that lies in the table itself at most; a larger one goes to the BlobStore."""

_INLINE_DESCRIPTOR = 64 * 1024
"""Bytes of a referrer's descriptor in its index item at most; a larger one is made from the manifest when listed."""


_PAUSE = 1.0
"""Seconds between two looks whether a blob was proven, but the first."""

PENDING_LIFETIME = 3600
"""Seconds after which a push that did not end is taken for interrupted; a push in batches takes seconds."""


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

    def writes(self, *, visible: bool) -> tuple[Write, Write]:
        """``visible``: the manifest appears in the same transaction, so that what it names is an image's from then on."""
        condition = All((Exists(), Lacks("pending")))
        known: Attributes = {REFERENCED: True} if visible else {}
        live = (CONDEMNED_AT,) if visible else ()  # the collector acquits what a large manifest needs, when it comes upon it
        changes = {**known, REVISION: fresh_revision()}
        return Update(self.record, set=changes, remove=live, condition=condition), Put(self.note, {})


@dataclass(frozen=True, slots=True)
class _Push:
    """What is pushed, and who does it."""

    manifest: Manifest
    tags: Sequence[Tag]
    actor: Actor
    moves: bool

    def event(self, name: RepositoryName) -> Event:
        detail = {"digest": str(self.manifest.digest), **({"tags": ", ".join(map(str, self.tags))} if self.tags else {})}
        return Event("MANIFEST_PUSH", str(name), self.actor, detail=detail)


class _StoredContent:
    """A manifest's bytes on their way to the content item: those of a large one go to the BlobStore, once, before any
    record names them, and only if the push comes so far that a record will."""

    def __init__(self, store: BlobStore, repository: str, manifest: Manifest) -> None:
        self._store = store
        self._prefix = f"{MANIFESTS}{repository}/{manifest.digest}/"
        self._content = manifest.content
        self._key = ""

    def attributes(self) -> Attributes:
        """Raises StoreFull."""
        if len(self._content) <= _INLINE:
            return {"content": self._content}
        if not self._key:
            key = self._prefix + secrets.token_hex(16)
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
        self,
        table: Table,
        store: BlobStore,
        repositories: Repositories,
        events: Events,
        clock: Clock,
        *,
        sparse: Sparse = Sparse.NONE,
        adoption: Adoption | None = None,
    ) -> None:
        self._table = table
        self._store = store
        self._repositories = repositories
        self._events = events
        self._clock = clock
        self._sparse = sparse
        self._adoption = adoption
        self._needs = Needs(table)

    def push(
        self,
        name: RepositoryName,
        manifest: Manifest,
        tags: Sequence[Tag],
        actor: Actor,
        make: Callable[[], Repository],
        *,
        moves: bool = True,
    ) -> None:
        """Store a manifest and point tags to it, all or nothing; ``make`` brings the repository into being if there is none.
        ``moves`` is whether tags that point elsewhere are moved; if not, they are refused.

        Blobs that came by the direct lane and are not proven yet are waited for, as long as a request may take; no client
        tries a manifest for long by itself. That holds where blobs may be missing too: nobody would note later that this
        manifest needs them. Raises ManifestBlobUnknown with everything that is missing, ManifestInvalid, TagExists, Unproven,
        StoreFull, Busy.
        """
        may_lack = self._sparse is Sparse.ALL or (self._sparse is Sparse.INDEXES and manifest.is_index)
        repository = self._repositories.find_recent(name)
        if repository is None:
            _refuse([] if may_lack else [*manifest.blobs, *manifest.manifests])
            repository = make()
        pushed = _Push(manifest, tags, actor, moves)
        sparse = may_lack and (self._adoption is None or manifest.is_index)
        for _ in moments(self._clock, WAIT, _PAUSE):
            try:
                return self._push_now(repository, pushed, sparse=sparse)
            except ManifestBlobUnknown as missing:
                current = self._repositories.find(name)
                if current is not None and current.id != repository.id:
                    repository = current  # it was remembered as it is not any more
                elif self._may_come(repository, missing, sparse=may_lack):
                    continue
                elif may_lack:
                    return self._push_now(repository, pushed, sparse=True)
                else:
                    raise
        raise Unproven

    def _may_come(self, repository: Repository, missing: ManifestBlobUnknown, *, sparse: bool) -> bool:
        """Whether to try again: what was missing is here now, or will be when somebody has proven it. ``sparse``: the rest may
        be missing."""
        if self._adoption is None:
            return False
        digests = [Digest.parse(digest) for digest in missing.digests]
        arrivals = self._adoption.catch_up(repository.id, digests)
        return bool(arrivals - {Arrival.ABSENT}) and (sparse or Arrival.ADOPTED in arrivals or Arrival.ABSENT not in arrivals)

    def _push_now(self, repository: Repository, pushed: _Push, *, sparse: bool) -> None:
        content = _StoredContent(self._store, repository.id, pushed.manifest)
        try:
            retried(lambda: self._push(repository, pushed, content, sparse=sparse))
        except (Busy, ManifestBlobUnknown, ManifestInvalid, StoreFull, TagExists):
            if self._withdraw(repository.id, pushed.manifest.digest):
                self._needs.forget(repository.id, pushed.manifest)
            content.drop()
            raise

    def _push(self, repository: Repository, pushed: _Push, content: _StoredContent, *, sparse: bool) -> None:
        manifest, tags = pushed.manifest, pushed.tags
        asked = [manifest_key(repository.id, manifest.digest), *(tag_key(repository.id, tag) for tag in tags)]
        found = self._table.batch_get([*asked, *_needed(repository.id, manifest).values()])
        needs = _needs(repository.id, manifest, found, sparse=sparse)
        record = found.get(asked[0])
        visible = [
            *self._appear(repository.id, pushed, record, content),
            *self._point(repository.id, pushed, found),
            *self._events.writes(pushed.event(repository.name), repository.id),
        ]
        if len(visible) + 2 * len(needs) <= MAX_TRANSACTION:
            self._table.transact([*visible, *(write for need in needs for write in need.writes(visible=True))])
        elif record is None:
            self._begin(repository.id, manifest)
            raise Changed  # so that what follows is decided from the record as it is then
        else:
            writes = [write for need in needs for write in need.writes(visible=False)]
            for start in range(0, len(writes), MAX_TRANSACTION):
                self._table.transact(writes[start : start + MAX_TRANSACTION])
            self._table.transact(visible)

    def _begin(self, repository: str, manifest: Manifest) -> None:
        """Write the manifest as pending, and where an interrupted push of it is found again."""
        now = seconds(self._clock)
        record: Attributes = {**_record(manifest), "pending": True, "begun_at": now, REVISION: fresh_revision()}
        self._table.transact(
            [
                Put(manifest_key(repository, manifest.digest), record, Absent()),
                Put(pending_key(now, repository, manifest.digest), {}),
            ]
        )

    def _withdraw(self, repository: str, digest: Digest) -> bool:
        """Take a pending manifest away, and tell whether there was one; one that is visible stays. Its notes count for nothing
        without it, and go when somebody comes upon them. Another push of it that is under way begins anew."""
        record = self._table.get(manifest_key(repository, digest))
        if record is None or not is_pending(record):
            return False
        writes: list[Write] = [
            Delete(manifest_key(repository, digest), Equals("pending", True)),
            Delete(pending_key(number(record, "begun_at"), repository, digest)),
        ]
        try:
            settled(lambda: self._table.transact(writes))
        except (ConditionFailed, Busy, StoreFull):
            return False  # made visible meanwhile, or left to the sweep
        return True

    def keep(self, image: Image) -> None:
        """Have a manifest whose pusher is told that it is there outlive the grace from now on; see ``Blobs.keep``. Raises
        ManifestUnknown, Busy."""
        listed = Listed(image.repository, image.digest)

        def renew() -> None:
            record = self._table.get(listed.key)
            if record is None:
                raise ManifestUnknown(str(image.digest))
            if CONDEMNED_AT in record:
                self._table.transact(condemn(listed, seconds(self._clock), revised(record)))

        if image.condemned_at is not None and not is_young(image.condemned_at, seconds(self._clock)):
            retried(renew)

    def sweep(self, limit: int) -> int:
        """Take away up to ``limit`` manifests whose push was interrupted an hour ago or earlier; how many there were."""
        withdrawn = 0
        latest = f"{seconds(self._clock) - PENDING_LIFETIME:012d}"
        for item in self._table.query(PENDING_PARTITION, limit=limit):
            begun_at, repository, digest = item.key.sort.split("/")
            if begun_at >= latest:
                break
            self._withdraw(repository, Digest.parse(digest))
            settled(partial(self._table.write, Delete(item.key)))
            withdrawn += 1
        return withdrawn

    def _appear(self, repository: str, pushed: _Push, record: Attributes | None, content: _StoredContent) -> Iterable[Write]:
        """The writes that make a manifest visible, given its record as it was read. A revision changed elsewhere since is
        no harm to one that is visible; that it was deleted since is, and is refused by the condition. One that is pending
        must be the same push's still: what that one noted as needed counts for no other."""
        manifest, now = pushed.manifest, seconds(self._clock)
        listed = Listed(repository, manifest.digest)
        state: Attributes = {REVISION: fresh_revision()} if pushed.tags else condemnation(now)
        live = (CONDEMNED_AT,) if pushed.tags else ()
        if record is None:
            yield Put(listed.key, {**_record(manifest), **state}, Absent())
        elif is_pending(record):
            mine = All((Equals("pending", True), revised(record)))
            yield Update(listed.key, set=state, remove=("pending", "begun_at"), condition=mine)
            yield Delete(pending_key(number(record, "begun_at"), repository, manifest.digest))
        else:
            yield Update(listed.key, set=state, remove=live, condition=All((Exists(), Lacks("pending"))))
        if not pushed.tags:
            yield note(now, listed)
        if record is None or is_pending(record) or self._is_lost(repository, manifest.digest):
            yield Put(content_key(repository, manifest.digest), content.attributes())
        if manifest.subject is not None:
            yield Put(referrer_key(repository, manifest.subject, manifest.digest), referrer(manifest))

    def _is_lost(self, repository: str, digest: Digest) -> bool:
        """Are the bytes of a manifest that has a record gone? Whoever pushes it again has them at hand."""
        stored = self._table.get(content_key(repository, digest))
        return stored is None or ("key" in stored and self._store.stat(text(stored, "key")) is None)

    def _point(self, repository: str, pushed: _Push, pointing: Mapping[Key, Attributes]) -> Iterable[Write]:
        """The writes that point tags here, on the condition that they point where they did when this was decided. What they
        pointed to is condemned, unless it is needed here: it may have no other tag. Raises TagExists."""
        now, left, manifest = seconds(self._clock), set[Digest](), pushed.manifest
        needed = {child.digest for child in manifest.manifests}
        for tag in pushed.tags:
            key = tag_key(repository, tag)
            old = Digest.parse(text(pointing[key], "digest")) if key in pointing else None
            if not pushed.moves and old not in {None, manifest.digest}:
                raise TagExists(str(tag))
            unchanged: Condition = Absent() if old is None else Equals("digest", str(old))
            yield Put(key, {**_tag(manifest), "pushed_at": now}, unchanged)
            yield Put(tagged_key(repository, manifest.digest, tag), {})
            if old is not None and old != manifest.digest:
                yield Delete(tagged_key(repository, old, tag))
                left.add(old)
        for old in left - needed:
            yield from condemn(Listed(repository, old), now)


def _needs(repository: str, manifest: Manifest, found: Mapping[Key, Attributes], *, sparse: bool) -> Sequence[_Need]:
    """What of the needed content is there. Raises ManifestBlobUnknown for the rest, unless it may be missing."""
    digest, records = manifest.digest, _needed(repository, manifest)
    wanted = [*manifest.blobs, *manifest.manifests]
    here = [entry for entry in wanted if _is_there(found, records[entry.digest])]
    _refuse([] if sparse else [entry for entry in wanted if not _is_there(found, records[entry.digest])])
    for entry in here:
        _check_size(entry, found[records[entry.digest]])
    note = needed_manifest_key if manifest.is_index else needed_blob_key
    return [_Need(records[entry.digest], note(repository, entry.digest, digest)) for entry in here]


def _refuse(missing: Sequence[Descriptor]) -> None:
    """Raises ManifestBlobUnknown with what of it can be had nowhere else, if any."""
    if refused := tuple(str(entry.digest) for entry in missing if entry.is_distributed):
        raise ManifestBlobUnknown(refused)


def _needed(repository: str, manifest: Manifest) -> Mapping[Digest, Key]:
    """Where the repository keeps each thing that the manifest names, if it does."""
    records = {blob.digest: link_key(repository, blob.digest) for blob in manifest.blobs}
    records.update((child.digest, manifest_key(repository, child.digest)) for child in manifest.manifests)
    return records


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


def referrer(manifest: Manifest) -> Attributes:
    """What the index item of a manifest that has a subject says of it."""
    descriptor = json.dumps(manifest.descriptor(), separators=(",", ":"), ensure_ascii=False)
    if len(descriptor.encode()) > _INLINE_DESCRIPTOR:
        return {"artifact_type": manifest.artifact_type}
    return {"artifact_type": manifest.artifact_type, "descriptor": descriptor}
