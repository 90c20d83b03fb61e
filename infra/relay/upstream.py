"""The registry that a relay serves: requests passed on, and the relay's own requests about uploads.

No redirect is followed, no cookie kept and nothing sent anywhere but to the one origin. What fails is named by its kind
alone: the client library's own messages tell addresses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from yarl import URL

from infra.local.events import Answer, Headers
from infra.relay.requests import HOP_BY_HOP, Lines
from infra.relay.settings import Pace

MAX_ANSWER = 4 * 1024 * 1024
"""Bytes of an answer that is read whole. A hundred URLs are a tenth of it."""

_SLICE = 262_144
_MAX_HEAD_LINE = 65_536
_KEEP_ALIVE = 4.0
"""Seconds an idle connection is kept: less than servers do, so that no request meets one that is just being closed."""
_CONNECT = 10.0
_OURS = frozenset({"Accept", "Accept-Encoding", "Content-Type", "User-Agent"})
"""Headers that the library would add and nobody asked for."""


class Unreachable(Exception):
    """The registry gave no answer; ``kind`` says in a word how it failed."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Bytes(Payload):
    """A body that lies in memory, sent in slices, each of which puts off ``deadline``. It may be sent again."""

    _value: memoryview

    def __init__(self, content: bytes | memoryview, deadline: asyncio.Timeout | None = None, stall: float = 0) -> None:
        super().__init__(memoryview(content))
        self._deadline = deadline
        self._stall = stall

    @property
    def size(self) -> int:
        return len(self._value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return bytes(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """All of it."""
        for start in range(0, len(self._value), _SLICE):
            await writer.write(self._value[start : start + _SLICE])
            if self._deadline is not None and not self._deadline.expired():
                self._deadline.reschedule(asyncio.get_running_loop().time() + self._stall)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:  # noqa: ARG002
        """All of it: what is announced is its size."""
        await self.write(writer)


def client_session() -> aiohttp.ClientSession:
    """Connections to the registry; parts go their own way (``sending``). That proxies and passwords of the environment are not
    used is aiohttp's default."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT),
        skip_auto_headers=_OURS,
        auto_decompress=False,
        max_line_size=_MAX_HEAD_LINE,
        max_field_size=_MAX_HEAD_LINE,
    )


class Upstream:
    """The registry at ``origin``."""

    def __init__(self, origin: str, session: aiohttp.ClientSession, pace: Pace) -> None:
        self._origin = origin
        self._session = session
        self._pace = pace

    @asynccontextmanager
    async def response(
        self, method: str, target: str, headers: Lines, body: bytes | memoryview = b""
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response, its body still to be read. Raises Unreachable, also for what fails within the block."""
        sent = list(headers)
        if not body and method in {"POST", "PUT", "PATCH"}:
            sent.append(("content-length", "0"))
        url = URL(self._origin + target, encoded=True)
        try:
            async with asyncio.timeout(self._pace.answer) as deadline:
                data = Bytes(body, deadline, self._pace.answer) if body else None
                response = await self._session.request(method, url, headers=sent, data=data, allow_redirects=False)
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(type(error).__name__) from None
        try:
            yield response
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(type(error).__name__) from None
        finally:
            # Whatever was not read of it is not read any more.
            response.release() if response.content.at_eof() else response.close()

    async def answer(self, method: str, target: str, headers: Lines, body: bytes | memoryview = b"") -> Answer:
        """The whole answer, for a client. Raises Unreachable."""
        async with self.response(method, target, headers, body) as response:
            parts: list[bytes] = []
            size = 0
            async with asyncio.timeout(self._pace.answer):
                async for part in response.content.iter_any():
                    parts.append(part)
                    size += len(part)
                    if size > MAX_ANSWER:
                        raise Unreachable("AnswerTooLarge")
            content = b"".join(parts)
            return Answer(response.status, self.headers(response), content, None if response.status == 204 else len(content))

    def headers(self, response: aiohttp.ClientResponse) -> Headers:
        """What of a response's head is the client's, without its length. A Location on the registry's own origin is made
        relative: the client goes on through the relay."""
        return [
            (name, self._relative(value) if name == b"location" else value)
            for name, value in passed_on(response.raw_headers)
            if name not in {b"content-length", b"date"}  # the length is the writer's, the date the server's
        ]

    def _relative(self, location: bytes) -> bytes:
        origin = self._origin.encode()
        return location[len(origin) :] if location.startswith(origin + b"/") else location


def passed_on(lines: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Headers but those that belong to the connection."""
    lowered = [(name.lower(), value) for name, value in lines]
    named = {each.strip().lower() for name, value in lowered if name == b"connection" for each in value.split(b",")}
    return [(name, value) for name, value in lowered if name not in named and name.decode("latin-1") not in HOP_BY_HOP]


def header(answer: Answer, name: bytes) -> str:
    """A header's value, "" if it has none."""
    return next((value.decode("latin-1") for each, value in answer.headers if each == name), "")


def json_headers(lines: Lines) -> Lines:
    """The head of a request of the relay's own, with those lines of its client's."""
    return (*lines, ("content-type", "application/json"))
