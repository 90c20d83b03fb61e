"""One client's connection: uvicorn's, made to last only as long as the client keeps its side of the bargain.

What uvicorn leaves open and a server on the open network cannot: a head that never ends, or never comes; a body that stalls,
or comes a byte at a time; trailers, which are nobody's here; a reader that stops reading; a pipeline without end; and the
answer to a request that was fine before the bytes behind it were not.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 15.0
BODY_SECONDS = 60.0
READ_SECONDS = 60.0
"""How long a client may take none of what waits for it."""
MAX_HEAD_PART = 65_536
"""Bytes of an unfinished head at most; a finished one is measured by ``heads``."""
MAX_BODY_PART = 65_536
"""Bytes within one body that are none of its content at most: trailers, and extensions of chunks."""
CHUNK_FRAME = 24
"""What frames one chunk at most: sixteen digits of its size and three line breaks, that of an extension included."""
MAX_PIPELINE = 10
"""Requests that wait behind one that is being answered. Clients of registries send none."""

_NO_CONTENT = b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
BAD_REQUEST = b"HTTP/1.1 400 Bad Request" + _NO_CONTENT
HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large" + _NO_CONTENT
REQUEST_TIMEOUT = b"HTTP/1.1 408 Request Timeout" + _NO_CONTENT


class _PipelineFull(Exception):
    """Raised within the parser, which parses no further."""


class Connection(HttpToolsProtocol):
    """A connection with deadlines. ``sweep`` is called every second or so; nothing is scheduled per request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        now = self.loop.time()
        self._head_since: float | None = now
        self._head_size = 0
        self._last_data = now
        self._last_written = now
        self._unwritten = 0
        self._deaf = False
        self._in_head = False
        self._body_until: float | None = None
        self._content = 0
        self._chunks = 0
        self._beside = 0

    def connection_lost(self, exc: Exception | None) -> None:
        """What waits behind the request in hand is nobody's any more."""
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the methods below."""
        if self._deaf:
            return
        self._last_data = self.loop.time()
        self._unset_keepalive_if_required()
        self._content = self._chunks = 0
        within = self.cycle if self._awaiting_body() else None
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Answered like any request; what follows in the other protocol is nobody's.
            self._deaf = True
            self.cycle.keep_alive = False
            return
        except httptools.HttpParserError:
            self._refuse(BAD_REQUEST)
            return
        if self._head_since is None:
            if self._idle():
                self._head_since = self._last_data  # line breaks between requests: bytes, but no head yet
        elif (size := self._head_size + len(data)) > MAX_HEAD_PART:
            self._refuse(HEAD_TOO_LARGE)
        else:
            self._head_size = size
        if within is not None and within is self.cycle and within.more_body:
            self._count_beside(len(data))

    def _count_beside(self, received: int) -> None:
        """All of what was ``received`` lay within one body: add up what is neither content nor the plain frame of a chunk. The
        parser keeps a trailer until its end, and puts it together piece by piece."""
        self._beside = max(0, self._beside + received - self._content - CHUNK_FRAME * self._chunks)
        if self._beside > MAX_BODY_PART:
            self._refuse(BAD_REQUEST)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_since = self._last_data
        self._head_size = 0
        self._in_head = True
        self._body_until = None
        self._beside = 0
        state: dict[str, Any] = self.scope["state"]
        state["connection"] = self

    def on_header(self, name: bytes, value: bytes) -> None:
        """Of the head. The parser tells of trailers, too: nothing that comes behind a body speaks for its request."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_since = None
        self._in_head = False
        if len(self.pipeline) >= MAX_PIPELINE:
            raise _PipelineFull
        self.scope["headers"] = list(self.headers)
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """Another chunk begins."""
        self._chunks += 1

    def on_body(self, body: bytes) -> None:
        self._content += len(body)
        super().on_body(body)

    def allow_body(self, seconds: float) -> None:
        """The body that is being read has to be here within ``seconds``, however steadily it comes."""
        self._body_until = self.loop.time() + seconds

    def hold(self) -> None:
        """Read no more from the client until its request's body is asked for."""
        self.flow.pause_reading()

    async def drained(self) -> None:
        """Return when little waits to be taken by the client, or it is gone."""
        if self.flow.write_paused:
            await self.flow.drain()

    def gone(self) -> bool:
        """Whether the connection is closed, by either side."""
        return self.transport.is_closing()

    def sweep(self, now: float) -> None:
        """Close the connection if the client has let a deadline pass."""
        self._sweep_writing(now)
        if self.transport.is_closing():
            return
        if self._head_since is not None and now - self._head_since > HEAD_SECONDS and self._idle():
            # A connection that never spoke hears nothing: a client would take it for the answer to its next request.
            self._refuse(REQUEST_TIMEOUT if self._head_size else b"")
        elif self.flow.read_paused:
            self._last_data = now  # it is we who do not read
        elif self._awaiting_body():
            if now - self._last_data > BODY_SECONDS:
                self.transport.abort()
            elif self._body_until is not None and now > self._body_until:
                self._refuse(REQUEST_TIMEOUT)

    def _sweep_writing(self, now: float) -> None:
        """Closing a connection waits for what is unread, too."""
        unwritten = self.transport.get_write_buffer_size()
        if unwritten == 0 or unwritten != self._unwritten:
            self._unwritten = unwritten
            self._last_written = now
        elif now - self._last_written > READ_SECONDS:
            self.transport.abort()

    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _awaiting_body(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete and self.cycle.more_body

    def _refuse(self, answer: bytes) -> None:
        """No more is read here. A request that came whole before the fault still gets its answer; the faulty one ``answer``."""
        self._deaf = True
        if self.pipeline:
            self.transport.close()
        elif self._idle():
            self.transport.write(answer)
            self.transport.close()
        elif self.cycle.more_body:
            # The fault is within the body: its reader sees a client gone.
            if not self.cycle.response_started:
                self.transport.write(answer)
            self.transport.close()
        else:
            self.cycle.keep_alive = False
