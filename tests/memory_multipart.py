"""A Multipart in memory over any BlobStore, for tests that are not about bytes."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from threading import RLock
from urllib.parse import parse_qs, urlencode, urlsplit

from chalicelib.registry.keys import checked_key, checked_prefix
from chalicelib.registry.ports import BlobStore, Clock, Part, PartsInvalid
from tests.contracts.multipart import SMALLEST, Sent


@dataclass(slots=True)
class _Upload:
    key: str
    begun: datetime
    parts: dict[int, bytes] = field(default_factory=dict)


class MemoryMultipart:
    """``blobs`` takes the objects. A part's URL is a text that begins with ``memory:``, and ``send`` is the PUT to it; good
    for an hour. ``smallest``: bytes of a part that is not the last, at least; less for tests that want small ones."""

    def __init__(self, blobs: BlobStore, clock: Clock, *, smallest: int = SMALLEST) -> None:
        self._blobs = blobs
        self._clock = clock
        self._smallest = smallest
        self._lock = RLock()
        self._numbers = itertools.count(1)
        self._uploads: dict[str, _Upload] = {}
        self._done: dict[tuple[str, str], tuple[Part, ...]] = {}
        self._urls: dict[str, datetime] = {}

    def begin(self, key: str) -> str:
        with self._lock:
            upload = f"upload-{next(self._numbers)}"
            self._uploads[upload] = _Upload(checked_key(key), self._clock.now())
            return upload

    def part_urls(self, key: str, upload: str, first: int, count: int) -> Sequence[str]:
        checked_key(key)
        if count < 0 or first < 1 or first + count - 1 > 10_000:
            raise ValueError(f"not numbers of parts: {count} from {first}")
        expires = self._clock.now() + timedelta(hours=1)
        fields = [{"uploadId": upload, "expires": int(expires.timestamp())} for _ in range(count)]
        urls = [f"memory:{key}?{urlencode({**each, 'partNumber': first + n})}" for n, each in enumerate(fields)]
        self._urls |= dict.fromkeys(urls, expires)
        return urls

    def send(self, url: str, content: bytes, md5: bytes | None = None) -> Sent:
        """Send a part, as a PUT to its URL would; ``md5`` is the hash that Content-MD5 says."""
        with self._lock:
            if self._urls.get(url, self._clock.now()) <= self._clock.now():
                return Sent(403)
            split = urlsplit(url)
            query = parse_qs(split.query)
            found = self._uploads.get(query["uploadId"][0])
            if found is None or found.key != split.path:
                return Sent(404)
            if md5 is not None and hashlib.md5(content, usedforsecurity=False).digest() != md5:
                return Sent(400)
            found.parts[int(query["partNumber"][0])] = bytes(content)
            return Sent(200, _etag(content))

    def parts(self, key: str, upload: str) -> Sequence[Part]:
        with self._lock:
            parts = self._find(key, upload).parts
            return [Part(number, _etag(parts[number]), len(parts[number])) for number in sorted(parts)]

    def complete(self, key: str, upload: str, parts: Sequence[Part]) -> None:
        with self._lock:
            if self._done.get((checked_key(key), upload)) == tuple(parts):
                return
            there = {part.number: part for part in self.parts(key, upload)}
            ordered = all(one.number < two.number for one, two in pairwise(parts))
            large = all(part.size >= self._smallest for part in parts[:-1])
            if not (parts and ordered and large and all(there.get(part.number) == part for part in parts)):
                raise PartsInvalid(key)
            if self._blobs.stat(key):
                raise PartsInvalid(f"{key} is there")
            sent = self._find(key, upload).parts
            self._blobs.put(key, b"".join(sent[part.number] for part in parts))
            self._done[key, upload] = tuple(parts)
            del self._uploads[upload]

    def abort(self, key: str, upload: str) -> None:
        with self._lock:
            found = self._uploads.get(upload)
            if checked_key(key) and found and found.key == key:
                del self._uploads[upload]

    def unfinished(self, prefix: str) -> Iterator[tuple[str, str, datetime]]:
        checked_prefix(prefix)
        with self._lock:
            found = [(upload.key, number, upload.begun) for number, upload in self._uploads.items()]
        return iter(sorted(each for each in found if each[0].startswith(prefix)))

    def _find(self, key: str, upload: str) -> _Upload:
        found = self._uploads.get(upload)
        if found is None or found.key != checked_key(key):
            checked_key(key)
            raise PartsInvalid(f"no such upload of {key}")
        return found


def _etag(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
