"""API Gateway's events, payload formats 1.0 (REST API) and 2.0 (HTTP API), to and from plain requests and responses."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from chalicelib.wire.http import Request, Response


class EventInvalid(Exception):
    """An event whose body is not what it says."""


def request_of(event: Mapping[str, Any]) -> Request:
    """The request in an event. Raises EventInvalid."""
    return _from_2(event) if event.get("version") == "2.0" else _from_1(event)


def _from_2(event: Mapping[str, Any]) -> Request:
    context = event["requestContext"]
    raw_path = event["rawPath"]
    query = event.get("rawQueryString") or ""
    return Request(
        method=context["http"]["method"],
        path=unquote(raw_path) if "%" in raw_path else raw_path,
        query=_query(query) if query else {},
        headers=event.get("headers") or {},
        body=_body(event),
        source=context["http"].get("sourceIp", ""),
        request_id=context.get("requestId", ""),
        raw_path=raw_path,
    )


def _from_1(event: Mapping[str, Any]) -> Request:
    context = event["requestContext"]
    path = event["path"]
    headers = event.get("multiValueHeaders") or {}
    query = event.get("multiValueQueryStringParameters") or {}
    return Request(
        method=event["httpMethod"],
        path=unquote(path),
        query={name: tuple(values) for name, values in query.items()},
        headers={name.lower(): ", ".join(values) for name, values in headers.items()},
        body=_body(event),
        source=context.get("identity", {}).get("sourceIp", ""),
        request_id=context.get("requestId", ""),
        raw_path=path,
    )


def _query(raw: str) -> dict[str, tuple[str, ...]]:
    query: dict[str, tuple[str, ...]] = {}
    for name, value in parse_qsl(raw, keep_blank_values=True):
        query[name] = (*query.get(name, ()), value)
    return query


def _body(event: Mapping[str, Any]) -> bytes:
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return str(body).encode()
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise EventInvalid("the body is not base64") from None


def event_response(response: Response, *, as_bytes: bool = False) -> dict[str, Any]:
    """What a function answers. The body goes as base64, so that no byte of a manifest is ever touched; ``as_bytes`` is for a
    caller in the same process, who needs no JSON."""
    if as_bytes:
        return {
            "statusCode": response.status,
            "headers": dict(response.headers),
            "body": response.body,
            "isBase64Encoded": False,
        }
    return {
        "statusCode": response.status,
        "headers": dict(response.headers),
        "body": base64.b64encode(response.body).decode() if response.body else "",
        "isBase64Encoded": bool(response.body),
    }
