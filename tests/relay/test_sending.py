"""PUTs over TLS by blocking sockets, where what can be read may be TLS's own and a peer may answer too early or never."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from infra.relay.sending import FAILURES, Attempt, Connections, Told
from tests.relay.running import content
from tests.relay.sink import Sink
from tests.relay.throughput import certificate

CONTENT = memoryview(content(20_000_000))


class Server:
    """Serves connections with ``answer``, each in a thread of its own."""

    def __init__(self, folder: Path, answer: Callable[[socket.socket], None]) -> None:
        authority, key = certificate(folder)
        self.trust = ssl.create_default_context(cafile=str(authority))
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(authority, key)
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}/b/k?partNumber=1"
        self.connections = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Accept no more. An accept that went on might get the connections of whatever listens by this number next."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                raw, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve_one, args=(raw,), daemon=True).start()

    def _serve_one(self, raw: socket.socket) -> None:
        with suppress(OSError), self._tls.wrap_socket(raw, server_side=True) as connection:
            self._answer(connection)


@contextmanager
def serving(folder: Path, answer: Callable[[socket.socket], None]) -> Iterator[Server]:
    """A server while the block lasts."""
    server = Server(folder, answer)
    try:
        yield server
    finally:
        server.close()


def test_a_connection_is_used_again(tmp_path: Path) -> None:
    with serving(tmp_path, Sink("").serve) as server:
        connections = Connections(5, server.trust)
        for _ in range(3):
            assert connections.put(server.url, CONTENT, {"Content-MD5": "x"}, Attempt()) == Told(200, '"1"')
        connections.close()
        assert server.connections == 1


def test_an_answer_that_comes_too_early_is_heard(tmp_path: Path) -> None:
    released = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        released.wait(20)  # and reads nothing more

    with serving(tmp_path, answer) as server:
        assert Connections(20, server.trust).put(server.url, CONTENT, {}, Attempt()).status == 403
        released.set()


@pytest.mark.parametrize("reads", [0, 1])
def test_a_stall_is_a_timeout(tmp_path: Path, reads: int) -> None:
    released = threading.Event()

    def answer(connection: socket.socket) -> None:
        while reads and connection.recv(1_000_000):
            pass
        released.wait(20)

    with serving(tmp_path, answer) as server:
        with pytest.raises(TimeoutError):
            Connections(0.2, server.trust).put(server.url, CONTENT, {}, Attempt())
        released.set()


def test_an_attempt_is_cut_short(tmp_path: Path) -> None:
    begun, released = threading.Event(), threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.recv(65_536)
        begun.set()
        released.wait(20)

    with serving(tmp_path, answer) as server, ThreadPoolExecutor(1) as pool:
        attempt = Attempt()
        putting = pool.submit(Connections(60, server.trust).put, server.url, CONTENT, {}, attempt)
        assert begun.wait(20)
        attempt.cut()
        assert isinstance(putting.exception(10), FAILURES)
        released.set()


def test_who_is_not_trusted_gets_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, Sink("").serve) as server, pytest.raises(ssl.SSLCertVerificationError):
        Connections(5).put(server.url, CONTENT, {}, Attempt())
