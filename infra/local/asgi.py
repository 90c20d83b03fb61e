"""What stands around the application: the edge, then the origin that the edge chose.

/_relay/...            404: only the server itself may send these to the application
/_blobs/<key>?...      a signed link: bytes from the BlobStore
the edge's own answer  a challenge, or the refusal of an upload
relay                  an upload's large or unannounced body, staged in the store
the rest               one event with the whole body, through all that API Gateway and Lambda would refuse
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from infra.local.answers import refused, write, write_and_close
from infra.local.body import Body, ClientGone, Receive, Send
from infra.local.distribution import TTLS, URL, KeptErrors, refusal_of
from infra.local.downloads import PREFIX, Downloads, LinkedBlobs
from infra.local.edge import RELAY, Edge, Passed
from infra.local.events import Answer, Application, Context, Head
from infra.local.gateway import HEAD_TOO_LARGE, MAPPINGS, SECONDS, TIMED_OUT, HttpApi
from infra.local.heads import HeadInvalid, HeadTooLarge, Sources, head_of
from infra.local.inline import Inline, MaySend, Sender, anybody
from infra.local.logins import Logins, proves_account
from infra.local.pulls import Pulls
from infra.local.relay import Refusal, Relay, StagingBlobs
from infra.serving import is_internal

log = logging.getLogger("slipway.server")

UNHURRIED = 900.0
"""Seconds for what the relay asks: on AWS it asks again and again, where here it waits for one call that takes long."""


class Pools(NamedTuple):
    """Threads for the application's calls, others for bytes, and a few for passwords: a long proof must not stop a download,
    nor a storm of logins a push."""

    calls: Executor
    blocks: Executor
    logins: Executor


class ServerBlobs(LinkedBlobs, StagingBlobs, Protocol):
    """What the server asks of the store beside it."""


class Gateway:
    """The ASGI application."""

    def __init__(
        self,
        app: Application,
        blobs: ServerBlobs,
        pools: Pools,
        sources: Sources,
        refusal: Refusal,
        *,
        edge: Edge,
        may_send: MaySend = anybody,
        ttls: Mapping[int, float] = TTLS,
        seconds: float = SECONDS,
    ) -> None:
        self._api = HttpApi(app, MAPPINGS)
        self._seconds = seconds
        self._edge = edge
        self._errors = KeptErrors(ttls)
        self._pools = pools
        self._sources = sources
        self._downloads = Downloads(blobs, pools.blocks)
        self._inline = Inline(self._call_in_pool, may_send)
        self._logins = Logins(pools.logins)
        self._pulls = Pulls()
        self._relay = Relay(self._call_unhurried, self._call, blobs, pools.blocks, refusal)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            head, length = head_of(scope, self._sources)
        except (HeadTooLarge, HeadInvalid) as error:
            told = HEAD_TOO_LARGE if isinstance(error, HeadTooLarge) else refused(400, "UNSUPPORTED", str(error))
            return await write_and_close(told, Body(receive, None), send)
        if is_internal(scope["path"]):
            return await _write(refused(404, "UNSUPPORTED", "there is nothing here"), Body(receive, length), send)
        passed = self._passed(head, length)
        if isinstance(passed, Answer):
            return await _write(passed, Body(receive, length), send)
        head = passed.head
        if length == 0 and self._pulls.takes(head):
            # On the loop itself: a few table reads take less than handing them to a thread and back.
            return await write(self._call(head, b""), send)
        body = Body(receive, length)
        if head.path.startswith(PREFIX):
            return await self._serve_link(scope, head, body, send)
        with suppress(ClientGone):
            if answer := await self._answer(head, body, passed.origin, scope["state"]["connection"]):
                await _write(self._edge.response(head, answer), body, send)
        return None

    def _passed(self, head: Head, length: int | None) -> Passed | Answer:
        """What CloudFront makes of a request: its own answer, or where it goes."""
        if length != 0 or len(head.path) + len(head.query) >= URL:
            told = refusal_of(head, has_body=length != 0)
            if told is not None:
                return told
        passed = self._edge.request(head)
        if isinstance(passed, Answer):
            return passed
        return self._errors.get(passed.head) or passed

    async def _answer(self, head: Head, body: Body, origin: str, sender: Sender) -> Answer | None:
        if origin != RELAY:
            return await self._inline.answer(head, body, sender)
        return await (self._call_unhurried(head, b"") if body.complete else self._relay.upload(head, body))

    async def _serve_link(self, scope: dict[str, Any], head: Head, body: Body, send: Send) -> None:
        if not body.complete:
            return await write_and_close(refused(400, "UNSUPPORTED", "a link takes no body"), body, send)
        return await self._downloads.serve(head, send, scope["state"]["connection"])

    async def _call_in_pool(self, head: Head, body: bytes) -> Answer:
        """The application's answer, if it comes in the time that the gateway gives it. What it is doing it does to its end."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._seconds):
                if proves_account(head, body):
                    return await self._logins.call(self._call, head, body)
                return await loop.run_in_executor(self._pools.calls, self._call, head, body)
        except TimeoutError:
            log.warning("%s %s takes longer than %g seconds", head.method, head.path, self._seconds)
            return TIMED_OUT

    async def _call_unhurried(self, head: Head, body: bytes) -> Answer:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pools.calls, self._call, head, body, UNHURRIED)

    def _call(self, head: Head, body: bytes, seconds: float = SECONDS) -> Answer:
        answer = self._api.call(head, body, Context(seconds))
        self._pulls.learn(head, answer)
        if answer.status >= 400:
            self._errors.keep(head, answer)
        return answer


async def _write(answer: Answer, body: Body, send: Send) -> None:
    await (write(answer, send) if body.complete else write_and_close(answer, body, send))
