"""The door of the distribution API: /v2/... and what a relay calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from chalicelib.registry.errors import Denied, RegistryError
from chalicelib.wire.distribution.authorize import ChallengeError, TokenVerifier, identify, permit
from chalicelib.wire.distribution.call import Call, Registry
from chalicelib.wire.distribution.errors import refusal
from chalicelib.wire.distribution.routes import Endpoint, match_route
from chalicelib.wire.http import Request, Response
from chalicelib.wire.token import challenge

_VERSION = {"Docker-Distribution-API-Version": "registry/2.0"}


def distribution_door(
    registry: Registry, tokens: TokenVerifier, realm: str, service: str
) -> Callable[[Request], Response | None]:
    """Answers /v2 and /_relay: route, authorize, endpoint; a refusal becomes the specification's JSON."""

    def answer(request: Request) -> Response:
        try:
            call, endpoint = _authorized(request, registry, tokens)
            return _answered(call, endpoint)
        except (ChallengeError, RegistryError) as refused:
            return _refusal(refused, realm, service)

    def door(request: Request) -> Response | None:
        if not request.path.startswith(("/v2", "/_relay/")):
            return None
        return _versioned(answer(request))

    return door


def distribution_gate(
    registry: Registry, tokens: TokenVerifier, realm: str, service: str
) -> Callable[[Request], Response | None]:
    """What the door answers to a request whatever its body: there is no such route, or the caller may not. None if the
    endpoint decides. A server asks it before it reads a body."""

    def gate(request: Request) -> Response | None:
        try:
            _authorized(request, registry, tokens)
        except (ChallengeError, RegistryError) as refused:
            return _versioned(_refusal(refused, realm, service))
        return None

    return gate


def _authorized(request: Request, registry: Registry, tokens: TokenVerifier) -> tuple[Call, Endpoint]:
    """The call that a request makes, and who answers it. Raises ChallengeError, RegistryError."""
    match = match_route(request.method, request.path, request.raw_path)
    call = Call(request, identify(request, match, tokens), registry, match.name, match.reference)
    try:
        permit(call.caller, match, call.explain)
    except Denied as denied:
        if match.route.access.changes:
            call.record_denied(denied)
        raise
    return call, match.route.endpoint


def _answered(call: Call, endpoint: Endpoint) -> Response:
    """What the endpoint answers; what it denies, such as a repository that the push would make, is noted too."""
    try:
        return endpoint(call)
    except Denied as denied:
        call.record_denied(denied)
        raise


def _refusal(error: ChallengeError | RegistryError, realm: str, service: str) -> Response:
    if isinstance(error, RegistryError):
        return refusal(error)
    told = challenge(realm, service, error.scope, error.error)
    return refusal(error.cause, {"WWW-Authenticate": told})


def _versioned(response: Response) -> Response:
    return replace(response, headers={**_VERSION, **response.headers})
