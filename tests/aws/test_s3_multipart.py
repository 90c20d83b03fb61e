"""S3 as Multipart, on the emulator; parts are sent with nothing but urllib.

What the emulator does not do as AWS does: it puts parts into order, makes something of none and takes them of any size, which
the adapter refuses before it asks; it answers the second completion of an upload as the first, for ever, where AWS comes to
say NoSuchUpload, so tests of that answer in its place.
"""

from __future__ import annotations

import base64
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

from chalicelib.aws.s3_blobs import S3Blobs
from chalicelib.aws.s3_bucket import S3Bucket
from chalicelib.aws.s3_multipart import S3Multipart
from chalicelib.registry.names import Digest
from chalicelib.registry.ports import Multipart, Part, PartsInvalid, Piece, StoreFull
from tests.aws.conftest import BUCKET, Client, Hook
from tests.contracts.blob_store import KEY, content_of
from tests.contracts.multipart import MultipartContract, Sent
from tests.emulator import Emulator
from tests.frozen_clock import FrozenClock

Hooked = Callable[[str, Hook], None]


@pytest.fixture
def uploads(bucket: S3Bucket) -> S3Multipart:
    return S3Multipart(bucket, smallest=1)


@pytest.fixture
def blobs(bucket: S3Bucket) -> S3Blobs:
    return S3Blobs(bucket)


def _send(url: str, content: bytes, md5: bytes | None = None) -> Sent:
    headers = {"Content-MD5": base64.b64encode(md5).decode()} if md5 else {}
    request = urllib.request.Request(url, content, headers, method="PUT")  # noqa: S310 (the emulator's)
    # urllib would say that it sends a form, and S3 wants a content type to be signed
    request.add_header("Content-Type", "")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return Sent(answer.status, answer.headers["ETag"].strip('"'))
    except urllib.error.HTTPError as error:
        with error:
            return Sent(error.code)


class TestS3Multipart(MultipartContract):
    @pytest.fixture
    def store(self, bucket: S3Bucket) -> S3Multipart:
        return S3Multipart(bucket)

    @pytest.fixture
    def blobs(self, bucket: S3Bucket) -> S3Blobs:
        return S3Blobs(bucket)

    def send(self, store: Multipart, url: str, content: bytes, md5: bytes | None = None) -> Sent:
        return _send(url, content, md5)


class TestS3MultipartPageByPage(TestS3Multipart):
    """The same with lists that come one by one."""

    @pytest.fixture
    def store(self, bucket: S3Bucket) -> S3Multipart:
        return S3Multipart(bucket, page=1)


def _begun(uploads: S3Multipart, *contents: bytes) -> tuple[str, list[Part]]:
    upload = uploads.begin(KEY)
    sent = [
        _send(url, content) for url, content in zip(uploads.part_urls(KEY, upload, 1, len(contents)), contents, strict=True)
    ]
    parts = [
        Part(number, each.etag, len(content)) for number, (each, content) in enumerate(zip(sent, contents, strict=True), 1)
    ]
    return upload, parts


def test_what_each_call_costs(uploads: S3Multipart, calls: list[str]) -> None:
    upload, parts = _begun(uploads, b"one", b"two")
    assert uploads.parts(KEY, upload) == parts
    uploads.complete(KEY, upload, parts)
    list(uploads.unfinished(""))
    uploads.abort(KEY, upload)
    assert calls == [
        "CreateMultipartUpload",
        "ListParts",
        "CompleteMultipartUpload",
        "ListMultipartUploads",
        "AbortMultipartUpload",
    ]


def test_etags_may_be_quoted(uploads: S3Multipart, blobs: S3Blobs) -> None:
    upload, parts = _begun(uploads, b"one", b"two")
    uploads.complete(KEY, upload, [Part(part.number, f'"{part.etag}"', part.size) for part in parts])
    assert content_of(blobs, KEY) == b"onetwo"


def _answer(status: int, code: str) -> Hook:
    """A hook that answers a request in S3's place."""

    class Raw:
        def stream(self) -> list[bytes]:
            return [f"<Error><Code>{code}</Code><Message/></Error>".encode()]

    def answer(request: Any, **_: object) -> AWSResponse:  # noqa: ANN401
        return AWSResponse(request.url, status, {}, Raw())

    return answer


FORGOTTEN = [(404, "NoSuchUpload"), (412, "PreconditionFailed"), (409, "ConditionalRequestConflict")]


@pytest.mark.parametrize(("status", "code"), FORGOTTEN)
def test_a_completion_that_s3_has_forgotten_is_harmless(
    *, uploads: S3Multipart, blobs: S3Blobs, hooked: Hooked, status: int, code: str
) -> None:
    upload, parts = _begun(uploads, b"one", b"two")
    uploads.complete(KEY, upload, parts)
    hooked("before-send.s3.CompleteMultipartUpload", _answer(status, code))
    uploads.complete(KEY, upload, parts)
    assert content_of(blobs, KEY) == b"onetwo"
    with pytest.raises(PartsInvalid):
        uploads.complete(KEY, upload, parts[:1])


def test_what_s3_does_not_know_was_not_completed(uploads: S3Multipart, blobs: S3Blobs, hooked: Hooked) -> None:
    upload, parts = _begun(uploads, b"one")
    hooked("before-send.s3.CompleteMultipartUpload", _answer(404, "NoSuchUpload"))
    with pytest.raises(PartsInvalid):
        uploads.complete(KEY, upload, parts)
    assert blobs.stat(KEY) is None


@pytest.mark.parametrize(
    ("status", "code", "raised"),
    [
        (400, "EntityTooSmall", PartsInvalid),
        (400, "InvalidPart", PartsInvalid),
        (400, "InvalidPartOrder", PartsInvalid),
        (400, "InvalidRequest", PartsInvalid),
        (507, "XMinioStorageFull", StoreFull),
        (409, "ConditionalRequestConflict", ClientError),
        (403, "AccessDenied", ClientError),
    ],
)
def test_refusals_of_s3(*, uploads: S3Multipart, hooked: Hooked, status: int, code: str, raised: type[Exception]) -> None:
    upload, parts = _begun(uploads, b"one")
    hooked("before-send.s3.CompleteMultipartUpload", _answer(status, code))
    with pytest.raises(raised):
        uploads.complete(KEY, upload, parts)
    assert uploads.parts(KEY, upload) == parts


@pytest.mark.parametrize("operation", ["ListParts", "AbortMultipartUpload", "ListMultipartUploads", "CreateMultipartUpload"])
def test_other_failures_pass(uploads: S3Multipart, hooked: Hooked, operation: str) -> None:
    upload = uploads.begin(KEY)
    hooked(f"before-send.s3.{operation}", _answer(403, "AccessDenied"))
    calls: dict[str, Callable[[], object]] = {
        "ListParts": lambda: uploads.parts(KEY, upload),
        "AbortMultipartUpload": lambda: uploads.abort(KEY, upload),
        "ListMultipartUploads": lambda: list(uploads.unfinished("")),
        "CreateMultipartUpload": lambda: uploads.begin(KEY),
    }
    with pytest.raises(ClientError, match="AccessDenied"):
        calls[operation]()


def test_a_url_of_somebody_without_the_right_is_refused(
    emulator: Emulator, uploads: S3Multipart, corner: str, clock: FrozenClock
) -> None:
    upload = uploads.begin(KEY)
    environment = {**emulator.environment(), "AWS_SECRET_ACCESS_KEY": "another"}
    stranger = S3Multipart(S3Bucket(BUCKET, clock, prefix=corner, environment=environment))
    assert _send(stranger.part_urls(KEY, upload, 1, 1)[0], b"x").status == 403
    assert uploads.parts(KEY, upload) == []


OBJECTS = ["AbortMultipartUpload", "DeleteObject", "GetObject", "ListMultipartUploadParts", "PutObject"]
LISTS = ["ListBucket", "ListBucketMultipartUploads"]


def test_these_rights_are_enough_for_all(emulator: Emulator, s3: Client, corner: str, clock: FrozenClock) -> None:
    """What the stack's roles are to allow; every other action is denied."""
    objects = {"Effect": "Allow", "Action": [f"s3:{name}" for name in OBJECTS], "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    lists = {"Effect": "Allow", "Action": [f"s3:{name}" for name in LISTS], "Resource": f"arn:aws:s3:::{BUCKET}"}
    user = emulator.user("rights-of-s3", [objects, lists])
    bucket = S3Bucket(BUCKET, clock, prefix=corner, environment=user.environment())
    blobs, uploads = S3Blobs(bucket, part=2_000, smallest=1_000), S3Multipart(bucket, smallest=1)
    upload, parts = _begun(uploads, b"1" * 10_000, b"2")
    assert uploads.parts(KEY, upload) == parts
    assert [(key, identifier) for key, identifier, _ in uploads.unfinished("")] == [(KEY, upload)]
    uploads.complete(KEY, upload, parts)
    uploads.abort(KEY, upload)
    whole = b"1" * 10_000 + b"2"
    assert blobs.check(KEY, Digest.of(whole)) == 10_001
    blobs.put(KEY + "2", b"3")
    pieces = [Piece(KEY, 10_001), Piece(KEY + "2", 1)]
    assert blobs.assemble(pieces, KEY + "3", Digest.of(whole + b"3")) == 10_002
    assert blobs.assemble(pieces[:1], KEY + "4", Digest.of(whole)) == 10_001
    assert content_of(blobs, KEY + "3") == whole + b"3"
    blobs.delete(KEY)
    assert blobs.stat(KEY) is None
    assert len(list(blobs.list(""))) == 3
    with pytest.raises(ClientError, match="AccessDenied"):
        bucket.client.get_bucket_location(Bucket=BUCKET)
