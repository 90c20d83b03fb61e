"""A body becomes the same bytes in parts of the right sizes, however it arrives; and the buffers always come back."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.relay.begun import Begun, Stored
from infra.relay.buffers import Buffers
from infra.relay.piece import Held, Means, Piece, PieceTooLarge
from infra.relay.requests import Request
from infra.relay.settings import Pace
from infra.relay.storage import StorageFailed
from tests.relay.running import content

BUFFER = 64


class MemoryParts:
    """Keeps parts, and looks at them again a moment later: a buffer used again too early would show. Fails at ``failing``."""

    def __init__(self, failing: int = 0) -> None:
        self.parts: dict[int, bytes] = {}
        self.most = self._now = 0
        self._failing = failing

    async def put(self, begun: Begun, number: int, content: memoryview) -> str:
        self._now += 1
        self.most = max(self.most, self._now)
        before = bytes(content)
        try:
            for _ in range(number % 3 * 2):
                await asyncio.sleep(0)
            if number == self._failing:
                raise StorageFailed
        finally:
            self._now -= 1
        assert bytes(content) == before
        self.parts[number] = before
        return f'"{number}"'


def begun_with(part_size: int, max_parts: int = 1000) -> Begun:
    request = Request("PATCH", "/v2/a/blobs/uploads/u", "", (), None)
    told = {"writer": "w", "offset": 0, "part_size": part_size, "max_parts": max_parts, "urls": []}
    return Begun(cast("Any", None), request, Pace(part=BUFFER), told)


async def split(
    chunks: Iterable[bytes], prefix: bytes, part_size: int, concurrency: int, *, parts: MemoryParts, buffers: Buffers
) -> tuple[list[Stored], str, int]:
    """A piece's outcome."""
    with ThreadPoolExecutor(2) as pool:
        piece = Piece(begun_with(part_size), Means(parts, buffers, pool, concurrency))
        try:
            held = Held(buffers, await buffers.take()) if prefix else Held(buffers)
            if prefix:
                held.add(prefix)
            await piece.adopt(held)
            for chunk in chunks:
                await piece.add(chunk)
            stored, sha256 = await piece.finish()
            return stored, sha256, piece.size
        finally:
            await piece.drop()


@settings(deadline=None, max_examples=150)
@given(
    chunks=st.lists(st.binary(max_size=200), max_size=12),
    prefix=st.binary(max_size=100),
    part_size=st.integers(1, BUFFER),
    concurrency=st.integers(1, 4),
    most=st.integers(1, 6),
)
def test_any_chunks_become_the_same_bytes(
    chunks: list[bytes], prefix: bytes, part_size: int, concurrency: int, most: int
) -> None:
    parts, buffers = MemoryParts(), Buffers(most, BUFFER)
    whole = prefix + b"".join(chunks)
    stored, sha256, size = asyncio.run(split(chunks, prefix, part_size, concurrency, parts=parts, buffers=buffers))
    assert size == len(whole)
    assert b"".join(parts.parts[number] for number in sorted(parts.parts)) == whole
    assert sha256 == hashlib.sha256(whole).hexdigest()
    assert [part.number for part in stored] == list(range(1, len(stored) + 1))
    assert [part.size for part in stored[:-1]] == [part_size] * (len(stored) - 1)
    assert all(0 < part.size <= part_size for part in stored)
    assert parts.most <= min(concurrency, most)
    assert all_there(buffers, most)


@settings(deadline=None, max_examples=50)
@given(failing=st.integers(1, 12), most=st.integers(1, 5), concurrency=st.integers(1, 4))
def test_a_failure_gives_every_buffer_back(failing: int, most: int, concurrency: int) -> None:
    parts, buffers = MemoryParts(failing), Buffers(most, BUFFER)
    with pytest.raises(StorageFailed):
        asyncio.run(split([content(50)] * 20, b"", BUFFER, concurrency, parts=parts, buffers=buffers))
    assert all_there(buffers, most)


def all_there(buffers: Buffers, most: int) -> bool:
    """Whether so many can be taken without waiting."""

    async def take() -> bool:
        for _ in range(most):
            async with asyncio.timeout(1):
                await buffers.take()
        return not buffers.available

    return asyncio.run(take())


def test_no_more_than_all_parts_hold() -> None:
    async def run() -> None:
        with ThreadPoolExecutor(1) as pool:
            piece = Piece(begun_with(10, 3), Means(MemoryParts(), Buffers(4, BUFFER), pool, 2))
            await piece.add(content(30))
            with pytest.raises(PieceTooLarge):
                await piece.add(b"x")
            with pytest.raises(PieceTooLarge):
                piece.announce(31)
            await piece.finish()
            await piece.drop()

    asyncio.run(run())


def test_buffers_are_given_in_the_order_of_asking() -> None:
    async def run() -> list[int]:
        buffers = Buffers(1, BUFFER)
        first = await buffers.take()
        served: list[int] = []

        async def wait(number: int) -> None:
            buffer = await buffers.take()
            served.append(number)
            buffers.give(buffer)

        waiting = [asyncio.create_task(wait(number)) for number in range(4)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        buffers.give(first)
        await asyncio.gather(*waiting, return_exceptions=True)
        return served

    assert asyncio.run(run()) == [0, 2, 3]


def test_a_buffer_granted_to_one_who_is_cancelled_goes_on() -> None:
    async def run() -> None:
        buffers = Buffers(1, BUFFER)
        first = await buffers.take()
        waiting = asyncio.create_task(buffers.take())
        await asyncio.sleep(0)
        buffers.give(first)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert buffers.available

    asyncio.run(run())
