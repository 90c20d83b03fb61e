"""Authorization: between routing and the endpoint, for every call.

Who has no valid token, or one that was never asked for this access, is told by a 401 how to get one (docker token
authentication); who asked and was refused is told so by a 403. Neither says whether the repository exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

from chalicelib.registry.access import CATALOG, REGISTRY, REPOSITORY, Caller
from chalicelib.registry.errors import Denied, Unauthenticated
from chalicelib.registry.names import RepositoryName
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


Explain: TypeAlias = Callable[[Iterable[str], RepositoryName], str]
"""Why the caller may not do these actions in a repository."""


def identify(request: Request, match: Match, tokens: TokenVerifier) -> Caller:
    """Who calls. Raises ChallengeError."""
    if match.route.access is Access.WRITER:
        return ANONYMOUS
    scope = _scope(match)
    scheme, _, text = request.header("authorization").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise ChallengeError(Unauthenticated(), scope, "")
    try:
        return tokens.verify(text.strip())
    except Unauthenticated as refused:
        raise ChallengeError(refused, scope, "invalid_token") from None


def permit(caller: Caller, match: Match, explain: Explain) -> None:
    """Let a caller pass who has the access that the route declares. Raises ChallengeError, Denied."""
    access = match.route.access
    if access is Access.WRITER:
        return
    kind, name = _resource(match)
    missing = [action for action in access.value if not caller.may(action, kind, name)]
    if any(caller.was_refused(action, kind, name) for action in missing):
        reason = explain(missing, match.name) if match.name else "only administrators may do this"
        raise Denied("" if caller.account else "log in first", action=missing[0], type=kind, name=name, reason=reason)
    if missing:
        scope = _scope(match)
        raise ChallengeError(Unauthenticated(needed=scope), scope, "insufficient_scope")


def _resource(match: Match) -> tuple[str, str]:
    return (REGISTRY, CATALOG) if match.route.access is Access.CATALOG else (REPOSITORY, str(match.name))


def _scope(match: Match) -> str:
    """What the route needs, in scope syntax; "" if any token will do."""
    actions = match.route.access.value
    return ":".join((*_resource(match), ",".join(actions))) if actions and match.route.access is not Access.WRITER else ""
