"""Refresh tokens: random, stored hashed, and good for new tokens until their term is over.

::

    refresh/<SHA-256 of the token, hex>
        refresh         family, account, account_id, access_token?, service, client_id, created_at, used_at?, expires_at
    family/<family id>
        family          account, credentials?, expires_at

A family is what one sign-in brought. It ends with its term (which no refreshing extends), with its account, and with what was
signed in with: the password, by ``credentials``, or the access token, by its hash. Whoever refreshes may ask for a new
refresh token in place of the old one. docker keeps the one of ``docker login`` for ever and asks for no other; so one that
nobody asked to replace stays good. One that was replaced is good for some seconds more, for the case that the answer was lost.
If it comes again after that, two hold it, one of whom stole it, and the whole family ends.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, replace

from chalicelib.registry import access
from chalicelib.registry.access_tokens import good
from chalicelib.registry.accounts import Account, Accounts, Kind
from chalicelib.registry.attempts import retried, settled
from chalicelib.registry.credentials import SignedIn
from chalicelib.registry.ports import (
    EXPIRES,
    Absent,
    All,
    Attributes,
    Check,
    Clock,
    Delete,
    Equals,
    Exists,
    Lacks,
    Put,
    StoreFull,
    Table,
    Update,
    Write,
)
from chalicelib.registry.records import family_key, number, refresh_key, text, text_or, token_key
from chalicelib.registry.times import seconds

REFRESH_LIFETIME = 90 * 86_400
"""Seconds that a family lives."""

GRACE = 30
"""Seconds for which a refresh token that was replaced is still good."""

_PREFIX = "slr_"  # lets scanners for leaked secrets know one when they see it
_USED = "used_at"


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The account that a refresh token stands for, as it is now, what it is narrowed to, and the refresh token that takes the
    other one's place, None for none."""

    account: Account
    limits: access.Limits | None = None
    successor: str | None = None
    by_token: bool = False

    @property
    def identity(self) -> access.Account:
        """The account as far as decisions go; robots have no passwords."""
        by_token = self.by_token or self.account.kind is Kind.ROBOT
        return replace(self.account.identity, limits=self.limits, by_token=by_token)


class RefreshTokens:
    """Long-lived tokens that bring new access tokens, for ``service`` only (distribution's ``spec/auth/oauth``)."""

    def __init__(self, table: Table, accounts: Accounts, clock: Clock, service: str) -> None:
        self._table = table
        self._accounts = accounts
        self._clock = clock
        self._service = service

    def issue(self, signed_in: SignedIn, client_id: str, lifetime: int = REFRESH_LIFETIME) -> str | None:
        """The first refresh token of a new family, for whoever has just signed in; None if the store is full, which must not
        keep anybody from pulling: the specification lets an answer go without one. ``client_id`` is what the client calls
        itself, kept for the record, ``lifetime`` the family's in seconds. Raises Busy."""
        account, now = signed_in.account, self._now()
        family = secrets.token_hex(16)
        # An access token may be the account's when its password has long been another one.
        bound: Attributes = {} if signed_in.access_token else {"credentials": account.credentials}
        of_family: Attributes = {"account": account.name, **bound, EXPIRES: now + lifetime}
        by: Attributes = {"access_token": signed_in.access_token} if signed_in.access_token else {}
        token, put = self._made(
            {
                "family": family,
                "account": account.name,
                "account_id": account.id,
                "service": self._service,
                "client_id": client_id,
                "created_at": now,
                **by,
                EXPIRES: now + lifetime,
            }
        )
        try:
            settled(lambda: self._table.transact([Put(family_key(family), of_family, Absent()), put]))
        except StoreFull:
            return None
        return token

    def exchange(self, token: str, *, rotate: bool = False) -> Refreshed | None:
        """What a refresh token stands for; with ``rotate`` it is replaced by another one, unless the store is full.

        None if the token is unknown, has expired, is for another service or was replaced too long ago, if the account is gone
        or inactive, or if what was signed in with is no good any more. Raises Busy.
        """
        hashed = _hashed(token)
        return retried(lambda: self._exchange(hashed, rotate=rotate))

    def _exchange(self, hashed: str, *, rotate: bool) -> Refreshed | None:
        record = self._table.get(refresh_key(hashed))
        if record is None or "family" not in record or text(record, "service") != self._service:
            return None
        if _USED in record and self._now() - number(record, _USED) > GRACE:
            settled(lambda: self._table.write(Delete(family_key(text(record, "family")))))
            return None
        refreshed = self._standing(record)
        return self._rotated(hashed, record, refreshed) if rotate and refreshed is not None else refreshed

    def _standing(self, record: Attributes) -> Refreshed | None:
        """What a token stands for whose record this is, used or not: one call."""
        family_at, by = family_key(text(record, "family")), text_or(record, "access_token", "")
        keys = [family_at, token_key(by)] if by else [family_at]
        account, found = self._accounts.read_with(text(record, "account"), keys)
        family = found.get(family_at)
        if family is None or self._now() >= number(record, EXPIRES):
            return None
        if account is None or account.id != text(record, "account_id") or not account.is_active or account.is_deleting:
            return None
        if not by:
            return Refreshed(account) if text(family, "credentials") == account.credentials else None
        access_token = good(found.get(token_key(by)), by, account, self._now())
        return None if access_token is None else Refreshed(account, access_token.limits, by_token=True)

    def _rotated(self, hashed: str, record: Attributes, refreshed: Refreshed) -> Refreshed:
        """Raises ConditionFailed if another one was quicker, or the family has ended meanwhile."""
        now = self._now()
        kept = {name: value for name, value in record.items() if name != _USED}
        successor, put = self._made({**kept, "created_at": now})
        writes: list[Write] = [put, Check(family_key(text(record, "family")), Exists())]
        if _USED in record:
            writes.append(Check(refresh_key(hashed), Equals(_USED, number(record, _USED))))
        else:
            writes.append(Update(refresh_key(hashed), set={_USED: now}, condition=All((Exists(), Lacks(_USED)))))
        try:
            self._table.transact(writes)
        except StoreFull:
            return refreshed
        return replace(refreshed, successor=successor)

    def _made(self, attributes: Attributes) -> tuple[str, Put]:
        """A new token, and the write of its record."""
        token = _PREFIX + secrets.token_urlsafe(32)
        return token, Put(refresh_key(_hashed(token)), attributes, Absent())

    def _now(self) -> int:
        return seconds(self._clock)


def _hashed(token: str) -> str:
    # 256 random bits need no slow hash, and a table that leaks gives no token away.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
