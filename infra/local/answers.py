"""Writing answers: framing, refusals of the server's own, and leaving a connection so that the client sees the answer."""

from __future__ import annotations

import json

from infra.local.body import Body, Send
from infra.local.events import Answer

DRAIN_BYTES = 64 * 1024 * 1024
DRAIN_SECONDS = 5.0


def refused(status: int, code: str, message: str) -> Answer:
    """A refusal in the form of the distribution specification."""
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": {}}]}, separators=(",", ":")).encode()
    return Answer(status, [(b"content-type", b"application/json")], body, len(body))


async def write(answer: Answer, send: Send) -> None:
    """The whole answer; the connection stays usable. On HEAD uvicorn leaves the body out."""
    headers = answer.headers
    if answer.length is not None:
        headers = [*headers, (b"content-length", b"%d" % answer.length)]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def write_and_close(answer: Answer, body: Body, send: Send) -> None:
    """The answer to a request whose body was not read to its end; then the connection closes.

    Closing at once would reset the connection under the bytes still arriving, and a client that is busy sending would see
    the reset instead of the answer. So the answer goes out whole and what arrives is dropped, up to a bound.
    """
    headers = [*answer.headers, (b"connection", b"close")]
    if answer.length is not None:
        headers.append((b"content-length", b"%d" % answer.length))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    await body.discard(DRAIN_BYTES, DRAIN_SECONDS)
    await send({"type": "http.response.body", "body": b""})
