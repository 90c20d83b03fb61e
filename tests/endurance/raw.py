"""A connection whose every byte is the test's, to say what no client library would."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping
from email.parser import BytesParser
from email.policy import HTTP
from types import TracebackType
from typing import Self

from tests.endurance.client import Answer
from tests.endurance.server import SECONDS, Address


class RawConnection:
    """One TCP connection to a registry."""

    def __init__(self, address: Address, receive_buffer: int = 0) -> None:
        self._socket = socket.socket()
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)  # counts before connecting only
        self._socket.settimeout(SECONDS)
        self._socket.connect((address.host, address.port))
        self._reader = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.leave()

    def leave(self) -> None:
        """Close in good order: what was sent still arrives."""
        self._reader.close()
        self._socket.close()

    def break_off(self) -> None:
        """Reset the connection, as a machine does that crashed and came back."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.leave()

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self._socket.sendall(part)

    def send_head(self, method: str, target: str, headers: Mapping[str, str]) -> None:
        """The request line and headers, nothing added but Host."""
        lines = [f"{method} {target} HTTP/1.1", "Host: registry.test", *(f"{name}: {value}" for name, value in headers.items())]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def answer(self) -> Answer:
        """The next response. The server tells the length of all of them."""
        status = self._reader.readline()
        assert status.startswith(b"HTTP/1.1 "), f"no answer but {status!r}"
        lines = b"".join(iter(self._reader.readline, b"\r\n"))
        headers = BytesParser(policy=HTTP).parsebytes(lines)
        body = self._reader.read(int(headers.get("Content-Length", "0")))
        return Answer(int(status.split()[1]), headers, body)

    def ended(self) -> bool:
        """Whether the server closes with nothing more said."""
        try:
            return self._reader.read(1) == b""
        except ConnectionResetError:
            return True


def chunked(blocks: Iterable[bytes], *, ended: bool = True) -> bytes:
    """Blocks in chunked transfer-encoding; without its last chunk unless ``ended``."""
    chunks = [b"%X\r\n%s\r\n" % (len(block), block) for block in blocks]
    return b"".join(chunks) + (b"0\r\n\r\n" if ended else b"")
