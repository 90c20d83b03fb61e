"""S3 as strict as it is, before the emulator: of what it refuses nothing is stored, and faults strike as they were told to."""

from __future__ import annotations

import base64
import hashlib
import http.client
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError

from infra.local.edge import store_of
from infra.local.edge_front import ApiOrigin, EdgeFront, Origins, StorageOrigin
from infra.local.front import serving
from infra.local.signing import Signer, encoded
from tests.cloud.faults import Fault, Kind
from tests.cloud.s3_front import PART, SINGLE, S3Front, s3_front
from tests.edge.speaking import KEYS, REALM, REPOSITORY, SERVICE, UPLOAD, bearer, state
from tests.emulator import Emulator, start

Client: TypeAlias = Any  # made by boto3 at run time; there are no types to import

BUCKET, KEY = "blobs", "direct/r/sha256:x/u"
CONTENT = b"bytes of a layer" * 1000
HASH = hashlib.sha256(CONTENT)


def base64_of(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with tempfile.TemporaryDirectory(prefix="slipway-front-") as folder, start(Path(folder)) as emulator:
        boto3.client("s3", **emulator.client_arguments()).create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": emulator.region}
        )
        yield emulator


@pytest.fixture
def signer(emulator: Emulator) -> Signer:
    return Signer(emulator.region, emulator.access_key, emulator.secret_key)


@pytest.fixture
def front(emulator: Emulator, signer: Signer) -> Iterator[S3Front]:
    with s3_front(emulator.url, signer) as front:
        yield front


@pytest.fixture
def s3(emulator: Emulator, front: S3Front) -> Client:
    config = Config(
        retries={"total_max_attempts": 1}, request_checksum_calculation="when_required", s3={"addressing_style": "path"}
    )
    return boto3.client("s3", **{**emulator.client_arguments(), "endpoint_url": front.url}, config=config)


def put(front: S3Front, signer: Signer, content: bytes, key: str = KEY, **headers: str) -> tuple[int, bytes]:
    """A PUT signed as origin access control signs it: by what the headers say of the content."""
    path = encoded(f"/{BUCKET}/{key}")
    host = urlsplit(front.url).netloc
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(http.client.HTTPConnection(host, timeout=20)) as connection:
        connection.request("PUT", path, content, signer.signed("PUT", path, {"host": host, **named}))
        answer = connection.getresponse()
        return answer.status, answer.read()


def code(failure: pytest.ExceptionInfo[ClientError]) -> str:
    return str(failure.value.response["Error"]["Code"])


# --------------------------------------------------------------------------------------------------------------- content


def test_a_body_that_is_what_it_says_is_stored_with_its_checksum(front: S3Front, signer: Signer, s3: Client) -> None:
    assert (
        put(front, signer, CONTENT, x_amz_content_sha256=HASH.hexdigest(), x_amz_checksum_sha256=base64_of(CONTENT))[0] == 200
    )
    shown = s3.head_object(Bucket=BUCKET, Key=KEY, ChecksumMode="ENABLED")
    assert (shown["ChecksumSHA256"], shown["ContentLength"]) == (base64_of(CONTENT), len(CONTENT))
    front.faults.append(Fault(Kind.NO_CHECKSUM, "HeadObject"))
    assert "ChecksumSHA256" not in s3.head_object(Bucket=BUCKET, Key=KEY, ChecksumMode="ENABLED")
    assert front.tallies["PutObject"].calls == 1
    assert front.tallies["PutObject"].received == len(CONTENT)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"x_amz_content_sha256": "0" * 64}, b"XAmzContentSHA256Mismatch"),
        ({"x_amz_content_sha256": HASH.hexdigest(), "x_amz_checksum_sha256": base64_of(b"")}, b"BadDigest"),
        ({"x_amz_content_sha256": HASH.hexdigest(), "content_md5": "AAAAAAAAAAAAAAAAAAAAAA=="}, b"BadDigest"),
        ({}, b"AccessDenied"),
    ],
)
def test_of_any_other_body_nothing_is_stored(
    front: S3Front,
    signer: Signer,
    s3: Client,
    headers: dict[str, str],
    told: bytes,
) -> None:
    key = f"{KEY}-{told.decode()}-{len(headers)}"
    status, body = put(front, signer, CONTENT, key, **headers)
    assert 400 <= status < 404
    assert told in body
    with pytest.raises(ClientError):
        s3.head_object(Bucket=BUCKET, Key=key)


def test_a_single_put_has_five_gibibytes_at_most(front: S3Front, signer: Signer) -> None:
    """Known before any of it is sent."""
    path = encoded(f"/{BUCKET}/data/huge")
    host = urlsplit(front.url).netloc
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.putrequest("PUT", path, skip_host=True)
    for name, value in signer.signed("PUT", path, {"host": host}).items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", str(SINGLE + 1))
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, b"EntityTooLarge" in answer.read()) == (400, True)
    connection.close()


def test_elsewhere_a_payload_may_be_unsigned(front: S3Front, signer: Signer) -> None:
    assert put(front, signer, CONTENT, "data/u/x")[0] == 200


def test_a_copy_tells_the_hash_that_was_asked_for(s3: Client) -> None:
    s3.put_object(Bucket=BUCKET, Key="data/plain", Body=CONTENT)
    assert "ChecksumSHA256" not in s3.head_object(Bucket=BUCKET, Key="data/plain", ChecksumMode="ENABLED")
    source = {"Bucket": BUCKET, "Key": "data/plain"}
    copied = s3.copy_object(Bucket=BUCKET, Key="data/copy", CopySource=source, ChecksumAlgorithm="SHA256")
    assert copied["CopyObjectResult"]["ChecksumSHA256"] == base64_of(CONTENT)
    assert s3.head_object(Bucket=BUCKET, Key="data/copy", ChecksumMode="ENABLED")["ChecksumSHA256"] == base64_of(CONTENT)


def test_a_signed_link_takes_no_further_headers(front: S3Front, s3: Client) -> None:
    url = urlsplit(s3.generate_presigned_url("put_object", {"Bucket": BUCKET, "Key": "data/linked"}))
    for headers, status in (({"x-amz-acl": "public-read"}, 403), ({"x-amz-meta-a": "b"}, 403), ({}, 200)):
        connection = http.client.HTTPConnection(url.netloc, timeout=20)
        connection.request("PUT", f"{url.path}?{url.query}", b"x", headers)
        answer = connection.getresponse()
        assert (answer.status, b"not signed" in answer.read()) == (status, status == 403)
        connection.close()
    assert front.tallies["PutObject"].calls == 3


# ----------------------------------------------------------------------------------------------------------------- parts


def upload(s3: Client, key: str, *parts: bytes) -> Client:
    begun = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    named = {"Bucket": BUCKET, "Key": key, "UploadId": begun}
    tags = [s3.upload_part(**named, PartNumber=number, Body=part)["ETag"] for number, part in enumerate(parts, 1)]
    listed = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
    return s3.complete_multipart_upload(**named, MultipartUpload={"Parts": listed})


def test_a_part_but_the_last_has_five_mebibytes(s3: Client) -> None:
    upload(s3, "data/parts", bytes(PART), b"last")
    assert s3.head_object(Bucket=BUCKET, Key="data/parts")["ContentLength"] == PART + 4
    with pytest.raises(ClientError) as failure:
        upload(s3, "data/small", bytes(PART - 1), b"last")
    assert code(failure) == "EntityTooSmall"


def test_a_part_that_was_copied_counts_as_it_is(s3: Client) -> None:
    s3.put_object(Bucket=BUCKET, Key="data/source", Body=bytes(PART))
    for span, refused in ((None, False), (f"bytes=0-{PART - 1}", False), ("bytes=0-9", True)):
        begun = s3.create_multipart_upload(Bucket=BUCKET, Key="data/joined")["UploadId"]
        named = {"Bucket": BUCKET, "Key": "data/joined", "UploadId": begun}
        source = {"CopySource": {"Bucket": BUCKET, "Key": "data/source"}, **({"CopySourceRange": span} if span else {})}
        first = s3.upload_part_copy(**named, PartNumber=1, **source)["CopyPartResult"]["ETag"]
        last = s3.upload_part(**named, PartNumber=2, Body=b"x")["ETag"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": first}, {"PartNumber": 2, "ETag": last}]}
        if refused:
            with pytest.raises(ClientError, match="EntityTooSmall"):
                s3.complete_multipart_upload(**named, MultipartUpload=parts)
        else:
            s3.complete_multipart_upload(**named, MultipartUpload=parts)


def test_parts_come_in_order(s3: Client) -> None:
    begun = s3.create_multipart_upload(Bucket=BUCKET, Key="data/order")["UploadId"]
    named = {"Bucket": BUCKET, "Key": "data/order", "UploadId": begun}
    parts = [{"PartNumber": n, "ETag": s3.upload_part(**named, PartNumber=n, Body=bytes(PART))["ETag"]} for n in (2, 1)]
    with pytest.raises(ClientError, match="InvalidPartOrder"):
        s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})


# ---------------------------------------------------------------------------------------------------------------- faults


def test_the_nth_call_fails_and_no_other(front: S3Front, s3: Client) -> None:
    front.faults.append(Fault(Kind.SLOW_DOWN, "PutObject", nth=2, key="data/nth"))
    outcomes = []
    for number in range(3):
        try:
            s3.put_object(Bucket=BUCKET, Key=f"data/nth-{number}", Body=b"x")
            outcomes.append("")
        except ClientError as failure:
            outcomes.append(failure.response["Error"]["Code"])
    assert outcomes == ["", "SlowDown", ""]
    assert front.faults[0].hits == 1


def test_every_call_fails_once(front: S3Front, s3: Client) -> None:
    front.faults.append(Fault(Kind.RESET, once_each=True))
    for key in ("data/once-a", "data/once-b"):
        with pytest.raises(HTTPClientError):
            s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")


def test_a_body_is_cut_off_midway(front: S3Front, signer: Signer) -> None:
    front.faults.append(Fault(Kind.RESET, "PutObject", nth=1, at=300_000))
    with pytest.raises(ConnectionError):
        put(front, signer, bytes(8_000_000), "data/cut")
    assert front.tallies["PutObject"].received < 8_000_000
    assert put(front, signer, b"x", "data/cut")[0] == 200


@pytest.mark.parametrize("kind", [Kind.DONE_THEN_500, Kind.DONE_THEN_RESET])
def test_what_was_done_stays_done(front: S3Front, s3: Client, kind: Kind) -> None:
    front.faults.append(Fault(kind, "PutObject"))
    with pytest.raises((ClientError, HTTPClientError)):
        s3.put_object(Bucket=BUCKET, Key=f"data/{kind.name}", Body=b"x")
    assert s3.head_object(Bucket=BUCKET, Key=f"data/{kind.name}")["ContentLength"] == 1


@pytest.mark.parametrize("calls", [0, 1, 1000])
def test_a_late_call_is_done_when_others_were(front: S3Front, s3: Client, calls: int) -> None:
    front.faults.append(Fault(Kind.LATE, "PutObject", calls=calls))
    key = f"data/late-{calls}"
    with pytest.raises(HTTPClientError):
        s3.put_object(Bucket=BUCKET, Key=key, Body=CONTENT)
    for _ in range(min(calls, 10)):
        with pytest.raises(ClientError):
            s3.head_object(Bucket=BUCKET, Key=key)
    if calls == 1000:
        front.catch_up()
    assert s3.head_object(Bucket=BUCKET, Key=key)["ContentLength"] == len(CONTENT)


@pytest.mark.parametrize("ends", ["the test", "the fault"])
def test_a_slow_call_is_done_in_the_end(front: S3Front, s3: Client, ends: str) -> None:
    fault = Fault(Kind.SLOW, "HeadObject", agent="Boto3", seconds=3600)
    front.faults.append(fault)
    s3.put_object(Bucket=BUCKET, Key="data/slow", Body=b"x")
    shown: list[int] = []
    thread = threading.Thread(target=lambda: shown.append(s3.head_object(Bucket=BUCKET, Key="data/slow")["ContentLength"]))
    thread.start()
    thread.join(0.2)
    assert (shown, thread.is_alive()) == ([], True)
    (front.closing if ends == "the test" else fault.over).set()
    thread.join(20)
    assert shown == [1]


def test_events_tell_what_was_stored(front: S3Front, s3: Client) -> None:
    told: list[tuple[str, str]] = []
    all_here = threading.Event()

    def stored(bucket: str, key: str) -> None:
        told.append((bucket, key))
        if len(told) == 2:
            all_here.set()

    front.on_stored = stored
    s3.put_object(Bucket=BUCKET, Key="data/a:b", Body=b"x")
    upload(s3, "data/c", b"x")
    with pytest.raises(ClientError):
        s3.copy_object(Bucket=BUCKET, Key="data/d", CopySource={"Bucket": BUCKET, "Key": "missing"})
    assert all_here.wait(20)
    assert sorted(told) == [(BUCKET, "data/a:b"), (BUCKET, "data/c")]


def test_other_services_pass(emulator: Emulator, front: S3Front) -> None:
    sts = boto3.client("sts", **{**emulator.client_arguments(), "endpoint_url": front.url})
    assert sts.get_caller_identity()["Account"] == emulator.account
    assert not front.tallies


# ---------------------------------------------------------------------------------------------------- the edge before it


def test_the_edge_s_put_is_signed_verified_and_stored(front: S3Front, signer: Signer, s3: Client) -> None:
    """Through CloudFront's part, which never sees the bytes whole; what has another hash is refused and leaves nothing."""
    content, path = bytes(5_000_000), f"/v2/a/blobs/uploads/{UPLOAD}"
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    origins = Origins(ApiOrigin(front.url), storage=StorageOrigin(front.url, BUCKET, signer))
    edge = EdgeFront(store_of(REALM, SERVICE, KEYS, direct=True, relay=False), origins)
    with serving(edge) as url:
        for sent, status in ((b"x" + content[1:], 400), (content, 201)):
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
            target = f"{path}?_state={state(upload=UPLOAD)}&digest={digest}"
            connection.request("PUT", target, sent, {"Authorization": bearer("a"), "x-amz-acl": "public-read"})
            answer = connection.getresponse()
            told = answer.read()
            assert answer.status == status, told
            connection.close()
            stored = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"direct/{REPOSITORY}/")["KeyCount"]
            assert stored == (status == 201)
    assert answer.getheader("Location") == f"/v2/a/blobs/{digest}"
    key = f"direct/{REPOSITORY}/{digest}/{UPLOAD}"
    assert s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")["ChecksumSHA256"] == base64_of(content)
