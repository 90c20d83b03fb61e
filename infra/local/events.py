"""HTTP as API Gateway hands it to a function, and a function's result as HTTP: payload format 2.0 of the HTTP API, and 1.0 of a
REST API for callers who have one.

The application cannot tell this server from the gateway: same names, same joins, same encodings. It runs once per request,
so nothing is formatted here that the application does not read. What AWS does not document is taken as the worst report has it.
"""

from __future__ import annotations

import itertools
import re
import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeAlias
from urllib.parse import parse_qsl, unquote

Event: TypeAlias = "dict[str, object]"
Headers: TypeAlias = "list[tuple[bytes, bytes]]"


class Application(Protocol):
    """The function: the Chalice application, or a fake of it."""

    def __call__(self, event: Event, context: object, /) -> Mapping[str, object]:
        """The result of one event: statusCode, headers, multiValueHeaders, body, isBase64Encoded."""


class Context:
    """What a function may ask of its runtime. It has ``seconds`` from now."""

    __slots__ = ("_until",)

    aws_request_id = "local"
    function_name = "slipway"
    function_version = "$LATEST"
    invoked_function_arn = "local"
    memory_limit_in_mb = "0"
    takes_bytes = True
    """Ours: a response need not come as JSON."""

    def __init__(self, seconds: float = 900.0) -> None:
        self._until = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """Until nobody waits for its answer any more; nothing stops it here."""
        return max(0, int((self._until - time.monotonic()) * 1000))


class Head(NamedTuple):
    """A request without its body. ``path`` and ``query`` are as they came, ``headers`` have lower-case names, those that came
    more than once joined; ``repeated`` has these apart."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    cookies: tuple[str, ...] = ()
    source: str = ""
    protocol: str = "HTTP/1.1"
    repeated: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Answer(NamedTuple):
    """A response. ``headers`` have lower-case names and no framing; ``length`` is what HEAD announces, None for nothing."""

    status: int
    headers: Headers
    body: bytes = b""
    length: int | None = None


def event_of(head: Head, body: bytes = b"") -> Event:
    """The payload 2.0 event of a request."""
    now = time.time()
    method, path, query, headers, cookies, source, protocol, _ = head
    if "%" in path:
        path = raw_path(path)
    if not CONNECTION.isdisjoint(headers):
        headers = _passed(headers, len(body))
    event: Event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "local",
            "domainName": headers.get("host", ""),
            "http": {
                "method": method,
                "path": path,
                "protocol": protocol,
                "sourceIp": source,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": f"{_PROCESS}{next(_COUNTER):x}",
            "routeKey": "$default",
            "stage": "$default",
            "time": _log_time(int(now)),
            "timeEpoch": int(now * 1000),
        },
        "isBase64Encoded": False,
    }
    if query:
        event["queryStringParameters"] = _parameters(query)
    if cookies:
        event["cookies"] = list(cookies)
    if body:
        event["body"], event["isBase64Encoded"] = _body(headers.get("content-type", ""), body)
    return event


def event_1_of(head: Head, body: bytes = b"", stage: str = "prod") -> Event:
    """The payload 1.0 event of a request to a REST API whose binary media types are ``*/*``, as one in front of a registry
    must have them. The path stays percent-encoded, the stage not in it; header names keep what case the client gave them."""
    now = time.time()
    headers = {_spelt(name): [value] for name, value in _passed(head.headers, len(body)).items()}
    headers |= {_spelt(name): list(values) for name, values in head.repeated}
    if head.cookies:
        headers["Cookie"] = ["; ".join(head.cookies)]
    parameters: dict[str, list[str]] = {}
    for name, value in parse_qsl(head.query, keep_blank_values=True, errors="surrogateescape"):
        parameters.setdefault(name, []).append(value)
    return {
        "version": "1.0",
        "resource": "/{proxy+}",
        "path": head.path,
        "httpMethod": head.method,
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": {name: values[-1] for name, values in parameters.items()} or None,
        "multiValueQueryStringParameters": parameters or None,
        "pathParameters": {"proxy": head.path.lstrip("/")},
        "stageVariables": None,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "local",
            "httpMethod": head.method,
            "path": f"/{stage}{head.path}",
            "protocol": head.protocol,
            "identity": {"sourceIp": head.source, "userAgent": head.headers.get("user-agent", "")},
            "requestId": f"{_PROCESS}{next(_COUNTER):x}",
            "resourcePath": "/{proxy+}",
            "stage": stage,
            "requestTime": _log_time(int(now)),
            "requestTimeEpoch": int(now * 1000),
        },
        "body": b64encode(body).decode("ascii") if body else None,
        "isBase64Encoded": bool(body),
    }


def raw_path(path: str) -> str:
    """As the HTTP API gives it in ``rawPath``: decoded, but for ``%25``, and cut off at a "?" that comes of it. Measured by
    others, and documented nowhere; so a function decodes it once more and finds what was meant."""
    return "%25".join(unquote(part) for part in path.split("%25")).partition("?")[0]


def answer_of(result: Mapping[str, object], method: str, *, several: bool = False) -> Answer:
    """The response that a function's result describes; ``several``: multiValueHeaders count, which they do in payload 1.0
    only. HEAD gets the length of the body that is left out, and no other: nobody knows whether a gateway lets a
    Content-Length of the function's through. Raises ValueError or TypeError when it describes none."""
    status = result["statusCode"]
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise ValueError(f"statusCode {status!r}")
    lines = _lines(result, several=several)
    headers = [line for line in lines if line[0] not in FRAMING]
    body = _content(result)
    if status in {204, 304}:
        return Answer(status, headers)
    if method != "HEAD":
        return Answer(status, headers, body, len(body))
    return Answer(status, headers, b"", len(body))


CONNECTION = frozenset(
    {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "trailer", "te", "expect"}
)
"""Headers of a request that end at the gateway."""

FRAMING = frozenset({name.encode() for name in CONNECTION} | {b"content-length", b"date", b"server"})
"""Headers of an answer that the gateway writes, never the function."""

_TEXT = frozenset({"application/json", "application/xml", "application/javascript"})

_PROCESS = secrets.token_hex(6) + "-"
_COUNTER = itertools.count(1)


@lru_cache(maxsize=4)
def _log_time(second: int) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second))


def _parameters(query: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="surrogateescape"):
        parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
    return parameters


def _passed(headers: Mapping[str, str], size: int) -> dict[str, str]:
    """What of a request's headers reaches a function, and the length of what it gets."""
    passed = {name: value for name, value in headers.items() if name not in CONNECTION}
    if size:
        passed["content-length"] = str(size)
    return passed


def _body(media_type: str, body: bytes) -> tuple[str, bool]:
    """These come as text, other bytes than UTF-8 replaced; everything else, forms and manifests included, comes in base64."""
    media_type = media_type.partition(";")[0].strip().lower()
    if media_type in _TEXT or media_type.startswith("text/"):
        return body.decode("utf-8", "replace"), False
    return b64encode(body).decode("ascii"), True


def _content(result: Mapping[str, object]) -> bytes:
    body = result.get("body") or b""
    if isinstance(body, str):
        return b64decode(body, validate=True) if result.get("isBase64Encoded") else body.encode("utf-8")
    if isinstance(body, bytes):
        return body
    raise TypeError(f"body is {type(body).__name__}")


def _lines(result: Mapping[str, object], *, several: bool) -> Headers:
    lines: Headers = []
    single = result.get("headers") or {}
    cookies = result.get("cookies") or ()
    if not isinstance(single, Mapping) or not isinstance(cookies, list | tuple):
        raise TypeError("headers are no mapping")
    repeated: set[bytes] = set()
    if several:
        lines.extend(_several(result))
        repeated = {name for name, _ in lines}
    for name, value in single.items():
        if isinstance(value, list | tuple | dict):
            raise TypeError(f"{name} has no single value")
        lower = _name(name)
        if lower not in repeated:
            lines.append((lower, str(value).encode("latin-1")))
    lines.extend((b"set-cookie", str(cookie).encode("latin-1")) for cookie in cookies)
    for _, value in lines:
        if b"\n" in value or b"\r" in value or b"\0" in value:
            raise ValueError("a header value holds a line break")
    return lines


def _several(result: Mapping[str, object]) -> Headers:
    several = result.get("multiValueHeaders") or {}
    if not isinstance(several, Mapping):
        raise TypeError("headers are no mapping")
    return [(_name(name), str(value).encode("latin-1")) for name, values in several.items() for value in values]


@lru_cache(maxsize=256)
def _name(name: str) -> bytes:
    return name.lower().encode("ascii")


@lru_cache(maxsize=256)
def _spelt(name: str) -> str:
    return re.sub(r"[a-z]+", lambda word: word.group().capitalize(), name)
