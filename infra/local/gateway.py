"""An HTTP API of API Gateway with a Lambda function behind it: their limits, and what they do to headers.

    api = HttpApi(app, MAPPINGS)
    answer = api.call(head, body)  # the function's, or the gateway's own refusal

Before a function in this process (`make run`) and before an emulated one (``infra.local.edge_front``), neither of which would
refuse what AWS refuses. What AWS does not document is taken as the worst report has it, and marked so here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from infra.local.events import Answer, Application, Context, Event, Head, Headers, answer_of, event_1_of, event_of

log = logging.getLogger("slipway.server")

REQUEST = 10 * 1024 * 1024
"""Bytes of a body that the gateway takes, known or found on the way."""

PAYLOAD = 6_291_456
"""Bytes of the JSON that a function is given, and of what it answers; for answers 100 more were measured, and are not used."""

HEAD = 10_240
"""Bytes of the request line and the headers together. Documented is "header values"; here names and separators count too."""

SECONDS = 30.0
"""How long the gateway waits for a function, which goes on after it."""

BODY = 4_700_000
"""Bytes of a body that fit into PAYLOAD as base64, beside a head of any length. A little more might, and so would text: what
reads bodies before there is an event refuses them all the same."""

_HARMLESS = 1 << 20
"""Bytes that fit into PAYLOAD however they are written in JSON: six for one at worst."""

_REST = (
    "authorization", "connection", "content-length", "content-md5", "date", "host", "server", "user-agent", "www-authenticate",
)  # fmt: skip
_REMAPPED: Mapping[str, Mapping[bytes, bytes]] = {
    "1.0": {name.encode(): b"x-amzn-remapped-" + name.encode() for name in _REST},
    # Not documented for HTTP APIs: reports disagree, and this is the worst.
    "2.0": {b"www-authenticate": b"x-amzn-remapped-www-authenticate"},
}


class Mapped(NamedTuple):
    """One response parameter: what happens to which header, and the header that the value comes from ("" for none)."""

    action: str
    header: bytes
    source: bytes


Mappings = Mapping[int, tuple[Mapped, ...]]

MAPPINGS: Mappings = {401: (Mapped("overwrite", b"www-authenticate", b"x-slipway-www-authenticate"),)}
"""What the template gives its HTTP API (infra/stack/http_api.py, which a server need not load; a test compares)."""


def _told(status: int, message: str) -> Answer:
    body = json.dumps({"message": message}, separators=(",", ":")).encode()
    return Answer(status, [(b"content-type", b"application/json")], body, len(body))


TOO_LARGE = _told(413, "Request Entity Too Large")
"""The gateway's own, and here also for what only Lambda refuses: documented for a REST API (413 "Request Too Long")."""

HEAD_TOO_LARGE = _told(431, "Request Header Fields Too Large")
"""The status is not documented; 400 and 413 have been seen as well."""

FAILED = _told(500, "Internal Server Error")
"""The function failed, or answered what is no answer, or too much. A REST API says 502."""

TIMED_OUT = _told(503, "Service Unavailable")
"""The function did not answer within SECONDS. A REST API says 504."""


def parsed(parameters: Mapping[str, Any]) -> Mappings:
    """Response parameters as a template has them, by status. Raises ValueError for what is used nowhere here."""
    return {int(status): tuple(map(_mapped, told["ResponseParameters"])) for status, told in parameters.items()}


def _mapped(told: Mapping[str, str]) -> Mapped:
    action, _, header = told["Destination"].partition(":header.")
    source = told.get("Source", "")
    known = source.startswith("$response.header.") if action in {"append", "overwrite"} else action == "remove"
    if not header or not known:
        raise ValueError(f"response parameter {told}")
    return Mapped(action, header.lower().encode(), source.removeprefix("$response.header.").lower().encode())


class HttpApi:
    """The gateway's side of a function in this process. ``payload`` "1.0" is a REST API in its stead. Threads may share it."""

    def __init__(self, app: Application, parameters: Mappings | None = None, *, payload: str = "2.0") -> None:
        self._app = app
        self._parameters = parameters or {}
        self._payload = payload

    def call(self, head: Head, body: bytes = b"", context: object = None) -> Answer:
        """The answer to a request. Nothing is raised: of a failure the client learns no more than that there was one."""
        if len(body) > REQUEST:
            return TOO_LARGE
        event = event_of(head, body) if self._payload == "2.0" else event_1_of(head, body)
        if len(body) > _HARMLESS and size_of(event) > PAYLOAD:
            return TOO_LARGE
        try:
            result = self._app(event, context or Context(SECONDS))
            answer = answer_of(result, head.method, several=self._payload == "1.0")
        except Exception:
            log.exception("%s %s failed", head.method, head.path)
            return FAILED
        if answer.length and answer.length > _HARMLESS and result_size(result) > PAYLOAD:
            log.error("%s %s: the answer is larger than a function's may be", head.method, head.path)
            return FAILED
        context_of: Any = event["requestContext"]
        return finished(answer, self._parameters, context_of["requestId"].encode(), self._payload)


def finished(answer: Answer, parameters: Mappings, request_id: bytes, payload: str = "2.0") -> Answer:
    """A function's answer as the gateway sends it on."""
    if payload == "2.0" and answer.status < 400:
        # What is renamed there belongs to refusals, and this is every pull.
        answer.headers.append((b"apigw-requestid", request_id))
        return answer
    remapped = _REMAPPED[payload]
    headers = [(remapped.get(name, name), value) for name, value in answer.headers]
    if answer.status in parameters:
        headers = with_parameters(headers, answer.headers, parameters[answer.status])
    headers.append((b"apigw-requestid" if payload == "2.0" else b"x-amzn-requestid", request_id))
    return Answer(answer.status, headers, answer.body, answer.length)


def with_parameters(headers: Headers, given: Headers, parameters: Iterable[Mapped]) -> Headers:
    """``headers`` with parameters whose values come from ``given``. What comes from a header that is not there is taken for
    nothing at all, the header it should overwrite gone: not documented."""
    for action, header, source in parameters:
        if action != "append":
            headers = [line for line in headers if line[0] != header]
        headers.extend((header, value) for name, value in given if name == source)
    return headers


def size_of(event: Event) -> int:
    """Bytes of an event in JSON. What is base64 is written as it is."""
    body = event.get("body")
    if event["isBase64Encoded"] and isinstance(body, str):
        return len(_json({**event, "body": ""})) + len(body)
    return len(_json(event))


def result_size(result: Mapping[str, object]) -> int:
    """Bytes of a function's result in JSON; a body of bytes (``Context.takes_bytes``) counts as its base64."""
    body = result.get("body")
    if isinstance(body, bytes):
        return len(_json({**result, "body": ""})) + (len(body) + 2) // 3 * 4
    return len(_json(result))


_json = json.JSONEncoder(separators=(",", ":")).encode
