"""A load generator for what wrk cannot do: requests over keep-alive connections, each response looked at.

wrk, like h2load, waits for the body that a response to HEAD announces and never has, and ab speaks HTTP/1.0. One thread
and one epoll do nothing but send the same bytes and find the end of a response, which takes some ten microseconds of a
processor; the bench reports how busy the generator was, so that it shows if it ever gets in the way.
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_END = b"\r\n\r\n"
_SECONDS_WITHOUT_AN_EVENT = 10.0


class LoadFailed(RuntimeError):
    """A response had another status, or a connection was closed or stood still."""


@dataclass(frozen=True, slots=True)
class Load:
    """What was counted: responses in ``seconds``, how long half of them and all but one in a hundred took at most, and
    the processor seconds of the generator."""

    requests: int
    seconds: float
    p50: float
    p99: float
    generator_cpu: float


@dataclass(frozen=True, slots=True)
class Target:
    """The one request that is sent over and over, and the status that must answer it."""

    host: str
    method: str
    path: str
    headers: Mapping[str, str]
    status: int

    def bytes(self) -> bytes:
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {self.host}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()


def load(target: Target, connections: int, seconds: float) -> Load:
    """As many requests as ``connections`` connections get answered. Raises LoadFailed."""
    run = _Run(target)
    try:
        return run.measured(connections, seconds)
    finally:
        run.close()


class _Run:
    def __init__(self, target: Target) -> None:
        self._request = target.bytes()
        self._status = f"HTTP/1.1 {target.status} ".encode()
        self._bodiless = target.method == "HEAD"
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._address = target.host.rpartition(":")

    def close(self) -> None:
        self._epoll.close()
        for each in self._sockets.values():
            each.close()

    def measured(self, connections: int, seconds: float) -> Load:
        for _ in range(connections):
            self._connect()
        cpu, start = time.process_time(), time.perf_counter()
        took = self._exchange(start, start + seconds)
        elapsed = time.perf_counter() - start
        took.sort()
        return Load(len(took), elapsed, took[len(took) // 2], took[len(took) * 99 // 100], time.process_time() - cpu)

    def _connect(self) -> None:
        host, _, port = self._address
        connection = socket.create_connection((host, int(port)), timeout=_SECONDS_WITHOUT_AN_EVENT)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets[connection.fileno()] = connection
        self._epoll.register(connection.fileno(), select.EPOLLIN)

    def _exchange(self, start: float, end: float) -> list[float]:
        """How long each response took. Every connection has exactly one request under way."""
        took: list[float] = []
        sent = dict.fromkeys(self._sockets, start)
        partial: dict[int, bytes] = {}
        for connection in self._sockets.values():
            connection.sendall(self._request)
        now = start
        while now < end:
            events = self._epoll.poll(_SECONDS_WITHOUT_AN_EVENT)
            if not events:
                raise LoadFailed(f"no response within {_SECONDS_WITHOUT_AN_EVENT:.0f} s")
            for number, _ in events:
                connection = self._sockets[number]
                received = partial.pop(number, b"") + connection.recv(65_536)
                if not self._is_whole(received):
                    partial[number] = received
                    continue
                now = time.perf_counter()
                took.append(now - sent[number])
                sent[number] = now
                connection.sendall(self._request)
        return took

    def _is_whole(self, received: bytes) -> bool:
        """Whether a response has come to its end. Raises LoadFailed for one that is not as expected."""
        if not received.startswith(self._status):
            raise LoadFailed(f"unexpected response: {received[:300]!r}")
        head = received.find(_END)
        if head < 0:
            return False
        if self._bodiless:
            return True
        found = _LENGTH.search(received, 0, head + 2)
        if found is None:
            raise LoadFailed(f"a response without a length: {received[:300]!r}")
        return len(received) >= head + len(_END) + int(found[1])
