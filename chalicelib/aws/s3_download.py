"""The bytes of an object of S3 as a stream, which makes a lost connection again."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from chalicelib.aws.s3_bucket import S3Bucket, refusal, translated

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LOSSES = 3
"""Connections that a download may lose without a byte between, before it gives up."""

_BEYOND = frozenset({"416", "InvalidRange", "RequestedRangeNotSatisfiable"})


class Download(io.RawIOBase):
    """The bytes of an object from ``start`` up to ``end`` (None: the last), asked for at once. Raises BlobMissing.

    ``size``: how many bytes they are.
    """

    def __init__(self, bucket: S3Bucket, key: str, start: int, end: int | None) -> None:
        self._bucket = bucket
        self._key = key
        self._position = start
        self._losses = 0
        self._body: Any = None
        self.size = self._ask(end)
        self._end = start + self.size

    def _ask(self, end: int | None) -> int:
        """Begin to get the bytes from the position on; how many will come."""
        from botocore.exceptions import ClientError

        asked = self._bucket.where(self._key)
        if self._position or end is not None:
            asked["Range"] = f"bytes={self._position}-{'' if end is None else end - 1}"
        try:
            with translated(self._key):
                answer = self._bucket.client.get_object(**asked)
        except ClientError as error:
            if refusal(error) not in _BEYOND:
                raise
            return 0
        self._body = answer["Body"]
        size: int = answer["ContentLength"]
        return size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        into = memoryview(buffer).cast("B")
        while self._position < self._end:
            if chunk := self._read(min(len(into), self._end - self._position)):
                into[: len(chunk)] = chunk
                self._position += len(chunk)
                self._losses = 0
                return len(chunk)
            self._release()
            self._ask(self._end)
        return 0

    def _read(self, size: int) -> bytes:
        """Some bytes; none if the connection was lost."""
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        try:
            chunk: bytes = self._body.read(size)
        except (HTTPClientError, IncompleteReadError):
            self._losses += 1
            if self._losses > LOSSES:
                raise
            return b""
        if not chunk:
            self._losses += 1
            if self._losses > LOSSES:
                raise EOFError(f"{self._key} ends at {self._position} of {self._end} bytes")
        return chunk

    def close(self) -> None:
        self._release()
        super().close()

    def _release(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
