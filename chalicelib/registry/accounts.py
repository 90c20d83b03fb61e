"""Accounts: users, organizations and robots, which share one namespace, and the passwords of users.

::

    account/<name>
        account         id, kind, full_name, is_admin, is_active, created_at, deleting?, was_active?, ending?; version
                        of users also        password_hash, credentials
                        of robots also       organization: the id of theirs

What belongs to an account hangs on its ``id``, so that whoever gets a deleted account's name gets nothing else of it.
``password_hash`` is a PHC string, parameters included. ``credentials`` is random and made anew with every password; what
was handed out on the strength of a password (refresh tokens) names it, and so ends with it. It is not derived from the
hash, so a hash may be renewed under better parameters without signing anybody out.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from chalicelib.registry import access
from chalicelib.registry.attempts import retried, settled
from chalicelib.registry.errors import (
    AccountExists,
    AccountNameInvalid,
    AccountUnknown,
    LastAdmin,
    RequestInvalid,
    VersionMismatch,
)
from chalicelib.registry.names import ROBOT_SIGN, parse_login, parse_new_account_name
from chalicelib.registry.pages import filled
from chalicelib.registry.ports import (
    Absent,
    All,
    Attributes,
    Check,
    Clock,
    Condition,
    ConditionFailed,
    Delete,
    Equals,
    Item,
    Key,
    Lacks,
    Put,
    Table,
    Update,
    Write,
)
from chalicelib.registry.recent import Recent
from chalicelib.registry.records import (
    ACCOUNTS_PARTITION,
    ADMINS_PARTITION,
    DELETING,
    ENDING,
    VERSION,
    WAS_ACTIVE,
    account_key,
    accounts_key,
    admins_key,
    flag,
    number,
    robot_key,
    text,
    text_or,
    unchanged,
    version_of,
)
from chalicelib.registry.times import seconds

ADMIN = "admin"
"""The first account's name."""

MAX_PASSWORD = 1024
"""Bytes of a password in UTF-8 at most."""

ACCESS_TOKEN_PREFIX = "slt_"  # noqa: S105 - no secret
"""What access tokens begin with (access_tokens.py), and therefore no password. Scanners for leaked secrets know it."""

_VERIFIED = 1_000
_VERIFIED_SECONDS = 300
"""How long a password that was found right is not hashed again: docker asks a token for each repository, and a hash costs
40 ms and 19 MiB. Wrong ones are never remembered, so guessing costs the full hash each time."""

_KNOWN = 1_000
_KNOWN_SECONDS = 5
"""How long an account that was seen active counts as such for tokens: a read for each request would double a pull's cost."""

_ADMINS_LOOKED_AT = 20


class PasswordHasher(Protocol):
    """A slow, salted hash. A password of any length and any content is taken."""

    def hash(self, password: str) -> str:
        """A new hash of the password under a new salt, as a PHC string."""

    def verify(self, password: str, encoded: str) -> bool:
        """Is it the password of that hash? Raises ValueError for a text that is no hash of this kind."""

    def decoy(self) -> str:
        """A well-formed hash of today's parameters that no password has; verifying against it costs what any other costs."""


class Kind(Enum):
    """What an account is."""

    USER = "user"
    ORGANIZATION = "organization"
    ROBOT = "robot"


@dataclass(frozen=True, slots=True)
class Account:
    """One account as it is stored; ``created_at`` in seconds since the epoch, ``organization`` the id of a robot's."""

    name: str
    password_hash: str = field(repr=False)
    credentials: str
    is_admin: bool
    is_active: bool
    created_at: int
    id: str = ""
    kind: Kind = Kind.USER
    full_name: str = ""
    organization: str = ""
    version: int = 0
    is_deleting: bool = False
    was_active: bool = False
    """Of one that is being deleted: whether it was active before."""

    @property
    def identity(self) -> access.Account:
        """The account as far as decisions go."""
        return access.Account(self.name, is_admin=self.is_admin, is_active=self.is_active, id=self.id)

    @property
    def same(self) -> Condition:
        """Holds if the record is still this account's, and not that of another one of the same name."""
        return Equals("id", self.id) if self.id != self.name else Lacks("id")  # an earlier release gave no ids

    @property
    def alive(self) -> Condition:
        """The same, and that it is not being deleted."""
        return All((self.same, unchanged(None)))


@dataclass(frozen=True, slots=True)
class Changes:
    """What to change of an account; None leaves it as it is."""

    full_name: str | None = None
    is_admin: bool | None = None
    is_active: bool | None = None


class Accounts:
    """The accounts of a registry."""

    def __init__(self, table: Table, hasher: PasswordHasher, clock: Clock) -> None:
        self._table = table
        self._hasher = hasher
        self._clock = clock
        self._verified: Recent[bytes, float] = Recent(_VERIFIED)
        self._known: Recent[str, tuple[float, Account | None]] = Recent(_KNOWN)
        # The memory of right passwords holds only keyed digests, and their key dies with the process.
        self._secret = secrets.token_bytes(32)

    # -------------------------------------------------------------------------------------------------------- making

    def ensure_admin(self, password: str) -> bool:
        """Make the account ``admin`` unless it exists, whatever its password, or another administrator does; True if it was
        made now. One that was deleted thus does not come back with the password that it began with.

        Raises ValueError for a password that is empty or longer than MAX_PASSWORD; Busy.
        """
        account = self.read(ADMIN)
        if account is not None:  # saves a hash on all but the first start
            self._list(account)
            return False
        if self._table.query(ADMINS_PARTITION, limit=1):  # somebody else administers, and deleted it
            return False
        try:
            self._create(ADMIN, Kind.USER, {"is_admin": True, **self._credentials(password)})
        except AccountExists:
            return False
        return True

    def _list(self, account: Account) -> None:
        """Put an account that an earlier release made on the lists, which there were none of."""
        if account.id != account.name or self._table.get(accounts_key(account.name)) is not None:
            return
        # Should it be changed meanwhile, this is at worst a name too many: what lists name is read before it counts.
        writes: list[Write] = [Put(accounts_key(account.name), {"kind": account.kind.value, "is_admin": account.is_admin})]
        writes += [Put(admins_key(account.name), {})] if account.is_admin else []
        settled(lambda: self._table.transact(writes))

    def create_user(
        self, name: str, password: str, *, full_name: str = "", is_admin: bool = False, is_active: bool = True
    ) -> Account:
        """A new user; "" is no password: then only access tokens let the account in.

        Raises AccountNameInvalid, NameReserved, AccountExists, ValueError for a password that cannot be one, Busy.
        """
        given = self._credentials(password) if password else {"credentials": secrets.token_hex(16)}
        return self._create(
            parse_new_account_name(name),
            Kind.USER,
            {"full_name": full_name, "is_admin": is_admin, "is_active": is_active, **given},
        )

    def create_organization(self, name: str, full_name: str = "") -> Account:
        """A new organization without members. Raises AccountNameInvalid, NameReserved, AccountExists, Busy."""
        return self._create(parse_new_account_name(name), Kind.ORGANIZATION, {"full_name": full_name})

    def create_robot(self, organization: Account, name: str, description: str = "") -> Account:
        """A new robot ``<organization>+<name>``. Raises AccountNameInvalid, AccountExists, AccountUnknown for an organization
        that is being deleted, Busy."""
        login = parse_login(f"{organization.name}{ROBOT_SIGN}{name}")
        attributes = {"full_name": description, "organization": organization.id, "credentials": secrets.token_hex(16)}
        listed = Put(robot_key(organization.id, login), {})
        alive = Check(account_key(organization.name), organization.alive)
        return self._create(login, Kind.ROBOT, attributes, [listed, alive])

    def _create(self, name: str, kind: Kind, attributes: Attributes, also: Sequence[Write] = ()) -> Account:
        record: Attributes = {
            "name": name,
            "id": secrets.token_hex(12),
            "kind": kind.value,
            "full_name": "",
            "is_admin": False,
            "is_active": True,
            "created_at": seconds(self._clock),
            VERSION: 1,
            **attributes,
        }
        listed = {"kind": kind.value, "is_admin": flag(record, "is_admin")}
        writes: list[Write] = [Put(account_key(name), record, Absent()), Put(accounts_key(name), listed), *also]
        if flag(record, "is_admin"):
            writes.append(Put(admins_key(name), {}))
        try:
            settled(lambda: self._table.transact(writes))
        except ConditionFailed as failed:
            if 0 not in failed.failed:
                raise AccountUnknown(name) from None
            stored = self._table.get(account_key(name)) or {}
            if stored.get("id") != record["id"]:  # else it was made, and only the answer was lost
                raise AccountExists(name) from None
        account = _account(record)
        self._learn(name, account)
        return account

    # ------------------------------------------------------------------------------------------------------- changing

    def change(self, name: str, changes: Changes, version: int | None = None) -> Account:
        """Change an account, which counts at once. ``version`` is the one that it must have.

        Raises AccountUnknown, VersionMismatch, LastAdmin, RequestInvalid for what the kind of account cannot be, Busy.
        """

        def write() -> Account:
            account = self.get(name)
            if version not in {None, account.version}:
                raise VersionMismatch
            self._table.transact([*self._changed(account, changes)])
            return self.get(name)

        return retried(write)

    def _changed(self, account: Account, changes: Changes) -> Sequence[Write]:
        fields = {"full_name": changes.full_name, "is_admin": changes.is_admin, "is_active": changes.is_active}
        given: Attributes = {field: value for field, value in fields.items() if value is not None}
        if account.kind is not Kind.USER and changes.is_admin:
            raise RequestInvalid("only users can be administrators")
        if account.kind is Kind.ORGANIZATION and changes.is_active is False:
            raise RequestInvalid("an organization is always active: delete it, or remove its members")
        is_admin = account.is_admin if changes.is_admin is None else changes.is_admin
        is_active = account.is_active if changes.is_active is None else changes.is_active
        writes: list[Write] = [
            Update(account_key(account.name), set=given, add={VERSION: 1}, condition=_as_read(account)),
            Put(accounts_key(account.name), {"kind": account.kind.value, "is_admin": is_admin}),
            Put(admins_key(account.name), {}) if is_admin else Delete(admins_key(account.name)),
        ]
        if account.is_admin and account.is_active and not (is_admin and is_active):
            writes.append(self._another_admin(account.name))
        return writes

    def _another_admin(self, name: str) -> Check:
        """The condition that somebody else can still administer the registry. Raises LastAdmin."""
        after = ""
        while items := self._table.query(ADMINS_PARTITION, after=after, limit=_ADMINS_LOOKED_AT):
            for item in items:
                other = self.read(item.key.sort)
                if other is not None and other.name != name and other.is_admin and other.is_active:
                    conditions = (Equals("is_admin", value=True), Equals("is_active", value=True))
                    return Check(account_key(other.name), All(conditions))
            after = items[-1].key.sort
        raise LastAdmin

    def set_password(self, name: str, password: str) -> bool:
        """Give a user another password, which ends all that was handed out for the earlier one; False if there is no
        such user. Raises ValueError as ``ensure_admin`` does; Busy."""
        account = self.read(name)
        if account is None or account.kind is not Kind.USER:
            return False
        change = Update(account_key(account.name), set=self._credentials(password), add={VERSION: 1}, condition=account.alive)

        def write() -> bool:
            try:
                self._table.write(change)
            except ConditionFailed:
                return False
            return True

        self._known.forget(account.name)
        return settled(write)

    # -------------------------------------------------------------------------------------------------------- ending

    def begin_deletion(self, name: str, version: int | None = None) -> Account:
        """Lock an account for good: from now on it may nothing, and nothing is added to it. Doing so again is harmless.

        Raises AccountUnknown, VersionMismatch, LastAdmin, Busy."""

        def write() -> Account:
            account = self.read(name)
            if account is None:
                raise AccountUnknown(name)
            if account.is_deleting:
                return account
            if version not in {None, account.version}:
                raise VersionMismatch
            gone = {DELETING: True, "is_active": False, WAS_ACTIVE: account.is_active}
            mark = Update(account_key(account.name), set=gone, add={VERSION: 1}, condition=_as_read(account))
            last = [self._another_admin(account.name)] if account.is_admin and account.is_active else []
            self._table.transact([mark, *last])
            return account

        account = retried(write)
        self._known.forget(account.name)
        return account

    def keep(self, account: Account) -> None:
        """Take ``begin_deletion`` back, unless somebody else has gone on with it."""
        restored = {"is_active": account.was_active if account.is_deleting else account.is_active}
        going = All((account.same, Equals(DELETING, value=True), Lacks(ENDING)))
        back = Update(account_key(account.name), set=restored, remove=(DELETING, WAS_ACTIVE), condition=going)
        with suppress(ConditionFailed):
            settled(lambda: self._table.write(back))
        self._known.forget(account.name)

    def go_on_with_deletion(self, account: Account) -> None:
        """From here on the deletion is not taken back. Raises ConditionFailed if it was, or has ended."""
        going = All((account.same, Equals(DELETING, value=True)))
        settled(lambda: self._table.write(Update(account_key(account.name), set={ENDING: True}, condition=going)))

    def end_deletion(self, account: Account) -> None:
        """Take away what is left of an account whose deletion was gone on with; nothing happens if somebody else has."""
        writes: list[Write] = [
            Delete(account_key(account.name), All((account.same, Equals(DELETING, value=True)))),
            Delete(accounts_key(account.name)),
            Delete(admins_key(account.name)),
        ]
        if account.organization:
            writes.append(Delete(robot_key(account.organization, account.name)))
        with suppress(ConditionFailed):
            settled(lambda: self._table.transact(writes))
        self._known.forget(account.name)

    # ------------------------------------------------------------------------------------------------------- reading

    def proven(self, account: Account | None, password: str) -> Account | None:
        """The account, just read, if it is an active user's whose password this is, or None.

        None, for a name that is unknown or that no account can have, an inactive account, one without a password and a wrong
        password cost the same work: who asks learns from neither the answer nor its delay which of them it was.
        """
        if account is None or not account.password_hash:
            self._hasher.verify(password, self._hasher.decoy())
            return None
        if not account.is_active:  # not even a right password is remembered: that would tell
            self._hasher.verify(password, account.password_hash)
            return None
        return account if self._matches(account, password) else None

    def read_with(self, name: str, keys: Sequence[Key]) -> tuple[Account | None, Mapping[Key, Attributes]]:
        """``read``, and those of other items that exist, in one call."""
        try:
            folded = _folded(name)
        except AccountNameInvalid:
            return None, self._table.batch_get(keys)
        key = account_key(folded)
        found = self._table.batch_get([key, *keys])
        return self._learn(folded, _account(found[key]) if key in found else None), found

    def read(self, name: str) -> Account | None:
        """The account as it is now, active or not, or None; a name is folded first."""
        try:
            folded = _folded(name)
        except AccountNameInvalid:
            return None
        attributes = self._table.get(account_key(folded))
        return self._learn(folded, None if attributes is None else _account(attributes))

    def get(self, name: str) -> Account:
        """The same. Raises AccountUnknown; also while it is being deleted."""
        account = self.read(name)
        if account is None or account.is_deleting:
            raise AccountUnknown(name)
        return account

    def find(self, name: str) -> access.Account | None:
        """The account as far as decisions go, as it is now, or None."""
        account = self.read(name)
        return None if account is None else account.identity

    def still_active(self, name: str, identity: str) -> bool:
        """Is the account of that name and id still there and active, as of some seconds ago at most? What this instance changed
        itself counts at once."""
        account = self._recent(name)
        return account is not None and account.is_active and account.id == identity

    def recent(self, name: str) -> access.Account | None:
        """The account as far as decisions go, as it was some seconds ago at most, or None."""
        account = self._recent(name)
        return None if account is None else account.identity

    def _recent(self, name: str) -> Account | None:
        known = self._known.get(name)
        is_fresh = known is not None and 0 <= self._clock.now().timestamp() - known[0] < _KNOWN_SECONDS
        return known[1] if known is not None and is_fresh else self.read(name)

    def page(self, after: str, limit: int) -> Sequence[Account]:
        """Up to ``limit`` accounts beyond the name ``after`` ("" for the first), in order of name; fewer only at the end."""

        def shown(items: Sequence[Item]) -> Iterable[Account]:
            return (account for account in self.several([item.key.sort for item in items]) if not account.is_deleting)

        return filled(self._table, ACCOUNTS_PARTITION, shown, after=after, limit=limit)

    def several(self, names: Sequence[str]) -> Sequence[Account]:
        """Those of these names (as they are kept) that there are, also while they are being deleted. One batch."""
        found = self._table.batch_get([account_key(name) for name in names])
        return [_account(found[key]) for key in map(account_key, names) if key in found]

    def _learn(self, name: str, account: Account | None) -> Account | None:
        self._known.put(name, (self._clock.now().timestamp(), account))
        return account

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
        if password.startswith(ACCESS_TOKEN_PREFIX):
            raise ValueError(f"a password must not begin with {ACCESS_TOKEN_PREFIX}")
        return {"password_hash": self._hasher.hash(password), "credentials": secrets.token_hex(16)}


def _as_read(account: Account) -> Condition:
    """Holds if the account is still as it was read."""
    return All((account.same, unchanged(account.version)))


def _folded(name: str) -> str:
    """Raises AccountNameInvalid."""
    return parse_login(name)


def _account(attributes: Attributes) -> Account:
    name = text(attributes, "name")
    return Account(
        name=name,
        password_hash=text_or(attributes, "password_hash", ""),
        credentials=text_or(attributes, "credentials", ""),
        is_admin=flag(attributes, "is_admin"),
        is_active=flag(attributes, "is_active"),
        created_at=number(attributes, "created_at"),
        id=text_or(attributes, "id", name),
        kind=Kind(text_or(attributes, "kind", Kind.USER.value)),
        full_name=text_or(attributes, "full_name", ""),
        organization=text_or(attributes, "organization", ""),
        version=version_of(attributes),
        is_deleting=flag(attributes, DELETING),
        was_active=flag(attributes, WAS_ACTIVE),
    )
