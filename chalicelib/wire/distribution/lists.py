"""Lists: end-8 tags, end-12 referrers, and the catalog, each in bounded pages with a Link to the next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from chalicelib.registry.errors import PaginationInvalid
from chalicelib.registry.manifests import OCI_INDEX
from chalicelib.registry.names import MAX_NAME, Digest
from chalicelib.wire.distribution.call import Call
from chalicelib.wire.http import Request, Response

MAX_PAGE = 1_000
"""Entries of one answer at most, and without ``n``; whoever asks for more follows the Link."""

_MAX_TAG, _MAX_DIGEST = 128, len("sha512:") + 128
"""Characters of an entry at most."""


def list_tags(call: Call) -> Response:
    """GET: the tags in ASCII order, ``n`` of them beyond ``last``."""
    length = _page_length(call.request)
    tags = call.registry.images.tags(call.name, _last(call.request, _MAX_TAG), length + 1)
    page = [str(tag) for tag in tags]
    return _page(call.request, "tags", page, length, {"name": str(call.name)})


def list_catalog(call: Call) -> Response:
    """GET: the names of all repositories in order."""
    length = _page_length(call.request)
    names = [str(name) for name in call.registry.repositories.page(_last(call.request, MAX_NAME), length + 1)]
    return _page(call.request, "repositories", names, length, {})


def list_referrers(call: Call) -> Response:
    """GET: an image index of the manifests whose subject is this digest; never 404."""
    subject = Digest.parse(call.reference)
    artifact_type = call.request.first("artifactType")
    page = call.registry.referrers.page(call.name, subject, artifact_type, _last(call.request, _MAX_DIGEST))
    headers = {"Content-Type": OCI_INDEX}
    if artifact_type:
        headers["OCI-Filters-Applied"] = "artifactType"
    if page.next_after:
        headers["Link"] = _link(call.request.path, {"artifactType": artifact_type, "last": page.next_after})
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(page.descriptors)}
    return Response(200, headers, json.dumps(body).encode())


def _last(request: Request, longest: int) -> str:
    """Where the page before ended. One character more than any entry has tells the order as well as all of them, and makes no
    key that is too long for the table."""
    return request.first("last")[: longest + 1]


def _page_length(request: Request) -> int:
    if "n" not in request.query:
        return MAX_PAGE
    text = request.first("n")
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise PaginationInvalid
    return min(int(text), MAX_PAGE)


def _page(request: Request, field: str, entries: Sequence[str], length: int, body: dict[str, object]) -> Response:
    """A page of ``entries``, which hold one more than fits if there is more."""
    headers = {"Content-Type": "application/json"}
    page = list(entries[:length])
    if page and len(entries) > length:
        headers["Link"] = _link(request.path, {"n": str(length), "last": page[-1]})
    return Response(200, headers, json.dumps({**body, field: page}).encode())


def _link(path: str, query: dict[str, str]) -> str:
    parameters = urlencode({name: value for name, value in query.items() if value})
    return f'<{quote(path, safe="/:")}?{parameters}>; rel="next"'
