"""A request's body as it arrives: pulled, never pushed, so whoever stops pulling stops the sender."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

Message: TypeAlias = "MutableMapping[str, Any]"
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class ClientGone(Exception):
    """The client closed the connection before its body was complete."""


class BodyTooLarge(Exception):
    """The body passes the limit it was read with."""


class Budget:
    """Bytes that bodies may take in memory together. A share is asked for whole before the first byte is read, so whoever has
    one can go on to the end; the others wait in the order of their coming, what they send waiting with their own kernels."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def has(self, share: int) -> bool:
        """Whether nobody would have to wait for it."""
        return not self._waiting and share <= self._left

    @asynccontextmanager
    async def share(self, size: int) -> AsyncIterator[None]:
        """Hold ``size`` bytes within the block."""
        if self.has(size):
            self._left -= size
        else:
            await self._turn(size)
        try:
            yield
        finally:
            self._give(size)

    async def _turn(self, size: int) -> None:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, granted))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._give(size)
            raise

    def _give(self, size: int) -> None:
        self._left += size
        while self._waiting:
            wanted, granted = self._waiting[0]
            if not granted.cancelled():
                if wanted > self._left:
                    return
                self._left -= wanted
                granted.set_result(None)
            self._waiting.popleft()


class Body:
    """The body of one request. ``length`` is what was announced, None for a chunked one; the parser holds the client to it."""

    def __init__(self, receive: Receive, length: int | None) -> None:
        self._receive = receive
        self.length = length
        self.complete = length == 0

    async def pull(self) -> bytes:
        """The next bytes, b"" when there is nothing yet or no more (see ``complete``). Raises ClientGone."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        self.complete = not message.get("more_body", False)
        content: bytes = message.get("body", b"")
        return content

    async def whole(self, limit: int) -> bytes:
        """All of it. Raises BodyTooLarge beyond ``limit`` bytes, before reading any when the length is known."""
        if self.length is not None and self.length > limit:
            raise BodyTooLarge
        parts: list[bytes] = []
        size = 0
        while not self.complete:
            part = await self.pull()
            size += len(part)
            if size > limit:
                raise BodyTooLarge
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def blocks(self, size: int) -> AsyncIterator[bytes]:
        """Blocks of about ``size`` bytes. What came before the client left is handed out first, then ClientGone is raised."""
        parts: list[bytes] = []
        held = 0
        while not self.complete:
            try:
                part = await self.pull()
            except ClientGone:
                if held:
                    yield b"".join(parts)
                raise
            parts.append(part)
            held += len(part)
            if held >= size:
                block = b"".join(parts)
                parts.clear()
                held = 0
                yield block
        if held:
            yield b"".join(parts)

    async def discard(self, limit: int, seconds: float) -> None:
        """Read and forget until the end, the client's leaving, ``limit`` bytes or ``seconds``, whichever comes first."""
        try:
            async with asyncio.timeout(seconds):
                while not self.complete and limit > 0:
                    limit -= len(await self.pull())
        except (ClientGone, TimeoutError):
            return
