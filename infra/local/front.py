"""A small HTTP/1.1 server for fronts, on loopback: each request's body is read as it comes, each answer written as it comes.

    def handle(exchange: Exchange) -> None:
        exchange.pass_on(send(exchange, "http://127.0.0.1:9000", exchange.head))

    with serving(handle) as url: ...

A connection has a thread; bodies lie in memory a block at a time. What came in chunks goes on in chunks.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, ClassVar, Protocol
from urllib.parse import urlsplit

from infra.local.events import CONNECTION, Answer, Head, Headers

BLOCK = 1 << 18
SECONDS = 150.0
_LINE = 65_536


class ClientGone(ConnectionError):
    """The client left before its body was complete."""


class NoAnswer(Exception):
    """The origin cannot be reached, hung up, or took too long (``late``)."""

    def __init__(self, message: str, *, late: bool = False) -> None:
        super().__init__(message)
        self.late = late


class Source(Protocol):
    """A body to send: ``length`` None if it is not known."""

    length: int | None

    def read(self) -> bytes:
        """The next bytes, b"" at the end."""


class Incoming:
    """A request's body. ``length`` is None for a chunked one; ``complete`` once all of it was read."""

    def __init__(self, stream: io.BufferedIOBase, length: int | None) -> None:
        self._stream = stream
        self._left = length or 0
        self.length = length
        self.complete = length == 0

    def read(self) -> bytes:
        """The next bytes, b"" at the end. Raises ClientGone."""
        if self.complete:
            return b""
        try:
            return self._known() if self.length is not None else self._chunk()
        except (OSError, ValueError) as error:
            raise ClientGone(str(error)) from error

    def whole(self, limit: int) -> bytes | None:
        """All of it, None if it is longer than ``limit``. Raises ClientGone."""
        if self.length is not None and self.length > limit:
            return None
        parts: list[bytes] = []
        size = 0
        while block := self.read():
            size += len(block)
            if size > limit:
                return None
            parts.append(block)
        return b"".join(parts)

    def _known(self) -> bytes:
        block = self._stream.read1(min(BLOCK, self._left))
        if not block:
            raise ClientGone("the body is cut off")
        self._left -= len(block)
        self.complete = self._left == 0
        return block

    def _chunk(self) -> bytes:
        if not self._left:
            self._left = int(self._stream.readline(_LINE).split(b";")[0], 16)
            if not self._left:
                while self._stream.readline(_LINE).strip():
                    pass  # trailers
                self.complete = True
                return b""
        block = self._stream.read1(min(BLOCK, self._left))
        if not block:
            raise ClientGone("a chunk is cut off")
        self._left -= len(block)
        if not self._left:
            self._stream.readline(_LINE)
        return block


class Stored:
    """A body that lies in memory or in a file, to be sent from its beginning."""

    def __init__(self, content: bytes | IO[bytes], length: int | None = None) -> None:
        self._file = io.BytesIO(content) if isinstance(content, bytes) else content
        self._file.seek(0)
        self.length: int | None = len(content) if isinstance(content, bytes) else length

    def read(self) -> bytes:
        return self._file.read(BLOCK)


class Exchange:
    """One request and its answer. ``head`` has what HTTP says of framing still in its headers; ``lines`` are the headers as
    they came."""

    def __init__(self, handler: _Handler) -> None:
        self._handler = handler
        self.lines = list(handler.headers.items())
        self.head = _head_of(handler)
        self.body = Incoming(handler.rfile, _length(handler))

    def answer(self, answer: Answer) -> None:
        """Answer by what is in memory."""
        length = len(answer.body) if answer.length is None else answer.length
        self._begin(answer.status, answer.headers, length)
        self._write([answer.body])

    def pass_on(self, response: http.client.HTTPResponse, change: Callable[[Answer], Answer] = lambda answer: answer) -> None:
        """Answer by what an origin answers, its head changed by ``change``."""
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.getheaders()]
        kept = [line for line in headers if line[0].decode("latin-1") not in CONNECTION and line[0] != b"content-length"]
        length = response.getheader("Content-Length")
        answer = change(Answer(response.status, kept, b"", None if length is None else int(length)))
        if answer.body:
            return self.answer(answer)
        self._begin(answer.status, answer.headers, answer.length)
        return self._write(iter(lambda: response.read1(BLOCK), b""), chunked=answer.length is None)

    def reset(self) -> None:
        """Break the connection off, as a crash does."""
        linger = struct.pack("ii", 1, 0)
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._handler.close_connection = True
        self._handler.connection.close()

    def _begin(self, status: int, headers: Headers, length: int | None) -> None:
        handler = self._handler
        handler.send_response_only(status)
        for name, value in headers:
            handler.send_header(name.decode("latin-1"), value.decode("latin-1"))
        if status not in {204, 304}:
            if length is not None:
                handler.send_header("content-length", str(length))
            elif handler.command != "HEAD":
                handler.send_header("transfer-encoding", "chunked")
        if not self.body.complete:
            handler.close_connection = True
            handler.send_header("connection", "close")
        handler.end_headers()

    def _write(self, blocks: Iterable[bytes], *, chunked: bool = False) -> None:
        if self._handler.command != "HEAD":
            out = self._handler.wfile
            for block in blocks:
                out.write(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
            if chunked:
                out.write(b"0\r\n\r\n")
        self._drain()

    def _drain(self) -> None:
        """Read on for a while what an answer came too early for: a client that is busy sending would see a reset instead."""
        if self.body.complete:
            return
        self._handler.connection.settimeout(5.0)
        with suppress(ClientGone):
            for _ in range(256):
                if not self.body.read():
                    break


@contextmanager
def serving(handle: Callable[[Exchange], None], port: int = 0) -> Iterator[str]:
    """The URL of a server on loopback until the block ends. ``handle`` is called from many threads."""

    class Handler(_Handler):
        pass

    Handler.handle_exchange = staticmethod(handle)
    server = _Server(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def sending(
    url: str, method: str, target: str, lines: Iterable[tuple[str, str]], body: Source, *, seconds: float = SECONDS
) -> Iterator[http.client.HTTPResponse]:
    """An origin's answer to a request, open within the block. ``target`` comes behind the path of ``url``; framing among the
    headers is left out and made anew. An origin that answers before it has the whole body is sent no more of it.
    Raises NoAnswer, and what reading the body raises, after which the origin sees the connection end."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
    try:
        try:
            connection.putrequest(method, (parts.path + target) or "/", skip_host=True, skip_accept_encoding=True)
            for name, value in lines:
                if name.lower() not in CONNECTION and name.lower() != "content-length":
                    connection.putheader(name, value)
            _frame(connection, method, body)
            connection.endheaders()
            _send_body(connection, body)
            response = connection.getresponse()
        except ClientGone:
            raise
        except TimeoutError as error:
            raise NoAnswer("the origin did not answer in time", late=True) from error
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(f"the origin failed: {error}") from error
        yield response
    finally:
        connection.close()


def _frame(connection: http.client.HTTPConnection, method: str, body: Source) -> None:
    if body.length is None:
        connection.putheader("Transfer-Encoding", "chunked")
    elif body.length or method in {"POST", "PUT", "PATCH"}:
        connection.putheader("Content-Length", str(body.length))
    connection.putheader("Connection", "close")


def _send_body(connection: http.client.HTTPConnection, body: Source) -> None:
    chunked = body.length is None
    try:
        while block := body.read():
            if select.select([connection.sock], [], [], 0)[0]:
                return  # it answers already
            connection.send(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
        if chunked:
            connection.send(b"0\r\n\r\n")
    except ClientGone:
        raise
    except (BrokenPipeError, ConnectionResetError):
        return  # perhaps it answered before it hung up


def _head_of(handler: _Handler) -> Head:
    target = handler.path if handler.path.startswith("/") else urlsplit(handler.path)._replace(scheme="", netloc="").geturl()
    path, _, query = target.partition("?")
    headers: dict[str, str] = {}
    repeated: dict[str, tuple[str, ...]] = {}
    cookies: tuple[str, ...] = ()
    for raw_name, value in handler.headers.items():
        name = raw_name.lower()
        if name == "cookie":
            cookies += tuple(cookie.strip() for cookie in value.split(";"))
        elif name in headers:
            repeated[name] = (*repeated.get(name, (headers[name],)), value)
            headers[name] = f"{headers[name]},{value}"
        else:
            headers[name] = value
    source = str(handler.client_address[0])
    return Head(handler.command, path, query, headers, cookies, source, handler.request_version, tuple(repeated.items()))


def _length(handler: _Handler) -> int | None:
    if handler.headers.get("Transfer-Encoding", "").lower() == "chunked":
        return None
    text = handler.headers.get("Content-Length") or "0"
    return int(text) if text.isascii() and text.isdigit() else 0


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is none of ours; all else is told."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rbufsize = BLOCK
    wbufsize = 0
    handle_exchange: ClassVar[Callable[[Exchange], None]]

    def exchange(self) -> None:
        self.connection.settimeout(SECONDS)
        type(self).handle_exchange(Exchange(self))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = exchange  # noqa: N815  # the server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Nothing: those behind log."""
