"""What an object really hashes to: read whole, whatever its store says of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from chalicelib.registry.names import Digest
from chalicelib.registry.ports import BlobStore

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Hashed:
    """An object's size in bytes, and its digests."""

    size: int
    digests: frozenset[Digest]


def hashed(store: BlobStore, key: str, algorithms: Iterable[str], go_on: Callable[[], None]) -> Hashed:
    """Read an object whole; ``go_on`` is called now and then, and may raise what ends that. Raises BlobMissing."""
    hashes = {algorithm: hashlib.new(algorithm) for algorithm in algorithms}
    size = 0
    with store.open(key) as stream:
        while chunk := stream.read(_CHUNK):
            for each in hashes.values():
                each.update(chunk)
            size += len(chunk)
            go_on()
    return Hashed(size, frozenset(Digest(algorithm, each.hexdigest()) for algorithm, each in hashes.items()))
