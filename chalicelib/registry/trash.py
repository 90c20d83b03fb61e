"""The trash: what was removed, for as long as it may be restored.

A removed manifest keeps its bytes and what it needs (``needs.py``); to restore it is to push those bytes again, which finds
whether everything is still there. ``expiry.py`` ends that when the time is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from chalicelib.registry.attempts import settled
from chalicelib.registry.configuration import Configuration
from chalicelib.registry.errors import ManifestUnknown, NotRestorable, TagExists
from chalicelib.registry.events import Actor
from chalicelib.registry.images import Images
from chalicelib.registry.manifests import Manifest, read_manifest
from chalicelib.registry.names import Digest, Reference, RepositoryName, Tag
from chalicelib.registry.needs import is_restorable
from chalicelib.registry.ports import (
    Attributes,
    BlobMissing,
    ConditionFailed,
    Delete,
    Item,
    Put,
    Table,
    Write,
)
from chalicelib.registry.pushes import Pushes
from chalicelib.registry.records import (
    contents,
    last_segment,
    manifest_key,
    number,
    removed_manifest_key,
    restorable_key,
    retired_key,
    revised,
    tag_key,
    text,
)
from chalicelib.registry.repositories import Repositories, Repository


@dataclass(frozen=True, slots=True)
class Removed:
    """What may be restored: a manifest with the tags that went with it, or a tag alone (``tag``, else ""). Times in seconds
    since the epoch. ``id`` is the key that pages go on from."""

    id: str
    digest: Digest
    tag: str
    tags: tuple[str, ...]
    media_type: str
    size: int
    removed_at: int
    removed_by: str
    restorable_until: int


class Trash:
    """What was removed from repositories."""

    def __init__(
        self,
        table: Table,
        *,
        configuration: Configuration,
        repositories: Repositories,
        images: Images,
        pushes: Pushes,
    ) -> None:
        self._table = table
        self._configuration = configuration
        self._repositories = repositories
        self._images = images
        self._pushes = pushes

    def page(self, name: RepositoryName, after: str, limit: int) -> Sequence[Removed]:
        """Up to ``limit`` of what was removed, beyond an id ("" for the first): manifests by digest, then tags by name, the
        oldest removal of each first. Raises NameUnknown."""
        repository = self._repositories.get(name).id
        start = f"removed/{after}" if after else ""
        found = self._table.query(contents(repository), prefix="removed/", after=start, limit=limit)
        kept = self._configuration.recent().restorable_days * 24 * 3600
        removed = [_removed(item, kept) for item in found if is_restorable(item.attributes)]
        manifests = [manifest_key(repository, each.digest) for each in removed if not each.tag]
        back = self._table.batch_get(manifests) if manifests else {}
        return [each for each in removed if each.tag or manifest_key(repository, each.digest) not in back]

    def restore(self, name: RepositoryName, reference: Reference, actor: Actor) -> Manifest:
        """Bring back a manifest, with those of its tags whose names nobody has taken since; or the tag that was removed last,
        with its manifest. Raises NameUnknown, NotRestorable, TagExists, ManifestBlobUnknown, StoreFull, Busy."""
        repository = self._repositories.get(name)
        if isinstance(reference, Tag):
            return self._restore_tag(repository, reference, actor)
        removed = self._table.get(removed_manifest_key(repository.id, reference))
        if removed is None or not is_restorable(removed):
            raise NotRestorable(str(reference))
        tags = [Tag(str(tag)) for tag in cast("Sequence[str]", removed["tags"])]
        taken = self._table.batch_get([tag_key(repository.id, tag) for tag in tags])
        free = [tag for tag in tags if tag_key(repository.id, tag) not in taken]
        return self._restore(repository, reference, removed, free, actor)

    def _restore_tag(self, repository: Repository, tag: Tag, actor: Actor) -> Manifest:
        prefix = f"removed/tag/{tag}/"
        last = self._table.query(contents(repository.id), prefix=prefix, backward=True, limit=1)
        if not last:
            raise NotRestorable(str(tag))
        if self._table.get(tag_key(repository.id, tag)) is not None:
            raise TagExists(str(tag))
        digest = Digest.parse(text(last[0].attributes, "digest"))
        manifest = self._restore(repository, digest, self._table.get(removed_manifest_key(repository.id, digest)), [tag], actor)
        at = int(last_segment(last[0].key.sort))
        self._drop([Delete(last[0].key), Delete(restorable_key(at, repository.id, tag))])
        return manifest

    def _restore(
        self, repository: Repository, digest: Digest, removed: Attributes | None, tags: Sequence[Tag], actor: Actor
    ) -> Manifest:
        """Push the manifest again, whether it is still there or was removed as well."""
        try:
            image = self._images.held(repository.id, digest)
            manifest = read_manifest(self._images.content(image), image.media_type, digest)
        except ManifestUnknown:
            if removed is None or not is_restorable(removed):
                raise NotRestorable(str(digest)) from None
            manifest = read_removed(self._images, removed, digest)
        self._pushes.push(repository.name, manifest, tags, actor, lambda: repository)
        if removed is not None:
            self._forget(repository.id, digest, removed)
        return manifest

    def _forget(self, repository: str, digest: Digest, removed: Attributes) -> None:
        at = number(removed, "removed_at")
        same = revised(removed)
        retired = [Put(retired_key(text(removed, "key")), {})] if "key" in removed else []
        key = removed_manifest_key(repository, digest)
        self._drop([Delete(key, same), Delete(restorable_key(at, repository, digest)), *retired])

    def _drop(self, writes: Sequence[Write]) -> None:
        """What was restored leaves the trash, unless it has expired or was removed again meanwhile."""
        try:
            settled(partial(self._table.transact, writes))
        except ConditionFailed:
            return


def read_removed(images: Images, removed: Attributes, digest: Digest) -> Manifest:
    """The manifest of a record of the trash. Raises NotRestorable if its bytes are lost."""
    try:
        return read_manifest(images.stored(removed), text(removed, "media_type"), digest)
    except BlobMissing:
        raise NotRestorable(str(digest)) from None


def _removed(item: Item, kept: int) -> Removed:
    """``kept``: seconds for which it may be restored."""
    _, kind, what, *rest = item.key.sort.split("/")
    attributes = item.attributes
    at = int(rest[0]) if kind == "tag" else number(attributes, "removed_at")
    return Removed(
        id=item.key.sort.removeprefix("removed/"),
        digest=Digest.parse(text(attributes, "digest") if kind == "tag" else what),
        tag=what if kind == "tag" else "",
        tags=tuple(str(tag) for tag in cast("Sequence[str]", attributes.get("tags", ()))),
        media_type=str(attributes.get("media_type", "")),
        size=int(cast("int", attributes.get("size", 0))),
        removed_at=at,
        removed_by=text(attributes, "removed_by"),
        restorable_until=at + kept,
    )
