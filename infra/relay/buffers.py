"""The memory that bodies may take: a fixed number of buffers, each of one part, made when first needed and used again.

An upload holds at most ``concurrency + 1`` of them, and all uploads together at most as many as there are. They are given in
the order of asking, and an upload asks for one at a time: so uploads take turns, and none keeps another from beginning. Whoever
waits does not read, and what its client sends waits with the client.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Buffers:
    """``most`` buffers of ``size`` bytes."""

    def __init__(self, most: int, size: int) -> None:
        self._size = size
        self._unmade = most
        self._free: list[bytearray] = []
        self._waiting: deque[asyncio.Future[bytearray]] = deque()

    @property
    def available(self) -> bool:
        """Whether nobody would have to wait for one."""
        return bool(self._free or self._unmade)

    async def take(self) -> bytearray:
        """A buffer, its content whatever it held before."""
        if self._free:  # then nobody waits
            return self._free.pop()
        if self._unmade:
            self._unmade -= 1
            return bytearray(self._size)
        granted: asyncio.Future[bytearray] = asyncio.get_running_loop().create_future()
        self._waiting.append(granted)
        try:
            return await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.give(granted.result())
            raise

    def give(self, buffer: bytearray) -> None:
        """Take it back; the caller does not write to it any more."""
        while self._waiting:
            granted = self._waiting.popleft()
            if not granted.done():
                granted.set_result(buffer)
                return
        self._free.append(buffer)
