"""Images: manifests and tags as they are pulled and listed. How they come and go is in ``pushes`` and ``removals``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

from chalicelib.registry.errors import ManifestUnknown
from chalicelib.registry.names import Digest, Reference, RepositoryName, Tag
from chalicelib.registry.ports import Attributes, BlobMissing, BlobStore, Table
from chalicelib.registry.records import (
    CONDEMNED_AT,
    content_key,
    contents,
    is_pending,
    last_segment,
    manifest_key,
    number,
    tag_key,
    text,
)
from chalicelib.registry.repositories import Repositories

_REMEMBERED_BYTES = 16 * 1024 * 1024
"""Manifest bytes kept in memory at most. A digest's bytes never change, so only who may see them is asked anew."""


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest that a repository holds, ``size`` in bytes; ``repository`` is the id. Since when nothing needs it, None if
    something does, or that was not looked at."""

    repository: str
    digest: Digest
    media_type: str
    size: int
    condemned_at: int | None = None


class Images:
    """The manifests and tags of all repositories, for reading."""

    def __init__(self, table: Table, store: BlobStore, repositories: Repositories) -> None:
        self._table = table
        self._store = store
        self._repositories = repositories
        self._contents = _Recent(_REMEMBERED_BYTES)

    def get(self, name: RepositoryName, reference: Reference) -> Image:
        """What a tag points to, or the manifest of a digest; one read. Raises NameUnknown, ManifestUnknown."""
        image = self._find(self._repositories.get_recent(name).id, reference)
        if image is None and self._repositories.forget(name):
            image = self._find(self._repositories.get(name).id, reference)
        if image is None:
            raise ManifestUnknown(str(reference))
        return image

    def held(self, repository: str, digest: Digest) -> Image:
        """The manifest of a digest in the repository of that id. Raises ManifestUnknown."""
        image = self._find(repository, digest)
        if image is None:
            raise ManifestUnknown(str(digest))
        return image

    def _find(self, repository: str, reference: Reference) -> Image | None:
        if isinstance(reference, Tag):
            tag = self._table.get(tag_key(repository, reference))
            return None if tag is None else _image(repository, Digest.parse(text(tag, "digest")), tag)
        return self._find_manifest(repository, reference)

    def _find_manifest(self, repository: str, digest: Digest) -> Image | None:
        """One read, which brings the bytes along unless they are remembered or too large for the table."""
        record, content = manifest_key(repository, digest), content_key(repository, digest)
        if self._contents.get(digest) is not None:
            manifest, stored = self._table.get(record), None
        else:
            found = self._table.batch_get([record, content])
            manifest, stored = found.get(record), found.get(content, {}).get("content")
        if manifest is None or is_pending(manifest):
            return None
        if isinstance(stored, bytes):
            self._contents.put(digest, stored)
        return _image(repository, digest, manifest)

    def content(self, image: Image) -> bytes:
        """The manifest's exact bytes: from memory, or by one read more. Raises ManifestUnknown if it went meanwhile."""
        content = self._contents.get(image.digest)
        if content is None:
            content = self._read(image)
            self._contents.put(image.digest, content)
        return content

    def _read(self, image: Image) -> bytes:
        attributes = self._table.get(content_key(image.repository, image.digest))
        if attributes is None:
            raise ManifestUnknown(str(image.digest))
        try:
            return self.stored(attributes)
        except BlobMissing:
            raise ManifestUnknown(str(image.digest), "the registry has lost this manifest's bytes; push it again") from None

    def stored(self, attributes: Attributes) -> bytes:
        """The bytes of a record that has them, or their key in the store. Raises BlobMissing."""
        content = attributes.get("content")
        if isinstance(content, bytes):
            return content
        with self._store.open(text(attributes, "key")) as stream:
            return stream.read()

    def tags(self, name: RepositoryName, after: str, limit: int) -> Sequence[Tag]:
        """Up to ``limit`` tags beyond ``after`` ("" for the first), in ASCII order. Raises NameUnknown."""
        repository = self._repositories.get(name)
        items = self._table.query(contents(repository.id), prefix="tag/", after=f"tag/{after}" if after else "", limit=limit)
        return [Tag(last_segment(item.key.sort)) for item in items]


def _image(repository: str, digest: Digest, attributes: Attributes) -> Image:
    condemned_at = number(attributes, CONDEMNED_AT) if CONDEMNED_AT in attributes else None
    return Image(repository, digest, text(attributes, "media_type"), number(attributes, "size"), condemned_at)


class _Recent:
    """Contents by digest, the least recently used dropped beyond a number of bytes; safe under threads."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held = 0
        self._contents: OrderedDict[Digest, bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, digest: Digest) -> bytes | None:
        with self._lock:
            content = self._contents.get(digest)
            if content is not None:
                self._contents.move_to_end(digest)
            return content

    def put(self, digest: Digest, content: bytes) -> None:
        with self._lock:
            if digest in self._contents:
                return
            self._contents[digest] = content
            self._held += len(content)
            while self._held > self._capacity:
                self._held -= len(self._contents.popitem(last=False)[1])
