"""PUT requests by blocking sockets, for threads: a part goes from its buffer through TLS into the kernel, and no copy of it is
made on the way. A connection is kept for the next part for a little while.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import NamedTuple
from urllib.parse import urlsplit

_CONNECT = 10.0
_KEEP_ALIVE = 4.0
"""Seconds an idle connection is kept: less than servers do, so that no request meets one that is just being closed."""
_SLICE = 1024 * 1024
_MAX_ANSWER = 65_536

FAILURES = (OSError, HTTPException, ValueError)
"""What a PUT that got no answer raises."""


class Told(NamedTuple):
    """What a server answered: its ETag is "" if there is none."""

    status: int
    etag: str


class Cut(OSError):
    """The request was given up by who made it."""


class Attempt:
    """One PUT, which another thread may cut short."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cut = False

    def cut(self) -> None:
        """Let it fail at once, or as soon as it is connected."""
        with self._lock:
            self._cut = True
            if self._socket is not None:
                # Not closed: its number might be another's by the time its thread looks. Nor by TLS's own method, which
                # would change what that thread works with.
                with suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def on(self, connection: socket.socket | None) -> None:
        """It goes by this connection; None once it is over. Raises Cut."""
        with self._lock:
            self._socket = connection
            if self._cut and connection is not None:
                raise Cut


class Idle(NamedTuple):
    """A connection to an origin, and when it was used last."""

    origin: str
    connection: HTTPConnection
    since: float


class Connections:
    """To whatever servers the URLs name. Proxies and passwords of the environment are not used, no redirect is followed."""

    def __init__(self, stall: float, tls: ssl.SSLContext | None = None) -> None:
        """``stall``: seconds that a request may stand still. ``tls``: whom to trust, if not the system's authorities."""
        self._stall = stall
        self._lock = threading.Lock()
        self._idle: list[Idle] = []
        self._given_tls = tls

    def put(self, url: str, content: memoryview, headers: Mapping[str, str], attempt: Attempt) -> Told:
        """The answer; an early one, too, that comes while there is still something to send. Raises FAILURES."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("no address of a server")
        origin = f"{parts.scheme}://{parts.netloc}"
        connection = self._taken(origin) or self._opened(parts.scheme, parts.netloc)
        try:
            attempt.on(connection.sock)
            told, again = _exchanged(connection, url.removeprefix(origin) or "/", content, headers, self._stall)
            attempt.on(None)
        except BaseException:
            attempt.on(None)
            connection.close()
            raise
        if again:
            self._keep(Idle(origin, connection, time.monotonic()))
        else:
            connection.close()
        return told

    def close(self) -> None:
        """Close those that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for each in idle:
            each.connection.close()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made when it is needed: to read the system's authorities takes a tenth of a second."""
        return self._given_tls or ssl.create_default_context()

    def _opened(self, scheme: str, netloc: str) -> HTTPConnection:
        made = HTTPConnection(netloc, timeout=_CONNECT) if scheme == "http" else None
        connection = made or HTTPSConnection(netloc, timeout=_CONNECT, context=self._tls)
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection

    def _taken(self, origin: str) -> HTTPConnection | None:
        """The one used last, as it is the likeliest to be alive."""
        oldest = time.monotonic() - _KEEP_ALIVE
        with self._lock:
            late = [each for each in self._idle if each.since < oldest]
            young = [each for each in self._idle if each.since >= oldest]
            found = next((each for each in reversed(young) if each.origin == origin), None)
            self._idle = [each for each in young if each is not found]
        for each in late:
            each.connection.close()
        return found.connection if found else None

    def _keep(self, idle: Idle) -> None:
        with self._lock:
            self._idle.append(idle)


def _exchanged(
    connection: HTTPConnection, target: str, content: memoryview, headers: Mapping[str, str], stall: float
) -> tuple[Told, bool]:
    """The answer, and whether the connection is fit for another request."""
    raw = connection.sock
    raw.settimeout(stall)
    connection.putrequest("PUT", target, skip_accept_encoding=True)
    for name, value in (*headers.items(), ("Content-Length", str(len(content)))):
        connection.putheader(name, value)
    connection.endheaders()
    early = _sent(raw, content, stall)
    if early:
        return Told(int(early[9:12]), ""), False
    raw.settimeout(stall)
    response = connection.getresponse()
    told = Told(response.status, response.headers.get("ETag", ""))
    rest = response.read(_MAX_ANSWER)
    return told, len(rest) < _MAX_ANSWER and response.isclosed() and not response.will_close


def _sent(raw: socket.socket, content: memoryview, stall: float) -> bytes:
    """b"" once all is sent; the beginning of an answer that came before."""
    raw.setblocking(False)
    waiting = select.poll()
    waiting.register(raw, select.POLLIN | select.POLLOUT)
    sent = 0
    while sent < len(content):
        try:
            sent += raw.send(content[sent : sent + _SLICE])
        except (BlockingIOError, ssl.SSLWantWriteError):
            found = waiting.poll(stall * 1000)
            if not found:
                raise TimeoutError from None
            if found[0][1] & select.POLLIN and (early := _read(raw)):
                return early
    return b""


def _read(raw: socket.socket) -> bytes:
    """What has come, b"" if that is nothing but what TLS itself says."""
    try:
        came = raw.recv(_MAX_ANSWER)
    except (BlockingIOError, ssl.SSLWantReadError):
        return b""
    if not came:
        raise ConnectionResetError
    return came
