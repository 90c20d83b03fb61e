"""Each refusal's status and code in the management API's words (DTR's), once."""

from __future__ import annotations

import json
from collections.abc import Mapping

from chalicelib.registry import errors
from chalicelib.registry.errors import RegistryError
from chalicelib.wire.http import Response

_CODES: Mapping[type[RegistryError], tuple[int, str]] = {
    errors.Unauthenticated: (401, "NOT_AUTHENTICATED"),
    errors.Denied: (403, "NOT_AUTHORIZED"),
    errors.NameUnknown: (404, "NO_SUCH_REPOSITORY"),
    errors.NameInvalid: (400, "INVALID_REPOSITORY_NAME"),
    errors.RequestInvalid: (400, "INVALID_JSON"),
    errors.EndpointUnknown: (404, "NO_SUCH_ENDPOINT"),
    errors.PreconditionFailed: (412, "PRECONDITION_FAILED"),
    errors.Unsupported: (405, "METHOD_NOT_ALLOWED"),
    errors.Busy: (429, "TOO_MANY_REQUESTS"),
    errors.TooManyAttempts: (429, "TOO_MANY_REQUESTS"),
}


def refusal(error: RegistryError) -> Response:
    """The answer to a refused request. A kind that the table lacks is an error of the program: KeyError."""
    status, code = _CODES[type(error)]
    entry = {"code": code, "message": str(error), "detail": dict(error.detail)}
    headers = {"Content-Type": "application/json"}
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="slipway"'
    if isinstance(error, errors.Busy | errors.TooManyAttempts):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, errors.Unsupported):
        headers["Allow"] = ", ".join(error.allowed)
    return Response(status, headers, json.dumps({"errors": [entry]}).encode())
