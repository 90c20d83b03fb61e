"""Content of any size from a seed: the same bytes each time, a block at a time, so that gigabytes need no memory, no disk."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

BLOCK = 1 << 20
_COUNTER = 8


@dataclass(frozen=True, slots=True)
class Content:
    """``size`` bytes: one random block over and over, each time with its number mixed into its first eight bytes.

    The number keeps a block that was lost, doubled or put in another's place from going unnoticed.
    """

    seed: int
    size: int

    def blocks(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from ``start`` up to ``end`` (None: all), in blocks of a mebibyte at most."""
        end = self.size if end is None else end
        while start < end:
            number, offset = divmod(start, BLOCK)
            block = self._block(number)[offset : offset + end - start]
            yield block
            start += len(block)

    def whole(self, start: int = 0, end: int | None = None) -> bytes:
        """The same in one piece."""
        return b"".join(self.blocks(start, end))

    def digest(self, algorithm: str = "sha256") -> str:
        """``<algorithm>:<hex>``."""
        running = hashlib.new(algorithm)
        for block in self.blocks():
            running.update(block)
        return f"{algorithm}:{running.hexdigest()}"

    def _block(self, number: int) -> bytes:
        block = _random_block(self.seed, min(self.size, BLOCK))
        head = int.from_bytes(block[:_COUNTER]) ^ number
        return head.to_bytes(min(_COUNTER, len(block))) + block[_COUNTER:]


@lru_cache(maxsize=16)
def _random_block(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def digest_of(content: bytes) -> str:
    """The SHA-256 digest of bytes at hand."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
