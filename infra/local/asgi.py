"""The server's own routing: which lane a request takes. Everything else is the application's to judge.

/_relay/...            404: only the server itself may send these to the application
/_blobs/<key>?...      a signed link: bytes from the BlobStore
large or chunked       PATCH, PUT or POST of an upload: the relay
the rest               one event with the whole body, up to what the gateway lets through
"""

from __future__ import annotations

import asyncio
import logging
import posixpath
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, NamedTuple

from infra.local.answers import refused, write, write_and_close
from infra.local.body import Body, BodyTooLarge, ClientGone, Receive, Send
from infra.local.downloads import PREFIX, Downloads, LinkedBlobs
from infra.local.events import Answer, Application, Context, Head, answer_of, event_of
from infra.local.heads import HeadInvalid, HeadTooLarge, Sources, head_of
from infra.local.relay import Refusal, Relay, takes

log = logging.getLogger("slipway.requests")

INLINE_BODY = 4_718_592
"""What the application takes in one event: 4.5 MiB, near the 6 MB of Lambda with its base64."""

_CONTEXT = Context()


class Pools(NamedTuple):
    """Threads for the application's calls, and others for bytes: a long proof must not stop a download."""

    calls: Executor
    blocks: Executor


class Gateway:
    """The ASGI application."""

    def __init__(self, app: Application, blobs: LinkedBlobs, pools: Pools, sources: Sources, refusal: Refusal) -> None:
        self._app = app
        self._pools = pools
        self._sources = sources
        self._downloads = Downloads(blobs, pools.blocks)
        self._relay = Relay(self._call_in_pool, self._call, blobs, pools.blocks, refusal)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            head, length = head_of(scope, self._sources)
        except (HeadTooLarge, HeadInvalid) as error:
            status = 431 if isinstance(error, HeadTooLarge) else 400
            return await write_and_close(refused(status, "UNSUPPORTED", str(error)), Body(receive, None), send)
        if length == 0 and reads_only(head):
            # On the loop itself: a few table reads take less than handing them to a thread and back.
            return await write(self._call(head, b""), send)
        body = Body(receive, length)
        if head.path.startswith(PREFIX):
            return await self._serve_link(scope, head, body, send)
        with suppress(ClientGone):
            if answer := await self._answer(scope, head, body):
                await (write(answer, send) if body.complete else write_and_close(answer, body, send))
        return None

    async def _answer(self, scope: dict[str, Any], head: Head, body: Body) -> Answer | None:
        if is_internal(scope["path"]):
            return refused(404, "UNSUPPORTED", "there is nothing here")
        if takes(head, body.length):
            return await self._relay.upload(head, body)
        try:
            content = await body.whole(INLINE_BODY)
        except BodyTooLarge:
            return refused(413, "SIZE_INVALID", f"the request's body is larger than the {INLINE_BODY} bytes allowed here")
        return await self._call_in_pool(head, content)

    async def _serve_link(self, scope: dict[str, Any], head: Head, body: Body, send: Send) -> None:
        if not body.complete:
            return await write_and_close(refused(400, "UNSUPPORTED", "a link takes no body"), body, send)
        return await self._downloads.serve(head, send, scope["state"]["connection"])

    async def _call_in_pool(self, head: Head, body: bytes) -> Answer:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pools.calls, self._call, head, body)

    def _call(self, head: Head, body: bytes) -> Answer:
        """The application's answer. Its failures are its own: the client learns no more than that there was one."""
        try:
            return answer_of(self._app(event_of(head, body), _CONTEXT), head.method)
        except Exception:
            log.exception("%s %s failed", head.method, head.path)
            return refused(500, "UNKNOWN", "the registry failed to answer; its log says why")


def reads_only(head: Head) -> bool:
    """Whether the application answers from a few table reads: pulls. Anything that may write or wait goes to a thread, and so
    does HEAD of a blob, which takes a condemned one back into use when a pusher asks."""
    if head.method == "GET":
        return head.path == "/v2/" or (
            head.path.startswith("/v2/") and ("/manifests/" in head.path or "/blobs/sha" in head.path)
        )
    return head.method == "HEAD" and head.path.startswith("/v2/") and "/manifests/" in head.path


def is_internal(path: str) -> bool:
    """Whether a decoded path leads to what only the server may call, however it is spelt."""
    return "_relay" in path and posixpath.normpath("/" + path.lstrip("/")).split("/")[1] == "_relay"
