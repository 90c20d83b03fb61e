"""Large bodies: each becomes one piece at S3, and the API's answer to its end is the client's.

A client that is cut off leaves what came of its body, ended without a digest, for it to resume; but of an upload that was begun
here, by a POST with a digest, nobody else knows, and nothing is left.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol
from urllib.parse import urlsplit

from infra.local.answers import refused
from infra.local.body import Body, ClientGone
from infra.local.events import Answer
from infra.relay.begun import Api, HandOver
from infra.relay.piece import Held, Means, Piece, PieceTooLarge
from infra.relay.requests import Request
from infra.relay.settings import Pace
from infra.relay.storage import StorageFailed
from infra.relay.upstream import Unreachable, Upstream, header

log = logging.getLogger("slipway.relay")

_MOST_PAUSE = 5.0


class Sender(Protocol):
    """The client at the other end of the connection."""

    def allow_body(self, seconds: float) -> None:
        """Give up on it if its body is not here within so many seconds."""

    def hold(self) -> None:
        """Read no more from it until its body is asked for."""

    def gone(self) -> bool:
        """Whether the connection is closed, by either side."""

    def cut(self) -> None:
        """Close the connection now."""


class Uploads:
    """One instance serves all of them."""

    def __init__(self, api: Api, upstream: Upstream, means: Means, pace: Pace) -> None:
        self._api = api
        self._upstream = upstream
        self._means = means
        self._pace = pace
        self._receiving: set[Sender] = set()

    def cut_off(self) -> None:
        """The relay stops: what is still arriving ends here, and what came of it is kept."""
        for sender in list(self._receiving):
            sender.cut()

    async def take(self, request: Request, held: Held, body: Body, sender: Sender) -> Answer | None:
        """The answer to a request with a large body, of which ``held`` has been read; perhaps with the rest unread (see
        ``body.complete``). None if the client left."""
        if request.method != "PATCH" and not request.digest:
            return refused(400, "DIGEST_INVALID", "the digest is missing or not valid")
        begun_here = request.method == "POST"
        try:
            if begun_here:
                request = await self._start(request)
            answer = await self._piece(request, held, body, sender, resumable=not begun_here)
        except HandOver as over:
            answer = over.answer
        except Unreachable as error:
            log.warning("%s %s: %s", request.method, request.path, error.kind)
            answer = refused(502, "UNAVAILABLE", "the registry could not be reached, or gave no answer that makes sense")
        if begun_here and request.method == "PUT" and (answer is None or not (answer.status < 300 or answer.status == 429)):
            await self._cancel(request)
        return answer

    async def _piece(self, request: Request, held: Held, body: Body, sender: Sender, *, resumable: bool) -> Answer | None:
        """The body as one piece. Raises HandOver, Unreachable."""
        started = time.monotonic()
        piece = Piece(await self._api.begin(request), self._means)
        try:
            answer = await self._receive(request, held, body, sender, piece)
        except ClientGone:
            await self._keep(request, piece, resumable=resumable)
            return None
        finally:
            await piece.drop()
        told = {"method": request.method, "path": request.path, "status": answer.status, "bytes": piece.size}
        log.info("%s", json.dumps({**told, "seconds": round(time.monotonic() - started, 3)}))
        return answer

    async def _start(self, request: Request) -> Request:
        """The PUT that a POST with a digest stands for, on an upload begun for it."""
        empty = request._replace(query=request.parameters("digest", others=True), length=0)
        lines = tuple(line for line in empty.headers if line[0] not in {"content-range", "content-type", "content-encoding"})
        answer = await self._upstream.answer("POST", empty.target, lines)
        if answer.status != 202:
            raise HandOver(answer)
        target = urlsplit(header(answer, b"location"))
        query = "&".join(part for part in (target.query, request.parameters("digest")) if part)
        put = request._replace(method="PUT", path=target.path, query=query)
        if target.scheme or target.netloc or not put.upload:
            raise Unreachable("LocationInvalid")
        return put

    async def _receive(self, request: Request, held: Held, body: Body, sender: Sender, piece: Piece) -> Answer:
        """Take the whole body and end the piece. Raises ClientGone, HandOver, Unreachable."""
        begun = piece.begun
        try:
            piece.announce(request.length or 0)
            await self._read(held, body, sender, piece)
            parts, sha256 = await piece.finish()
        except (StorageFailed, PieceTooLarge) as error:
            await piece.drop()
            await begun.abort()
            if isinstance(error, PieceTooLarge):
                told = f"one request may bring {begun.most} bytes at most; send the rest in another, with Content-Range"
                return refused(413, "SIZE_INVALID", told)
            log.warning("%s %s: S3 failed for good", request.method, request.path)
            return refused(503, "UNAVAILABLE", "the storage does not take the content; try again later")
        except (HandOver, Unreachable):
            await piece.drop()
            await begun.abort()
            raise
        if not parts:  # an unannounced body that was slow to come to nothing
            await begun.abort()
            return await self._upstream.answer(request.method, request.target, request.headers)
        if request.method == "PATCH":
            return await begun.end(parts, piece.size, sha256)
        return await self.settled(lambda: begun.end(parts, piece.size, sha256, request.digest), body)

    async def _read(self, held: Held, body: Body, sender: Sender, piece: Piece) -> None:
        self._receiving.add(sender)
        try:
            await piece.adopt(held)
            number = -1
            while not body.complete:
                if number != piece.number:
                    number = piece.number
                    sender.allow_body(self._pace.fill)
                await piece.add(await body.pull())
        finally:
            self._receiving.discard(sender)

    async def _keep(self, request: Request, piece: Piece, *, resumable: bool) -> None:
        """End a piece whose client left, with what came of it. Its client is not there to hear how that went."""
        begun = piece.begun
        try:
            parts, sha256 = await piece.finish() if resumable else ([], "")
            # A status tells one byte as it tells none, 0-0: whoever asks for it would begin anew and be refused.
            if not parts or begun.offset + piece.size == 1:
                await piece.drop()
                return await begun.abort()
            answer = await begun.end(parts, piece.size, sha256)
            log.warning("%s %s: the client left after %d bytes: %d", request.method, request.path, piece.size, answer.status)
        except (HandOver, StorageFailed, Unreachable):
            # The API takes up the parts that S3 has when the upload is asked for next.
            log.warning("%s %s: what came of a client that left could not be ended", request.method, request.path)
        return None

    async def _cancel(self, request: Request) -> None:
        """End an upload of which only this request knew. If that fails it ends as forgotten ones do."""
        try:
            await self._upstream.answer("DELETE", request.target, request.only("authorization", "user-agent"))
        except Unreachable as error:
            log.warning("DELETE %s: %s", request.path, error.kind)

    async def settled(self, ask: Callable[[], Awaitable[Answer]], body: Body) -> Answer:
        """The answer to the end of an upload: asked again while it is 429, which says that a proof is under way, and the client
        waits. Raises Unreachable."""
        until = time.monotonic() + self._pace.settle
        answer = await ask()
        gone = asyncio.ensure_future(_gone(body))
        try:
            while answer.status == 429:
                wait = self._pause(answer)
                if until - time.monotonic() <= wait:
                    break
                await asyncio.wait({gone}, timeout=wait)
                if gone.done():
                    break
                asking = asyncio.ensure_future(ask())
                await asyncio.wait({asking, gone}, timeout=until - time.monotonic(), return_when=asyncio.FIRST_COMPLETED)
                if not asking.done():
                    asking.cancel()
                    await asyncio.gather(asking, return_exceptions=True)
                    break
                answer = asking.result()
            return answer
        finally:
            gone.cancel()

    def _pause(self, answer: Answer) -> float:
        told = header(answer, b"retry-after")
        seconds = float(told) if told.isascii() and told.isdigit() else self._pace.settle_pause
        return seconds if seconds <= _MOST_PAUSE else self._pace.settle_pause


async def _gone(body: Body) -> None:
    """Returns when the client has left. Its body is complete: nothing else is to come."""
    with suppress(ClientGone):
        while True:
            await body.pull()
