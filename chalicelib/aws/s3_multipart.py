"""Multipart uploads of S3, whose parts are sent by whoever holds the signed URLs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise

from chalicelib.aws.s3_bucket import CONTENT_TYPE, FULL, S3Bucket, refusal, translated
from chalicelib.registry.keys import checked_key, checked_prefix
from chalicelib.registry.ports import BlobMissing, Part, PartsInvalid, StoreFull

PART_SECONDS = 3600
"""How long the URL of a part may be used; less if the credentials that signed it end before."""

SMALLEST_PART = 5 << 20
"""Bytes that S3 wants of every part but the last."""

MAX_PARTS = 10_000

_GONE = frozenset({"NoSuchUpload", "404"})
_OUTRUN = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})
_UNFIT = frozenset({"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "InvalidRequest", "MalformedXML"})


class S3Multipart:
    """The Multipart of a bucket. The ETags it tells have no quotes; those it is told may. ``page``: how many parts or uploads
    to ask for at once (S3 gives 1,000 at most)."""

    def __init__(self, bucket: S3Bucket, *, smallest: int = SMALLEST_PART, page: int = 1000) -> None:
        self._bucket = bucket
        self._smallest = smallest
        self._page = page

    def begin(self, key: str) -> str:
        """See Multipart; one request."""
        with translated(key):
            begun = self._bucket.client.create_multipart_upload(**self._bucket.where(key), ContentType=CONTENT_TYPE)
        upload: str = begun["UploadId"]
        return upload

    def part_urls(self, key: str, upload: str, first: int, count: int) -> Sequence[str]:
        """See Multipart; no request. Raises ValueError for numbers that no part has."""
        if count < 0 or first < 1 or first + count - 1 > MAX_PARTS:
            raise ValueError(f"not numbers of parts: {count} from {first}")
        checked_key(key)
        queries = ({"partNumber": str(number), "uploadId": upload} for number in range(first, first + count))
        return [self._bucket.signed("PUT", key, PART_SECONDS, query) for query in queries]

    def parts(self, key: str, upload: str) -> Sequence[Part]:
        """See Multipart; one request for 1,000 parts."""
        from botocore.exceptions import ClientError

        asked = {**self._bucket.where(key), "UploadId": upload, "PaginationConfig": {"PageSize": self._page}}
        try:
            pages = list(self._bucket.client.get_paginator("list_parts").paginate(**asked))
        except ClientError as error:
            if refusal(error) in _GONE:
                raise PartsInvalid(f"no such upload of {key}") from None
            raise
        found = (part for page in pages for part in page.get("Parts", ()))
        return [Part(part["PartNumber"], _bare(part["ETag"]), part["Size"]) for part in found]

    def complete(self, key: str, upload: str, parts: Sequence[Part]) -> None:
        """See Multipart; one request, one or two more if it was done before."""
        from botocore.exceptions import ClientError

        self._refuse_unfit(parts)
        size = sum(part.size for part in parts)
        listed = [{"PartNumber": part.number, "ETag": f'"{_bare(part.etag)}"'} for part in parts]
        try:
            self._bucket.client.complete_multipart_upload(
                **self._bucket.where(key),
                UploadId=upload,
                MultipartUpload={"Parts": listed},
                MpuObjectSize=size,  # S3 refuses to make an object of another size
                IfNoneMatch="*",  # an object that is there never changes
            )
        except ClientError as error:
            code = refusal(error)
            if code in FULL:
                raise StoreFull from None
            if code in _GONE | _OUTRUN and self._was_made(key, upload, size):
                return
            if code in _UNFIT | _GONE or (code in _OUTRUN and self._size(key) is not None):
                raise PartsInvalid(f"{code}: {key}") from None
            raise

    def abort(self, key: str, upload: str) -> None:
        """See Multipart. A part that is being sent just then may stay behind, for the bucket's lifecycle rule to drop."""
        from botocore.exceptions import ClientError

        try:
            self._bucket.client.abort_multipart_upload(**self._bucket.where(key), UploadId=upload)
        except ClientError as error:
            if refusal(error) not in _GONE:
                raise

    def unfinished(self, prefix: str) -> Iterator[tuple[str, str, datetime]]:
        """See Multipart; one request for 1,000 uploads. Raises ValueError for what begins no key."""
        return self._unfinished(checked_prefix(prefix))

    def _unfinished(self, prefix: str) -> Iterator[tuple[str, str, datetime]]:
        begins = self._bucket.prefix
        asked = {"Bucket": self._bucket.name, "Prefix": begins + prefix, "PaginationConfig": {"PageSize": self._page}}
        for page in self._bucket.client.get_paginator("list_multipart_uploads").paginate(**asked):
            for found in page.get("Uploads", ()):
                yield found["Key"].removeprefix(begins), found["UploadId"], found["Initiated"]

    def _refuse_unfit(self, parts: Sequence[Part]) -> None:
        """What S3 would refuse, and other endpoints make something of. Raises PartsInvalid."""
        if not parts:
            raise PartsInvalid("no parts")
        if any(one.number >= two.number for one, two in pairwise(parts)):
            raise PartsInvalid("parts out of order")
        if any(part.size < self._smallest for part in parts[:-1]):
            raise PartsInvalid(f"a part but the last has less than {self._smallest} bytes")

    def _was_made(self, key: str, upload: str, size: int) -> bool:
        """Whether it is this upload that the object under the key came of: it is gone, and the object has its size."""
        if self._size(key) != size:
            return False
        try:
            self.parts(key, upload)
        except PartsInvalid:
            return True
        return False

    def _size(self, key: str) -> int | None:
        try:
            with translated(key):
                size: int = self._bucket.client.head_object(**self._bucket.where(key))["ContentLength"]
        except BlobMissing:
            return None
        return size


def _bare(etag: str) -> str:
    return etag.strip('"')
