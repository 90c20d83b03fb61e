"""The door of the distribution API: /v2/... and what a relay calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from chalicelib.registry.errors import RegistryError
from chalicelib.wire.distribution.authorize import ChallengeError, TokenVerifier, authorize
from chalicelib.wire.distribution.call import Call, Registry
from chalicelib.wire.distribution.errors import refusal
from chalicelib.wire.distribution.routes import match_route
from chalicelib.wire.http import Request, Response
from chalicelib.wire.token import challenge

_VERSION = {"Docker-Distribution-API-Version": "registry/2.0"}


def distribution_door(
    registry: Registry, tokens: TokenVerifier, realm: str, service: str
) -> Callable[[Request], Response | None]:
    """Answers /v2 and /_relay: route, authorize, endpoint; a refusal becomes the specification's JSON."""

    def answer(request: Request) -> Response:
        try:
            match = match_route(request.method, request.path, request.raw_path)
            caller = authorize(request, match, tokens)
            return match.route.endpoint(Call(request, caller, registry, match.name, match.reference))
        except ChallengeError as challenged:
            told = challenge(realm, service, challenged.scope, challenged.error)
            return refusal(challenged.cause, {"WWW-Authenticate": told})
        except RegistryError as refused:
            return refusal(refused)

    def door(request: Request) -> Response | None:
        if not request.path.startswith(("/v2", "/_relay/")):
            return None
        response = answer(request)
        return replace(response, headers={**_VERSION, **response.headers})

    return door
