"""Objects in S3, of AWS or any endpoint that speaks it.

    <prefix><key>              an object; its key is never used again
    <prefix>proofs/<random>    the copy that S3 made of an object to hash it, there as long as that takes

``put`` lets S3 verify and keep a SHA-256 of the whole object, as the edge does for what is sent to S3 directly, so that
``check`` is one HeadObject. Of other objects S3 is made to hash a copy, or they are read: those of another algorithm, those
too large to be copied at once, small ones (reading costs less than copying), and all on endpoints that do not hash copies.

Memory: two parts of PART bytes at most, 32 MiB, whatever the size; more only beyond 156 GB (10,000 parts).
A crash can leave unfinished multipart uploads and copies under ``proofs/``: the bucket's lifecycle rules drop them.
"""

from __future__ import annotations

import base64
import hashlib
import io
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from chalicelib.aws.s3_assembly import BLOCK, Assembly, Joined, Stretch, planned
from chalicelib.aws.s3_bucket import CONTENT_TYPE, S3Bucket, refusal, translated
from chalicelib.aws.s3_download import Download
from chalicelib.aws.s3_multipart import SMALLEST_PART, S3Multipart
from chalicelib.registry.keys import PROOFS, checked_key, checked_prefix
from chalicelib.registry.ports import BlobMissing, PartsInvalid, Piece, ProofLong, Shown, Stored

if TYPE_CHECKING:
    from chalicelib.registry.names import Digest

LINK_SECONDS = 600
"""How long a link may be used to begin a download: time for a client that got 20 redirects at once and queues them, and
short enough that a leaked one is soon worthless. It ends earlier if the credentials that signed it do."""

PART = 16 << 20
"""Bytes of a part that is sent to make an object, and up to which an object is read rather than copied to be hashed."""

LARGEST_COPY = 5 << 30
"""Bytes that CopyObject takes."""

_UNHASHED = frozenset({"NotImplemented", "InvalidRequest", "InvalidArgument", "400", "501"})


class S3Blobs:
    """The BlobStore of a bucket. ``part`` and ``smallest`` are the limits of those names, made less by tests."""

    def __init__(self, bucket: S3Bucket, *, part: int = PART, smallest: int = SMALLEST_PART) -> None:
        self._bucket = bucket
        self._part = part
        self._smallest = smallest
        self._multipart = S3Multipart(bucket, smallest=smallest)
        self._copies_are_hashed = True  # until one was not: then the endpoint does not do it

    # ------------------------------------------------------------------------------------------------------- writing

    def put(self, key: str, content: bytes | bytearray) -> None:
        """See BlobStore; one request. S3 refuses bytes that were altered on the way."""
        checksum = base64.b64encode(hashlib.sha256(content).digest()).decode()
        with translated(key):
            self._bucket.client.put_object(
                **self._bucket.where(key), Body=content, ContentType=CONTENT_TYPE, ChecksumSHA256=checksum
            )

    def assemble(self, pieces: Sequence[Piece], key: str, digest: Digest) -> int | None:
        """See BlobStore. All bytes are read and hashed here, except those of a single piece that S3 can hash; parts that S3
        can copy are not sent again. The object comes to exist after the hash was right."""
        for each in (key, *(piece.key for piece in pieces)):
            checked_key(each)
        size = sum(piece.size for piece in pieces)
        if len(pieces) == 1 and self._copy_tells(size, digest):
            right = self._copied_right(pieces[0], key, digest)
            if right is not None:
                return size if right else None
        plan = planned([piece.size for piece in pieces], self._smallest, self._part)
        if plan in ([], [Stretch(size)]):
            return self._assemble_small(pieces, key, digest)
        return self._assemble_large(pieces, plan, key, digest)

    def _assemble_small(self, pieces: Sequence[Piece], key: str, digest: Digest) -> int | None:
        """Of one part that is sent: one request, and one for each piece."""
        whole = bytearray()
        for download in self._downloads(pieces):
            with download:
                while block := download.read(BLOCK):
                    whole += block
        if hashlib.new(digest.algorithm, whole).hexdigest() != digest.hex:
            return None
        self.put(key, whole)
        return len(whole)

    def _assemble_large(self, pieces: Sequence[Piece], plan: Sequence[Stretch], key: str, digest: Digest) -> int | None:
        hashing = hashlib.new(digest.algorithm)
        with Assembly(self._bucket, self._multipart, key) as assembly:
            with Joined(self._downloads(pieces)) as content:
                for stretch in plan:
                    passed = content.passed(stretch, hashing)
                    if stretch.piece is None:
                        assembly.send(passed)
                    else:
                        assembly.copy(stretch, pieces[stretch.piece])
                content.ended()
            if hashing.hexdigest() != digest.hex:
                return None
            try:
                assembly.complete()
            except PartsInvalid:
                return self.check(key, digest)  # somebody else made the same object meanwhile
        return sum(piece.size for piece in pieces)

    def delete(self, key: str) -> None:
        """See BlobStore; one request."""
        with translated(key):
            self._bucket.client.delete_object(**self._bucket.where(key))

    # ------------------------------------------------------------------------------------------------------- proving

    def check(self, key: str, digest: Digest, *, limit: int | None = None) -> int | None:
        """See BlobStore. One request if S3 keeps the SHA-256; else a copy that is deleted again, or a download."""
        shown = self._look(key)
        size: int = shown["ContentLength"]
        right = _told(shown, digest)
        if right is None and limit is not None and size > limit:
            raise ProofLong(key)
        if right is None and self._copy_tells(size, digest):
            copy = f"{PROOFS}{secrets.token_hex(16)}"
            try:
                right = self._copy(key, copy, digest)
            finally:
                self.delete(copy)
        if right is None:
            with self.open(key) as content:
                right = hashlib.file_digest(content, digest.algorithm).hexdigest() == digest.hex  # type: ignore[arg-type]
        return size if right else None

    def _copied_right(self, piece: Piece, key: str, digest: Digest) -> bool | None:
        """Copy a piece to be the object; whether it is right, None if S3 does not tell. Only a right one stays."""
        shown = self._look(piece.key)
        if shown["ContentLength"] != piece.size:
            raise BlobMissing(piece.key)
        if _told(shown, digest) is False:
            return False
        right = self._copy(piece.key, key, digest)
        if not right:
            self.delete(key)
        return right

    def _copy_tells(self, size: int, digest: Digest) -> bool:
        """Whether a copy inside S3 is the way to learn the hash."""
        return self._copies_are_hashed and digest.algorithm == "sha256" and self._part < size <= LARGEST_COPY

    def _copy(self, key: str, target: str, digest: Digest) -> bool | None:
        """Copy an object; whether S3 found the digest on the way, None if it does not tell."""
        from botocore.exceptions import ClientError

        right = None
        try:
            with translated(key):
                answer = self._bucket.client.copy_object(
                    **self._bucket.where(target), CopySource=self._bucket.where(key), ChecksumAlgorithm="SHA256"
                )
            right = _told(answer["CopyObjectResult"], digest)
        except ClientError as error:
            if refusal(error) not in _UNHASHED:
                raise
        self._copies_are_hashed = right is not None
        return right

    # ------------------------------------------------------------------------------------------------------- reading

    def stat(self, key: str) -> Stored | None:
        """See BlobStore; one request."""
        try:
            with translated(key):
                answer = self._bucket.client.head_object(**self._bucket.where(key))
        except BlobMissing:
            return None
        return Stored(key, answer["ContentLength"], answer["LastModified"])

    def open(self, key: str, start: int = 0, end: int | None = None) -> IO[bytes]:
        """See BlobStore; one request. A connection that is lost on the way is made again from there; if that does not help,
        ``read`` raises botocore's error."""
        if end is not None and end <= start:
            self._look(key)
            return io.BytesIO()
        return io.BufferedReader(Download(self._bucket, key, start, end), BLOCK)

    def list(self, prefix: str, after: str = "") -> Iterator[Stored]:
        """See BlobStore; one request for 1,000 objects. Raises ValueError for what begins no key."""
        return self._list(checked_prefix(prefix), checked_prefix(after))

    def _list(self, prefix: str, after: str) -> Iterator[Stored]:
        begins = self._bucket.prefix
        asked = {"Bucket": self._bucket.name, "Prefix": begins + prefix}
        if after:
            asked["StartAfter"] = begins + after
        for page in self._bucket.client.get_paginator("list_objects_v2").paginate(**asked):
            for found in page.get("Contents", ()):
                yield Stored(found["Key"].removeprefix(begins), found["Size"], found["LastModified"])

    def link(self, key: str, method: str, shown: Shown) -> str:
        """See BlobStore; no request. S3 shows the media type; it has no way to show a digest."""
        plain = shown.media_type == Shown().media_type
        return self._bucket.signed(method, key, LINK_SECONDS, {} if plain else {"response-content-type": shown.media_type})

    def _look(self, key: str) -> Mapping[str, Any]:
        """What S3 tells of an object, its checksums among it. Raises BlobMissing."""
        with translated(key):
            answer: Mapping[str, Any] = self._bucket.client.head_object(**self._bucket.where(key), ChecksumMode="ENABLED")
        return answer

    def _downloads(self, pieces: Iterable[Piece]) -> Iterator[Download]:
        """The pieces, one after the other. Raises BlobMissing for one that is not of its size."""
        for piece in pieces:
            download = Download(self._bucket, piece.key, 0, None)
            if download.size != piece.size:
                download.close()
                raise BlobMissing(piece.key)
            yield download


def _told(shown: Mapping[str, Any], digest: Digest) -> bool | None:
    """Whether the checksum of the whole object that S3 tells is the digest; None if it tells none.

    That of an object of several parts is a hash of hashes: its type says so, or its count of parts, "-2", at the end.
    """
    checksum: str = shown.get(f"Checksum{digest.algorithm.upper()}", "")
    whole = shown.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT" and "-" not in checksum
    if not checksum or not whole:
        return None
    return checksum == base64.b64encode(bytes.fromhex(digest.hex)).decode()
