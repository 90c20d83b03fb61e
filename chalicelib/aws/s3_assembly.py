"""One object of many pieces: which bytes are sent, which S3 copies, and how the object comes to exist at once."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib.aws.s3_bucket import S3Bucket, translated
from chalicelib.aws.s3_download import Download
from chalicelib.aws.s3_multipart import MAX_PARTS, S3Multipart
from chalicelib.registry.ports import Part, Piece

if TYPE_CHECKING:
    from hashlib import _Hash

COPIED = 512 << 20
"""Bytes of a part that S3 copies, about: so many copy side by side."""

COPIERS = 8
"""Copies of parts under way at once."""

BLOCK = 1 << 18
"""Bytes read at once from a response."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of a whole that become one part: ``size`` of them, from ``start`` of the piece of that index, for S3 to copy; or,
    without an index, of one or several pieces, to be sent."""

    size: int
    piece: int | None = None
    start: int = 0


def planned(sizes: Sequence[int], smallest: int, part: int) -> list[Stretch]:
    """How pieces of these sizes become the parts of one object: 10,000 at most, each of ``smallest`` bytes at least but for
    the last. What is sent has ``part`` bytes at most (more if there were too many else); pieces that are large enough are
    copied by S3, without the bytes that fill up a part before them."""
    least = max(smallest, -(-sum(sizes) // MAX_PARTS))
    most = max(part, least)
    plan: list[Stretch] = []
    held = 0
    for index, size in enumerate(sizes):
        taken = max(least - held, 0) if held else 0
        if size - taken >= least:
            if held:
                plan.append(Stretch(held + taken))
                held = 0
            plan.extend(_copied(index, taken, size, least))
            continue
        held += size
        while held > most:
            plan.append(Stretch(most))
            held -= most
    return [*plan, Stretch(held)] if held else plan


def _copied(index: int, start: int, end: int, least: int) -> Iterator[Stretch]:
    """A stretch of a piece in parts of one size, about, to be copied."""
    size = end - start
    count = max(1, min(-(-size // COPIED), size // least))
    edges = [start + size * number // count for number in range(count + 1)]
    for number in range(count):
        yield Stretch(edges[number + 1] - edges[number], index, edges[number])


class Assembly:
    """An object of several parts, or of a copied one, that grows under a key and is not there before ``complete``."""

    def __init__(self, bucket: S3Bucket, multipart: S3Multipart, key: str) -> None:
        self._bucket = bucket
        self._multipart = multipart
        self._key = key
        self._upload = ""
        self._number = 0
        self._parts: list[Part] = []
        self._copies: list[tuple[int, Stretch, Piece]] = []

    def __enter__(self) -> Assembly:
        return self

    def send(self, content: bytearray) -> None:
        """The next part, of these bytes."""
        self._begin()
        self._number += 1
        with translated(self._key):
            sent = self._bucket.client.upload_part(**self._part(self._number), Body=content, ContentMD5=_md5(content))
        self._parts.append(Part(self._number, sent["ETag"], len(content)))

    def copy(self, stretch: Stretch, piece: Piece) -> None:
        """The next part, which S3 is to copy; that waits until the hash is known to be right."""
        self._number += 1
        self._copies.append((self._number, stretch, piece))

    def complete(self) -> None:
        """Raises BlobMissing if what is to be copied is gone, PartsInvalid if an object is there already, StoreFull."""
        self._begin()
        with ThreadPoolExecutor(COPIERS) as threads:
            self._parts.extend(threads.map(self._copied, self._copies))
        self._multipart.complete(self._key, self._upload, sorted(self._parts, key=lambda part: part.number))
        self._upload = ""

    def __exit__(self, *_: object) -> None:
        if self._upload:
            self._multipart.abort(self._key, self._upload)

    def _begin(self) -> None:
        if not self._upload:
            self._upload = self._multipart.begin(self._key)

    def _copied(self, copy: tuple[int, Stretch, Piece]) -> Part:
        number, stretch, piece = copy
        whole = stretch.size == piece.size
        wanted = {} if whole else {"CopySourceRange": f"bytes={stretch.start}-{stretch.start + stretch.size - 1}"}
        with translated(piece.key):
            answer = self._bucket.client.upload_part_copy(
                **self._part(number), CopySource=self._bucket.where(piece.key), **wanted
            )
        return Part(number, answer["CopyPartResult"]["ETag"], stretch.size)

    def _part(self, number: int) -> dict[str, str | int]:
        return {**self._bucket.where(self._key), "UploadId": self._upload, "PartNumber": number}


def _md5(content: bytearray) -> str:
    """What lets S3 refuse bytes that were altered on the way; every endpoint knows it. It guards against nobody."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


class Joined:
    """Downloads as one, closed each when it ends or all is over."""

    def __init__(self, downloads: Iterator[Download]) -> None:
        self._downloads = downloads
        self._current: Download | None = None

    def __enter__(self) -> Joined:
        return self

    def read(self, size: int) -> bytes:
        """Some bytes, at most ``size``; EOFError if there are no more."""
        while True:
            if self._current and (block := self._current.read(size)):
                return block
            if not self._next():
                raise EOFError

    def passed(self, stretch: Stretch, hashing: _Hash) -> bytearray:
        """Read and hash a stretch; its bytes, if they are to be sent."""
        held, left = bytearray(), stretch.size
        while left:
            block = self.read(min(left, BLOCK))
            hashing.update(block)
            left -= len(block)
            if stretch.piece is None:
                held += block
        return held

    def ended(self) -> None:
        """Look at what pieces without bytes are left: they must be there too."""
        while self._next():
            pass

    def _next(self) -> bool:
        self._close()
        self._current = next(self._downloads, None)
        return self._current is not None

    def _close(self) -> None:
        if self._current:
            self._current.close()

    def __exit__(self, *_: object) -> None:
        self._close()
