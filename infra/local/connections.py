"""One client's connection: uvicorn's, made to last only as long as the client keeps its side of the bargain.

What uvicorn leaves open and a server on the open network cannot: a head that never ends, or never comes; a body that stalls;
a reader that stops reading; a pipeline without end; and the answer to a request that was fine before the bytes behind it were
not.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 15.0
BODY_SECONDS = 60.0
READ_SECONDS = 300.0
MAX_HEAD_PART = 65_536
"""Bytes of an unfinished head at most; a finished one is measured by ``heads``."""
MAX_PIPELINE = 100

_NO_CONTENT = b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
BAD_REQUEST = b"HTTP/1.1 400 Bad Request" + _NO_CONTENT
HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large" + _NO_CONTENT
REQUEST_TIMEOUT = b"HTTP/1.1 408 Request Timeout" + _NO_CONTENT


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

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the methods below."""
        if self._deaf:
            return
        self._last_data = self.loop.time()
        self._unset_keepalive_if_required()
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
        if len(self.pipeline) > MAX_PIPELINE:
            self._refuse(BAD_REQUEST)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_since = self._last_data
        self._head_size = 0
        state: dict[str, Any] = self.scope["state"]
        state["connection"] = self

    def on_headers_complete(self) -> None:
        self._head_since = None
        super().on_headers_complete()

    async def drained(self) -> None:
        """Return when little waits to be taken by the client, or it is gone."""
        if self.flow.write_paused:
            await self.flow.drain()

    def gone(self) -> bool:
        """Whether the connection is closed, by either side."""
        return self.transport.is_closing()

    def sweep(self, now: float) -> None:
        """Close the connection if the client has let a deadline pass."""
        if self.transport.is_closing():
            return
        if self._head_since is not None and now - self._head_since > HEAD_SECONDS and self._idle():
            # A connection that never spoke hears nothing: a client would take it for the answer to its next request.
            self._refuse(REQUEST_TIMEOUT if self._head_size else b"")
        elif self.flow.read_paused:
            self._last_data = now  # it is we who do not read
        elif self._awaiting_body() and now - self._last_data > BODY_SECONDS:
            self.transport.abort()
        self._sweep_writing(now)

    def _sweep_writing(self, now: float) -> None:
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
