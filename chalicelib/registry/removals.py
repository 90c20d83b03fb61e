"""Deleting tags and manifests.

Taking a manifest away is one transaction on the condition of its revision: it goes together with all its tags, and not if
an index of the repository still needs it. The notes of what it needed are cleared after it, each batch on the condition
that the manifest is still gone; a push of the same manifest in between keeps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from chalicelib.registry.attempts import Changed, retried, settled
from chalicelib.registry.errors import ManifestReferenced, ManifestUnknown
from chalicelib.registry.events import Actor, Event, Events
from chalicelib.registry.images import Images
from chalicelib.registry.manifests import Manifest, read_manifest
from chalicelib.registry.names import Digest, RepositoryName, Tag
from chalicelib.registry.ports import (
    MAX_TRANSACTION,
    Absent,
    BlobStore,
    Check,
    ConditionFailed,
    Delete,
    Equals,
    Key,
    Table,
    Write,
)
from chalicelib.registry.records import (
    REVISION,
    content_key,
    contents,
    is_pending,
    last_segment,
    manifest_key,
    needed_blob_key,
    needed_manifest_key,
    number,
    pending_key,
    referrer_key,
    tag_key,
    tagged_key,
    text,
)
from chalicelib.registry.repositories import Repositories

_TAGS_AT_ONCE = 40
"""Tags that go in the manifest's own transaction (two writes each); of more, the rest is taken away before it."""


class Removals:
    """Takes manifests and tags away."""

    def __init__(self, table: Table, store: BlobStore, repositories: Repositories, images: Images, events: Events) -> None:
        self._table = table
        self._store = store
        self._repositories = repositories
        self._images = images
        self._events = events

    def untag(self, name: RepositoryName, tag: Tag, actor: Actor) -> None:
        """Take a tag away; the manifest stays. Raises NameUnknown, ManifestUnknown, Busy."""
        repository = self._repositories.get(name).id

        def remove() -> None:
            attributes = self._table.get(tag_key(repository, tag))
            if attributes is None:
                raise ManifestUnknown(str(tag))
            digest = text(attributes, "digest")
            event = Event("TAG_DELETE", f"{name}:{tag}", actor, detail={"digest": digest})
            self._table.transact([*_untag(repository, Digest.parse(digest), tag), *self._events.writes(event, repository)])

        retried(remove)

    def delete(self, name: RepositoryName, digest: Digest, actor: Actor) -> None:
        """Take a manifest and all its tags away, at once. Raises NameUnknown, ManifestUnknown, ManifestReferenced, Busy."""
        repository = self._repositories.get(name).id
        manifest = self._manifest(repository, digest)
        event = Event("MANIFEST_DELETE", str(name), actor, detail={"digest": str(digest)})
        retried(lambda: self._delete(repository, digest, event))
        if manifest is not None:
            self._clear_notes(repository, manifest)

    def _manifest(self, repository: str, digest: Digest) -> Manifest | None:
        """What the notes are found by; None if the push did not end, or the bytes are lost: then they stay, and count for
        nothing without the record."""
        try:
            image = self._images.held(repository, digest)
            return read_manifest(self._images.content(image), image.media_type, digest)
        except ManifestUnknown:
            return None

    def _delete(self, repository: str, digest: Digest, event: Event) -> None:
        """One that is pending goes too: somebody may have been told that it needs what is to be deleted."""
        record = self._table.get(manifest_key(repository, digest))
        if record is None:
            raise ManifestUnknown(str(digest))
        self._refuse_if_needed(repository, digest)
        tags = self._tags(repository, digest)
        if len(tags) > _TAGS_AT_ONCE:
            self._table.transact([write for tag in tags[:_TAGS_AT_ONCE] for write in _untag(repository, digest, tag)])
            raise Changed
        stored = self._table.get(content_key(repository, digest)) or {}
        writes: list[Write] = [
            Delete(manifest_key(repository, digest), Equals(REVISION, number(record, REVISION))),
            Delete(content_key(repository, digest)),
            *(write for tag in tags for write in _untag(repository, digest, tag)),
            *self._events.writes(event, repository),
        ]
        if "subject" in record:
            writes.append(Delete(referrer_key(repository, Digest.parse(text(record, "subject")), digest)))
        if is_pending(record):
            writes.append(Delete(pending_key(number(record, "begun_at"), repository, digest)))
        self._table.transact(writes)
        if "key" in stored:
            self._store.delete(text(stored, "key"))

    def _tags(self, repository: str, digest: Digest) -> Sequence[Tag]:
        items = self._table.query(contents(repository), prefix=f"tagged/{digest}/")
        return [Tag(last_segment(item.key.sort)) for item in items]

    def _refuse_if_needed(self, repository: str, digest: Digest) -> None:
        for item in self._table.query(contents(repository), prefix=f"needed/manifest/{digest}/"):
            index = Digest.parse(last_segment(item.key.sort))
            if self._table.get(manifest_key(repository, index)) is not None:
                raise ManifestReferenced(str(digest), str(index))
            self._table.transact([Check(manifest_key(repository, index), Absent()), Delete(item.key)])

    def _clear_notes(self, repository: str, manifest: Manifest) -> None:
        """What stays behind when this is interrupted is harmless: a note whose manifest is gone counts for nothing."""
        digest = manifest.digest
        notes: list[Key] = [needed_blob_key(repository, blob.digest, digest) for blob in manifest.blobs]
        notes += [needed_manifest_key(repository, child.digest, digest) for child in manifest.manifests]
        still_gone = Check(manifest_key(repository, digest), Absent())
        for start in range(0, len(notes), MAX_TRANSACTION - 1):
            batch = [Delete(note) for note in notes[start : start + MAX_TRANSACTION - 1]]
            try:
                settled(partial(self._table.transact, [still_gone, *batch]))
            except ConditionFailed:
                return


def _untag(repository: str, digest: Digest, tag: Tag) -> list[Write]:
    return [
        Delete(tag_key(repository, tag), Equals("digest", str(digest))),
        Delete(tagged_key(repository, digest, tag)),
    ]
