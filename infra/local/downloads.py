"""Downloads by signed link: bytes from the BlobStore to the socket, a block at a time, as slowly as the reader reads.

``GET`` and ``HEAD /_blobs/<key>?<signature>`` with a single ``Range`` (RFC 9110, section 14); several ranges get the whole.
"""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import Executor
from email.utils import format_datetime
from typing import IO, NamedTuple, Protocol

from chalicelib.registry.ports import BlobMissing, BlobStore, Shown, Stored
from infra.local.answers import refused, write
from infra.local.body import Send
from infra.local.events import Answer, Head, Headers

PREFIX = "/_blobs/"

BLOCK = 512 * 1024
"""Read at once. A reader that stalls holds one, so a hundred of them hold 50 MiB."""

_RANGE = re.compile(r"bytes=[ \t]*(\d*)-(\d*)[ \t]*", re.ASCII)
_FAR = 10**18


class Linked(Protocol):
    """What a good link stands for."""

    @property
    def key(self) -> str:
        """The key of the bytes."""

    @property
    def shown(self) -> Shown:
        """The headers that the response carries."""


class LinkedBlobs(BlobStore, Protocol):
    """A BlobStore that checks its own links."""

    def linked(self, method: str, path: str, query: str) -> Linked | None:
        """What the link stands for; None if it is not this store's for ``method`` or has expired. Both are raw."""


class Reader(Protocol):
    """The client at the other end of the connection."""

    async def drained(self) -> None:
        """Return when little waits to be taken by the client, or it is gone."""

    def gone(self) -> bool:
        """Whether it has closed the connection."""


class Span(NamedTuple):
    """The bytes from ``start`` up to, not including, ``end``."""

    start: int
    end: int


class Unsatisfiable(Exception):
    """No byte of the content lies in the range asked for."""


def span_of(header: str, size: int) -> Span | None:
    """The part that a Range header asks for; None for the whole, which malformed and multiple ranges get as well."""
    found = _RANGE.fullmatch(header.strip())
    if not found or found.group(0).strip().endswith("=-"):
        return None
    first, last = found.groups()
    if not first:
        length = _number(last)
        if length == 0 or size == 0:
            raise Unsatisfiable
        return Span(max(0, size - length), size)
    start, end = _number(first), _number(last) + 1 if last else size
    if last and end <= start:
        # RFC 9110 would let such a header be ignored; the conformance program of the OCI wants it refused.
        raise Unsatisfiable
    if start >= size:
        raise Unsatisfiable
    return Span(start, min(end, size))


class Downloads:
    """Answers signed links; one instance serves all of them."""

    def __init__(self, blobs: LinkedBlobs, pool: Executor) -> None:
        self._blobs = blobs
        self._pool = pool

    async def serve(self, head: Head, send: Send, reader: Reader) -> None:
        """Answer one request."""
        if head.method not in {"GET", "HEAD"}:
            answer = refused(405, "UNSUPPORTED", "a link is good for GET or HEAD")
            return await write(answer._replace(headers=[*answer.headers, (b"allow", b"GET, HEAD")]), send)
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._pool, self._find, head)
        if isinstance(found, Answer):
            return await write(found, send)
        status, headers, span, file = found
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if file is None:
            return await send({"type": "http.response.body", "body": b""})
        try:
            await self._stream(file, span.end - span.start, send, reader)
        finally:
            file.close()
        return None

    def _find(self, head: Head) -> Answer | tuple[int, Headers, Span, IO[bytes] | None]:
        """What to answer, with an open file when bytes follow; runs in the pool, for it asks the disk."""
        linked = self._blobs.linked(head.method, head.path, head.query)
        if linked is None:
            return refused(403, "DENIED", "the link is not valid or has expired; ask the registry for a new one")
        stored = self._blobs.stat(linked.key)
        if stored is None:
            return _missing()
        headers = _headers(linked.shown, stored)
        span, status = Span(0, stored.size), 200
        if head.method == "GET" and _range_counts(head, headers):
            try:
                part = span_of(head.headers["range"], stored.size)
            except Unsatisfiable:
                answer = refused(416, "RANGE_INVALID", "no byte of the content lies in that range")
                return answer._replace(headers=[*answer.headers, (b"content-range", b"bytes */%d" % stored.size)])
            if part is not None:
                span, status = part, 206
                headers.append((b"content-range", b"bytes %d-%d/%d" % (span.start, span.end - 1, stored.size)))
        headers.append((b"content-length", b"%d" % (span.end - span.start)))
        if head.method == "HEAD" or span.start == span.end:
            return status, headers, span, None
        try:
            file = self._blobs.open(linked.key, span.start, None if span.end == stored.size else span.end)
        except BlobMissing:
            return _missing()
        return status, headers, span, file

    async def _stream(self, file: IO[bytes], left: int, send: Send, reader: Reader) -> None:
        """A block is read when the one before it is with the kernel, but for what a socket's buffer holds anyway."""
        loop = asyncio.get_running_loop()
        while left:
            await reader.drained()
            if reader.gone():
                return
            block = await loop.run_in_executor(self._pool, file.read, min(BLOCK, left))
            if not block:
                # A blob became shorter under its link. The server closes the connection: the client sees it cut off.
                return
            left -= len(block)
            await send({"type": "http.response.body", "body": block, "more_body": left > 0})


def _headers(shown: Shown, stored: Stored) -> Headers:
    headers: Headers = [
        (b"content-type", (shown.media_type or "application/octet-stream").encode("latin-1")),
        (b"accept-ranges", b"bytes"),
        (b"last-modified", format_datetime(stored.modified, usegmt=True).encode()),
        # Content is somebody else's: no browser shall take it for a page of this host.
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"sandbox; default-src 'none'"),
    ]
    if shown.digest:
        headers.append((b"docker-content-digest", shown.digest.encode("latin-1")))
    headers.append((b"etag", f'"{shown.digest or stored.key.rpartition("/")[2]}"'.encode("latin-1")))
    return headers


def _range_counts(head: Head, headers: Headers) -> bool:
    """Whether there is a Range and its If-Range, if any, names just this content (strong comparison, RFC 9110 13.1.5)."""
    if "range" not in head.headers:
        return False
    condition = head.headers.get("if-range", "").strip().encode("latin-1", "replace")
    return not condition or condition in {value for name, value in headers if name in {b"etag", b"last-modified"}}


def _number(digits: str) -> int:
    return min(int(digits), _FAR) if len(digits) <= 19 else _FAR


def _missing() -> Answer:
    return refused(404, "BLOB_UNKNOWN", "the content is no longer here")
