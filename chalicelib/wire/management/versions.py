"""Versions of resources: ETag out, If-Match in (RFC 9110, sections 8.8.3 and 13.1.1)."""

from __future__ import annotations

import re

from chalicelib.registry.errors import ParameterInvalid, VersionMismatch
from chalicelib.wire.http import Request

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_VERSION = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_NO_VERSION = -1
"""What no resource has: a tag that was never given to anybody."""


def etag(version: int) -> str:
    return f'"{version}"'


def asked_version(request: Request, *, is_versioned: bool) -> int | None:
    """The version that the resource must have, None for any. Raises ParameterInvalid for what is no single entity tag;
    VersionMismatch for a tag where resources have none."""
    if "if-match" not in request.headers:
        return None
    given = request.header("if-match").strip()
    if given == "*":
        return None
    tag = _TAG.fullmatch(given)
    if tag is None:
        raise ParameterInvalid('If-Match takes one entity tag, such as "3", or *', parameter="If-Match")
    if not is_versioned:
        raise VersionMismatch
    # If-Match compares strongly: a weak tag matches nothing.
    return int(tag[2]) if not tag[1] and _VERSION.fullmatch(tag[2]) else _NO_VERSION
