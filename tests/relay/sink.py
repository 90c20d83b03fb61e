"""What stands for S3 and the registry's API where speed is measured: it takes parts over TLS and forgets their bytes.

    python -m tests.relay.sink certificate.pem key.pem port

One process for the relay's run and for the SDK's, so that both are measured against the same thing. A thread per connection
reads into one place, over and over: what the sink costs is what TLS and the kernel cost.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import IO, NamedTuple
from urllib.parse import parse_qsl, urlsplit

PART = 8 * 1024 * 1024
FIRST = 4

_BEGUN = b"<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>"
_DONE = b"<CompleteMultipartUploadResult><ETag>&quot;e-1&quot;</ETag></CompleteMultipartUploadResult>"


class Reply(NamedTuple):
    """A response."""

    status: int
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b""


class Sink:
    """All connections of it. What came is counted by the path of the object."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._uploads = count(1)
        self._arrived: Counter[str] = Counter()
        self._lock = threading.Lock()

    def serve(self, connection: socket.socket) -> None:
        """Answer requests until the client leaves."""
        place = memoryview(bytearray(PART // 8))
        with suppress(OSError, ValueError), connection, connection.makefile("rb") as stream:
            while line := stream.readline():
                method, target, _ = line.decode("ascii").split(" ", 2)
                connection.sendall(self._exchange(connection, method, target, stream, place))

    def _exchange(self, connection: socket.socket, method: str, target: str, stream: IO[bytes], place: memoryview) -> bytes:
        headers = _headers(stream)
        if headers.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        path, query = urlsplit(target).path, dict(parse_qsl(urlsplit(target).query, keep_blank_values=True))
        if path.startswith("/_relay"):
            return _written(self._api(path, stream.read(int(headers["content-length"]))), method)
        size = _forgotten(stream, place, headers)
        return _written(self._s3(method, path, query, int(headers.get("x-amz-decoded-content-length", size))), method)

    def _s3(self, method: str, path: str, query: dict[str, str], size: int) -> Reply:
        if method == "PUT" and "partNumber" in query:
            with self._lock:
                self._arrived[path] += size
            return Reply(200, {"etag": f'"{query["partNumber"]}"'})
        if method == "POST" and "uploads" in query:
            self._arrived.pop(path, None)
            return Reply(200, {"content-type": "application/xml"}, _BEGUN)
        if method == "POST" and "uploadId" in query:
            return Reply(200, {"content-type": "application/xml"}, _DONE)
        return Reply(200, {"content-length": str(self._arrived[path])})  # HEAD

    def _api(self, path: str, body: bytes) -> Reply:
        if path.endswith("/begin"):
            return self._begin(str(next(self._uploads)))
        told = json.loads(body)
        if path.endswith("/parts"):
            return _json({"urls": self._urls(told["writer"], told["first"], told["count"])})
        if path.endswith("/end"):
            arrived = self._arrived[f"/b/{told['writer']}"]
            return Reply(202, {"location": "/v2/team/app/blobs/uploads/u?_state=s", "range": f"0-{arrived - 1}"})
        return Reply(204)

    def _begin(self, writer: str) -> Reply:
        return _json(
            {"writer": writer, "offset": 0, "part_size": PART, "max_parts": 10_000, "urls": self._urls(writer, 1, FIRST)}
        )

    def _urls(self, writer: str, first: int, many: int) -> list[str]:
        return [f"{self._origin}/b/{writer}?partNumber={n}&uploadId=u" for n in range(first, first + many)]


def _headers(stream: IO[bytes]) -> dict[str, str]:
    """By lower-case name."""
    found: dict[str, str] = {}
    while (line := stream.readline()) not in {b"\r\n", b""}:
        name, _, value = line.decode("latin-1").partition(":")
        found[name.lower()] = value.strip()
    return found


def _forgotten(stream: IO[bytes], place: memoryview, headers: dict[str, str]) -> int:
    """How long the body was that has been read."""
    if "transfer-encoding" not in headers:
        return _skipped(stream, place, int(headers.get("content-length", "0")))
    size = 0
    while chunk := int(stream.readline(), 16):
        size += _skipped(stream, place, chunk)
        stream.readline()
    stream.readline()
    return size


def _skipped(stream: IO[bytes], place: memoryview, size: int) -> int:
    left = size
    while left:
        read = stream.readinto(place[: min(left, len(place))])  # type: ignore[attr-defined]
        if not read:
            raise ConnectionResetError
        left -= read
    return size


def _json(told: object) -> Reply:
    return Reply(200, {"content-type": "application/json"}, json.dumps(told).encode())


def _written(reply: Reply, method: str) -> bytes:
    headers = {"content-length": str(len(reply.body)), **reply.headers}
    lines = [f"HTTP/1.1 {reply.status} .", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if method == "HEAD" else reply.body)


def serve(certificate: Path, key: Path, port: int) -> None:
    """Until killed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    sink = Sink(f"https://127.0.0.1:{port}")

    def take(connection: socket.socket) -> None:
        with suppress(OSError):
            sink.serve(context.wrap_socket(connection, server_side=True))

    with socket.create_server(("127.0.0.1", port), backlog=128) as listener:
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=take, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
