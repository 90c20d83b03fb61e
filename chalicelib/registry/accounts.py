"""Accounts: who may sign in, proven by a password.

::

    account/<name>
        account         name, password_hash, credentials, is_admin, is_active, created_at

``password_hash`` is a PHC string, parameters included. ``credentials`` is random and made anew with every password; what
was handed out on the strength of a password (refresh tokens) names it, and so ends with it. It is not derived from the
hash, so a hash may be renewed under better parameters without signing anybody out.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from typing import Protocol

from chalicelib.registry import access
from chalicelib.registry.attempts import retried
from chalicelib.registry.errors import NameInvalid
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.ports import Absent, Attributes, Clock, ConditionFailed, Exists, Key, Put, Table, Update
from chalicelib.registry.recent import Recent
from chalicelib.registry.records import Malformed, number, text

ADMIN = "admin"
"""The first account's name."""

MAX_PASSWORD = 1024
"""Bytes of a password in UTF-8 at most."""

_VERIFIED = 1_000
_VERIFIED_SECONDS = 300
"""How long a password that was found right is not hashed again: docker asks a token for each repository, and a hash costs
40 ms and 19 MiB. Wrong ones are never remembered, so guessing costs the full hash each time."""


class PasswordHasher(Protocol):
    """A slow, salted hash. A password of any length and any content is taken."""

    def hash(self, password: str) -> str:
        """A new hash of the password under a new salt, as a PHC string."""

    def verify(self, password: str, encoded: str) -> bool:
        """Is it the password of that hash? Raises ValueError for a text that is no hash of this kind."""

    def decoy(self) -> str:
        """A well-formed hash of today's parameters that no password has; verifying against it costs what any other costs."""


@dataclass(frozen=True, slots=True)
class Account:
    """One account as it is stored; ``created_at`` in seconds since the epoch."""

    name: str
    password_hash: str = field(repr=False)
    credentials: str
    is_admin: bool
    is_active: bool
    created_at: int

    @property
    def identity(self) -> access.Account:
        """The account as far as decisions go."""
        return access.Account(self.name, is_admin=self.is_admin, is_active=self.is_active)


class Accounts:
    """The accounts of a registry."""

    def __init__(self, table: Table, hasher: PasswordHasher, clock: Clock) -> None:
        self._table = table
        self._hasher = hasher
        self._clock = clock
        self._verified: Recent[bytes, float] = Recent(_VERIFIED)
        # The memory of right passwords holds only keyed digests, and their key dies with the process.
        self._secret = secrets.token_bytes(32)

    def ensure_admin(self, password: str) -> bool:
        """Make the account ``admin`` unless it exists, whatever its password; True if it was made now.

        Raises ValueError for a password that is empty or longer than MAX_PASSWORD; Busy.
        """
        return self._create(ADMIN, password, is_admin=True)

    def _create(self, name: str, password: str, *, is_admin: bool) -> bool:
        if self.read(name) is not None:  # saves a hash on all but the first start
            return False
        attributes: Attributes = {
            "name": name,
            "is_admin": is_admin,
            "is_active": True,
            "created_at": int(self._clock.now().timestamp()),
            **self._credentials(password),
        }

        def write() -> bool:
            try:
                self._table.write(Put(_key(name), attributes, Absent()))
            except ConditionFailed:
                return False
            return True

        return retried(write)

    def set_password(self, name: str, password: str) -> bool:
        """Give an account another password, which ends all that was handed out for the earlier one; False if there is no
        such account. Raises ValueError as ``ensure_admin`` does; Busy."""
        if not _is_name(name):
            return False
        change = Update(_key(name), set=self._credentials(password), condition=Exists())

        def write() -> bool:
            try:
                self._table.write(change)
            except ConditionFailed:
                return False
            return True

        return retried(write)

    def authenticate(self, name: str, password: str) -> Account | None:
        """The active account whose name and password these are, or None.

        An unknown name, a name that no account can have, an inactive account and a wrong password cost the same work: who
        asks learns from neither the answer nor its delay which of them it was.
        """
        account = self.read(name)
        if account is None:
            self._hasher.verify(password, self._hasher.decoy())
            return None
        return account if self._matches(account, password) and account.is_active else None

    def read(self, name: str) -> Account | None:
        """The account as it is now, active or not, or None."""
        attributes = self._table.get(_key(name)) if _is_name(name) else None
        return None if attributes is None else _account(attributes)

    def find(self, name: str) -> access.Account | None:
        """The account as far as decisions go, as it is now, or None."""
        account = self.read(name)
        return None if account is None else account.identity

    def _matches(self, account: Account, password: str) -> bool:
        # Bound to the hash that was just read: another password, set on any instance, counts from the next request on.
        seal = account.password_hash.encode() + b"\0" + password.encode("utf-8", "surrogatepass")
        proof = hmac.digest(self._secret, seal, "sha256")
        now = self._clock.now().timestamp()
        verified_at = self._verified.get(proof)
        if verified_at is not None and 0 <= now - verified_at < _VERIFIED_SECONDS:
            return True
        if not self._hasher.verify(password, account.password_hash):
            return False
        self._verified.put(proof, now)
        return True

    def _credentials(self, password: str) -> Attributes:
        if not 0 < len(password.encode("utf-8", "surrogatepass")) <= MAX_PASSWORD:
            raise ValueError(f"a password has 1 to {MAX_PASSWORD} bytes")
        return {"password_hash": self._hasher.hash(password), "credentials": secrets.token_hex(16)}


def _key(name: str) -> Key:
    return Key(f"account/{name}", "account")


def _is_name(name: str) -> bool:
    """An account's name is a namespace: one path component of a repository's name."""
    try:
        return "/" not in RepositoryName.parse(name).text
    except NameInvalid:
        return False


def _account(attributes: Attributes) -> Account:
    return Account(
        name=text(attributes, "name"),
        password_hash=text(attributes, "password_hash"),
        credentials=text(attributes, "credentials"),
        is_admin=_flag(attributes, "is_admin"),
        is_active=_flag(attributes, "is_active"),
        created_at=number(attributes, "created_at"),
    )


def _flag(attributes: Attributes, name: str) -> bool:
    value = attributes.get(name)
    if not isinstance(value, bool):
        raise Malformed(name)
    return value
