"""The relay as an ASGI application: everything goes to the registry as it is, but for large bodies of uploads.

/_relay/health          200 while the relay serves, 503 once it is told to stop; all else below /_relay is 404, not for clients
PATCH, PUT of an upload, and POST with a digest: a body of more than 4 MiB becomes a multipart upload (``uploads``)
the final PUT           repeated while the registry answers 429, that is, while it proves the bytes
the rest                passed on, its answer streamed back; bodies of more than 4 MiB are refused
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, cast

import aiohttp

from infra.local.answers import refused, write, write_and_close
from infra.local.body import Body, ClientGone, Message, Receive, Send
from infra.local.events import Answer
from infra.relay.begun import Api
from infra.relay.buffers import Buffers
from infra.relay.piece import Held, Means
from infra.relay.requests import PRODUCT, Request, RequestInvalid, request_of
from infra.relay.settings import Pace, RelaySettings
from infra.relay.storage import Storage
from infra.relay.uploads import Sender, Uploads
from infra.relay.upstream import Unreachable, Upstream, client_session
from infra.serving import is_internal

log = logging.getLogger("slipway.relay")

HEALTH = "/_relay/health"
HASHING_THREADS = 4
_SECONDS_PER_MEBIBYTE = 10.0
_CLOSING_SECONDS = 3.0


class RelayApplication:
    """One relay. It is made before the loop runs; the connections outwards are made by the first request."""

    def __init__(self, settings: RelaySettings, pace: Pace | None = None) -> None:
        self._settings = settings
        self._pace = pace or Pace()
        self._name = f"{PRODUCT}-{secrets.token_hex(8)}"
        self._buffers = Buffers(settings.parts, self._pace.part)
        self._hashing = ThreadPoolExecutor(HASHING_THREADS, "hash")
        self._storage = Storage(settings, self._pace)
        self._session: aiohttp.ClientSession | None = None
        self._answering: set[asyncio.Task[None]] = set()
        self._upstream: Upstream
        self._uploads: Uploads
        self._stopping = False

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        task: asyncio.Task[None] = cast("asyncio.Task[None]", asyncio.current_task())
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)
        self._connect()
        sender: Sender = scope["state"]["connection"]
        started = False

        async def tell(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        body = Body(receive, None)
        try:
            request = request_of(scope, self._name)
            body = Body(receive, request.length)
            await self._serve(request, scope["path"], body, sender, tell)
        except RequestInvalid as error:
            await write_and_close(refused(400, "UNSUPPORTED", str(error)), body, tell)
        except ClientGone:
            sender.cut()
        except Unreachable as error:
            log.warning("%s: %s", scope["method"], error.kind)
            await _fail(refused(502, "UNAVAILABLE", "the registry could not be reached"), body, sender, tell, started=started)
        except Exception as error:  # noqa: BLE001 - the server would log it with its text, which may hold addresses
            places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
            log.error("%s failed: %s at %s", scope["method"], type(error).__name__, ", ".join(places))  # noqa: TRY400
            await _fail(refused(500, "UNKNOWN", "the relay failed; its log says why"), body, sender, tell, started=started)

    def stop(self) -> None:
        """Cut off uploads whose bytes are still arriving; what came of them is kept."""
        self._uploads.cut_off() if self._session is not None else None

    def announce_stop(self) -> None:
        """Say to whoever asks that no more requests are wanted."""
        self._stopping = True

    async def close(self) -> None:
        """Close the connections outwards."""
        if self._answering:
            await asyncio.wait(self._answering, timeout=_CLOSING_SECONDS)  # cancelled by now; what they hold is still in use
        if self._session is not None:
            await self._session.close()
        self._storage.close()
        self._hashing.shutdown(wait=False, cancel_futures=True)

    def _connect(self) -> None:
        if self._session is not None:
            return
        self._session = client_session()
        settings, pace = self._settings, self._pace
        self._upstream = Upstream(settings.upstream, self._session, pace)
        means = Means(self._storage, self._buffers, self._hashing, settings.concurrency)
        self._uploads = Uploads(Api(self._upstream, pace, settings.key), self._upstream, means, pace)

    async def _serve(self, request: Request, path: str, body: Body, sender: Sender, send: Send) -> None:
        if path == HEALTH:
            answer = Answer(503 if self._stopping else 200, [(b"content-type", b"text/plain")], b"", 0)
            return await _write(answer, body, send)
        if is_internal(path):
            return await _write(refused(404, "UNSUPPORTED", "there is nothing here"), body, send)
        held = Held(self._buffers)
        try:
            if await self._is_small(request, held, body, sender):
                content = held.rest if held.buffer is None else memoryview(held.buffer)[: held.filled]
                return await self._pass_on(request, content, body, sender, send)
            answer_or_none = await self._large(request, held, body, sender)
        finally:
            held.release()
        if answer_or_none is not None:
            await _write(answer_or_none, body, send)
        else:
            sender.cut()
        return None

    async def _is_small(self, request: Request, held: Held, body: Body, sender: Sender) -> bool:
        """Read the whole body if it is a small one; if it turns out not to be, some of it. Raises ClientGone."""
        length, pace = request.length, self._pace
        if length == 0:
            return True
        if length is not None and length > pace.inline:
            return False
        if length is not None and length <= pace.unbuffered:
            sender.allow_body(pace.body)
            held.rest = await body.whole(length)
            return True
        if not self._buffers.available:
            sender.hold()
        held.buffer = await self._buffers.take()
        if length is not None or not _is_lane(request):
            sender.allow_body(pace.body + _SECONDS_PER_MEBIBYTE * pace.inline / (1 << 20))
            return await _read_up_to(pace.inline, held, body)
        # Who dawdles with an unannounced body is asked for its token, by the way that large ones go: it may be one.
        with suppress(TimeoutError):
            async with asyncio.timeout(pace.prefix):
                return await _read_up_to(pace.inline, held, body)
        return False

    async def _large(self, request: Request, held: Held, body: Body, sender: Sender) -> Answer | None:
        if _is_lane(request):
            return await self._uploads.take(request, held, body, sender)
        told = f"the request's body is larger than the {self._pace.inline} bytes allowed here"
        return refused(413, "SIZE_INVALID", told)

    async def _pass_on(self, request: Request, content: bytes | memoryview, body: Body, sender: Sender, send: Send) -> None:
        if request.method == "PUT" and request.upload:
            upstream = self._upstream
            answer = await self._uploads.settled(lambda: upstream.answer("PUT", request.target, request.headers, content), body)
            return await _write(answer, body, send)
        async with self._upstream.response(request.method, request.target, request.headers, content) as response:
            headers = self._upstream.headers(response)
            length = response.headers.get("Content-Length")
            if length is not None and response.status not in {204, 304}:
                headers.append((b"content-length", length.encode("latin-1")))
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            async for part in response.content.iter_any():
                if sender.gone():
                    return None
                await send({"type": "http.response.body", "body": part, "more_body": True})
        return await send({"type": "http.response.body", "body": b""})


def _is_lane(request: Request) -> bool:
    """Whether a large body is an upload's."""
    if request.method == "POST":
        return request.uploads and bool(request.digest)
    return request.method in {"PATCH", "PUT"} and request.upload


async def _read_up_to(limit: int, held: Held, body: Body) -> bool:
    """Whether the body ended within ``limit`` bytes. Raises ClientGone."""
    while not body.complete and held.size <= limit:
        held.add(await body.pull())
    return body.complete and held.size <= limit and not held.rest


async def _write(answer: Answer, body: Body, send: Send) -> None:
    await (write(answer, send) if body.complete else write_and_close(answer, body, send))


async def _fail(answer: Answer, body: Body, sender: Sender, send: Send, *, started: bool) -> None:
    """A refusal; of an answer that has begun, the connection's end is what tells that it is not whole."""
    if started:
        sender.cut()
    else:
        await _write(answer, body, send)
