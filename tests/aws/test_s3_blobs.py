"""S3 as BlobStore, on the emulator, which checks every signature; links are fetched with nothing but urllib."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from chalicelib.aws.s3_blobs import LINK_SECONDS, S3Blobs
from chalicelib.registry.names import Digest
from chalicelib.registry.ports import BlobStore, Shown, StoreFull, WrongOffset
from tests.contracts.blob_store import KEY, BlobStoreContract, Fetched, content_of, proven
from tests.emulator import Emulator
from tests.frozen_clock import FrozenClock

BUCKET = "blobs-contract"
ROOT = Path(__file__).resolve().parents[2]
PREFIXES = itertools.count()
Client: TypeAlias = Any  # boto3's have no types to import


@pytest.fixture(scope="module")
def s3(emulator: Emulator) -> Iterator[Client]:
    client = boto3.client("s3", **emulator.client_arguments())
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": emulator.region})
    yield client
    client.close()


@pytest.fixture
def prefix(s3: Client) -> str:
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
    def store(self, emulator: Emulator, s3: Client, prefix: str, clock: FrozenClock) -> S3Blobs:
        return S3Blobs(BUCKET, clock, prefix=prefix, environment=emulator.environment(), client=s3)

    def fetch(self, store: BlobStore, url: str, method: str, byte_range: str = "") -> Fetched:  # noqa: ARG002
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


def _names(s3: Client, prefix: str) -> list[str]:
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return [each["Key"].removeprefix(prefix) for each in found]


# --------------------------------------------------------------------------------------------------------------- staging


def test_the_client_is_built_once_by_whoever_comes_first(blobs: S3Blobs) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(blobs.stat, [KEY] * 8)) == [None] * 8


def test_nothing_but_the_object_remains_of_a_proof(s3: Client, blobs: S3Blobs, prefix: str) -> None:
    blobs.append(KEY, 0, b"lay")
    blobs.append(KEY, 3, b"xx")
    blobs.append(KEY, 3, b"er")
    assert _names(s3, prefix)[-1] == f"~staged/{KEY}"
    assert KEY not in _names(s3, prefix)
    blobs.prove(KEY, Digest.of(b"layer"))
    assert _names(s3, prefix) == [KEY]


def test_nothing_remains_of_a_deleted_upload(s3: Client, blobs: S3Blobs, prefix: str) -> None:
    blobs.append(KEY, 0, b"layer")
    blobs.delete(KEY)
    with pytest.raises(WrongOffset):
        blobs.append(KEY, 5, b"late")
    assert _names(s3, prefix) == []


def test_a_blob_of_many_parts_is_assembled(s3: Client, emulator: Emulator, prefix: str, clock: FrozenClock) -> None:
    blobs = S3Blobs(BUCKET, clock, prefix=prefix, environment=emulator.environment(), part=1 << 20)
    content, step = os.urandom((2 << 20) + 1000), 700_001
    for offset in range(0, len(content), step):
        blobs.append(KEY, offset, content[offset : offset + step])
    assert blobs.prove(KEY, Digest.of(b"other")) is None
    assert s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []
    assert blobs.prove(KEY, Digest.of(content)) == len(content)
    assert content_of(blobs, KEY) == content
    assert s3.head_object(Bucket=BUCKET, Key=prefix + KEY)["ETag"].endswith('-3"')


def test_a_proof_cut_short_after_sealing_is_finished_by_the_next(s3: Client, blobs: S3Blobs, prefix: str) -> None:
    blobs.append(KEY, 0, b"layer")
    where = {"Bucket": BUCKET, "Key": f"{prefix}~staged/{KEY}"}
    index = s3.get_object(**where)["Body"].read()
    s3.put_object(**where, Body=index.replace(b'"sealed":false', b'"sealed":true'))
    with pytest.raises(WrongOffset):
        blobs.append(KEY, 5, b"late")
    assert content_of(blobs, KEY) == b"layer"
    assert blobs.prove(KEY, Digest.of(b"layer")) == 5
    assert _names(s3, prefix) == [KEY]


def test_a_proof_cut_short_before_it_cleaned_up_is_finished_by_the_next(s3: Client, blobs: S3Blobs, prefix: str) -> None:
    blobs.append(KEY, 0, b"layer")
    s3.put_object(Bucket=BUCKET, Key=prefix + KEY, Body=b"layer")
    assert [(found.key, found.size) for found in blobs.list("")] == [(KEY, 5)]
    assert blobs.prove(KEY, Digest.of(b"layer")) == 5
    assert _names(s3, prefix) == [KEY]


class MeddlingS3:
    """The client of a slow store: before the first request whose key contains ``where``, others get ahead of it."""

    def __init__(self, s3: Client, operation: str, where: str, others: Callable[[], object]) -> None:
        self._s3, self._operation, self._where, self._others = s3, operation, where, others
        self.meddled = False

    def __getattr__(self, operation: str) -> Client:
        def call(**arguments: object) -> object:
            if operation == self._operation and self._where in str(arguments["Key"]) and not self.meddled:
                self.meddled = True
                self._others()
            return getattr(self._s3, operation)(**arguments)

        return call if operation == self._operation else getattr(self._s3, operation)


def test_a_writer_from_before_the_first_byte_comes_too_late(
    s3: Client, blobs: S3Blobs, prefix: str, clock: FrozenClock
) -> None:
    meddling = MeddlingS3(s3, "put_object", "~parts/", lambda: proven(blobs, KEY, b"layer"))
    with pytest.raises(WrongOffset) as refused:
        S3Blobs(BUCKET, clock, prefix=prefix, client=meddling).append(KEY, 0, b"late")
    assert (meddling.meddled, refused.value.size) == (True, 5)
    assert _names(s3, prefix) == [KEY]
    assert content_of(blobs, KEY) == b"layer"


@pytest.mark.parametrize(("operation", "where"), [("get_object", "~parts/"), ("put_object", "~staged/")])
def test_an_append_during_a_proof_is_proven_or_refused(
    *, s3: Client, blobs: S3Blobs, prefix: str, clock: FrozenClock, operation: str, where: str
) -> None:
    blobs.append(KEY, 0, b"layer")
    meddling = MeddlingS3(s3, operation, where, lambda: blobs.append(KEY, 5, b"more"))
    slow = S3Blobs(BUCKET, clock, prefix=prefix, client=meddling)
    assert slow.prove(KEY, Digest.of(b"layer")) is None
    assert meddling.meddled
    assert KEY not in _names(s3, prefix)
    assert blobs.prove(KEY, Digest.of(b"layermore")) == 9


@pytest.mark.parametrize(("operation", "where"), [("get_object", "~parts/"), ("put_object", "~staged/"), ("head_object", KEY)])
def test_a_proof_during_a_proof_is_harmless(
    *, s3: Client, blobs: S3Blobs, prefix: str, clock: FrozenClock, operation: str, where: str
) -> None:
    blobs.append(KEY, 0, b"layer")
    meddling = MeddlingS3(s3, operation, where, lambda: blobs.prove(KEY, Digest.of(b"layer")))
    assert S3Blobs(BUCKET, clock, prefix=prefix, client=meddling).prove(KEY, Digest.of(b"layer")) == 5
    assert meddling.meddled
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
    with_token = S3Blobs(
        BUCKET, clock, prefix=prefix, environment={**environment, "AWS_SESSION_TOKEN": session["SessionToken"]}
    )
    assert _fetch(with_token.link(KEY, "GET", Shown())).body == b"layer"
    without = S3Blobs(BUCKET, clock, prefix=prefix, environment=environment)
    assert _fetch(without.link(KEY, "GET", Shown())).status in {400, 403}


def test_a_link_signed_with_another_secret_is_refused(
    emulator: Emulator, blobs: S3Blobs, prefix: str, clock: FrozenClock
) -> None:
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


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_link_is_what_boto_would_sign(method: str) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "id/+", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "to+k/en=="}
    arguments = {name.lower(): value for name, value in keys.items()}
    config = Config(signature_version="s3v4", s3={"addressing_style": "virtual"})
    client = boto3.client("s3", region_name="eu-west-3", config=config, **arguments)
    wanted = {"Bucket": "bucket", "Key": "data/x_.-", "ResponseContentType": "a/b; c=d~"}
    theirs = urlsplit(client.generate_presigned_url(f"{method.lower()}_object", wanted, ExpiresIn=LINK_SECONDS))
    client.close()
    moment = datetime.strptime(parse_qs(theirs.query)["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    blobs = S3Blobs("bucket", FrozenClock(moment), environment={**keys, "AWS_REGION": "eu-west-3"})
    ours = urlsplit(blobs.link("data/x_.-", method, Shown("a/b; c=d~")))
    assert (ours.scheme, ours.netloc, ours.path) == (theirs.scheme, theirs.netloc, theirs.path)
    assert parse_qs(ours.query) == parse_qs(theirs.query)


def test_a_link_needs_no_client() -> None:
    program = (
        "import sys; from chalicelib.aws.s3_blobs import S3Blobs; from chalicelib.registry.ports import Shown\n"
        "from chalicelib.local.system_clock import SystemClock\n"
        "assert S3Blobs('bucket', SystemClock()).link('data/x', 'GET', Shown())\n"
        "assert not {'boto3', 'botocore'} & set(sys.modules), 'a client was built'"
    )
    environment = {"PYTHONPATH": str(ROOT), "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=ROOT, check=True)


def test_without_keys_in_the_environment_links_are_signed_by_what_boto_finds(
    emulator: Emulator, blobs: S3Blobs, prefix: str, tmp_path: Path
) -> None:
    proven(blobs, KEY, b"layer")
    file = tmp_path / "credentials"
    keys = f"aws_access_key_id = {emulator.access_key}\naws_secret_access_key = {emulator.secret_key}\n"
    file.write_text(f"[default]\n{keys}")
    program = (
        "import sys; from chalicelib.aws.s3_blobs import S3Blobs; from chalicelib.registry.ports import Shown\n"
        "from chalicelib.local.system_clock import SystemClock\n"
        "print(S3Blobs(sys.argv[1], SystemClock(), prefix=sys.argv[2]).link(sys.argv[3], 'GET', Shown()))"
    )
    environment = {name: value for name, value in emulator.environment().items() if "KEY" not in name}
    environment |= {"PYTHONPATH": str(ROOT), "AWS_SHARED_CREDENTIALS_FILE": str(file)}
    command = [sys.executable, "-c", program, BUCKET, prefix, KEY]
    url = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()
    assert _fetch(url).body == b"layer"


# -------------------------------------------------------------------------------------------------------------- failures


def test_no_failure_tells_a_secret(emulator: Emulator, clock: FrozenClock) -> None:
    secret, token = emulator.secret_key, "a-token-that-is-none"
    blobs = S3Blobs("no-such-bucket", clock, environment={**emulator.environment(), "AWS_SESSION_TOKEN": token})
    with pytest.raises(ClientError) as failed:
        blobs.put(KEY, b"layer")
    told = "".join(traceback.format_exception(failed.value)) + repr(blobs)
    assert not any(hidden in told for hidden in (secret, token, "X-Amz-Signature"))


class RefusingS3:
    """Refuses every write with one code."""

    def __init__(self, code: str) -> None:
        self._code = code

    def put_object(self, **_: object) -> object:
        raise ClientError({"Error": {"Code": self._code, "Message": ""}}, "PutObject")


@pytest.mark.parametrize(
    ("code", "raised"), [("XMinioStorageFull", StoreFull), ("QuotaExceeded", StoreFull), ("AccessDenied", ClientError)]
)
def test_a_full_store_is_told_and_other_failures_pass(clock: FrozenClock, code: str, raised: type[Exception]) -> None:
    with pytest.raises(raised):
        S3Blobs(BUCKET, clock, client=RefusingS3(code)).put(KEY, b"x")
