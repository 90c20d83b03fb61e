"""The door of the token service: /auth/token, /ca, the public keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chalicelib.registry.errors import RegistryError, Unsupported
from chalicelib.wire.distribution.errors import refusal
from chalicelib.wire.http import Request, Response
from chalicelib.wire.token import TokenServices, get_ca_certificate, get_keys, get_token, post_token

_Endpoint = Callable[[Request, TokenServices], Response]

ENDPOINTS: Mapping[str, Mapping[str, _Endpoint]] = {
    "/auth/token": {"GET": get_token, "POST": post_token},
    "/ca": {"GET": get_ca_certificate, "HEAD": get_ca_certificate},
    "/.well-known/jwks.json": {"GET": get_keys, "HEAD": get_keys},
}


def token_door(services: TokenServices) -> Callable[[Request], Response | None]:
    """Answers the token service's paths; who may have what is decided by the endpoints themselves."""

    def door(request: Request) -> Response | None:
        endpoints = ENDPOINTS.get(request.path)
        if endpoints is None:
            return None
        try:
            endpoint = endpoints.get(request.method)
            if endpoint is None:
                raise Unsupported(tuple(endpoints))
            return endpoint(request, services)
        except RegistryError as refused:
            return refusal(refused)

    return door
