"""Blobs in S3, of AWS or any endpoint that speaks it with conditional writes (If-Match, If-None-Match on PUT).

    <prefix><key>                       proven or put: an object like any other, which links point to
    <prefix>~staged/<key>               index of what is staged: its parts in order, and whether it is sealed
    <prefix>~parts/<key>~/<random>      the content of one append; never changed, part of nothing until an index names it

``~`` is in no key and sorts behind every other character of one. The index is only ever changed by compare-and-swap on
its ETag, so writers on any number of machines are put in order by S3. A proof reads the parts once, hashes them and
assembles the object on the way; it comes to exist only after the hash was right and the index was marked sealed.

What a crash can leave (parts that no index names, unfinished multipart uploads) is the bucket's lifecycle rules to drop:
AbortIncompleteMultipartUpload, and an expiry of ``~parts/`` and ``~staged/`` later than uploads live.
"""

from __future__ import annotations

import hashlib
import heapq
import hmac
import io
import json
import os
import secrets
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from threading import Lock
from typing import IO, TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote, urlsplit

from chalicelib.registry.keys import checked_key, checked_prefix
from chalicelib.registry.ports import BlobMissing, Clock, Shown, Stored, StoreFull, WrongOffset

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from chalicelib.registry.names import Digest

LINK_SECONDS = 600
"""How long a link may be used to begin a download: time for a client that got 20 redirects at once and queues them, and
short enough that a leaked one is soon worthless. It ends earlier if the credentials that signed it do."""

PART = 16 << 20
"""Bytes of an assembled object's part, and what a proof holds in memory; more only beyond 156 GB (10,000 parts)."""

BLOCK = 1 << 18
"""Bytes read at once from a response."""

ATTEMPTS = 50
"""How often an index is read again after somebody else changed it first. Each time somebody got on, so it ends."""

_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
_OUTRUN = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})
_FULL = frozenset({"507", "InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"})
_CONTENT_TYPE = "application/octet-stream"
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_STAGED, _PARTS = "~staged/", "~parts/"
_Client: TypeAlias = Any  # made by boto3 at run time; there are no types to import
_Session: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class _Part:
    """Content of one append: the random name, and how many of its bytes count (the rest was cut off later)."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class _Index:
    """What is staged under a key. ``etag`` is "" if it is not stored yet."""

    parts: tuple[_Part, ...] = ()
    sealed: bool = False
    etag: str = ""
    modified: datetime = _NEVER

    @classmethod
    def parse(cls, text: bytes, etag: str, modified: datetime) -> _Index:
        stored = json.loads(text)
        return cls(tuple(_Part(name, size) for name, size in stored["parts"]), stored["sealed"], etag, modified)

    def text(self) -> bytes:
        parts = [(part.name, part.size) for part in self.parts]
        return json.dumps({"sealed": self.sealed, "parts": parts}, separators=(",", ":")).encode()

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    def append(self, offset: int, part: _Part) -> _Index:
        """The index with what lies beyond ``offset`` cut off and the part added behind it."""
        kept, left = [], offset
        for old in self.parts:
            if left > 0:
                kept.append(replace(old, size=min(old.size, left)))
            left -= old.size
        return replace(self, parts=(*kept, part) if part.size else tuple(kept))


@dataclass(frozen=True, slots=True)
class _Credentials:
    """Who signs; its representation shows nothing, so that no traceback or log can."""

    access_key: str
    secret_key: str
    token: str

    def __repr__(self) -> str:
        return "_Credentials(...)"


class S3Blobs:
    """The BlobStore on S3. Credentials, region and endpoint come from the environment, read anew for each link.

    ``prefix`` is put before every key. ``endpoint`` (a URL without path) stands before AWS_ENDPOINT_URL_S3 and
    AWS_ENDPOINT_URL; without any it is AWS. ``path_style``: the bucket in the path rather than in the host name; None
    means for every endpoint but AWS. The role needs s3:ListBucket, or S3 answers 403 for what is not there. ``part`` is
    the limit of that name above; a ``client`` of boto is built on first use unless one is given.
    """

    def __init__(
        self,
        bucket: str,
        clock: Clock,
        *,
        prefix: str = "",
        endpoint: str = "",
        path_style: bool | None = None,
        environment: Mapping[str, str] = os.environ,
        part: int = PART,
        client: _Client | None = None,
    ) -> None:
        self._bucket = bucket
        self._clock = clock
        self._prefix = prefix
        self._environment = environment
        self._region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1"
        named = (environment.get("AWS_ENDPOINT_URL_S3"), environment.get("AWS_ENDPOINT_URL"))
        self._endpoint = (endpoint or named[0] or named[1] or "").rstrip("/")
        self._path_style = bool(self._endpoint) if path_style is None else path_style
        self._guard = Lock()
        self._part = part
        self._client = client
        self._session: _Session = None

    # ------------------------------------------------------------------------------------------------------- writing

    def append(self, key: str, offset: int, content: bytes) -> int:
        """See BlobStore. Three requests; the content is in S3 before the index names it."""
        part = _Part(secrets.token_hex(8), len(content))
        added = False
        checked_key(key)
        try:
            for _ in range(ATTEMPTS):
                index = self._index_to_append(key, offset)
                if content and not added:
                    self._write(_part_name(key, part), content)
                    added = True
                if self._swap(key, index, index.append(offset, part)):
                    self._refuse_if_proven_meanwhile(key, index)
                    return offset + len(content)
        except WrongOffset:
            if added:
                self._remove([_part_name(key, part)])
            raise
        raise RuntimeError("too many writers at once on one upload")

    def prove(self, key: str, digest: Digest) -> int | None:
        """See BlobStore. Every byte passes through here once, for lack of parts large enough to be copied inside S3."""
        checked_key(key)
        for _ in range(ATTEMPTS):
            if self._head(key):
                return self._prove_again(key, digest)
            index = self._index(key)
            if index is None:
                if self._head(key):
                    continue  # another proof was done between the two looks
                raise BlobMissing(key)
            try:
                proven = self._assemble(key, index, digest)
            except BlobMissing:
                continue  # another proof, or a delete, removed the parts while they were read
            if proven is None:
                return None
            if proven:
                self._remove_staged(key)
                return index.size
        raise RuntimeError("too many writers at once on one upload")

    def put(self, key: str, content: bytes) -> None:
        """See BlobStore."""
        self._write(checked_key(key), content)

    def delete(self, key: str) -> None:
        """See BlobStore."""
        self._remove([checked_key(key)])
        self._remove_staged(key)

    # ------------------------------------------------------------------------------------------------------- reading

    def stat(self, key: str) -> Stored | None:
        """See BlobStore."""
        if stored := self._head(checked_key(key)):
            return stored
        index = self._index(key)
        # a proof between the two looks moves the bytes from one place to the other
        return Stored(key, index.size, index.modified) if index else self._head(key)

    def open(self, key: str, start: int = 0, end: int | None = None) -> IO[bytes]:
        """See BlobStore. A connection lost on the way raises botocore's error from ``read``."""
        for _ in range(2):
            stored = self._head(checked_key(key))
            if stored:
                end = stored.size if end is None else min(end, stored.size)
                return io.BufferedReader(_Chunks(self._read([(key, start, end)])), BLOCK)
            if index := self._index(key):
                end = index.size if end is None else min(end, index.size)
                return io.BufferedReader(_Chunks(self._read(_spans(key, index, start, end))), BLOCK)
        raise BlobMissing(key)

    def list(self, prefix: str) -> Iterator[Stored]:
        """See BlobStore; one more request for each key that is staged. Raises ValueError as for a key."""
        return self._merged(checked_prefix(prefix))

    def _merged(self, prefix: str) -> Iterator[Stored]:
        last = ""
        for stored in heapq.merge(self._list("", prefix), self._staged(prefix), key=lambda stored: stored.key):
            if stored.key != last:  # both while a proof cleans up; the proven one comes first
                yield stored
            last = stored.key

    # --------------------------------------------------------------------------------------------------------- links

    def link(self, key: str, method: str, shown: Shown) -> str:
        """See BlobStore: signature version 4 in the query, without a client, so that a cold start need not build one.

        S3 shows the media type; it has no way to show a digest.
        """
        credentials, moment = self._credentials(), self._clock.now().strftime("%Y%m%dT%H%M%SZ")
        scope = f"{moment[:8]}/{self._region}/s3/aws4_request"
        url = urlsplit(self._address())
        path = f"{url.path}/{quote(self._prefix + checked_key(key))}"
        fields = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{credentials.access_key}/{scope}",
            "X-Amz-Date": moment,
            "X-Amz-Expires": str(LINK_SECONDS),
            "X-Amz-SignedHeaders": "host",
        }
        if credentials.token:
            fields["X-Amz-Security-Token"] = credentials.token
        if shown.media_type != Shown().media_type:
            fields["response-content-type"] = shown.media_type
        query = "&".join(f"{quote(name, safe='')}={quote(fields[name], safe='')}" for name in sorted(fields))
        request = f"{method}\n{path}\n{query}\nhost:{url.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = _keyed(_signing_key(credentials.secret_key, scope), text).hex()
        return f"{url.scheme}://{url.netloc}{path}?{query}&X-Amz-Signature={signature}"

    def _address(self) -> str:
        """The bucket's URL, without a slash at the end."""
        domain = "amazonaws.com.cn" if self._region.startswith("cn-") else "amazonaws.com"
        scheme, _, host = (self._endpoint or f"https://s3.{self._region}.{domain}").partition("://")
        return f"{scheme}://{host}/{self._bucket}" if self._path_style else f"{scheme}://{self._bucket}.{host}"

    def _credentials(self) -> _Credentials:
        """Those of the environment, as on Lambda; else whatever boto finds, which renews them itself."""
        given = self._environment.get
        if access_key := given("AWS_ACCESS_KEY_ID"):
            return _Credentials(access_key, given("AWS_SECRET_ACCESS_KEY", ""), given("AWS_SESSION_TOKEN", ""))
        with self._guard:
            found = self._boto().get_credentials()
        if found is None:
            raise RuntimeError("no AWS credentials to sign a link with: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        frozen = found.get_frozen_credentials()
        return _Credentials(frozen.access_key, frozen.secret_key, frozen.token or "")

    # --------------------------------------------------------------------------------------------------------- index

    def _index(self, key: str) -> _Index | None:
        try:
            with _translated(key):
                answer = self._s3.get_object(Bucket=self._bucket, Key=self._name(_STAGED + key))
                with closing(answer["Body"]) as body:
                    return _Index.parse(body.read(), answer["ETag"], answer["LastModified"])
        except BlobMissing:
            return None

    def _index_to_append(self, key: str, offset: int) -> _Index:
        """The index, a fresh one if nothing is staged. Raises WrongOffset."""
        index = self._index(key)
        if index is None:
            if proven := self._head(key):
                raise WrongOffset(proven.size)
            index = _Index()
        if index.sealed or not 0 <= offset <= index.size:
            raise WrongOffset(index.size)
        return index

    def _refuse_if_proven_meanwhile(self, key: str, index: _Index) -> None:
        """A writer that saw the key before its first byte may come so late that it was proven and its index removed."""
        if not index.etag and (proven := self._head(key)):
            self._remove_staged(key)
            raise WrongOffset(proven.size)

    def _swap(self, key: str, old: _Index, new: _Index) -> bool:
        """Put ``new`` in the place of ``old``, unless that is not there any more."""
        condition = {"IfMatch": old.etag} if old.etag else {"IfNoneMatch": "*"}
        try:
            self._write(_STAGED + key, new.text(), **condition)
        except (_Outrun, BlobMissing):
            return False
        return True

    # ------------------------------------------------------------------------------------------------------- proving

    def _assemble(self, key: str, index: _Index, digest: Digest) -> bool | None:
        """Make the staged bytes the object under ``key``. None if they hash otherwise, False if the index changed meanwhile.
        Raises BlobMissing if parts are gone."""
        hashing = hashlib.new(digest.algorithm)
        with _Assembly(self._s3, self._bucket, self._name(key), self._part_size(index.size)) as assembly:
            for chunk in self._read(_spans(key, index, 0, index.size)):
                hashing.update(chunk)
                assembly.add(chunk)
            if hashing.hexdigest() != digest.hex:
                return None
            # sealed before the object exists: from here on no append can be answered with success
            if not self._swap(key, index, replace(index, sealed=True)):
                return False
            assembly.complete()
            return True

    def _part_size(self, size: int) -> int:
        """Bytes of a part so that S3's 10,000 are enough."""
        return max(self._part, -(-size // 10_000))

    def _prove_again(self, key: str, digest: Digest) -> int | None:
        hashing, size = hashlib.new(digest.algorithm), 0
        with self.open(key) as content:
            while block := content.read(BLOCK):
                hashing.update(block)
                size += len(block)
        if hashing.hexdigest() != digest.hex:
            return None
        self._remove_staged(key)
        return size

    # ------------------------------------------------------------------------------------------------------ requests

    @property
    def _s3(self) -> _Client:
        """The client, built once: building is not for two threads at a time."""
        with self._guard:
            if self._client is None:
                from botocore.config import Config

                style = "path" if self._path_style else "virtual"
                retries = {"mode": "standard", "total_max_attempts": 4}
                config = Config(s3={"addressing_style": style}, retries=retries, max_pool_connections=64)
                self._client = self._boto().client("s3", endpoint_url=self._endpoint or None, config=config)
            return self._client

    def _boto(self) -> _Session:
        """The boto session, under the guard."""
        if self._session is None:
            from boto3.session import Session

            self._session = Session(
                aws_access_key_id=self._environment.get("AWS_ACCESS_KEY_ID"),
                aws_secret_access_key=self._environment.get("AWS_SECRET_ACCESS_KEY"),
                aws_session_token=self._environment.get("AWS_SESSION_TOKEN"),
                region_name=self._region,
            )
        return self._session

    def _name(self, key: str) -> str:
        return self._prefix + key

    def _write(self, name: str, content: bytes, **condition: str) -> None:
        with _translated(name):
            self._s3.put_object(Bucket=self._bucket, Key=self._name(name), Body=content, ContentType=_CONTENT_TYPE, **condition)

    def _head(self, key: str) -> Stored | None:
        try:
            with _translated(key):
                answer = self._s3.head_object(Bucket=self._bucket, Key=self._name(key))
        except BlobMissing:
            return None
        return Stored(key, answer["ContentLength"], answer["LastModified"])

    def _read(self, spans: Iterable[tuple[str, int, int]]) -> Iterator[bytes]:
        """The bytes of stretches (name, start, end), one after the other. Raises BlobMissing."""
        for name, start, end in spans:
            if start < end:
                wanted = f"bytes={start}-{end - 1}"
                with _translated(name):
                    answer = self._s3.get_object(Bucket=self._bucket, Key=self._name(name), Range=wanted)
                with closing(answer["Body"]) as body:
                    yield from body.iter_chunks(BLOCK)

    def _list(self, root: str, prefix: str) -> Iterator[Stored]:
        """What lies under ``root`` in order, as keys without it; nothing of what begins with "~", which sorts last."""
        begins = self._name(root)
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=begins + prefix)
        for page in pages:
            for found in page.get("Contents", ()):
                key = found["Key"].removeprefix(begins)
                if key.startswith("~"):
                    return
                yield Stored(key, found["Size"], found["LastModified"])

    def _staged(self, prefix: str) -> Iterator[Stored]:
        for found in self._list(_STAGED, prefix):
            if index := self._index(found.key):
                yield Stored(found.key, index.size, index.modified)

    def _remove(self, names: Sequence[str]) -> None:
        """Delete up to 1,000 objects; those that are not there count as deleted."""
        objects = [{"Key": self._name(name)} for name in names]
        answer = self._s3.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
        if errors := answer.get("Errors"):
            raise RuntimeError(f"S3 did not delete {len(errors)} objects: {errors[0].get('Code')}")

    def _remove_staged(self, key: str) -> None:
        """The index goes last: while there are parts, it shows in ``list`` that the key has something to delete."""
        folder = f"{_PARTS}{key}~/"
        parts = (folder + part.key for part in self._list(folder, ""))
        while names := tuple(islice(parts, 1000)):
            self._remove(names)
        self._remove((_STAGED + key,))


class _Assembly:
    """An object that grows under a name and is not there before ``complete``. Memory: one part."""

    def __init__(self, s3: _Client, bucket: str, name: str, part: int) -> None:
        self._s3 = s3
        self._where = {"Bucket": bucket, "Key": name}
        self._part = part
        self._buffer = bytearray()
        self._upload = ""
        self._parts: list[dict[str, object]] = []

    def __enter__(self) -> _Assembly:
        return self

    def add(self, chunk: bytes) -> None:
        self._buffer += chunk
        while len(self._buffer) > self._part:
            self._send(bytes(self._buffer[: self._part]))
            del self._buffer[: self._part]

    def complete(self) -> None:
        with _translated(self._where["Key"]):
            if not self._upload:
                self._s3.put_object(**self._where, Body=bytes(self._buffer), ContentType=_CONTENT_TYPE)
                return
            self._send(bytes(self._buffer))
            parts = {"Parts": self._parts}
            self._s3.complete_multipart_upload(**self._where, UploadId=self._upload, MultipartUpload=parts)
            self._upload = ""

    def __exit__(self, *_: object) -> None:
        if self._upload:
            self._s3.abort_multipart_upload(**self._where, UploadId=self._upload)

    def _send(self, content: bytes) -> None:
        with _translated(self._where["Key"]):
            if not self._upload:
                begun = self._s3.create_multipart_upload(**self._where, ContentType=_CONTENT_TYPE)
                self._upload = begun["UploadId"]
            number = len(self._parts) + 1
            sent = self._s3.upload_part(**self._where, UploadId=self._upload, PartNumber=number, Body=content)
        # S3 wants the checksums that boto sent with the parts again when they are put together
        sums = {name: value for name, value in sent.items() if name.startswith("Checksum") and name != "ChecksumType"}
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"], **sums})


class _Outrun(Exception):
    """Somebody else wrote first."""


class _Chunks(io.RawIOBase):
    """A stream of what an iterator yields; closing it closes the iterator, and the response it reads from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        into = memoryview(buffer).cast("B")
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        size = min(len(into), len(self._rest))
        into[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def close(self) -> None:
        if isinstance(self._chunks, Generator):
            self._chunks.close()
        super().close()


def _part_name(key: str, part: _Part) -> str:
    return f"{_PARTS}{key}~/{part.name}"


def _spans(key: str, index: _Index, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Which bytes of which parts are those of the staged whole from ``start`` up to ``end``."""
    position = 0
    for part in index.parts:
        first, last = max(start - position, 0), min(end - position, part.size)
        if first < last:
            yield _part_name(key, part), first, last
        position += part.size


@contextmanager
def _translated(key: str) -> Iterator[None]:
    """The refusals of S3 that the port has names for; every other passes."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _MISSING:
            raise BlobMissing(key) from None
        if code in _OUTRUN:
            raise _Outrun from None
        if code in _FULL:
            raise StoreFull from None
        raise


def _keyed(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _signing_key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = _keyed(key, part)
    return key
