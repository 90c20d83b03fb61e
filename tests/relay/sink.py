"""What stands for S3 and the registry's API where speed is measured: it takes parts over TLS and forgets their bytes.

    python -m tests.relay.sink certificate.pem key.pem port

One process for the relay's run and for the SDK's, so that both are measured against the same thing.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httptools
import uvloop

PART = 8 * 1024 * 1024
FIRST = 4

_BEGUN = b"<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>"
_DONE = b"<CompleteMultipartUploadResult><ETag>&quot;e-1&quot;</ETag></CompleteMultipartUploadResult>"


class Sink(asyncio.Protocol):
    """One connection."""

    _uploads = count(1)

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._target = b""
        self._kept = b""
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._target = self._kept = b""
        self._size = 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"expect" and value.lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Forgotten, but for what the API is told."""
        self._size += len(body)
        if self._target.startswith(b"/_relay"):
            self._kept += body

    def on_message_complete(self) -> None:
        status, headers, body = self._answer(self._parser.get_method().decode(), self._target.decode())
        headers = {"content-length": str(len(body)), **headers}
        lines = [f"HTTP/1.1 {status} .", *(f"{name}: {value}" for name, value in headers.items())]
        self._transport.write("\r\n".join([*lines, "", ""]).encode() + body)

    def _answer(self, method: str, target: str) -> tuple[int, dict[str, str], bytes]:
        path, query = urlsplit(target).path, dict(parse_qsl(urlsplit(target).query, keep_blank_values=True))
        if method == "PUT" and "partNumber" in query:
            return 200, {"etag": f'"{query["partNumber"]}"'}, b""
        if method == "POST" and "uploads" in query:
            return 200, {"content-type": "application/xml"}, _BEGUN
        if method == "POST" and "uploadId" in query:
            return 200, {"content-type": "application/xml"}, _DONE
        return self._api(path)

    def _api(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if path.endswith("/begin"):
            return self._begin(next(self._uploads))
        told = json.loads(self._kept or b"{}")
        if path.endswith("/parts"):
            first = told["first"]
            return 200, {}, json.dumps({"urls": self._urls(told["writer"], first, told["count"])}).encode()
        if path.endswith("/end"):
            return 202, {"location": "/v2/team/app/blobs/uploads/u?_state=s", "range": f"0-{told['size'] - 1}"}, b""
        return 204, {}, b""

    def _begin(self, number: int) -> tuple[int, dict[str, str], bytes]:
        writer = str(number)
        told = {"writer": writer, "offset": 0, "part_size": PART, "max_parts": 10_000, "urls": self._urls(writer, 1, FIRST)}
        return 200, {}, json.dumps(told).encode()

    def _urls(self, writer: str, first: int, many: int) -> list[str]:
        return [f"{self._origin}/b/{writer}?partNumber={n}&uploadId=u" for n in range(first, first + many)]


async def serve(certificate: Path, key: Path, port: int) -> None:
    """Until killed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    origin = f"https://127.0.0.1:{port}"
    server = await asyncio.get_running_loop().create_server(lambda: Sink(origin), "127.0.0.1", port, ssl=context)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
