"""Deleting tags and manifests.

Taking a manifest away is one transaction on the condition of its revision: it goes together with all its tags, and not if
an index of the repository still needs it. It goes into the trash, where its bytes lie for some days; for so long it still
needs what it needed, so that restoring it is to push it again.
"""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.registry.attempts import retried
from chalicelib.registry.condemned import Listed, condemn
from chalicelib.registry.errors import ManifestReferenced, ManifestUnknown
from chalicelib.registry.events import NOBODY, Actor, Event, Events
from chalicelib.registry.names import Digest, RepositoryName, Tag
from chalicelib.registry.needs import Needs, standing
from chalicelib.registry.ports import Absent, Attributes, Check, Clock, Delete, Equals, Put, Table, Write
from chalicelib.registry.records import (
    ALONG,
    REVISION,
    content_key,
    contents,
    fresh_revision,
    is_pending,
    last_segment,
    manifest_key,
    number,
    pending_key,
    referrer_key,
    removed_manifest_key,
    removed_tag_key,
    restorable_key,
    retired_key,
    revised,
    tag_key,
    tagged_key,
    text,
)
from chalicelib.registry.repositories import Repositories
from chalicelib.registry.times import seconds

_TAGS_AT_ONCE = 20
"""Tags that go in the manifest's own transaction (two writes each, or four); of more, the rest is taken away before it."""


class Removals:
    """Takes manifests and tags away. What is removed can be restored for some days (``trash.py``)."""

    def __init__(self, table: Table, repositories: Repositories, events: Events, clock: Clock) -> None:
        self._table = table
        self._repositories = repositories
        self._events = events
        self._clock = clock
        self._needs = Needs(table)

    def untag(self, name: RepositoryName, tag: Tag, actor: Actor) -> None:
        """Take a tag away; the manifest stays. Raises NameUnknown, ManifestUnknown, Busy."""
        repository = self._repositories.get(name).id

        def remove() -> None:
            attributes = self._table.get(tag_key(repository, tag))
            if attributes is None:
                raise ManifestUnknown(str(tag))
            digest, now = Digest.parse(text(attributes, "digest")), seconds(self._clock)
            event = Event("TAG_DELETE", f"{name}:{tag}", actor, detail={"digest": str(digest)})
            self._table.transact(
                [
                    *_untag(repository, digest, tag),
                    *_keep_tag(repository, digest, tag, {"removed_by": actor.name}, now),
                    *condemn(Listed(repository, digest), now),
                    *self._events.writes(event, repository),
                ]
            )

        retried(remove)

    def delete(self, name: RepositoryName, digest: Digest, actor: Actor) -> None:
        """Take a manifest and all its tags away, at once. Raises NameUnknown, ManifestUnknown, ManifestReferenced, Busy."""
        repository = self._repositories.get(name).id
        event = Event("MANIFEST_DELETE", str(name), actor, detail={"digest": str(digest)})

        def remove() -> None:
            record = self._table.get(manifest_key(repository, digest))
            if record is None:
                raise ManifestUnknown(str(digest))
            self._delete(repository, digest, record, event)

        retried(remove)

    def collect(self, repository: str, name: str, digest: Digest, record: Attributes, also: Sequence[Write]) -> None:
        """Take away a manifest that nobody tags or needs, if its record is as it was read. Raises ManifestReferenced,
        ConditionFailed, Conflict."""
        event = Event("MANIFEST_DELETE", name, NOBODY, detail={"digest": str(digest), "reason": "untagged"})
        self._delete(repository, digest, record, event, also)

    def _delete(self, repository: str, digest: Digest, record: Attributes, event: Event, also: Sequence[Write] = ()) -> None:
        """One that is pending goes too: somebody may have been told that it needs what is to be deleted."""
        if needing := standing(self._needs.of_manifest(repository, digest)):
            raise ManifestReferenced(str(digest), str(needing))
        now = seconds(self._clock)
        while len(tags := self._tags(repository, digest)) > _TAGS_AT_ONCE:
            first = tags[:_TAGS_AT_ONCE]
            untagged = [write for tag in first for write in _untag(repository, digest, tag)]
            along: Attributes = {"removed_by": event.actor.name, ALONG: True}
            kept = [write for tag in first for write in _keep_tag(repository, digest, tag, along, now)]
            self._table.transact([Check(manifest_key(repository, digest), revised(record)), *untagged, *kept])
        writes: list[Write] = [
            Delete(manifest_key(repository, digest), revised(record)),
            Delete(content_key(repository, digest)),
            *(write for tag in tags for write in _untag(repository, digest, tag)),
            *self._keep(Listed(repository, digest), record, tags, event.actor, now),
            *self._events.writes(event, repository),
            *also,
        ]
        if "subject" in record:
            writes.append(Delete(referrer_key(repository, Digest.parse(text(record, "subject")), digest)))
        if is_pending(record):
            writes.append(Delete(pending_key(number(record, "begun_at"), repository, digest)))
        self._table.transact(writes)

    def _keep(self, manifest: Listed, record: Attributes, tags: Sequence[Tag], actor: Actor, now: int) -> list[Write]:
        """The writes that make a manifest restorable, over an earlier removal of it; none if its bytes are lost."""
        repository, digest = manifest.repository, manifest.digest
        content, removed = content_key(repository, digest), removed_manifest_key(repository, digest)
        found = self._table.batch_get([content, removed])
        if content not in found:
            return []
        earlier = found.get(removed, {})
        kept: Attributes = {
            **{name: record[name] for name in ("media_type", "size", "subject") if name in record},
            **found[content],
            "tags": [str(tag) for tag in tags],
            "removed_at": now,
            "removed_by": actor.name,
            REVISION: fresh_revision(),
        }
        same = revised(earlier) if earlier else Absent()
        retired = [Put(retired_key(text(earlier, "key")), {})] if "key" in earlier else []
        return [Put(removed, kept, same), Put(restorable_key(now, repository, digest), {}), *retired]

    def _tags(self, repository: str, digest: Digest) -> Sequence[Tag]:
        items = self._table.query(contents(repository), prefix=f"tagged/{digest}/")
        return [Tag(last_segment(item.key.sort)) for item in items]


def _untag(repository: str, digest: Digest, tag: Tag) -> list[Write]:
    return [
        Delete(tag_key(repository, tag), Equals("digest", str(digest))),
        Delete(tagged_key(repository, digest, tag)),
    ]


def _keep_tag(repository: str, digest: Digest, tag: Tag, told: Attributes, now: int) -> list[Write]:
    """The writes that make a tag restorable."""
    kept: Attributes = {**told, "digest": str(digest), REVISION: fresh_revision()}
    return [Put(removed_tag_key(repository, tag, now), kept), Put(restorable_key(now, repository, tag), {})]
