"""A body turned into the parts of a multipart upload: one being filled, several on their way, none larger than a buffer.

SHA-256 over all of it is computed by threads, in the order of the parts and while these are sent.
"""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import Executor
from typing import NamedTuple, Protocol

from infra.relay.begun import Begun, Stored
from infra.relay.buffers import Buffers


class PieceTooLarge(Exception):
    """More bytes than the piece may have parts for."""


class PartStore(Protocol):
    """Where parts go."""

    async def put(self, begun: Begun, number: int, content: memoryview) -> str:
        """The stored part's ETag. Raises StorageFailed, HandOver, Unreachable."""


class Means(NamedTuple):
    """What all pieces share. ``concurrency``: parts of one piece on their way at most."""

    storage: PartStore
    buffers: Buffers
    hashing: Executor
    concurrency: int


class Held:
    """What has been read of a body before it was known where it goes: ``filled`` bytes of a buffer, and ``rest`` behind them.
    Whoever makes one calls ``release``, which does nothing once a piece has adopted it."""

    def __init__(self, buffers: Buffers, buffer: bytearray | None = None) -> None:
        self._buffers = buffers
        self.buffer = buffer
        self.filled = 0
        self.rest = b""

    @property
    def size(self) -> int:
        """Bytes read so far."""
        return self.filled + len(self.rest)

    def add(self, content: bytes) -> None:
        """Keep the next bytes; there is no limit, so the caller has to see that it is not much more than fits."""
        if self.buffer is None:
            raise ValueError("there is no buffer")
        room = min(len(content), len(self.buffer) - self.filled)
        memoryview(self.buffer)[self.filled : self.filled + room] = memoryview(content)[:room]
        self.filled += room
        self.rest += content[room:]

    def release(self) -> None:
        """Give the buffer back."""
        buffer, self.buffer = self.buffer, None
        if buffer is not None:
            self._buffers.give(buffer)


class Piece:
    """One piece, from its first byte on. Whoever begins one calls ``finish`` or ``drop``."""

    def __init__(self, begun: Begun, means: Means) -> None:
        self.begun = begun
        self._means = means
        self._buffer: bytearray | None = None
        self._filled = 0
        self._number = 0
        self._under_way: set[asyncio.Task[Stored]] = set()
        self._stored: list[Stored] = []
        self._sha256 = hashlib.sha256()
        self._hashed: asyncio.Task[None] | None = None
        self._hashes: set[asyncio.Task[None]] = set()
        self.size = 0

    @property
    def number(self) -> int:
        """The part that is being filled, or was last."""
        return self._number + (self._buffer is not None)

    def announce(self, length: int) -> None:
        """So many bytes are to come. Raises PieceTooLarge."""
        if length > self.begun.most:
            raise PieceTooLarge

    async def adopt(self, held: Held) -> None:
        """Take what was read before, with the buffer it lies in. Raises as ``add`` does."""
        buffer, held.buffer = held.buffer, None
        if buffer is None:
            return
        self._buffer = buffer
        content = b""
        if held.filled < self.begun.part_size:
            self._filled = self.size = held.filled
        else:  # parts smaller than what is read before they are known: copied out and cut up
            content = bytes(memoryview(buffer)[: held.filled])
        await self.add(content + held.rest)

    async def add(self, content: bytes) -> None:
        """Take the next bytes; waits while S3 is slower than the client. Raises PieceTooLarge, StorageFailed, HandOver,
        Unreachable."""
        if self.size + len(content) > self.begun.most:
            raise PieceTooLarge
        rest = memoryview(content)
        while rest:
            if self._buffer is None:
                self._buffer = await self._means.buffers.take()
            room = min(len(rest), self.begun.part_size - self._filled)
            memoryview(self._buffer)[self._filled : self._filled + room] = rest[:room]
            self._filled += room
            self.size += room
            rest = rest[room:]
            if self._filled == self.begun.part_size:
                await self._send(self._buffer)

    async def finish(self) -> tuple[list[Stored], str]:
        """All parts in their order, and the SHA-256 of the whole, once S3 has them. Raises as ``add`` does."""
        if self._buffer is not None and self._filled:
            await self._send(self._buffer)
        while self._under_way:
            await self._one_done()
        if self._hashed is not None:
            await self._hashed
        return sorted(self._stored), self._sha256.hexdigest()

    async def drop(self) -> None:
        """Stop all that is under way and give the memory back. A thread may read on for a moment, to no effect."""
        stopped = [*self._under_way, *self._hashes]
        for task in stopped:
            task.cancel()
        await asyncio.gather(*stopped, return_exceptions=True)
        self._under_way.clear()
        if self._buffer is not None:
            self._means.buffers.give(self._buffer)
            self._buffer = None
        self._filled = 0

    async def _send(self, buffer: bytearray) -> None:
        """Put what is filled on its way, as soon as there are few enough before it."""
        while len(self._under_way) >= self._means.concurrency:
            await self._one_done()
        self._buffer = None
        size, self._filled = self._filled, 0
        self._number += 1
        content = memoryview(buffer)[:size]
        self._hashed = asyncio.create_task(self._hash(self._hashed, content))
        self._hashes.add(self._hashed)
        self._hashed.add_done_callback(self._hashes.discard)
        task = asyncio.create_task(self._store(self._number, content, self._hashed))
        # Not within the task, which may be cancelled before it begins.
        task.add_done_callback(lambda _: self._means.buffers.give(buffer))
        self._under_way.add(task)
        for done in [each for each in self._under_way if each.done()]:
            self._settle(done)  # so that a failure is noticed now, not when there are too many

    async def _store(self, number: int, content: memoryview, hashed: asyncio.Task[None]) -> Stored:
        etag = await self._means.storage.put(self.begun, number, content)
        await asyncio.shield(hashed)  # those behind it in the chain go on, whatever becomes of this part
        return Stored(number, etag, len(content))

    async def _hash(self, before: asyncio.Task[None] | None, content: memoryview) -> None:
        if before is not None:
            await asyncio.shield(before)
        await asyncio.get_running_loop().run_in_executor(self._means.hashing, self._sha256.update, content)

    async def _one_done(self) -> None:
        done, _ = await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            self._settle(task)

    def _settle(self, task: asyncio.Task[Stored]) -> None:
        self._under_way.discard(task)
        self._stored.append(task.result())
