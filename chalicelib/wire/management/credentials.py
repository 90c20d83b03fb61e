"""Who calls the management API: Basic credentials (RFC 7617) or an access token as a Bearer, proven at each call."""

from __future__ import annotations

import base64
from typing import Protocol

from chalicelib.registry.access import Account
from chalicelib.registry.errors import Unauthenticated
from chalicelib.wire.http import Request


class Proven(Protocol):
    """An account as the store has it."""

    @property
    def identity(self) -> Account: ...


class Authenticator(Protocol):
    """Proves a name and a password; None if they are wrong."""

    def authenticate(self, name: str, password: str) -> Proven | None: ...


def authenticated(request: Request, accounts: Authenticator) -> Account | None:
    """The account that calls, None without any credentials. Raises Unauthenticated for wrong ones."""
    if "authorization" not in request.headers:
        return None
    scheme, _, encoded = request.header("authorization").partition(" ")
    if scheme.lower() != "basic":
        raise Unauthenticated("this endpoint takes Basic credentials")
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:  # no ASCII, no base64, or no UTF-8 within
        raise Unauthenticated("the Authorization header does not hold Basic credentials") from None
    proven = accounts.authenticate(name, password) if colon else None
    if proven is None:
        raise Unauthenticated("the user name or the password is wrong")
    return proven.identity
