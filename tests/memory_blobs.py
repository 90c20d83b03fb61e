"""A BlobStore in memory, for tests that are not about bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import RLock
from typing import IO
from urllib.parse import urlencode

from chalicelib.registry.keys import checked_key, checked_prefix
from chalicelib.registry.names import Digest
from chalicelib.registry.ports import BlobMissing, Clock, Shown, Stored, StoreFull, WrongOffset


@dataclass(frozen=True, slots=True)
class Linked:
    """What a link stands for."""

    key: str
    shown: Shown


@dataclass(frozen=True, slots=True)
class _Bytes:
    content: bytes
    modified: datetime
    sealed: bool


class MemoryBlobs:
    """``full``: while true, every write raises StoreFull. Links are remembered, and good for ten minutes."""

    def __init__(self, clock: Clock) -> None:
        self.full = False
        self._clock = clock
        self._lock = RLock()
        self._blobs: dict[str, _Bytes] = {}
        self._links: dict[tuple[str, str], tuple[datetime, Linked]] = {}

    def append(self, key: str, offset: int, content: bytes) -> int:
        with self._lock:
            blob = self._blobs.get(checked_key(key))
            staged = blob.content if blob else b""
            if (blob and blob.sealed) or not 0 <= offset <= len(staged):
                raise WrongOffset(len(staged))
            self._keep(key, staged[:offset] + content, sealed=False)
            return offset + len(content)

    def prove(self, key: str, digest: Digest) -> int | None:
        with self._lock:
            blob = self._get(key)
            if Digest.of(blob.content, digest.algorithm) != digest:
                return None
            self._keep(key, blob.content, sealed=True)
            return len(blob.content)

    def put(self, key: str, content: bytes) -> None:
        with self._lock:
            self._keep(checked_key(key), bytes(content), sealed=True)

    def stat(self, key: str) -> Stored | None:
        blob = self._blobs.get(checked_key(key))
        return Stored(key, len(blob.content), blob.modified) if blob else None

    def open(self, key: str, start: int = 0, end: int | None = None) -> IO[bytes]:
        return io.BytesIO(self._get(key).content[start:end])

    def list(self, prefix: str) -> Iterator[Stored]:
        return self._list(checked_prefix(prefix))

    def _list(self, prefix: str) -> Iterator[Stored]:
        for key in sorted(self._blobs):
            if key.startswith(prefix) and (stored := self.stat(key)):
                yield stored

    def link(self, key: str, method: str, shown: Shown) -> str:
        expires = self._clock.now() + timedelta(minutes=10)
        fields = {"method": method, "expires": int(expires.timestamp()), "type": shown.media_type, "digest": shown.digest}
        url = f"https://blobs.test/{checked_key(key)}?{urlencode(fields)}"
        self._links[method, url] = expires, Linked(key, shown)
        return url

    def linked(self, method: str, url: str) -> Linked | None:
        """What this store's link stands for; None if it is another one, for another method, or expired."""
        expires, linked = self._links.get((method, url), (self._clock.now(), None))
        return linked if expires > self._clock.now() else None

    def delete(self, key: str) -> None:
        with self._lock:
            self._blobs.pop(checked_key(key), None)

    def _get(self, key: str) -> _Bytes:
        blob = self._blobs.get(checked_key(key))
        if blob is None:
            raise BlobMissing(key)
        return blob

    def _keep(self, key: str, content: bytes, *, sealed: bool) -> None:
        if self.full:
            raise StoreFull
        self._blobs[key] = _Bytes(content, self._clock.now(), sealed)
