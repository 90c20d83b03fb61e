"""Referrers: the manifests of a repository that name another one as their subject, whether that one is there or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chalicelib.registry.errors import ManifestUnknown
from chalicelib.registry.images import Images
from chalicelib.registry.manifests import read_manifest
from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.pages import every
from chalicelib.registry.ports import Item, Table
from chalicelib.registry.records import contents, last_segment, text
from chalicelib.registry.repositories import Repositories

PAGE_BYTES = 3 * 1024 * 1024
"""Bytes of descriptors in one answer at most (specification: an index should stay under 4 MiB)."""

PAGE_LENGTH = 1_000


@dataclass(frozen=True, slots=True)
class ReferrersPage:
    """Descriptors as JSON objects, and after which digest the next page begins ("" if this is the last)."""

    descriptors: tuple[dict[str, Any], ...]
    next_after: str


class Referrers:
    """Lists of referrers."""

    def __init__(self, table: Table, repositories: Repositories, images: Images) -> None:
        self._table = table
        self._repositories = repositories
        self._images = images

    def page(self, name: RepositoryName, subject: Digest, artifact_type: str, after: str) -> ReferrersPage:
        """The referrers of a subject beyond ``after`` ("" for the first), only those of ``artifact_type`` if it is given.

        A repository that does not exist has none: the specification allows no 404 here.
        """
        repository = self._repositories.find(name)
        if repository is None:
            return ReferrersPage((), "")
        page: list[dict[str, Any]] = []
        size, last = 0, ""
        for digest, descriptor in self._matching(repository.id, subject, artifact_type, after):
            size += len(json.dumps(descriptor))
            if page and (size > PAGE_BYTES or len(page) == PAGE_LENGTH):
                return ReferrersPage(tuple(page), last)
            page.append(descriptor)
            last = digest
        return ReferrersPage(tuple(page), "")

    def _matching(
        self, repository: str, subject: Digest, artifact_type: str, after: str
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        prefix = f"referrer/{subject}/"
        for item in every(self._table, contents(repository), prefix=prefix, after=prefix + after if after else ""):
            if artifact_type and item.attributes.get("artifact_type") != artifact_type:
                continue
            digest = last_segment(item.key.sort)
            descriptor = self._descriptor(repository, Digest.parse(digest), item)
            if descriptor is not None:
                yield digest, descriptor

    def _descriptor(self, repository: str, digest: Digest, item: Item) -> dict[str, Any] | None:
        if "descriptor" in item.attributes:
            descriptor: dict[str, Any] = json.loads(text(item.attributes, "descriptor"))
            return descriptor
        try:
            image = self._images.held(repository, digest)
            return read_manifest(self._images.content(image), image.media_type, digest).descriptor()
        except ManifestUnknown:
            return None  # deleted since the list was read
