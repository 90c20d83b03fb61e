"""Each refusal's status and code, once (distribution specification, error codes; distribution's own where it has none)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from chalicelib.registry import errors
from chalicelib.registry.errors import RegistryError
from chalicelib.wire.http import Response

_CODES: Mapping[type[RegistryError], tuple[int, str]] = {
    errors.NameInvalid: (400, "NAME_INVALID"),
    errors.TagInvalid: (400, "TAG_INVALID"),
    errors.DigestInvalid: (400, "DIGEST_INVALID"),
    errors.DigestMismatch: (400, "DIGEST_INVALID"),
    errors.NameUnknown: (404, "NAME_UNKNOWN"),
    errors.BlobUnknown: (404, "BLOB_UNKNOWN"),
    errors.BlobReferenced: (405, "UNSUPPORTED"),
    errors.ManifestUnknown: (404, "MANIFEST_UNKNOWN"),
    errors.ManifestReferenced: (405, "UNSUPPORTED"),
    errors.ManifestInvalid: (400, "MANIFEST_INVALID"),
    errors.ManifestTooLarge: (413, "MANIFEST_INVALID"),
    errors.ManifestBlobUnknown: (404, "MANIFEST_BLOB_UNKNOWN"),
    errors.UploadUnknown: (404, "BLOB_UPLOAD_UNKNOWN"),
    errors.UploadInvalid: (400, "BLOB_UPLOAD_INVALID"),
    errors.RangeInvalid: (416, "BLOB_UPLOAD_INVALID"),
    errors.SizeInvalid: (400, "SIZE_INVALID"),
    errors.PaginationInvalid: (400, "PAGINATION_NUMBER_INVALID"),
    errors.TooManyTags: (414, "TAG_INVALID"),
    errors.ContentTooLarge: (413, "SIZE_INVALID"),
    errors.Unauthenticated: (401, "UNAUTHORIZED"),
    errors.Denied: (403, "DENIED"),
    errors.VersionMismatch: (412, "DENIED"),
    errors.Unsupported: (405, "UNSUPPORTED"),
    errors.EndpointUnknown: (404, "UNSUPPORTED"),
    errors.Busy: (429, "TOOMANYREQUESTS"),
    errors.Unproven: (429, "TOOMANYREQUESTS"),
    errors.OutOfSpace: (507, "UNAVAILABLE"),
}


def refusal(error: RegistryError, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a refused request. A kind that the table lacks is an error of the program: KeyError."""
    status, code = _CODES[type(error)]
    if isinstance(error, errors.ManifestBlobUnknown):
        entries = [_entry(code, str(error), {"digest": digest}) for digest in error.digests]
    else:
        entries = [_entry(code, str(error), dict(error.detail))]
    return _response(status, entries, {**_headers(error), **(headers or {})})


def failure(request_id: str) -> Response:
    """The answer when the program itself failed; what happened is in the log under the request's id."""
    entry = _entry("UNKNOWN", "the registry failed to answer; try again", {"requestId": request_id})
    return _response(500, [entry], {})


def _entry(code: str, message: str, detail: Mapping[str, object]) -> dict[str, object]:
    return {"code": code, "message": message, "detail": detail}


def _headers(error: RegistryError) -> dict[str, str]:
    if isinstance(error, errors.RangeInvalid):
        return {"Range": f"0-{max(0, error.size - 1)}"}
    if isinstance(error, errors.Busy | errors.Unproven):
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, errors.Unsupported) and error.allowed:
        return {"Allow": ", ".join(error.allowed)}
    return {}


def _response(status: int, entries: list[dict[str, object]], headers: Mapping[str, str]) -> Response:
    body = json.dumps({"errors": entries}).encode()
    return Response(status, {"Content-Type": "application/json", **headers}, body)
