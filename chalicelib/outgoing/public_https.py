"""HTTPS to addresses that strangers have a say in, without becoming their way into our network.

The name is resolved once, every address that comes back has to be public, and the connection goes to one of exactly these
addresses: a name that resolves otherwise a moment later changes nothing. The certificate is checked by the name. Redirects are
failures, proxies of the environment are not used, and one deadline and one bound hold for the whole exchange, so that a server
that drips is given up like one that is silent.

    web = PublicHttps(allowed_hosts=frozenset({"gitlab.corp.example", "127.0.0.1:8443"}))
    web.fetch("https://token.actions.githubusercontent.com/.well-known/openid-configuration").body
"""

from __future__ import annotations

import io
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from chalicelib.outgoing.public_addresses import is_public_address, is_public_name
from chalicelib.registry.ports import WebAnswer, WebFailure

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SECONDS = 5.0
"""How long an exchange may take, from the name's resolution to the last byte."""

MAX_BODY = 256 * 1024
"""Bytes of an answer's body at most."""

_MAX_HEAD = 64 * 1024
"""Bytes of what comes besides the body at most: status lines, headers, the frames of chunks."""

_CONNECT_SECONDS = 2.0
"""How long one address may take to answer: another one of the name may be better."""

_MAX_ADDRESSES = 4
_DEFAULT_PORTS = {"https": 443, "http": 80}
_AUTHORITY = re.compile(r"(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_TARGET = re.compile(r"/[!-~]*", re.ASCII)
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]+", re.ASCII)
_HEADER_VALUE = re.compile(r"[ -~]*", re.ASCII)
_OURS = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "user-agent", "expect"})
_NO_HEADERS: Mapping[str, str] = {}

Resolve: TypeAlias = Callable[[str, int], Sequence[str]]
"""The addresses of a name, for a port. Raises OSError."""

Connect: TypeAlias = Callable[[str, int, float], socket.socket]
"""A connection to an address and port that came about within so many seconds. Raises OSError."""


def resolve(host: str, port: int) -> Sequence[str]:
    """What the machine's resolver says."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def connect(address: str, port: int, seconds: float) -> socket.socket:
    """``address`` is a number, so that nothing is resolved again."""
    return socket.create_connection((address, port), seconds)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a URL leads; ``authority`` as the Host header has it, ``is_allowed`` if the operator named it."""

    scheme: str
    host: str
    port: int
    authority: str
    target: str
    is_allowed: bool


class PublicHttps:
    """The Web of everybody, and of ``allowed_hosts`` besides: each is ``host`` (on the port of its scheme) or ``host:port``,
    may have any address, and may be asked by http. ``authorities`` is a file of certificates that are trusted instead of the
    system's. Threads may share it."""

    def __init__(
        self,
        *,
        allowed_hosts: frozenset[str] = frozenset(),
        authorities: str | None = None,
        resolve: Resolve = resolve,
        connect: Connect = connect,
        seconds: float = SECONDS,
        max_body: int = MAX_BODY,
    ) -> None:
        self._allowed = allowed_hosts
        self._authorities = authorities
        self._resolve = resolve
        self._connect = connect
        self._seconds = seconds
        self._max_body = max_body
        self._context: ssl.SSLContext | None = None

    def fetch(self, url: str, *, method: str = "GET", headers: Mapping[str, str] = _NO_HEADERS, body: bytes = b"") -> WebAnswer:
        """See ``Web.fetch``."""
        place = self._place(url)
        request = _request(place, method, headers, body)
        deadline = time.monotonic() + self._seconds
        try:
            with self._connected(place, self._addresses(place, deadline), deadline) as connection:
                connection.settimeout(_left(deadline))
                connection.sendall(request)
                return self._answer(connection, method, deadline)
        except (OSError, HTTPException, ValueError) as error:  # ValueError: what http.client makes of a wrong number
            raise WebFailure(f"{place.authority}: {type(error).__name__}: {error}") from error

    def _place(self, url: str) -> _Place:
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise WebFailure("not a URL") from error
        named = _AUTHORITY.fullmatch(parts.netloc.lower())
        scheme_port = _DEFAULT_PORTS.get(parts.scheme)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if named is None or scheme_port is None or parts.fragment or not _TARGET.fullmatch(target):
            raise WebFailure("not a plain https URL: scheme, host, maybe a port, path and query")
        host, port = named["host"], int(named["port"] or scheme_port)
        authority = host if port == scheme_port else f"{host}:{port}"
        is_allowed = authority in self._allowed or f"{host}:{port}" in self._allowed
        if not is_allowed and (parts.scheme != "https" or port != _DEFAULT_PORTS["https"] or not is_public_name(host)):
            raise WebFailure(f"{authority}: not a public host's name on the port of https")
        return _Place(parts.scheme, host.strip("[]"), port, authority, target, is_allowed)

    def _addresses(self, place: _Place, deadline: float) -> Sequence[str]:
        """The addresses to try. The resolver knows no deadline, so it works on a thread that is left behind if it is slow."""
        results: SimpleQueue[Sequence[str] | OSError] = SimpleQueue()

        def work() -> None:
            try:
                results.put(self._resolve(place.host, place.port))
            except (OSError, UnicodeError) as error:
                results.put(error if isinstance(error, OSError) else OSError(str(error)))

        Thread(target=work, daemon=True, name="resolve").start()
        try:
            found = results.get(timeout=_left(deadline))
        except Empty:
            raise TimeoutError("the name was not resolved in time") from None
        if isinstance(found, OSError):
            raise found
        if not place.is_allowed:
            for address in found:
                if not is_public_address(address):
                    raise WebFailure(f"{place.authority}: {address} is not a public address")
        return found[:_MAX_ADDRESSES]

    def _connected(self, place: _Place, addresses: Sequence[str], deadline: float) -> socket.socket:
        failure = OSError("the name has no address")
        for address in addresses:
            try:
                connection = self._connect(address, place.port, min(_left(deadline), _CONNECT_SECONDS))
            except OSError as error:
                failure = error
                continue
            return self._secured(connection, place, deadline) if place.scheme == "https" else connection
        raise failure

    def _secured(self, connection: socket.socket, place: _Place, deadline: float) -> ssl.SSLSocket:
        if self._context is None:
            self._context = ssl.create_default_context(cafile=self._authorities)
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            connection.settimeout(_left(deadline))  # for the whole handshake
            return self._context.wrap_socket(connection, server_hostname=place.host, suppress_ragged_eofs=False)
        except BaseException:
            connection.close()
            raise

    def _answer(self, connection: socket.socket, method: str, deadline: float) -> WebAnswer:
        received = _Received(connection, deadline, self._max_body + _MAX_HEAD)
        with HTTPResponse(received, method=method) as response:  # type: ignore[arg-type]  # needs makefile alone
            response.begin()
            if 300 <= response.status < 400:
                raise HTTPException("a redirect, which is not followed")
            body = response.read(self._max_body + 1)
            if len(body) > self._max_body:
                raise HTTPException(f"more than {self._max_body} bytes")
            if response.length:
                raise HTTPException("the answer ends early")
            return WebAnswer(response.status, body)


class _Received(io.RawIOBase):
    """What arrives on a connection, up to a deadline and a number of bytes, whatever the sizes that it comes in; in the shape
    that HTTPResponse wants of a socket."""

    def __init__(self, connection: socket.socket, deadline: float, limit: int) -> None:
        super().__init__()
        self._connection = connection
        self._deadline = deadline
        self._room = limit

    def makefile(self, mode: str) -> io.BufferedReader:  # noqa: ARG002 - always "rb"
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        if self._room <= 0:
            raise HTTPException("the answer is too long")
        self._connection.settimeout(_left(self._deadline))
        count = self._connection.recv_into(buffer)
        self._room -= count
        return count


def _left(deadline: float) -> float:
    """Seconds to the deadline. Raises TimeoutError past it."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left


def _request(place: _Place, method: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """The request's bytes. Headers that would be two requests, or another one's, are a failure."""
    sent = {"Host": place.authority, "Connection": "close", "Accept-Encoding": "identity", "User-Agent": "slipway"}
    if method != "GET":
        sent["Content-Length"] = str(len(body))
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value) or name.lower() in _OURS:
            raise WebFailure("not a header to send")
        sent[name] = value
    if method not in {"GET", "POST"}:
        raise WebFailure(f"not a method to ask with: {method}")
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"{method} {place.target} HTTP/1.1\r\n{lines}\r\n".encode("ascii") + body
