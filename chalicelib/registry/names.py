"""Names and content addresses, parsed once at the door and typed from then on.

Grammar: OCI distribution specification 1.1 (repository names and tags), OCI image specification (digests). A text that
does not parse raises its own kind of ``RegistryError``; past this module nobody looks at raw text again.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from chalicelib.registry.errors import DigestInvalid, NameInvalid, TagInvalid

_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*", re.ASCII)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
_HEX_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = re.compile(r"[a-f0-9]+", re.ASCII)

MAX_NAME = 255
"""Characters of a repository name at most; docker and most clients cut off or refuse beyond it."""


@dataclass(frozen=True, slots=True, order=True)
class RepositoryName:
    """A repository's full name, such as ``admin/app``; its first segment is the namespace it belongs to."""

    text: str

    @classmethod
    def parse(cls, text: str) -> RepositoryName:
        """Raises NameInvalid."""
        if len(text) > MAX_NAME or not _NAME.fullmatch(text):
            raise NameInvalid(text)
        return cls(text)

    @property
    def namespace(self) -> str:
        return self.text.partition("/")[0]

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    """A tag: a name that points to a manifest and may be moved."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Tag:
        """Raises TagInvalid."""
        if not _TAG.fullmatch(text):
            raise TagInvalid(text)
        return cls(text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A content address: the algorithm, sha256 or sha512, and the hash in lower-case hex."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Raises DigestInvalid, also for an algorithm that this registry does not take."""
        algorithm, colon, value = text.partition(":")
        if not colon or len(value) != _HEX_LENGTHS.get(algorithm, -1) or not _HEX.fullmatch(value):
            raise DigestInvalid(text)
        return cls(algorithm, value)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Digest:
        return cls(algorithm, hashlib.new(algorithm, content).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


ALGORITHMS = frozenset(_HEX_LENGTHS)
"""The digest algorithms taken, as in ``digest-algorithm=`` of an upload."""

Reference = Tag | Digest


def parse_reference(text: str) -> Reference:
    """A manifest's reference: a digest if there is a colon in it (no tag has one), else a tag.

    Raises DigestInvalid, TagInvalid.
    """
    return Digest.parse(text) if ":" in text else Tag.parse(text)
