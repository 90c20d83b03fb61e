"""Each refusal's status and code in the management API's words (DTR's), once."""

from __future__ import annotations

import json
from collections.abc import Mapping

from chalicelib.registry import errors
from chalicelib.registry.errors import RegistryError
from chalicelib.wire.http import Response

CODES: Mapping[type[RegistryError], tuple[int, str]] = {
    errors.Unauthenticated: (401, "NOT_AUTHENTICATED"),
    errors.Denied: (403, "NOT_AUTHORIZED"),
    errors.AccountUnknown: (404, "NO_SUCH_ACCOUNT"),
    errors.TeamUnknown: (404, "NO_SUCH_TEAM"),
    errors.MemberUnknown: (404, "NO_SUCH_MEMBER"),
    errors.NameUnknown: (404, "NO_SUCH_REPOSITORY"),
    errors.TokenUnknown: (404, "NO_SUCH_TOKEN"),
    errors.RuleUnknown: (404, "NO_SUCH_TRUST_RULE"),
    errors.NotRestorable: (404, "NOT_RESTORABLE"),
    errors.JobKindUnknown: (404, "NO_SUCH_ACTION"),
    errors.JobUnknown: (404, "NO_SUCH_JOB"),
    errors.EndpointUnknown: (404, "NO_SUCH_ENDPOINT"),
    errors.Unsupported: (405, "METHOD_NOT_ALLOWED"),
    errors.AccountExists: (409, "ACCOUNT_EXISTS"),
    errors.TeamExists: (409, "TEAM_EXISTS"),
    errors.RepositoryExists: (409, "REPOSITORY_EXISTS"),
    errors.TagExists: (409, "TAG_EXISTS"),
    errors.ContentGone: (409, "CONTENT_GONE"),
    errors.ManifestInvalid: (409, "MANIFEST_INVALID"),
    errors.AccountInUse: (409, "ACCOUNT_NOT_EMPTY"),
    errors.LastAdmin: (409, "LAST_ADMIN"),
    errors.JobUnderWay: (409, "JOB_UNDER_WAY"),
    errors.JobEnded: (409, "JOB_ENDED"),
    errors.TooMany: (409, "TOO_MANY"),
    errors.VersionMismatch: (412, "PRECONDITION_FAILED"),
    errors.MediaTypeInvalid: (415, "UNSUPPORTED_MEDIA_TYPE"),
    errors.RequestInvalid: (400, "INVALID_JSON"),
    errors.ParameterInvalid: (400, "INVALID_PARAMETER"),
    errors.PaginationInvalid: (400, "INVALID_PAGE"),
    errors.JobParametersInvalid: (400, "INVALID_JOB_PARAMETERS"),
    errors.ScheduleInvalid: (400, "INVALID_SCHEDULE"),
    errors.NameInvalid: (400, "INVALID_REPOSITORY_NAME"),
    errors.AccountNameInvalid: (400, "INVALID_ACCOUNT_NAME"),
    errors.NameReserved: (400, "RESERVED_NAME"),
    errors.TagInvalid: (400, "INVALID_REFERENCE"),
    errors.DigestInvalid: (400, "INVALID_REFERENCE"),
    errors.Busy: (429, "TOO_MANY_REQUESTS"),
    errors.Unproven: (429, "TOO_MANY_REQUESTS"),
    errors.TooManyAttempts: (429, "TOO_MANY_REQUESTS"),
}


def refusal(error: RegistryError) -> Response:
    """The answer to a refused request. A kind that the table lacks is an error of the program: KeyError."""
    status, code = CODES[type(error)]
    entry = {"code": code, "message": str(error), "detail": dict(error.detail)}
    return Response(
        status,
        {"Content-Type": "application/json", **_headers(error, status)},
        json.dumps({"errors": [entry]}).encode(),
    )


def _headers(error: RegistryError, status: int) -> dict[str, str]:
    if status == 401:
        return {"WWW-Authenticate": 'Basic realm="slipway"'}
    if isinstance(error, errors.Unsupported):
        return {"Allow": ", ".join(error.allowed)}
    if isinstance(error, errors.Busy | errors.Unproven | errors.TooManyAttempts):
        return {"Retry-After": str(error.retry_after)}
    return {}
