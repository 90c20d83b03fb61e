"""Who signs in: a user by password, a user or a robot by access token. The one way in for every door.

credentials.authenticate("alice", "correct horse", "192.0.2.7")   # a password, throttled
credentials.authenticate("acme+ci", "slt_...", "192.0.2.7")       # an access token in a password's place
credentials.by_token("slt_...")                                   # one that says by itself whose it is
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from chalicelib.registry import access
from chalicelib.registry.access_tokens import AccessTokens, hashed
from chalicelib.registry.accounts import ACCESS_TOKEN_PREFIX, Account, Accounts, Kind
from chalicelib.registry.errors import Unauthenticated
from chalicelib.registry.federation import ProvenIdentity
from chalicelib.registry.throttle import Throttle


@dataclass(frozen=True, slots=True)
class SignedIn:
    """An active account that was just proven, what it is narrowed to, and by what it was; ``access_token`` is the hash of
    the access token, "" for a password."""

    account: Account
    limits: access.Limits | None
    by: Literal["password", "token", "federation"]
    access_token: str = ""

    @property
    def identity(self) -> access.Account:
        """The account as far as decisions go, no more than its access token allows."""
        return replace(self.account.identity, limits=self.limits, by_token=self.by != "password")


class Credentials:
    """Proves who calls."""

    def __init__(self, accounts: Accounts, access_tokens: AccessTokens, throttle: Throttle) -> None:
        self._accounts = accounts
        self._access_tokens = access_tokens
        self._throttle = throttle

    def authenticate(self, name: str, secret: str, source: str) -> SignedIn | None:
        """Whose name and password or access token these are, or None. ``source`` is the address that the request came from.

        A wrong name and a wrong password cost the same work and are throttled alike. Raises TooManyAttempts, before any
        password is looked at.
        """
        if secret.startswith(ACCESS_TOKEN_PREFIX):
            return self._signed_in(secret, name) if name else None
        account, found = self._accounts.read_with(name, self._throttle.keys(name, source))
        attempt = self._throttle.begin(name, source, found)
        proven = self._accounts.proven(account, secret)
        if proven is None:
            self._throttle.failed(attempt)
            return None
        self._throttle.succeeded(attempt)
        return SignedIn(proven, None, "password")

    def by_token(self, secret: str) -> SignedIn | None:
        """Whose access token this is, or None."""
        return self._signed_in(secret) if secret.startswith(ACCESS_TOKEN_PREFIX) else None

    def federated(self, name: str, admit: Callable[[str | None], ProvenIdentity]) -> tuple[SignedIn, ProvenIdentity]:
        """The robot of that name, and who asks to be it, if ``admit`` lets them: it is given the robot's id, None for one that
        does not exist or is switched off. Raises what ``admit`` raises."""
        robot = self._accounts.read(name)
        if robot is not None and (robot.kind is not Kind.ROBOT or not robot.is_active or robot.is_deleting):
            robot = None
        identity = admit(robot.id if robot else None)
        if robot is None:
            raise Unauthenticated
        return SignedIn(robot, None, "federation"), identity

    def _signed_in(self, secret: str, name: str = "") -> SignedIn | None:
        found = self._access_tokens.authenticate(secret, name)
        return None if found is None else SignedIn(*found, "token", hashed(secret))
