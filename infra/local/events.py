"""HTTP as API Gateway hands it to a function (HTTP API, payload format 2.0), and a function's result as HTTP.

The application cannot tell this server from the gateway: same names, same joins, same encodings. It runs once per request,
so nothing is formatted here that the application does not read.
"""

from __future__ import annotations

import itertools
import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeAlias
from urllib.parse import parse_qsl

Event: TypeAlias = "dict[str, object]"
Headers: TypeAlias = "list[tuple[bytes, bytes]]"


class Application(Protocol):
    """The function: the Chalice application, or a fake of it."""

    def __call__(self, event: Event, context: object, /) -> Mapping[str, object]:
        """The result of one event: statusCode, headers, multiValueHeaders, body, isBase64Encoded."""


class Context:
    """What a function may ask of its runtime."""

    aws_request_id = "local"
    function_name = "slipway"
    function_version = "$LATEST"
    invoked_function_arn = "local"
    memory_limit_in_mb = "0"
    takes_bytes = True
    """Ours: a response need not come as JSON."""

    def get_remaining_time_in_millis(self) -> int:
        """Nothing stops a function here; what a function has at most on AWS."""
        return 900_000


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
    """The payload 2.0 event of a request. ``rawPath`` stays percent-encoded, as it came."""
    now = time.time()
    method, path, query, headers, cookies, source, protocol, _ = head
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


def answer_of(result: Mapping[str, object], method: str) -> Answer:
    """The response that a function's result describes. Raises ValueError or TypeError when it describes none."""
    status = result["statusCode"]
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise ValueError(f"statusCode {status!r}")
    headers: Headers = []
    announced: int | None = None
    for name, value in _lines(result):
        if name == b"content-length":
            announced = int(value)
        elif name not in FRAMING:
            headers.append((name, value))
    body = _content(result)
    if status in {204, 304}:
        return Answer(status, headers)
    if method != "HEAD":
        return Answer(status, headers, body, len(body))
    if announced is None and body:
        announced = len(body)
    return Answer(status, headers, b"", announced)


FRAMING = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"trailer", b"te"})
"""Headers that belong to the connection: the server writes them, never the application."""

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


def _body(media_type: str, body: bytes) -> tuple[str, bool]:
    # The gateway passes these as text and everything else, forms and manifests included, in base64.
    if media_type.startswith(("application/json", "text/")):
        try:
            return body.decode("utf-8"), False
        except UnicodeDecodeError:
            pass
    return b64encode(body).decode("ascii"), True


def _content(result: Mapping[str, object]) -> bytes:
    body = result.get("body") or b""
    if isinstance(body, str):
        return b64decode(body) if result.get("isBase64Encoded") else body.encode("utf-8")
    if isinstance(body, bytes):
        return body
    raise TypeError(f"body is {type(body).__name__}")


def _lines(result: Mapping[str, object]) -> Headers:
    lines: Headers = []
    several = result.get("multiValueHeaders") or {}
    single = result.get("headers") or {}
    cookies = result.get("cookies") or ()
    if not isinstance(several, Mapping) or not isinstance(single, Mapping) or not isinstance(cookies, list | tuple):
        raise TypeError("headers are no mapping")
    for name, values in several.items():
        lines.extend((_name(name), str(value).encode("latin-1")) for value in values)
    repeated = {name for name, _ in lines}
    for name, value in single.items():
        lower = _name(name)
        if lower not in repeated:
            lines.append((lower, str(value).encode("latin-1")))
    lines.extend((b"set-cookie", str(cookie).encode("latin-1")) for cookie in cookies)
    for _, value in lines:
        if b"\n" in value or b"\r" in value or b"\0" in value:
            raise ValueError("a header value holds a line break")
    return lines


@lru_cache(maxsize=256)
def _name(name: str) -> bytes:
    return name.lower().encode("ascii")
