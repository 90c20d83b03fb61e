"""Who calls the management API: Basic credentials (RFC 7617), an access or a refresh token (RFC 6750), proven at each call."""

from __future__ import annotations

from typing import Protocol

from chalicelib.registry.access import Account
from chalicelib.registry.errors import Unauthenticated
from chalicelib.wire.address import address_of
from chalicelib.wire.basic import MAX_CREDENTIALS, name_and_secret
from chalicelib.wire.http import Request


class Proven(Protocol):
    """An account as the store has it."""

    @property
    def identity(self) -> Account: ...


class Authenticator(Protocol):
    """Proves who somebody is; None if the credentials are wrong. See ``registry.credentials.Credentials``."""

    def authenticate(self, name: str, secret: str, source: str) -> Proven | None: ...

    def by_token(self, secret: str) -> Proven | None: ...


class RefreshSource(Protocol):
    """Knows whom a refresh token stands for; ``registry.refresh_tokens.RefreshTokens``."""

    def exchange(self, token: str) -> Proven | None: ...


def authenticated(request: Request, credentials: Authenticator, refresh_tokens: RefreshSource) -> Account | None:
    """The account that calls, narrowed as its access token is; None without any credentials. Raises Unauthenticated,
    TooManyAttempts, Busy.

    A refresh token is taken too: it is all that docker keeps of a login where it asks for one.
    """
    if "authorization" not in request.headers:
        return None
    scheme, _, value = request.header("authorization").strip().partition(" ")
    if len(value) > MAX_CREDENTIALS:
        raise Unauthenticated("the Authorization header is too long")
    match scheme.lower():
        case "basic":
            proven = _by_basic(value, address_of(request), credentials)
        case "bearer":
            proven = credentials.by_token(value.strip()) or refresh_tokens.exchange(value.strip())
        case _:
            raise Unauthenticated("this endpoint takes Basic credentials, or an access token as Bearer")
    if proven is None:
        raise Unauthenticated("the user name, the password or the access token is wrong")
    return proven.identity


def _by_basic(encoded: str, source: str, credentials: Authenticator) -> Proven | None:
    found = name_and_secret(encoded)
    if found is None:
        raise Unauthenticated("the Authorization header does not hold Basic credentials")
    return credentials.authenticate(*found, source)
