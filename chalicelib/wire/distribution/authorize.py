"""Authorization: between routing and the endpoint, for every call.

Who has no valid token, or one that was never asked for this access, is told by a 401 how to get one (docker token
authentication); who asked and was refused is told so by a 403. Neither says whether the repository exists.
"""

from __future__ import annotations

from typing import Protocol

from chalicelib.registry.access import CATALOG, REGISTRY, REPOSITORY, Caller
from chalicelib.registry.errors import Denied, Unauthenticated
from chalicelib.wire.distribution.routes import Access, Match
from chalicelib.wire.http import Request

ANONYMOUS = Caller("")


class TokenVerifier(Protocol):
    """Says who a bearer token speaks for. Raises Unauthenticated."""

    def verify(self, text: str) -> Caller: ...


class ChallengeError(Exception):
    """The caller must come back with another token: ``scope`` is what this call needs, ``error`` RFC 6750's code or ""."""

    def __init__(self, cause: Unauthenticated, scope: str, error: str) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.scope = scope
        self.error = error


def authorize(request: Request, match: Match, tokens: TokenVerifier) -> Caller:
    """The caller, who has the access that the route declares. Raises ChallengeError, Denied."""
    access = match.route.access
    if access is Access.WRITER:
        return ANONYMOUS
    kind, name = (REGISTRY, CATALOG) if access is Access.CATALOG else (REPOSITORY, str(match.name))
    scope = f"{kind}:{name}:{','.join(access.value)}" if access.value else ""
    caller = _caller(request, scope, tokens)
    missing = [action for action in access.value if not caller.may(action, kind, name)]
    if any(caller.was_refused(action, kind, name) for action in missing):
        message = "" if caller.account else "log in first: without logging in only public repositories can be pulled"
        raise Denied(message, action=missing[0], type=kind, name=name)
    if missing:
        raise ChallengeError(Unauthenticated(needed=scope), scope, "insufficient_scope")
    return caller


def _caller(request: Request, scope: str, tokens: TokenVerifier) -> Caller:
    scheme, _, text = request.header("authorization").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise ChallengeError(Unauthenticated(), scope, "")
    try:
        return tokens.verify(text.strip())
    except Unauthenticated as refused:
        raise ChallengeError(refused, scope, "invalid_token") from None
