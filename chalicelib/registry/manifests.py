"""Manifests: exact bytes, and what the registry reads out of them.

The bytes are never written anew. What is parsed beside them: which content the manifest needs, its subject, and what a
list of referrers says about it. Formats: OCI image manifest and image index (image specification 1.1), Docker image
manifest schema 2 and manifest list. Fields that are not known stay where they are, in the bytes.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.registry.errors import DigestInvalid, DigestMismatch, ManifestInvalid, ManifestTooLarge
from chalicelib.registry.names import Digest

MAX_SIZE = 4 * 1024 * 1024
"""Bytes of a manifest at most (distribution specification: at least 4 megabytes)."""

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

IMAGES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
MEDIA_TYPES = IMAGES | INDEXES

_NOT_DISTRIBUTED = (
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)
"""Layers that are had elsewhere (their ``urls``, which are stored as data and never fetched), with any compression."""

MAX_TYPE = 255
"""Characters of a media type at most (RFC 6838 section 4.2: 127 on each side of the slash)."""

_FIELDS = frozenset(
    {"schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "artifactType", "annotations"}
    | {"digest", "size", "urls", "data"}
)
"""Fields that the registry or a puller acts on, of manifests and of descriptors."""

_FOLDED = {field.casefold(): field for field in _FIELDS}

MAX_DESCRIPTORS = 10_000
"""Descriptors of one manifest at most, so that a 4 MiB manifest cannot make the registry write 40,000 records."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A descriptor as far as the registry needs it; ``size`` in bytes."""

    media_type: str
    digest: Digest
    size: int

    @property
    def is_distributed(self) -> bool:
        return not self.media_type.startswith(_NOT_DISTRIBUTED)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A valid manifest. ``blobs`` and ``manifests`` are what it needs, each digest once, in order."""

    content: bytes
    digest: Digest
    media_type: str
    blobs: tuple[Descriptor, ...]
    manifests: tuple[Descriptor, ...]
    subject: Digest | None
    artifact_type: str
    annotations: Mapping[str, str]

    @property
    def is_index(self) -> bool:
        return self.media_type in INDEXES

    def descriptor(self) -> dict[str, Any]:
        """How a list of referrers names this manifest (distribution specification, listing referrers)."""
        described: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": len(self.content),
        }
        if self.artifact_type:
            described["artifactType"] = self.artifact_type
        if self.annotations:
            described["annotations"] = dict(self.annotations)
        return described


def parse_manifest(content: bytes, content_type: str, digest: Digest | None) -> Manifest:
    """Check a pushed manifest; ``digest`` is the one it is pushed by, None for a push by tag (then sha256 is taken).

    ``content_type`` is the header's; parameters are ignored, and "" leaves it to ``mediaType``. Raises ManifestTooLarge,
    ManifestInvalid, DigestMismatch.
    """
    if len(content) > MAX_SIZE:
        raise ManifestTooLarge(size=len(content))
    actual = Digest.of(content, digest.algorithm if digest else "sha256")
    if digest is not None and actual != digest:
        raise DigestMismatch(announced=str(digest), actual=str(actual))
    return _manifest(content, actual, content_type, _object(content, object_pairs_hook=_unambiguous))


def read_manifest(content: bytes, media_type: str, digest: Digest) -> Manifest:
    """A manifest that was stored as valid. Raises ManifestInvalid if it never was."""
    return _manifest(content, digest, media_type, _object(content))


def _manifest(content: bytes, digest: Digest, content_type: str, body: dict[str, Any]) -> Manifest:
    media_type = _media_type(body, content_type)
    if body.get("schemaVersion") != 2 or not isinstance(body["schemaVersion"], int):
        raise ManifestInvalid("schemaVersion must be 2")
    if "layers" in body and "manifests" in body:
        raise ManifestInvalid("a manifest has either layers or manifests, never both")
    blobs, manifests, config_type = _needed(body, media_type)
    subject = _descriptor(body["subject"], "subject").digest if body.get("subject") is not None else None
    return Manifest(
        content=content,
        digest=digest,
        media_type=media_type,
        blobs=blobs,
        manifests=manifests,
        subject=subject,
        artifact_type=_string(body, "artifactType") or config_type,
        annotations=_annotations(body),
    )


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys every reader understands alike. Some take the last of two equal keys, some the first, and Go's
    takes ``Layers`` for ``layers``: what the registry protects would not be what a client pulls."""
    found = dict(pairs)
    folded = {key.casefold() for key in found if isinstance(key, str)}
    if len(found) != len(pairs) or len(folded) != len(found):
        raise ManifestInvalid("an object has the same key twice, or keys that differ only by case")
    if any(key not in found for key in _FIELDS & {_FOLDED.get(key, "") for key in folded}):
        raise ManifestInvalid("a field's name is not spelt as the specification spells it")
    return found


def _no_number(text: str) -> None:
    raise ManifestInvalid(f"{text} is not JSON")


def _object(
    content: bytes, object_pairs_hook: Callable[[list[tuple[str, Any]]], dict[str, Any]] | None = None
) -> dict[str, Any]:
    try:
        body = json.loads(content.decode("utf-8"), object_pairs_hook=object_pairs_hook, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ManifestInvalid(f"the manifest is not JSON: {str(error)[:200]}") from None
    if not isinstance(body, dict):
        raise ManifestInvalid("the manifest is not a JSON object")
    return body


def _media_type(body: dict[str, Any], content_type: str) -> str:
    announced = content_type.partition(";")[0].strip().lower()
    stated = _string(body, "mediaType")
    if announced and stated and announced != stated:
        raise ManifestInvalid("mediaType is not the Content-Type", mediaType=stated[:200], contentType=announced[:200])
    media_type = stated or announced
    if media_type not in MEDIA_TYPES:
        raise ManifestInvalid("the media type is not one of those that this registry takes", mediaType=media_type[:200])
    return media_type


def _needed(body: dict[str, Any], media_type: str) -> tuple[tuple[Descriptor, ...], tuple[Descriptor, ...], str]:
    """The blobs, the manifests, and the configuration's media type. Raises ManifestInvalid."""
    if media_type in INDEXES:
        if "layers" in body or "config" in body:
            raise ManifestInvalid("an index has no layers and no config")
        return (), _descriptors(body, "manifests"), ""
    if "manifests" in body:
        raise ManifestInvalid("an image manifest has no manifests")
    config = _descriptor(body.get("config"), "config")
    layers = _descriptors(body, "layers")
    return _once((config, *layers)), (), config.media_type


def _descriptors(body: dict[str, Any], field: str) -> tuple[Descriptor, ...]:
    if field not in body:
        raise ManifestInvalid(f"{field} is missing")
    listed = body[field] if body[field] is not None else []  # what Go's JSON makes of an empty list
    if not isinstance(listed, list) or len(listed) > MAX_DESCRIPTORS:
        raise ManifestInvalid(f"{field} must be a list of at most {MAX_DESCRIPTORS} descriptors")
    return _once(tuple(_descriptor(entry, field) for entry in listed))


def _once(descriptors: tuple[Descriptor, ...]) -> tuple[Descriptor, ...]:
    return tuple({descriptor.digest: descriptor for descriptor in descriptors}.values())


def _descriptor(entry: object, field: str) -> Descriptor:
    if not isinstance(entry, dict):
        raise ManifestInvalid(f"{field}: a descriptor is a JSON object")
    media_type, digest, size = entry.get("mediaType", ""), entry.get("digest"), entry.get("size")
    if not isinstance(media_type, str) or not isinstance(digest, str):
        raise ManifestInvalid(f"{field}: a descriptor has a mediaType and a digest")
    _check_type(media_type, f"{field}: mediaType")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ManifestInvalid(f"{field}: a descriptor's size is a whole number of bytes", digest=digest[:200])
    try:
        return Descriptor(media_type, Digest.parse(digest), size)
    except DigestInvalid:
        raise ManifestInvalid(f"{field}: a descriptor's digest is not valid", digest=digest[:200]) from None


def _string(body: dict[str, Any], field: str) -> str:
    value = body.get(field)
    if value is not None and not isinstance(value, str):
        raise ManifestInvalid(f"{field} must be a string")
    _check_type(value or "", field)
    return value or ""


def _check_type(text: str, field: str) -> None:
    """Media types and artifact types end up in headers and records of their own."""
    if len(text) > MAX_TYPE or not text.isprintable() or not text.isascii():
        raise ManifestInvalid(f"{field} must be at most {MAX_TYPE} printable ASCII characters")


def _annotations(body: dict[str, Any]) -> Mapping[str, str]:
    annotations = body.get("annotations")
    if annotations is None:
        return {}
    if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
        raise ManifestInvalid("annotations must be an object of strings")
    try:
        "".join(itertools.chain(annotations, annotations.values())).encode()
    except UnicodeEncodeError:
        raise ManifestInvalid("annotations hold text that is no Unicode") from None
    return annotations
