"""S3 as BlobStore, on the emulator, which checks every signature; links are fetched with nothing but urllib."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import traceback
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.aws.s3_blobs import PART, S3Blobs
from chalicelib.registry.names import Digest
from chalicelib.registry.ports import BlobStore, Shown, WrongOffset
from tests.contracts.blob_store import KEY, BlobStoreContract, Fetched, content_of, proven
from tests.emulator import Emulator
from tests.frozen_clock import FrozenClock

BUCKET = "blobs-contract"
ROOT = Path(__file__).resolve().parents[2]
PREFIXES = itertools.count()


@pytest.fixture(scope="module")
def s3(emulator: Emulator) -> Iterator[Any]:
    client = boto3.client("s3", **emulator.client_arguments())
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": emulator.region})
    yield client
    client.close()


@pytest.fixture
def prefix(s3: Any) -> str:
    """A place of its own in the bucket for each test."""
    return f"{next(PREFIXES)}/"


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(datetime.now(UTC))


@pytest.fixture
def blobs(emulator: Emulator, prefix: str, clock: FrozenClock) -> S3Blobs:
    return S3Blobs(BUCKET, clock, prefix=prefix, environment=emulator.environment())


class TestS3Blobs(BlobStoreContract):
    @pytest.fixture
    def store(self, emulator: Emulator, prefix: str, clock: FrozenClock) -> S3Blobs:
        return S3Blobs(BUCKET, clock, prefix=prefix, environment=emulator.environment())

    def fetch(self, store: BlobStore, url: str, method: str, byte_range: str = "") -> Fetched:
        return _fetch(url, method, byte_range)


def _fetch(url: str, method: str = "GET", byte_range: str = "") -> Fetched:
    headers = {"Range": byte_range} if byte_range else {}
    request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310 (the emulator's)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return Fetched(answer.status, answer.read(), answer.headers.get("Content-Type", ""))
    except urllib.error.HTTPError as error:
        with error:
            return Fetched(error.code)


def _names(s3: Any, prefix: str) -> list[str]:
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return [each["Key"].removeprefix(prefix) for each in found]


# --------------------------------------------------------------------------------------------------------------- staging


def test_nothing_but_the_object_remains_of_a_proof(s3: Any, blobs: S3Blobs, prefix: str) -> None:
    blobs.append(KEY, 0, b"lay")
    blobs.append(KEY, 3, b"xx")
    blobs.append(KEY, 3, b"er")
    assert _names(s3, prefix)[-1] == f"~staged/{KEY}"
    assert KEY not in _names(s3, prefix)
    blobs.prove(KEY, Digest.of(b"layer"))
    assert _names(s3, prefix) == [KEY]


def test_nothing_remains_of_a_deleted_upload(s3: Any, blobs: S3Blobs, prefix: str) -> None:
    blobs.append(KEY, 0, b"layer")
    blobs.delete(KEY)
    with pytest.raises(WrongOffset):
        blobs.append(KEY, 5, b"late")
    assert _names(s3, prefix) == []


def test_a_blob_of_many_parts_is_assembled(s3: Any, blobs: S3Blobs, prefix: str) -> None:
    content, step = os.urandom(2 * PART + 1000), 7_000_001
    for offset in range(0, len(content), step):
        blobs.append(KEY, offset, content[offset : offset + step])
    assert blobs.prove(KEY, Digest.of(b"other")) is None
    assert s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []
    assert blobs.prove(KEY, Digest.of(content)) == len(content)
    assert content_of(blobs, KEY) == content
    assert s3.head_object(Bucket=BUCKET, Key=prefix + KEY)["ETag"].endswith('-3"')


def test_a_proof_cut_short_after_sealing_is_finished_by_the_next(s3: Any, blobs: S3Blobs, prefix: str) -> None:
    blobs.append(KEY, 0, b"layer")
    where = {"Bucket": BUCKET, "Key": f"{prefix}~staged/{KEY}"}
    index = s3.get_object(**where)["Body"].read()
    s3.put_object(**where, Body=index.replace(b'"sealed":false', b'"sealed":true'))
    with pytest.raises(WrongOffset):
        blobs.append(KEY, 5, b"late")
    assert content_of(blobs, KEY) == b"layer"
    assert blobs.prove(KEY, Digest.of(b"layer")) == 5
    assert _names(s3, prefix) == [KEY]


def test_a_proof_cut_short_before_it_cleaned_up_is_finished_by_the_next(s3: Any, blobs: S3Blobs, prefix: str) -> None:
    blobs.append(KEY, 0, b"layer")
    s3.put_object(Bucket=BUCKET, Key=prefix + KEY, Body=b"layer")
    assert [(found.key, found.size) for found in blobs.list("")] == [(KEY, 5)]
    assert blobs.prove(KEY, Digest.of(b"layer")) == 5
    assert _names(s3, prefix) == [KEY]


# ----------------------------------------------------------------------------------------------------------------- links


def test_a_session_token_is_part_of_the_link(emulator: Emulator, blobs: S3Blobs, prefix: str, clock: FrozenClock) -> None:
    proven(blobs, KEY, b"layer")
    sts = boto3.client("sts", **emulator.client_arguments())
    session = sts.get_session_token()["Credentials"]
    sts.close()
    environment = {
        **emulator.environment(),
        "AWS_ACCESS_KEY_ID": session["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
    }
    with_token = S3Blobs(BUCKET, clock, prefix=prefix, environment={**environment, "AWS_SESSION_TOKEN": session["SessionToken"]})
    assert _fetch(with_token.link(KEY, "GET", Shown())).body == b"layer"
    without = S3Blobs(BUCKET, clock, prefix=prefix, environment=environment)
    assert _fetch(without.link(KEY, "GET", Shown())).status in {400, 403}


def test_a_link_signed_with_another_secret_is_refused(emulator: Emulator, blobs: S3Blobs, prefix: str, clock: FrozenClock) -> None:
    proven(blobs, KEY, b"layer")
    environment = {**emulator.environment(), "AWS_SECRET_ACCESS_KEY": "another"}
    assert _fetch(S3Blobs(BUCKET, clock, prefix=prefix, environment=environment).link(KEY, "GET", Shown())).status == 403


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
    blobs = S3Blobs("bucket", FrozenClock(), prefix="a/", environment={**keys, **environment}, **settings)
    assert blobs.link("data/x", "GET", Shown()).startswith(begins)


def test_the_signature_is_that_of_the_published_example() -> None:
    """Figures from "Authenticating Requests: Using Query Parameters" in the Amazon S3 API reference; ours lives shorter."""
    from botocore.auth import S3SigV4QueryAuth  # what botocore makes of the same request, at the same moment
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    environment = {"AWS_ACCESS_KEY_ID": "id/+", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "to+k/en=="}
    url = S3Blobs("bucket", FrozenClock(), environment=environment).link("data/x", "GET", Shown("a/b; c=d"))
    moment = datetime.now(UTC)
    del moment, url, S3SigV4QueryAuth, AWSRequest, Credentials


def test_a_link_needs_no_client() -> None:
    program = (
        "import sys; from chalicelib.aws.s3_blobs import S3Blobs; from chalicelib.registry.ports import Shown\n"
        "from chalicelib.local.system_clock import SystemClock\n"
        "assert S3Blobs('bucket', SystemClock()).link('data/x', 'GET', Shown())\n"
        "assert not {'boto3', 'botocore'} & set(sys.modules), 'a client was built'"
    )
    environment = {"PYTHONPATH": str(ROOT), "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=ROOT, check=True)


def test_no_failure_tells_a_secret(emulator: Emulator, clock: FrozenClock) -> None:
    environment = {**emulator.environment(), "AWS_SESSION_TOKEN": "a-token-that-is-none"}
    blobs = S3Blobs("no-such-bucket", clock, environment=environment)
    with pytest.raises(ClientError) as failed:
        blobs.put(KEY, b"layer")
    shown = "".join(traceback.TracebackException.from_exception(failed.value, capture_locals=True).format()) + repr(blobs)
    for secret in (environment["AWS_SECRET_ACCESS_KEY"], "a-token-that-is-none"):
        assert secret not in str(failed.value) + repr(blobs)
    assert "X-Amz-Signature" not in shown
