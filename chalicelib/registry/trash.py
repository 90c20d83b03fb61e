"""The trash: what was removed, for as long as it may be restored.

A removed manifest keeps its bytes and what it needs (``needs.py``); to restore it is to push those bytes again, which finds
whether everything is still there. Its records in the trash go last: who is interrupted may restore it once more.
``expiry.py`` ends that when the time is over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NoReturn, cast

from chalicelib.registry.attempts import Changed, retried, settled
from chalicelib.registry.configuration import Configuration
from chalicelib.registry.errors import (
    ContentGone,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameUnknown,
    NotRestorable,
    PaginationInvalid,
    TagExists,
)
from chalicelib.registry.events import Actor
from chalicelib.registry.images import Images
from chalicelib.registry.manifests import Manifest, read_manifest
from chalicelib.registry.names import Digest, Reference, RepositoryName, Tag
from chalicelib.registry.needs import is_restorable
from chalicelib.registry.pages import every, filled
from chalicelib.registry.ports import (
    Attributes,
    BlobMissing,
    ConditionFailed,
    Delete,
    Item,
    Key,
    Put,
    Table,
    Write,
)
from chalicelib.registry.pushes import Pushes
from chalicelib.registry.records import (
    ALONG,
    contents,
    is_pending,
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

_TAGS_AT_ONCE = 16
"""Tags that one push brings back; of more, there are several."""

_ID = re.compile(r"manifest/sha(256|512):[0-9a-f]+|tag/[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}/[0-9]{12}", re.ASCII)
"""What a page may go on from."""


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

    @property
    def reference(self) -> str:
        """What it is restored by; of several removals of a tag each has its own."""
        return f"{self.tag}@{self.digest}" if self.tag else str(self.digest)


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back: the manifest, the tags that it has now, and the id of its repository."""

    digest: Digest
    tags: tuple[str, ...]
    repository: str


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

    # --------------------------------------------------------------------------------------------------------- looking

    def page(self, name: RepositoryName, after: str, limit: int) -> Sequence[Removed]:
        """Up to ``limit`` of what was removed, beyond an id ("" for the first): manifests by digest, then tags by name, the
        oldest removal of each first. Raises NameUnknown, PaginationInvalid."""
        repository = self._repositories.get(name).id
        if after and not _ID.fullmatch(after):
            raise PaginationInvalid("pageStart is of another list")
        shown = partial(self._shown, repository)
        return filled(self._table, contents(repository), shown, prefix="removed/", after=after, limit=limit)

    def _shown(self, repository: str, items: Sequence[Item]) -> Iterable[Removed]:
        """Those of the items that may be restored and did not come back by themselves."""
        kept = self._configuration.recent().restorable_days * 24 * 3600
        found = self._table.batch_get(list(dict.fromkeys(key for item in items for key in _asked_of(repository, item))))
        for item in items:
            whole, digest = dict(item.attributes), _digest(item)
            manifest = found.get(manifest_key(repository, digest), {})
            tag = _tag(item)
            if tag:
                is_back = found.get(tag_key(repository, Tag(tag)), {}).get("digest") == str(digest)
                whole = {**found.get(removed_manifest_key(repository, digest), {}), **manifest, **whole, "tags": ()}
            else:
                is_back = bool(manifest) and not is_pending(manifest)
            if not is_back and is_restorable(item.attributes):
                yield _removed(item, whole, kept)

    # ------------------------------------------------------------------------------------------------------- restoring

    def restore(self, name: RepositoryName, reference: Reference, actor: Actor, *, digest: Digest | None = None) -> Restored:
        """Bring back a manifest, with those of its tags whose names nobody has taken since; or a tag as it was last, or last on
        the manifest ``digest``, with that manifest if it is gone, too. Raises NameUnknown, NotRestorable, TagExists,
        ContentGone, ManifestInvalid if what it needs has another size by now, Unproven, StoreFull, Busy."""
        repository = self._repositories.get(name)
        try:
            if isinstance(reference, Tag):
                return self._restore_tag(repository, reference, digest, actor)
            return self._restore_manifest(repository, reference, actor)
        except ManifestBlobUnknown as missing:
            self._repositories.get(name)
            raise ContentGone(missing.digests) from None

    def _restore_manifest(self, repository: Repository, digest: Digest, actor: Actor) -> Restored:
        rows = self._went_along(repository.id, digest)
        manifest, removed = self._find(repository.id, digest)
        if removed is None and not rows:
            raise NotRestorable(str(digest))
        tags = dict.fromkeys([*_tags(removed), *(Tag(_tag(row)) for row in rows)])
        self._push(repository, manifest, list(tags), actor)
        return self._done(repository, digest, removed, rows)

    def _restore_tag(self, repository: Repository, tag: Tag, wanted: Digest | None, actor: Actor) -> Restored:
        """A manifest that was removed as well comes back as when it is restored by itself."""
        rows = self._table.query(contents(repository.id), prefix=f"removed/tag/{tag}/", backward=True)
        digest = next((_digest(row) for row in rows if wanted in {None, _digest(row)}), None)
        if digest is None:
            raise NotRestorable(f"{tag}@{wanted}" if wanted else str(tag))
        manifest, removed = self._find(repository.id, digest)
        self._pushes.push(repository.name, manifest, [tag], actor, partial(_gone, repository), moves=False)
        along = [] if removed is None else [row for row in self._went_along(repository.id, digest) if _tag(row) != str(tag)]
        if others := [other for other in [*_tags(removed), *(Tag(_tag(row)) for row in along)] if other != tag]:
            self._push(repository, manifest, list(dict.fromkeys(others)), actor)
        return self._done(repository, digest, removed, [*(row for row in rows if _digest(row) == digest), *along])

    def _went_along(self, repository: str, digest: Digest) -> Sequence[Item]:
        """The tags that the manifest's own record in the trash had no room for."""
        rows = every(self._table, contents(repository), prefix="removed/tag/")
        return [row for row in rows if _goes_along(row, digest)]

    def _find(self, repository: str, digest: Digest) -> tuple[Manifest, Attributes | None]:
        """A manifest, and its record in the trash if it may be restored. It is looked for where it is pulled from, then in the
        trash, then once more: it may be on its way from the one to the other. Raises NotRestorable."""
        manifest = self._visible(repository, digest)
        removed = self._table.get(removed_manifest_key(repository, digest))
        if removed is None or not is_restorable(removed):
            removed = None
        elif manifest is None:
            try:
                manifest = read_removed(self._images, removed, digest)
            except NotRestorable:
                removed = None  # its bytes are lost or damaged, or it came back meanwhile
        manifest = manifest or self._visible(repository, digest)
        if manifest is None:
            raise NotRestorable(str(digest))
        return manifest, removed

    def _visible(self, repository: str, digest: Digest) -> Manifest | None:
        try:
            image = self._images.held(repository, digest)
            return read_manifest(self._images.content(image), image.media_type, digest)
        except (ManifestUnknown, ManifestInvalid):
            return None

    def _push(self, repository: Repository, manifest: Manifest, tags: Sequence[Tag], actor: Actor) -> None:
        """Push it with those of the tags that are free, some at a time."""
        for start in range(0, max(1, len(tags)), _TAGS_AT_ONCE):
            some = tags[start : start + _TAGS_AT_ONCE]
            retried(partial(self._push_free, repository, manifest, some, actor, anyway=start == 0))

    def _push_free(
        self, repository: Repository, manifest: Manifest, tags: Sequence[Tag], actor: Actor, *, anyway: bool
    ) -> None:
        """``anyway``: without any tag, too. Raises Changed if one was taken meanwhile."""
        pointing = self._table.batch_get([tag_key(repository.id, tag) for tag in tags]) if tags else {}
        here = {None, str(manifest.digest)}
        free = [tag for tag in tags if pointing.get(tag_key(repository.id, tag), {}).get("digest") in here]
        try:
            if free or anyway:
                self._pushes.push(repository.name, manifest, free, actor, partial(_gone, repository), moves=False)
        except TagExists:
            raise Changed from None

    # --------------------------------------------------------------------------------------------------------- clearing

    def _done(self, repository: Repository, digest: Digest, removed: Attributes | None, rows: Sequence[Item]) -> Restored:
        """What was restored leaves the trash; a tag whose name was taken meanwhile stays there."""
        items = self._table.query(contents(repository.id), prefix=f"tagged/{digest}/")
        tagged = tuple(last_segment(item.key.sort) for item in items)
        for row in (row for row in rows if _tag(row) in tagged):
            noted = restorable_key(int(last_segment(row.key.sort)), repository.id, Tag(_tag(row)))
            self._drop([Delete(row.key, revised(row.attributes)), Delete(noted)])
        if removed is not None:
            self._forget(repository.id, digest, removed)
        return Restored(digest, tagged, repository.id)

    def _forget(self, repository: str, digest: Digest, removed: Attributes) -> None:
        at = number(removed, "removed_at")
        retired = [Put(retired_key(text(removed, "key")), {})] if "key" in removed else []
        key = removed_manifest_key(repository, digest)
        self._drop([Delete(key, revised(removed)), Delete(restorable_key(at, repository, digest)), *retired])

    def _drop(self, writes: Sequence[Write]) -> None:
        """Unless it has expired or was removed again meanwhile."""
        try:
            settled(partial(self._table.transact, writes))
        except ConditionFailed:
            return


def read_removed(images: Images, removed: Attributes, digest: Digest) -> Manifest:
    """The manifest of a record of the trash. Raises NotRestorable if its bytes are lost, or others than they were."""
    try:
        content = images.stored(removed)
        if Digest.of(content, digest.algorithm) == digest:
            return read_manifest(content, text(removed, "media_type"), digest)
    except (BlobMissing, ManifestInvalid):
        pass
    raise NotRestorable(str(digest))


def _gone(repository: Repository) -> NoReturn:
    """Restoring makes no repository."""
    raise NameUnknown(str(repository.name))


def _tag(item: Item) -> str:
    """The tag of a record of the trash; "" of a manifest's."""
    _, kind, name, *_ = item.key.sort.split("/")
    return name if kind == "tag" else ""


def _digest(item: Item) -> Digest:
    return Digest.parse(text(item.attributes, "digest") if _tag(item) else last_segment(item.key.sort))


def _tags(removed: Attributes | None) -> Sequence[Tag]:
    return [] if removed is None else [Tag(str(tag)) for tag in cast("Sequence[str]", removed["tags"])]


def _goes_along(item: Item, digest: Digest) -> bool:
    """Did this tag go because that manifest was deleted?"""
    return ALONG in item.attributes and _digest(item) == digest


def _asked_of(repository: str, item: Item) -> Iterable[Key]:
    """What has to be looked at to tell whether a record of the trash is to be shown, and of how many bytes it is."""
    digest = _digest(item)
    yield manifest_key(repository, digest)
    if tag := _tag(item):
        yield tag_key(repository, Tag(tag))
        yield removed_manifest_key(repository, digest)


def _removed(item: Item, whole: Attributes, kept: int) -> Removed:
    """``kept``: seconds for which it may be restored."""
    tag = _tag(item)
    at = int(last_segment(item.key.sort)) if tag else number(item.attributes, "removed_at")
    return Removed(
        id=item.key.sort.removeprefix("removed/"),
        digest=_digest(item),
        tag=tag,
        tags=tuple(str(each) for each in cast("Sequence[str]", whole["tags"])),
        media_type=str(whole.get("media_type", "")),
        size=int(cast("int", whole.get("size", 0))),
        removed_at=at,
        removed_by=text(item.attributes, "removed_by"),
        restorable_until=at + kept,
    )
