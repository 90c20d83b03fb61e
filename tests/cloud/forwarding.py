"""A small HTTP forwarder: each request whole, to one upstream, under another path, past an observer.

Two of them stand in the tests: before the emulated HTTP API, which the emulator serves under a path of its own while docker's
clients want /v2/ at the root; and between the functions and the emulated services, to see which calls they make.
"""

from __future__ import annotations

import http.client
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import urlsplit

from tests.cloud.calls import Seen

SECONDS = 120.0
_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length", "expect"}

Observer = Callable[[Seen], None]


class Forwarder:
    """Where requests come in, and where they go: ``target`` is a URL whose path is put before each request's. It may be set
    later than the address is known."""

    def __init__(self, address: str, observe: Observer) -> None:
        self.url = address
        self.target = ""
        self.observe = observe

    def send(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> http.client.HTTPResponse:
        url = urlsplit(self.target)
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=SECONDS)
        connection.putrequest(method, url.path + path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if body or method in {"POST", "PUT", "PATCH"}:
            connection.putheader("Content-Length", str(len(body)))
        connection.putheader("Connection", "close")
        connection.endheaders(body)
        return connection.getresponse()


@contextmanager
def forwarding(observe: Observer = lambda _: None) -> Iterator[Forwarder]:
    """A forwarder on a free loopback port until the block ends."""

    class Handler(_Handler):
        pass

    server = _Server(("127.0.0.1", 0), Handler)
    forwarder = Forwarder(f"http://127.0.0.1:{server.server_port}", observe)
    Handler.forwarder = forwarder
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield forwarder
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is none of ours; all else is told."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    forwarder: ClassVar[Forwarder]

    def forward(self) -> None:
        body = self._body()
        headers = [(name, value) for name, value in self.headers.items() if name.lower() not in _HOP]
        answer = self.forwarder.send(self.command, self.path, headers, body)
        content = answer.read()
        self.forwarder.observe(Seen(self.command, self.path, dict(self.headers.items()), body, answer.status))
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.headers.items():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        length = answer.headers.get("Content-Length") if self.command == "HEAD" else str(len(content))
        if length is not None and answer.status not in {204, 304}:
            self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = forward  # noqa: N815  # the server's names

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return bytes(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Nothing: the emulator logs."""
