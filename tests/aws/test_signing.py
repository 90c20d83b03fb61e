"""Signed URLs, against botocore's own presigner."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.config import Config
from botocore.session import Session
from hypothesis import assume, example, given
from hypothesis import strategies as st

from chalicelib.aws.s3_bucket import S3Bucket
from chalicelib.aws.signing import Credentials, signed_url
from tests.frozen_clock import FrozenClock

KEYS = Credentials("id/+", "secret", "to+k/en==")
REGION = "eu-west-3"
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DIGEST_KEY = "direct/0123456789ab/sha256:" + "0f" * 32 + "/0123456789abcdef"

keys = st.text("abz019._:-/", min_size=1, max_size=40)
texts = st.text(st.characters(min_codepoint=33, max_codepoint=126) | st.sampled_from(" é"), min_size=1, max_size=20)


def _client(*, token: bool, style: str = "virtual", **more: Any) -> Any:  # noqa: ANN401
    session = Session()
    session.set_credentials(KEYS.access_key, KEYS.secret_key, KEYS.token if token else None)
    config = Config(signature_version="s3v4", s3={"addressing_style": style})
    return session.create_client("s3", region_name=REGION, config=config, **more)


@pytest.fixture(scope="module", params=[False, True], ids=["lasting", "session"])
def theirs(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Credentials]]:
    client = _client(token=request.param)
    yield client, KEYS if request.param else Credentials(KEYS.access_key, KEYS.secret_key)
    client.close()


def _same(url: str, credentials: Credentials, method: str, key: str, query: dict[str, str]) -> None:
    """Whether the URL of botocore is ours, signed at the moment that it tells."""
    split = urlsplit(url)
    fields = {name: values[0] for name, values in parse_qs(split.query).items()}
    moment = datetime.strptime(fields["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    ours = urlsplit(
        signed_url(
            method,
            f"https://bucket.s3.{REGION}.amazonaws.com",
            key,
            query,
            credentials=credentials,
            region=REGION,
            moment=moment,
            seconds=int(fields["X-Amz-Expires"]),
        )
    )
    assert (ours.scheme, ours.netloc, ours.path) == (split.scheme, split.netloc, split.path)
    assert {name: values[0] for name, values in parse_qs(ours.query).items()} == fields


def test_links_are_what_botocore_would_sign(theirs: tuple[Any, Credentials]) -> None:
    client, credentials = theirs

    @given(key=keys, method=st.sampled_from(["GET", "HEAD"]), media_type=texts)
    @example(key=DIGEST_KEY, method="GET", media_type="application/vnd.oci.image.config.v1+json; a=b~")
    def check(key: str, method: str, media_type: str) -> None:
        assume(not key.startswith("/"))
        wanted = {"Bucket": "bucket", "Key": key, "ResponseContentType": media_type}
        url = client.generate_presigned_url(f"{method.lower()}_object", wanted, ExpiresIn=600)
        _same(url, credentials, method, key, {"response-content-type": media_type})

    check()


def test_urls_of_parts_are_what_botocore_would_sign(theirs: tuple[Any, Credentials]) -> None:
    client, credentials = theirs

    @given(key=keys, number=st.integers(1, 10_000), upload=texts)
    @example(key=DIGEST_KEY, number=1, upload="VXBsb2FkIElE._~-abc")
    def check(key: str, number: int, upload: str) -> None:
        assume(not key.startswith("/"))
        wanted = {"Bucket": "bucket", "Key": key, "PartNumber": number, "UploadId": upload}
        url = client.generate_presigned_url("upload_part", wanted, ExpiresIn=3600)
        _same(url, credentials, "PUT", key, {"partNumber": str(number), "uploadId": upload})

    check()


@pytest.mark.parametrize("endpoint", ["https://own.test", "https://own.test:443", "http://own.test:80", "http://own.test:9000"])
def test_the_host_is_signed_as_a_client_sends_it(endpoint: str) -> None:
    client = _client(token=False, style="path", endpoint_url=endpoint)
    theirs = urlsplit(client.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "data/x"}, ExpiresIn=600))
    client.close()
    moment = datetime.strptime(parse_qs(theirs.query)["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    environment = {"AWS_ACCESS_KEY_ID": KEYS.access_key, "AWS_SECRET_ACCESS_KEY": KEYS.secret_key, "AWS_REGION": REGION}
    bucket = S3Bucket("bucket", FrozenClock(moment), endpoint=endpoint, environment=environment)
    ours = urlsplit(bucket.signed("GET", "data/x", 600, {}))
    assert parse_qs(ours.query)["X-Amz-Signature"] == parse_qs(theirs.query)["X-Amz-Signature"]


@given(st.dictionaries(st.sampled_from(["a", "a-b", "a.b", "aB", "A", "ab", "response-content-type"]), texts))
def test_parameters_are_sorted_by_name(query: dict[str, str]) -> None:
    url = _ours(query)
    names = [pair.partition("=")[0] for pair in urlsplit(url).query.split("&")]
    assert names[:-1] == sorted(names[:-1])
    assert names[-1] == "X-Amz-Signature"


def _ours(query: dict[str, str], moment: datetime = MOMENT, method: str = "GET") -> str:
    return signed_url(method, "https://a.test", "data/x", query, credentials=KEYS, region=REGION, moment=moment, seconds=600)


def test_every_part_of_a_request_is_signed() -> None:
    urls = [
        _ours({}),
        _ours({"partNumber": "1"}),
        _ours({"partNumber": "2"}),
        _ours({}, MOMENT + timedelta(seconds=1)),
        _ours({}, method="HEAD"),
    ]
    signatures = {url.rpartition("=")[2] for url in urls}
    assert len(signatures) == len(urls)


def test_credentials_show_nothing() -> None:
    assert not any(text in f"{KEYS!r} {KEYS} {[KEYS]}" for text in (KEYS.access_key, KEYS.secret_key, KEYS.token))
