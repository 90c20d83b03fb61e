"""S3 as BlobStore, on the emulator, which checks every signature; links are fetched with nothing but urllib.

What the emulator does not do as AWS does: CopyObject tells no checksum and hashes none that it was not given, so tests of
that let botocore's hooks tell it (``tells``); it takes parts of any size.
"""

from __future__ import annotations

import base64
import hashlib
import os
import ssl
import subprocess
import sys
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chalicelib.aws.s3_blobs import S3Blobs
from chalicelib.aws.s3_bucket import ATTEMPTS, S3Bucket
from chalicelib.aws.s3_download import LOSSES
from chalicelib.registry.names import Digest
from chalicelib.registry.ports import BlobMissing, BlobStore, Piece, ProofLong, Shown, StoreFull
from tests.aws.conftest import BUCKET, Client, Hook
from tests.contracts.blob_store import KEY, WRONG, BlobStoreContract, Fetched, content_of, keys_of, pieces_of
from tests.emulator import Emulator
from tests.frozen_clock import FrozenClock

ROOT = Path(__file__).resolve().parents[2]
SMALL = 1 << 10
"""Parts in these tests where size is not the point."""

Hooked = Callable[[str, Hook], None]


@pytest.fixture
def blobs(bucket: S3Bucket) -> S3Blobs:
    return S3Blobs(bucket)


@pytest.fixture
def small_parts(bucket: S3Bucket) -> S3Blobs:
    """One that copies and sends parts of a few bytes, which S3 itself would refuse."""
    return S3Blobs(bucket, part=4 * SMALL, smallest=SMALL)


class TestS3Blobs(BlobStoreContract):
    @pytest.fixture
    def store(self, bucket: S3Bucket) -> S3Blobs:
        return S3Blobs(bucket)

    def fetch(self, store: BlobStore, url: str, method: str, byte_range: str = "") -> Fetched:
        return _fetch(url, method, byte_range)


class TestS3BlobsInSmallParts(TestS3Blobs):
    """The same with every object made of many parts and copied ones."""

    @pytest.fixture
    def store(self, small_parts: S3Blobs) -> S3Blobs:
        return small_parts


def _fetch(url: str, method: str = "GET", byte_range: str = "") -> Fetched:
    headers = {"Range": byte_range} if byte_range else {}
    request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310 (the emulator's)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return Fetched(answer.status, answer.read(), answer.headers.get("Content-Type", ""))
    except urllib.error.HTTPError as error:
        with error:
            return Fetched(error.code)


def _sha256(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def _unproven(s3: Client, corner: str, key: str, content: bytes) -> None:
    """An object of which S3 keeps no SHA-256, as a relay's multipart upload leaves it."""
    where = {"Bucket": BUCKET, "Key": corner + key}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    part = s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=content)
    s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})


@pytest.fixture
def tells(hooked: Hooked, s3: Client) -> Callable[..., None]:
    """``tells()``: from now on CopyObject tells the SHA-256 of what it copied, as AWS does; of other ``content`` if given."""

    def begin(content: bytes | None = None, kind: str = "FULL_OBJECT", end: str = "") -> None:
        targets: list[dict[str, str]] = []

        def note(params: dict[str, Any], **_: object) -> None:
            assert params["ChecksumAlgorithm"] == "SHA256"
            targets.append({"Bucket": params["Bucket"], "Key": params["Key"]})

        def tell(parsed: dict[str, Any], **_: object) -> None:
            copied = s3.get_object(**targets[-1])["Body"].read() if content is None else content
            parsed["CopyObjectResult"] |= {"ChecksumSHA256": _sha256(copied) + end, "ChecksumType": kind}

        hooked("provide-client-params.s3.CopyObject", note)
        hooked("after-call.s3.CopyObject", tell)

    return begin


# ---------------------------------------------------------------------------------------------------------------- proofs


def test_what_each_call_costs(blobs: S3Blobs, calls: list[str]) -> None:
    blobs.put(KEY, b"layer")
    blobs.check(KEY, Digest.of(b"layer"))
    blobs.check(KEY, WRONG)
    blobs.stat(KEY)
    blobs.link(KEY, "GET", Shown())
    content_of(blobs, KEY)
    content_of(blobs, KEY, 2, 4)
    list(blobs.list(""))
    blobs.delete(KEY)
    expected = [
        "PutObject",
        "HeadObject",
        "HeadObject",
        "HeadObject",
        "GetObject",
        "GetObject",
        "ListObjectsV2",
        "DeleteObject",
    ]
    assert calls == expected


def test_altered_bytes_are_refused_by_s3(blobs: S3Blobs, hooked: Hooked) -> None:
    def alter(params: dict[str, Any], **_: object) -> None:
        params["body"] = b"lager"

    hooked("before-call.s3.PutObject", alter)
    with pytest.raises(ClientError, match="BadDigest"):
        blobs.put(KEY, b"layer")
    assert blobs.stat(KEY) is None


def test_altered_parts_are_refused_by_s3(small_parts: S3Blobs, hooked: Hooked, s3: Client) -> None:
    contents = [bytes([number]) * 1000 for number in range(9)]
    pieces = pieces_of(small_parts, *contents)

    def alter(params: dict[str, Any], **_: object) -> None:
        params["body"] = bytes(len(params["body"]))

    hooked("before-call.s3.UploadPart", alter)
    with pytest.raises(ClientError, match="BadDigest"):
        small_parts.assemble(pieces, KEY, Digest.of(b"".join(contents)))
    assert small_parts.stat(KEY) is None
    assert _unfinished(s3) == []


def _unfinished(s3: Client) -> list[str]:
    return [upload["Key"] for upload in s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]


def test_a_small_object_without_a_checksum_is_read(s3: Client, blobs: S3Blobs, corner: str, calls: list[str]) -> None:
    _unproven(s3, corner, KEY, b"layer")
    assert blobs.check(KEY, Digest.of(b"layer")) == 5
    assert calls == ["HeadObject", "GetObject"]


def test_a_limit_is_for_what_has_to_be_hashed(s3: Client, blobs: S3Blobs, corner: str, calls: list[str]) -> None:
    _unproven(s3, corner, KEY, b"layer")
    with pytest.raises(ProofLong):
        blobs.check(KEY, Digest.of(b"layer"), limit=4)
    assert blobs.check(KEY, Digest.of(b"layer"), limit=5) == 5
    blobs.put(KEY + "2", b"layer")
    assert blobs.check(KEY + "2", Digest.of(b"layer"), limit=0) == 5
    assert calls == ["HeadObject", "HeadObject", "GetObject", "PutObject", "HeadObject"]


def test_s3_hashes_a_copy_of_a_large_object(
    *, s3: Client, small_parts: S3Blobs, corner: str, calls: list[str], tells: Callable[..., None]
) -> None:
    content = os.urandom(20_000)
    _unproven(s3, corner, KEY, content)
    tells()
    assert small_parts.check(KEY, Digest.of(content)) == 20_000
    assert small_parts.check(KEY, WRONG) is None
    assert calls == ["HeadObject", "CopyObject", "DeleteObject"] * 2
    assert keys_of(small_parts) == [KEY]


def test_a_large_object_is_read_for_another_algorithm(
    *, s3: Client, small_parts: S3Blobs, corner: str, calls: list[str]
) -> None:
    content = os.urandom(20_000)
    _unproven(s3, corner, KEY, content)
    assert small_parts.check(KEY, Digest.of(content, "sha512")) == 20_000
    assert calls == ["HeadObject", "GetObject"]


@pytest.mark.parametrize(("kind", "end"), [("COMPOSITE", "-3"), ("COMPOSITE", ""), ("FULL_OBJECT", "-3")])
def test_a_hash_of_hashes_proves_nothing(
    *, s3: Client, small_parts: S3Blobs, corner: str, tells: Callable[..., None], kind: str, end: str
) -> None:
    content = os.urandom(20_000)
    _unproven(s3, corner, KEY, content)
    tells(b"other", kind, end)
    assert small_parts.check(KEY, Digest.of(b"other")) is None
    assert small_parts.check(KEY, Digest.of(content)) == 20_000


def test_a_composite_checksum_of_s3_proves_nothing(s3: Client, blobs: S3Blobs, corner: str) -> None:
    where = {"Bucket": BUCKET, "Key": corner + KEY}
    upload = s3.create_multipart_upload(**where, ChecksumAlgorithm="SHA256")["UploadId"]
    part = s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"layer", ChecksumAlgorithm="SHA256")
    parts = [{"PartNumber": 1, "ETag": part["ETag"], "ChecksumSHA256": part["ChecksumSHA256"]}]
    s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
    assert s3.head_object(**where, ChecksumMode="ENABLED")["ChecksumType"] == "COMPOSITE"
    assert blobs.check(KEY, Digest.of(b"layer")) == 5
    assert blobs.check(KEY, Digest.of(hashlib.sha256(b"layer").digest())) is None


def test_an_endpoint_that_hashes_no_copies_is_asked_once(
    *, s3: Client, small_parts: S3Blobs, corner: str, calls: list[str]
) -> None:
    content = os.urandom(20_000)
    _unproven(s3, corner, KEY, content)
    for _ in range(2):
        assert small_parts.check(KEY, Digest.of(content)) == 20_000
    assert calls == ["HeadObject", "CopyObject", "DeleteObject", "GetObject", "HeadObject", "GetObject"]
    assert keys_of(small_parts) == [KEY]


def _answer(status: int, code: str) -> Hook:
    """A hook that answers a request in S3's place."""

    class Raw:
        def stream(self) -> list[bytes]:
            return [f"<Error><Code>{code}</Code><Message/></Error>".encode() if code else b""]

    def answer(request: Any, **_: object) -> AWSResponse:  # noqa: ANN401
        return AWSResponse(request.url, status, {}, Raw())

    return answer


def test_an_endpoint_that_refuses_to_hash_a_copy(*, s3: Client, small_parts: S3Blobs, corner: str, hooked: Hooked) -> None:
    content = os.urandom(20_000)
    _unproven(s3, corner, KEY, content)
    hooked("before-send.s3.CopyObject", _answer(501, "NotImplemented"))
    assert small_parts.check(KEY, Digest.of(content)) == 20_000
    assert small_parts.assemble([Piece(KEY, 20_000)], KEY + "2", Digest.of(content)) == 20_000


def test_a_role_that_may_not_copy_is_told(*, s3: Client, small_parts: S3Blobs, corner: str, hooked: Hooked) -> None:
    _unproven(s3, corner, KEY, os.urandom(20_000))
    hooked("before-send.s3.CopyObject", _answer(403, "AccessDenied"))
    with pytest.raises(ClientError, match="AccessDenied"):
        small_parts.check(KEY, WRONG)


def test_an_object_that_goes_while_it_is_checked(*, s3: Client, small_parts: S3Blobs, corner: str, hooked: Hooked) -> None:
    _unproven(s3, corner, KEY, os.urandom(20_000))

    def go(**_: object) -> None:
        s3.delete_object(Bucket=BUCKET, Key=corner + KEY)

    hooked("after-call.s3.HeadObject", go)
    with pytest.raises(BlobMissing):
        small_parts.check(KEY, WRONG)
    assert keys_of(small_parts) == []


# -------------------------------------------------------------------------------------------------------------- assembly


def test_a_single_piece_is_copied_and_hashed_by_s3(
    *, s3: Client, small_parts: S3Blobs, corner: str, calls: list[str], tells: Callable[..., None]
) -> None:
    content = os.urandom(20_000)
    _unproven(s3, corner, KEY, content)
    tells()
    assert small_parts.assemble([Piece(KEY, 20_000)], KEY + "2", Digest.of(content)) == 20_000
    assert calls == ["HeadObject", "CopyObject"]
    assert small_parts.assemble([Piece(KEY, 20_000)], KEY + "3", WRONG) is None
    with pytest.raises(BlobMissing):
        small_parts.assemble([Piece(KEY, 20_001)], KEY + "3", Digest.of(content))
    assert keys_of(small_parts) == [KEY, KEY + "2"]


def test_a_single_piece_of_another_known_hash_is_not_copied(small_parts: S3Blobs, calls: list[str]) -> None:
    [piece] = pieces_of(small_parts, os.urandom(20_000))
    calls.clear()
    assert small_parts.assemble([piece], KEY, WRONG) is None
    assert calls == ["HeadObject"]


def test_large_pieces_are_copied_and_small_ones_sent(blobs: S3Blobs, calls: list[str], s3: Client, corner: str) -> None:
    contents = [os.urandom(6 << 20), b"small", b"tiny", os.urandom(11 << 20), b"tail"]
    pieces, whole = pieces_of(blobs, *contents), b"".join(contents)
    calls.clear()
    assert blobs.assemble(pieces, KEY, Digest.of(whole)) == len(whole)
    assert content_of(blobs, KEY) == whole
    assert calls[:5] == ["GetObject"] * 4 + ["CreateMultipartUpload"]
    assert sorted(calls[5:-2]) == ["GetObject", "UploadPart", "UploadPart", "UploadPartCopy", "UploadPartCopy"]
    assert calls[-2:] == ["CompleteMultipartUpload", "GetObject"]
    assert s3.head_object(Bucket=BUCKET, Key=corner + KEY)["ETag"].endswith('-4"')


def test_a_wrong_hash_of_large_pieces_makes_s3_do_nothing(blobs: S3Blobs, calls: list[str]) -> None:
    pieces = pieces_of(blobs, os.urandom(6 << 20), os.urandom(6 << 20))
    calls.clear()
    assert blobs.assemble(pieces, KEY, WRONG) is None
    assert calls == ["GetObject", "GetObject"]


def test_what_was_made_small_is_proven_by_a_look(blobs: S3Blobs, calls: list[str]) -> None:
    pieces = pieces_of(blobs, b"one ", b"two")
    blobs.assemble(pieces, KEY, Digest.of(b"one two"))
    calls.clear()
    assert blobs.check(KEY, Digest.of(b"one two")) == 7
    assert calls == ["HeadObject"]


@pytest.mark.parametrize(
    "operation", ["GetObject", "CreateMultipartUpload", "UploadPart", "UploadPartCopy", "CompleteMultipartUpload"]
)
def test_a_failure_on_the_way_leaves_nothing(*, small_parts: S3Blobs, hooked: Hooked, s3: Client, operation: str) -> None:
    contents = [os.urandom(20_000), *(os.urandom(700) for _ in range(9))]
    pieces = pieces_of(small_parts, *contents)
    hooked(f"before-send.s3.{operation}", _answer(403, "AccessDenied"))
    with pytest.raises(ClientError, match="AccessDenied"):
        small_parts.assemble(pieces, KEY, Digest.of(b"".join(contents)))
    assert small_parts.stat(KEY) is None
    assert _unfinished(s3) == []


def test_a_piece_that_goes_before_it_is_copied(*, small_parts: S3Blobs, hooked: Hooked, s3: Client) -> None:
    contents = [os.urandom(20_000), b"tail"]
    pieces = pieces_of(small_parts, *contents)
    hooked("before-send.s3.UploadPartCopy", _answer(404, "NoSuchKey"))
    with pytest.raises(BlobMissing):
        small_parts.assemble(pieces, KEY, Digest.of(b"".join(contents)))
    assert _unfinished(s3) == []


# ------------------------------------------------------------------------------------------------------------- downloads


class Breaking:
    """A response's body that breaks after some bytes."""

    def __init__(self, body: Any, size: int, error: Exception | None) -> None:  # noqa: ANN401
        self._body, self._left, self._error = body, size, error

    def read(self, size: int) -> bytes:
        if self._left == 0 and self._error:
            raise self._error
        chunk: bytes = self._body.read(min(size, self._left))
        self._left -= len(chunk)
        return chunk

    def close(self) -> None:
        self._body.close()


LOST = [ReadTimeoutError(endpoint_url=""), ConnectionClosedError(endpoint_url=""), None]


@pytest.mark.parametrize("error", LOST)
def test_a_lost_connection_is_made_again(blobs: S3Blobs, calls: list[str], hooked: Hooked, error: Exception | None) -> None:
    content = os.urandom(100_000)
    blobs.put(KEY, content)

    def lose(parsed: dict[str, Any], **_: object) -> None:
        parsed["Body"] = Breaking(parsed["Body"], 9_999, error)

    hooked("after-call.s3.GetObject", lose)
    calls.clear()
    assert content_of(blobs, KEY) == content
    assert content_of(blobs, KEY, 7, 30_000) == content[7:30_000]
    assert calls == ["GetObject"] * (11 + 3)


@pytest.mark.parametrize("error", LOST)
def test_an_endpoint_that_never_sends_is_given_up(
    blobs: S3Blobs, calls: list[str], hooked: Hooked, error: Exception | None
) -> None:
    blobs.put(KEY, b"layer")

    def lose(parsed: dict[str, Any], **_: object) -> None:
        parsed["Body"] = Breaking(parsed["Body"], 0, error)

    hooked("after-call.s3.GetObject", lose)
    calls.clear()
    with pytest.raises(type(error or EOFError())):
        content_of(blobs, KEY)
    assert calls == ["GetObject"] * (LOSSES + 1)


def test_an_object_that_goes_while_it_is_read(blobs: S3Blobs, hooked: Hooked, s3: Client, corner: str) -> None:
    blobs.put(KEY, b"0123456789")

    def lose(parsed: dict[str, Any], **_: object) -> None:
        if "Body" in parsed:
            parsed["Body"] = Breaking(parsed["Body"], 4, None)
            s3.delete_object(Bucket=BUCKET, Key=corner + KEY)

    hooked("after-call.s3.GetObject", lose)
    with blobs.open(KEY) as stream, pytest.raises(BlobMissing):
        stream.read()


# ----------------------------------------------------------------------------------------------------------------- links


def test_a_session_token_is_part_of_the_link(emulator: Emulator, blobs: S3Blobs, corner: str, clock: FrozenClock) -> None:
    blobs.put(KEY, b"layer")
    sts = boto3.client("sts", **emulator.client_arguments())
    session = sts.get_session_token()["Credentials"]
    sts.close()
    environment = {
        **emulator.environment(),
        "AWS_ACCESS_KEY_ID": session["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
    }
    without = S3Blobs(S3Bucket(BUCKET, clock, prefix=corner, environment=environment))
    assert _fetch(without.link(KEY, "GET", Shown())).status in {400, 403}
    environment["AWS_SESSION_TOKEN"] = session["SessionToken"]
    # the same store: what the environment holds is read for each link
    assert _fetch(without.link(KEY, "GET", Shown())).body == b"layer"
    assert content_of(without, KEY) == b"layer"


def test_a_link_signed_with_another_secret_is_refused(
    emulator: Emulator, blobs: S3Blobs, corner: str, clock: FrozenClock
) -> None:
    blobs.put(KEY, b"layer")
    environment = {**emulator.environment(), "AWS_SECRET_ACCESS_KEY": "another"}
    other = S3Blobs(S3Bucket(BUCKET, clock, prefix=corner, environment=environment))
    assert _fetch(other.link(KEY, "GET", Shown())).status == 403


@pytest.mark.parametrize(
    ("settings", "environment", "begins"),
    [
        ({}, {}, "https://bucket.s3.eu-west-3.amazonaws.com/a/data/x?"),
        ({"path_style": True}, {}, "https://s3.eu-west-3.amazonaws.com/bucket/a/data/x?"),
        ({}, {"AWS_REGION": "cn-north-1"}, "https://bucket.s3.cn-north-1.amazonaws.com.cn/a/data/x?"),
        ({}, {"AWS_ENDPOINT_URL": "http://all.test:9000/"}, "http://all.test:9000/bucket/a/data/x?"),
        (
            {},
            {"AWS_ENDPOINT_URL": "http://all.test", "AWS_ENDPOINT_URL_S3": "http://s3.test"},
            "http://s3.test/bucket/a/data/x?",
        ),
        ({"endpoint": "https://own.test"}, {"AWS_ENDPOINT_URL_S3": "http://s3.test"}, "https://own.test/bucket/a/data/x?"),
        ({"endpoint": "https://own.test", "path_style": False}, {}, "https://bucket.own.test/a/data/x?"),
    ],
)
def test_where_links_point(settings: dict[str, Any], environment: dict[str, str], begins: str) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "eu-west-3"}
    blobs = S3Blobs(S3Bucket("bucket", FrozenClock(), prefix="a/", environment={**keys, **environment}, **settings))
    assert blobs.link("data/x", "GET", Shown()).startswith(begins)


SIGN = (
    "import sys; from chalicelib.aws.s3_blobs import S3Blobs; from chalicelib.aws.s3_bucket import S3Bucket\n"
    "from chalicelib.registry.ports import Shown; from chalicelib.local.system_clock import SystemClock\n"
    "bucket, corner, key = sys.argv[1:]\n"
    "print(S3Blobs(S3Bucket(bucket, SystemClock(), prefix=corner)).link(key, 'GET', Shown()))\n"
)


def test_a_link_needs_no_client() -> None:
    program = SIGN + "assert not {'boto3', 'botocore'} & set(sys.modules), 'a client was built'"
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-3"}
    environment = {"PYTHONPATH": str(ROOT), **keys}
    subprocess.run([sys.executable, "-c", program, "bucket", "", "data/x"], env=environment, cwd=ROOT, check=True)


def test_without_keys_in_the_environment_links_are_signed_by_what_botocore_finds(
    emulator: Emulator, blobs: S3Blobs, corner: str, tmp_path: Path
) -> None:
    blobs.put(KEY, b"layer")
    file = tmp_path / "credentials"
    keys = f"aws_access_key_id = {emulator.access_key}\naws_secret_access_key = {emulator.secret_key}\n"
    file.write_text(f"[default]\n{keys}")
    environment = {name: value for name, value in emulator.environment().items() if "KEY" not in name}
    environment |= {"PYTHONPATH": str(ROOT), "AWS_SHARED_CREDENTIALS_FILE": str(file)}
    command = [sys.executable, "-c", SIGN, BUCKET, corner, KEY]
    url = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()
    assert _fetch(url).body == b"layer"


# ---------------------------------------------------------------------------------------------------- requests, failures


def test_the_client_is_built_once_by_whoever_comes_first(emulator: Emulator, s3: Client, clock: FrozenClock) -> None:
    blobs = S3Blobs(S3Bucket(BUCKET, clock, environment=emulator.environment()))
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(blobs.stat, [KEY] * 8)) == [None] * 8


def test_where_the_client_goes_and_how_long_it_waits() -> None:
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-3"}
    aws = S3Bucket("bucket", FrozenClock(), environment=keys).client.meta
    assert aws.endpoint_url == "https://s3.eu-west-3.amazonaws.com"
    assert aws.config.connect_timeout + aws.config.read_timeout < 30
    own = S3Bucket("bucket", FrozenClock(), environment={**keys, "AWS_ENDPOINT_URL": "https://own.test"}).client.meta
    assert own.endpoint_url == "https://own.test"
    assert own.config.s3["addressing_style"] == "path"
    assert own.config.read_timeout > 60


def test_an_own_ca_is_trusted_where_one_is_named(tmp_path: Path, clock: FrozenClock) -> None:
    bundle = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bundle)
    with HTTPServer(("127.0.0.1", 0), NothingThere) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_CA_BUNDLE": str(bundle)}
        own = S3Bucket("bucket", clock, endpoint=f"https://127.0.0.1:{server.server_port}", environment=keys)
        assert S3Blobs(own).stat(KEY) is None
        own.client.close()
        server.shutdown()


class NothingThere(BaseHTTPRequestHandler):
    """A store without objects."""

    def do_HEAD(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


def _certificate(folder: Path) -> Path:
    """A file with a key and a certificate for 127.0.0.1 that it signed itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "own")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
    certificate = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(key, hashes.SHA256())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    file = folder / "own.pem"
    file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + certificate.public_bytes(pem))
    return file


def test_headers_that_every_endpoint_understands(blobs: S3Blobs, hooked: Hooked) -> None:
    """No checksum but the one that is asked for, nor a body in chunks with one at its end."""
    seen: list[dict[str, str]] = []

    def note(request: Any, **_: object) -> None:  # noqa: ANN401
        seen.append(
            {name.lower(): value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()}
        )

    hooked("before-send.s3", note)
    blobs.put(KEY, b"layer")
    [headers] = seen
    assert headers["x-amz-checksum-sha256"] == _sha256(b"layer")
    assert not {name for name in headers if "crc" in name or "trailer" in name or "encoding" in name}


def test_a_busy_store_is_asked_again(blobs: S3Blobs, calls: list[str], hooked: Hooked) -> None:
    answers = [_answer(503, "SlowDown")]

    def slow_down(**arguments: object) -> object:
        return answers.pop()(**arguments) if answers else None

    hooked("before-send.s3.PutObject", slow_down)
    blobs.put(KEY, b"layer")
    assert calls == ["PutObject"] * 2
    assert blobs.check(KEY, Digest.of(b"layer")) == 5
    assert ATTEMPTS > 2


def test_no_failure_tells_a_secret(emulator: Emulator, clock: FrozenClock) -> None:
    secret, token = emulator.secret_key, "a-token-that-is-none"
    environment = {**emulator.environment(), "AWS_SESSION_TOKEN": token}
    blobs = S3Blobs(S3Bucket("no-such-bucket", clock, environment=environment))
    with pytest.raises(ClientError) as failed:
        blobs.put(KEY, b"layer")
    told = "".join(traceback.format_exception(failed.value)) + repr(blobs)
    assert not any(hidden in told for hidden in (secret, token, "X-Amz-Signature"))


@pytest.mark.parametrize(
    ("status", "code", "raised"),
    [
        (507, "XMinioStorageFull", StoreFull),
        (400, "QuotaExceeded", StoreFull),
        (403, "AccessDenied", ClientError),
        (412, "PreconditionFailed", ClientError),
        (404, "NoSuchBucket", ClientError),
    ],
)
def test_a_full_store_is_told_and_other_failures_pass(
    *, blobs: S3Blobs, hooked: Hooked, status: int, code: str, raised: type[Exception]
) -> None:
    hooked("before-send.s3.PutObject", _answer(status, code))
    with pytest.raises(raised):
        blobs.put(KEY, b"x")


def test_objects_under_a_key_of_kms_are_proven_alike(emulator: Emulator, clock: FrozenClock, hooked: Hooked) -> None:
    client = boto3.client("s3", **emulator.client_arguments())
    kms = boto3.client("kms", **emulator.client_arguments())
    client.create_bucket(Bucket="encrypted", CreateBucketConfiguration={"LocationConstraint": emulator.region})
    rule = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": kms.create_key()["KeyMetadata"]["Arn"]}
    rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": rule, "BucketKeyEnabled": True}]}
    client.put_bucket_encryption(Bucket="encrypted", ServerSideEncryptionConfiguration=rules)
    blobs = S3Blobs(S3Bucket("encrypted", clock, environment=emulator.environment()), part=4 * SMALL, smallest=SMALL)
    contents = [os.urandom(20_000), b"one", b"two"]
    pieces, whole = pieces_of(blobs, *contents), b"".join(contents)
    assert blobs.assemble(pieces, KEY, Digest.of(whole)) == len(whole)
    assert blobs.check(KEY, Digest.of(whole)) == len(whole)
    assert blobs.check(pieces[0].key, Digest.of(contents[0])) == 20_000
    assert client.head_object(Bucket="encrypted", Key=KEY)["ServerSideEncryption"] == "aws:kms"
    assert _fetch(blobs.link(KEY, "GET", Shown())).body == whole
    client.close()
    kms.close()
