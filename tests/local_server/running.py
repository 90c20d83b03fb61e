"""A server on a free port within this process, and a client that sees every byte."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self, cast

from infra.local.asgi import Gateway, Pools
from infra.local.connections import Connection
from infra.local.edge import Edge, store_of
from infra.local.heads import Sources
from infra.local.logins import LOGIN_THREADS
from infra.local.server import configuration
from infra.local.settings import Network, ServerSettings
from infra.serving import Server, bind
from tests.edge.speaking import KEYS, REALM, SERVICE, bearer
from tests.local_server.fakes import FakeApp, MemoryBlobs, refusal

SECONDS = 20.0
_NAME = re.compile(r"/v2/(.+?)/(?:manifests|blobs|tags|referrers)/")


def local_edge() -> Edge:
    """The edge as the one-machine server has it: no storage, a relay."""
    return Edge(store_of(REALM, SERVICE, KEYS, direct=False, relay=True))


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        told: dict[str, object] = json.loads(self.body)
        return told


class Wire:
    """One connection; whatever is sent goes out as it is."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), SECONDS)
        self.reader = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.close()
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def ask(self, method: str, target: str, *lines: str, body: bytes = b"") -> Reply:
        """Send a request and read its answer. A body gets its Content-Length unless the lines frame it otherwise, and what is
        the registry's a token for it unless the lines bring one."""
        head = [f"{method} {target} HTTP/1.1", "Host: registry.test", *lines]
        if target.startswith("/v2/") and not any(line.startswith("Authorization") for line in lines):
            head.append(f"Authorization: {bearer(*_NAME.findall(target))}")
        if body and not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in lines):
            head.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*head, "", ""]).encode("latin-1"), body)
        return self.reply(method)

    def reply(self, method: str = "GET") -> Reply:
        """The next answer; interim ones are skipped."""
        status = 100
        while status == 100:
            line = self.reader.readline()
            assert line.startswith(b"HTTP/1.1 "), f"no answer but {line!r}"
            status, headers = int(line.split()[1]), self._headers()
        return Reply(status, headers, self._body(method, status, headers))

    def ended(self) -> bool:
        """Whether the server closes the connection, cleanly or not, with nothing more said."""
        try:
            return self.reader.read(1) == b""
        except ConnectionResetError:
            return True

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        while (line := self.reader.readline().rstrip(b"\r\n")) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = f"{headers[name.lower()]}|{value.strip()}" if name.lower() in headers else value.strip()
        return headers

    def _body(self, method: str, status: int, headers: dict[str, str]) -> bytes:
        assert "transfer-encoding" not in headers, "answers have a known length"
        if method == "HEAD" or status in {204, 304}:
            return b""
        length = int(headers["content-length"])
        body = self.reader.read(length)
        assert len(body) == length, "the answer is cut off"
        return body


@dataclass
class Local:
    """A running server and the fakes behind it."""

    port: int
    app: FakeApp
    blobs: MemoryBlobs
    server: Server
    thread: threading.Thread
    pools: Pools

    def stop(self) -> None:
        """Let the server stop by itself, what is in flight released."""
        self.app.release.set()
        self.blobs.gate.set()
        self.server.should_exit = True

    def join(self) -> None:
        """Wait until it has."""
        self.thread.join(SECONDS)
        for pool in self.pools:
            pool.shutdown()
        assert not self.thread.is_alive(), "the server did not stop"

    def wire(self) -> Wire:
        return Wire(self.port)

    def after(self, seconds: float) -> None:
        """Let the connections believe that so much time has passed."""
        done = threading.Event()
        connections = [cast("Connection", connection) for connection in self.server.server_state.connections]

        def sweep() -> None:
            for connection in connections:
                connection.sweep(connection.loop.time() + seconds)
            done.set()

        if not connections:
            return
        connections[0].loop.call_soon_threadsafe(sweep)
        assert done.wait(SECONDS)

    def ask(self, method: str, target: str, *lines: str, body: bytes = b"") -> Reply:
        """One request on a connection of its own."""
        with self.wire() as wire:
            return wire.ask(method, target, *lines, body=body)


def start(trusted: tuple[Network, ...] = (), certificate: Path | None = None, key: Path | None = None) -> Local:
    """A server, answering."""
    listener = bind("127.0.0.1", 0, "HOST", "PORT=...")
    port: int = listener.getsockname()[1]
    settings = ServerSettings("127.0.0.1", port, Path(), f"http://127.0.0.1:{port}", certificate, key)
    blobs = MemoryBlobs()
    app = FakeApp(blobs)
    pools = Pools(ThreadPoolExecutor(32), ThreadPoolExecutor(8), ThreadPoolExecutor(LOGIN_THREADS))
    ready = threading.Event()
    gateway = Gateway(app, blobs, pools, Sources(trusted), refusal, edge=local_edge(), may_send=app.may_send)
    server = Server(configuration(gateway, settings), ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    assert ready.wait(SECONDS)
    return Local(port, app, blobs, server, thread, pools)


@contextmanager
def running(trusted: tuple[Network, ...] = (), certificate: Path | None = None, key: Path | None = None) -> Iterator[Local]:
    """A server until the block is left."""
    local = start(trusted, certificate, key)
    try:
        yield local
    finally:
        local.stop()
        local.join()
