"""A BlobStore and Staging in memory, for tests that are not about bytes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import RLock
from typing import IO
from urllib.parse import urlencode

from chalicelib.registry.keys import checked_key, checked_prefix
from chalicelib.registry.names import Digest
from chalicelib.registry.ports import BlobMissing, Clock, Piece, ProofLong, Sealed, Shown, Stored, StoreFull, WrongOffset


@dataclass(frozen=True, slots=True)
class Linked:
    """What a link stands for."""

    key: str
    shown: Shown


@dataclass(frozen=True, slots=True)
class _Object:
    content: bytes
    modified: datetime


class MemoryBlobs:
    """``full``: while true, every write raises StoreFull. ``staged`` is what was appended and not sealed, by key. Links are
    remembered, and good for ten minutes."""

    def __init__(self, clock: Clock) -> None:
        self.full = False
        self.staged: dict[str, bytes] = {}
        self._clock = clock
        self._lock = RLock()
        self._objects: dict[str, _Object] = {}
        self._links: dict[tuple[str, str], tuple[datetime, Linked]] = {}

    def put(self, key: str, content: bytes) -> None:
        with self._lock:
            self._keep(checked_key(key), bytes(content))

    def check(self, key: str, digest: Digest, *, limit: int | None = None) -> int | None:
        content = self._get(key).content
        if limit is not None and len(content) > limit:
            raise ProofLong
        return len(content) if Digest.of(content, digest.algorithm) == digest else None

    def assemble(self, pieces: Sequence[Piece], key: str, digest: Digest) -> int | None:
        with self._lock:
            checked_key(key)
            contents = [self._get(piece.key).content for piece in pieces]
            for piece, content in zip(pieces, contents, strict=True):
                if len(content) != piece.size:
                    raise BlobMissing(piece.key)
            whole = b"".join(contents)
            if Digest.of(whole, digest.algorithm) != digest:
                return None
            self._keep(key, whole)
            return len(whole)

    def stat(self, key: str) -> Stored | None:
        found = self._objects.get(checked_key(key))
        return Stored(key, len(found.content), found.modified) if found else None

    def open(self, key: str, start: int = 0, end: int | None = None) -> IO[bytes]:
        return io.BytesIO(self._get(key).content[start:end])

    def list(self, prefix: str, after: str = "") -> Iterator[Stored]:
        return self._list(checked_prefix(prefix), checked_prefix(after))

    def _list(self, prefix: str, after: str) -> Iterator[Stored]:
        for key in sorted(self._objects):
            if key.startswith(prefix) and key > after and (stored := self.stat(key)):
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
            self._objects.pop(checked_key(key), None)
            self.staged.pop(key, None)

    # ------------------------------------------------------------------------------------------------------- staging

    def append(self, key: str, offset: int, content: bytes) -> int:
        with self._lock:
            if sealed := self.stat(key):
                raise WrongOffset(sealed.size)
            staged = self.staged.get(key, b"")
            if not 0 <= offset <= len(staged):
                raise WrongOffset(len(staged))
            if self.full:
                raise StoreFull
            self.staged[key] = staged[:offset] + content
            return offset + len(content)

    def seal(self, key: str) -> Sealed:
        with self._lock:
            if checked_key(key) in self.staged:
                self._keep(key, self.staged[key])
                del self.staged[key]
            content = self._get(key).content
            return Sealed(len(content), hashlib.sha256(content).hexdigest())

    def _get(self, key: str) -> _Object:
        found = self._objects.get(checked_key(key))
        if found is None:
            raise BlobMissing(key)
        return found

    def _keep(self, key: str, content: bytes) -> None:
        if self.full:
            raise StoreFull
        self._objects[key] = _Object(content, self._clock.now())
