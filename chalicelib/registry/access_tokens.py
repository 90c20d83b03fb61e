"""Access tokens: what a user or a robot signs in with in place of a password, as many as wanted, each to be ended by itself.

::

    token/<SHA-256 of the secret, hex>
        token           account, account_id, id, label, is_active, created_at, expires_at?, last_used?, limits?;
                        version
    user/<account id>
        token/<id>      (index) hash, expires_at?
        tokens          revision

The secret is shown once, when the token is made. It is 256 random bits, so its hash need not be slow, and a table that leaks
gives none away. A token is what its account is at the time of use, or less: ``Limits`` narrow it. It ends with the account,
whose id it names, and it is gone once it has expired.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from chalicelib.registry import access
from chalicelib.registry.access import Limits
from chalicelib.registry.accounts import ACCESS_TOKEN_PREFIX, Account, Accounts, Kind
from chalicelib.registry.attempts import Changed, retried
from chalicelib.registry.errors import AccountUnknown, NameInvalid, RequestInvalid, TokenUnknown, TooMany, VersionMismatch
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.pages import filled
from chalicelib.registry.ports import (
    EXPIRES,
    Absent,
    All,
    Attributes,
    Check,
    Clock,
    ConditionFailed,
    Conflict,
    Delete,
    Equals,
    Exists,
    Item,
    Lacks,
    Put,
    StoreFull,
    Table,
    Update,
    Value,
    Write,
)
from chalicelib.registry.records import (
    REVISION,
    VERSION,
    Malformed,
    account_key,
    flag,
    number,
    places,
    text,
    token_index_key,
    token_key,
    tokens_key,
    unchanged,
    version_of,
)
from chalicelib.registry.times import seconds

MOST = 100
"""Access tokens of one account at most."""

MAX_LABEL = 100
"""Characters of a label at most."""

MAX_PATTERNS = 20
MAX_PATTERN_CHARACTERS = 1_000
"""Of all patterns together: they go into every token for the registry, which has no room for more."""

_ID = re.compile(r"[0-9a-f]{1,64}", re.ASCII)

_LAST_MOMENT = 253_402_300_799
"""The end of the year 9999, in seconds since the epoch: RFC 3339 writes no later time, so no token ends after it."""

_USED_SECONDS = 60
"""``last_used`` is as exact as this."""

_LAST_USED, _LIMITS = "last_used", "limits"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """One access token without its secret; times are seconds since the epoch, ``hashed`` is the SHA-256 of the secret."""

    id: str
    hashed: str
    label: str
    is_active: bool
    created_at: int
    expires_at: int | None = None
    last_used: int | None = None
    limits: Limits | None = None
    version: int = 0


class AccessTokens:
    """The access tokens of all accounts."""

    def __init__(self, table: Table, accounts: Accounts, clock: Clock) -> None:
        self._table = table
        self._accounts = accounts
        self._clock = clock

    # -------------------------------------------------------------------------------------------------------- making

    def create(
        self, account: Account, label: str, *, expires_at: int | None = None, limits: Limits | None = None
    ) -> tuple[AccessToken, str]:
        """A new token, and its secret, which nobody can be shown again. ``expires_at`` is in seconds since the epoch.

        Raises RequestInvalid, TooMany, AccountUnknown for an account that is gone, Busy.
        """
        _check(label, limits)
        now = self._now()
        if account.kind is Kind.ORGANIZATION:
            raise RequestInvalid("an organization does not sign in: make a robot")
        if expires_at is not None and expires_at <= now:
            raise RequestInvalid("the access token would have expired already")
        if expires_at is not None and expires_at > _LAST_MOMENT:
            raise RequestInvalid("an access token ends within the year 9999 of UTC, or never")
        secret = ACCESS_TOKEN_PREFIX + secrets.token_urlsafe(32)
        # The time comes first, so that lists are in the order in which tokens were made.
        identity = f"{now:010x}{secrets.token_hex(7)}"
        token = AccessToken(identity, hashed(secret), label, True, now, expires_at, limits=limits, version=1)
        retried(lambda: self._add(account, token))
        return token, secret

    def _add(self, account: Account, token: AccessToken) -> None:
        """Raises TooMany, AccountUnknown; Changed if another one was added meanwhile."""
        counter = tokens_key(account.id)
        found = self._table.get(counter)
        if len(self._listed(account, "", MOST)) >= MOST:
            raise TooMany(MOST)
        expires: Attributes = {} if token.expires_at is None else {EXPIRES: token.expires_at}
        seen = Lacks(REVISION) if found is None else Equals(REVISION, number(found, REVISION))
        alive = All((Equals("id", account.id), unchanged(None))) if account.version else unchanged(None)
        writes: list[Write] = [
            Put(token_key(token.hashed), {**_attributes(account, token), **expires}, Absent()),
            Put(token_index_key(account.id, token.id), {"hash": token.hashed, **expires}),
            Update(counter, add={REVISION: 1}, condition=seen),
            Check(account_key(account.name), alive),
        ]
        try:
            self._table.transact(writes)
        except ConditionFailed as failed:
            raise (AccountUnknown(account.name) if 3 in failed.failed else Changed) from None

    # ------------------------------------------------------------------------------------------------------- signing in

    def authenticate(self, secret: str, name: str = "") -> tuple[Account, Limits | None] | None:
        """The account whose good token this is, and what it is narrowed to; None for any other. ``name`` is the account's as
        whoever signs in says it ("": by the token alone, which takes one call more).

        That the token was used is noted about once a minute; a store that has no time or room for it keeps nobody out.
        """
        digest = hashed(secret)
        key = token_key(digest)
        if name:
            account, found = self._accounts.read_with(name, [key])
            attributes = found.get(key)
        else:
            attributes = self._table.get(key)
            account = None if attributes is None else self._accounts.read(text(attributes, "account"))
        if account is None:
            return None
        token = good(attributes, digest, account, self._now())
        if token is None:
            return None
        self._note_use(token)
        return account, token.limits

    def _note_use(self, token: AccessToken) -> None:
        now = self._now()
        if token.last_used is not None and 0 <= now - token.last_used < _USED_SECONDS:
            return
        # If another instance has noted it meanwhile, that will do; and a token that was just deleted stays so.
        seen = Lacks(_LAST_USED) if token.last_used is None else Equals(_LAST_USED, token.last_used)
        condition = All((Exists(), seen))
        with suppress(ConditionFailed, Conflict, StoreFull):
            self._table.write(Update(token_key(token.hashed), set={_LAST_USED: now}, condition=condition))

    # -------------------------------------------------------------------------------------------------------- managing

    def page(self, account: Account, after: str, limit: int) -> Sequence[AccessToken]:
        """Up to ``limit`` tokens of the account beyond the id ``after`` ("" for the first), in the order of their making."""
        return self._listed(account, after, limit)

    def get(self, account: Account, id: str) -> AccessToken:  # noqa: A002 - the field's name
        """Raises TokenUnknown, also for another account's."""
        index = self._table.get(token_index_key(account.id, id)) if _ID.fullmatch(id) else None
        digest = "" if index is None else text(index, "hash")
        attributes = self._table.get(token_key(digest)) if digest else None
        if attributes is None or _is_over(attributes, self._now()):
            raise TokenUnknown
        return _token(digest, attributes)

    def change(
        self,
        account: Account,
        id: str,  # noqa: A002
        *,
        label: str | None = None,
        is_active: bool | None = None,
        version: int | None = None,
    ) -> AccessToken:
        """Change a token; None leaves it as it is. ``version`` is the one that it must have.

        Raises TokenUnknown, VersionMismatch, RequestInvalid, Busy."""
        if label is not None:
            _check(label, None)
        given: Attributes = {
            name: value for name, value in {"label": label, "is_active": is_active}.items() if value is not None
        }

        def write() -> AccessToken:
            token = self.get(account, id)
            if version not in {None, token.version}:
                raise VersionMismatch
            key, condition = token_key(token.hashed), Equals(VERSION, token.version)
            self._table.write(Update(key, set=given, add={VERSION: 1}, condition=condition))
            return self.get(account, id)

        return retried(write)

    def delete(self, account: Account, id: str, *, version: int | None = None) -> None:  # noqa: A002
        """End a token for good; nothing happens if there is none. Raises VersionMismatch, Busy."""

        def write() -> None:
            try:
                token = self.get(account, id)
            except TokenUnknown:
                return
            if version not in {None, token.version}:
                raise VersionMismatch
            condition = Equals(VERSION, token.version)
            self._table.transact([Delete(token_key(token.hashed), condition), Delete(token_index_key(account.id, id))])

        retried(write)

    def _listed(self, account: Account, after: str, limit: int) -> Sequence[AccessToken]:
        """Those that have not expired. The store drops the others, some later than others, so more may have to be read."""
        return filled(self._table, places(account.id), self._read, prefix="token/", after=after, limit=limit)

    def _read(self, items: Sequence[Item]) -> Sequence[AccessToken]:
        hashes = {item.key.sort: text(item.attributes, "hash") for item in items}
        found = self._table.batch_get([token_key(digest) for digest in hashes.values()])
        here = {digest: found[token_key(digest)] for digest in hashes.values() if token_key(digest) in found}
        now = self._now()
        return [_token(digest, attributes) for digest, attributes in here.items() if not _is_over(attributes, now)]

    def _now(self) -> int:
        return seconds(self._clock)


def hashed(secret: str) -> str:
    """What a secret is stored as."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def good(attributes: Attributes | None, digest: str, account: Account, now: int) -> AccessToken | None:
    """The token of that record if it lets the account in now, which was read at the same time."""
    if attributes is None or _is_over(attributes, now) or not flag(attributes, "is_active"):
        return None
    if text(attributes, "account_id") != account.id or not account.is_active or account.is_deleting:
        return None
    return _token(digest, attributes)


def _is_over(attributes: Attributes, now: int) -> bool:
    return EXPIRES in attributes and now >= number(attributes, EXPIRES)


def _check(label: str, limits: Limits | None) -> None:
    """Raises RequestInvalid."""
    if not 1 <= len(label) <= MAX_LABEL or not label.isprintable():
        raise RequestInvalid(f"the label has 1 to {MAX_LABEL} printable characters")
    if limits is None:
        return
    if not limits.actions or not limits.actions <= access.EVERY_ACTION:
        raise RequestInvalid("the actions are one or more of pull, push and delete")
    if not 1 <= len(limits.repositories) <= MAX_PATTERNS:
        raise RequestInvalid(f"there are 1 to {MAX_PATTERNS} patterns of repositories")
    if sum(map(len, limits.repositories)) > MAX_PATTERN_CHARACTERS:
        raise RequestInvalid(f"all patterns of repositories have {MAX_PATTERN_CHARACTERS} characters at most")
    for pattern in limits.repositories:
        try:
            RepositoryName.parse(pattern.removesuffix("/*"))
        except NameInvalid:
            raise RequestInvalid("a pattern is a repository's name, or a name and /*", pattern=pattern[:300]) from None


def _attributes(account: Account, token: AccessToken) -> dict[str, Value]:
    attributes: dict[str, Value] = {
        "account": account.name,
        "account_id": account.id,
        "id": token.id,
        "label": token.label,
        "is_active": token.is_active,
        "created_at": token.created_at,
        VERSION: token.version,
    }
    if token.limits is not None:
        limits = token.limits
        attributes[_LIMITS] = {"repositories": list(limits.repositories), "actions": sorted(limits.actions)}
    return attributes


def _token(digest: str, attributes: Attributes) -> AccessToken:
    return AccessToken(
        id=text(attributes, "id"),
        hashed=digest,
        label=text(attributes, "label"),
        is_active=flag(attributes, "is_active"),
        created_at=number(attributes, "created_at"),
        expires_at=number(attributes, EXPIRES) if EXPIRES in attributes else None,
        last_used=number(attributes, _LAST_USED) if _LAST_USED in attributes else None,
        limits=_limits(attributes[_LIMITS]) if _LIMITS in attributes else None,
        version=version_of(attributes),
    )


def _limits(stored: Value) -> Limits:
    """Raises Malformed: what cannot be read is not taken for no limits."""
    if not isinstance(stored, Mapping):
        raise Malformed(_LIMITS)
    repositories, actions = stored.get("repositories"), stored.get("actions")
    if not isinstance(repositories, list) or not isinstance(actions, list):
        raise Malformed(_LIMITS)
    return Limits(tuple(str(pattern) for pattern in repositories), frozenset(str(action) for action in actions))
