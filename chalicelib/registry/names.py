"""Names and content addresses, parsed once at the door and typed from then on.

Grammar: OCI distribution specification 1.1 (repository names and tags), OCI image specification (digests). A text that
does not parse raises its own kind of ``RegistryError``; past this module nobody looks at raw text again.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from chalicelib.registry.errors import AccountNameInvalid, DigestInvalid, NameInvalid, NameReserved, TagInvalid

_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*", re.ASCII)
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", re.ASCII)
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


MAX_ACCOUNT_NAME = 64
"""Characters of an account's or a team's name at most."""

RESERVED = frozenset(
    {"admin", "administrator", "anonymous", "api", "auth", "aws", "ca", "enzi", "everybody", "everyone", "guest", "health"}
    | {"nobody", "oidc", "owner", "owners", "public", "robot", "root", "self", "slipway", "system", "token", "trust"}
    | {"v1", "v2", "whoami"}
)
"""Names that no new account gets: they would be taken for the registry itself or for its administrator."""


def parse_account_name(text: str) -> str:
    """The name of a user or an organization, folded to lower case: one component of a repository's name.

    Only ASCII is folded: a Kelvin sign is no k. Raises AccountNameInvalid.
    """
    folded = text.lower() if text.isascii() else ""
    if len(folded) > MAX_ACCOUNT_NAME or not _COMPONENT.fullmatch(folded):
        raise AccountNameInvalid(text)
    return folded


def parse_new_account_name(text: str) -> str:
    """The same for an account that is to be made. Raises AccountNameInvalid, NameReserved."""
    name = parse_account_name(text)
    if name in RESERVED:
        raise NameReserved(name)
    return name


def parse_team_name(text: str) -> str:
    """A team's name, within its organization; the grammar is that of accounts. Raises AccountNameInvalid."""
    return parse_account_name(text)


ROBOT_SIGN = "+"
"""Between a robot's organization and its own name: no account's or repository's name can hold it."""


def parse_login(text: str) -> str:
    """The name of whoever signs in: a user's, or a robot's as ``acme+ci``. Raises AccountNameInvalid."""
    organization, sign, robot = text.partition(ROBOT_SIGN)
    if not sign:
        return parse_account_name(organization)
    return f"{parse_account_name(organization)}{ROBOT_SIGN}{parse_account_name(robot)}"


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
