"""A relay that runs within the test's process, on a port of its own, and its clients."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from infra.relay.server import RelayServer, relay_server
from infra.relay.settings import Pace, RelaySettings
from infra.serving import bind
from tests.endurance.client import Answer
from tests.endurance.raw import RawConnection
from tests.endurance.server import Address
from tests.relay.fakes import KEY, TOKEN

UPLOAD = "/v2/team/app/blobs/uploads/u1"
TARGET = UPLOAD + "?_state=s"
INLINE = 65_536

PACE = Pace(inline=INLINE, part=1_000_000, unbuffered=1000, prefix=0.5, backoff=0.001, stall=2.0, settle_pause=0.01, finish=0.2)
"""Quick, and with small bodies large enough."""


def content(size: int, seed: int = 1) -> bytes:
    """Bytes that compress to nothing less."""
    return random.Random(seed).randbytes(size)


def digest_of(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


class Running:
    """A relay that answers."""

    def __init__(self, server: RelayServer, thread: threading.Thread, port: int) -> None:
        self.server = server
        self._thread = thread
        self.port = port

    def connect(self) -> RawConnection:
        return RawConnection(Address("127.0.0.1", self.port, "", ""))

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
        """The answer to one request; ``Content_Range`` and the like name headers."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with self.connect() as connection:
            connection.send_head(method, target, {"Authorization": TOKEN, "Content-Length": str(len(body)), **named})
            connection.send(body)
            return connection.answer()

    def stop(self) -> None:
        self.server.should_exit = True

    def join(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()


@contextmanager
def relay(
    upstream: str, pace: Pace = PACE, *, key: str = KEY, concurrency: int = 3, parts: int = 8, port: int = 0
) -> Iterator[Running]:
    """A relay in front of ``upstream``."""
    listener = bind("127.0.0.1", port, "HOST", "--port")
    ready = threading.Event()
    settings = RelaySettings(upstream, key, concurrency=concurrency, parts=parts)
    server = relay_server(settings, pace, ready.set)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    assert ready.wait(20)
    running = Running(server, thread, listener.getsockname()[1])
    try:
        yield running
    finally:
        running.stop()
        running.join()


def quicker(**changes: float) -> Pace:
    """The pace of the tests with some of it changed."""
    return replace(PACE, **changes)  # type: ignore[arg-type]
