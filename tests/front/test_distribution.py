"""CloudFront: errors it keeps, requests it refuses, and what functions may not do."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local import distribution, edge
from infra.local.distribution import ALWAYS, IF_TOLD, TTLS, KeptErrors, refusal_of, ttls_of
from infra.local.edge import Edge, Passed
from infra.local.events import Answer, Head
from tests.infra.templates import CHOICES, of_type, resource

GET, HEAD, PUT = (Head(method, "/v2/a/manifests/t", "", {"host": "x"}) for method in ("GET", "HEAD", "PUT"))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def told(status: int, cache_control: str = "") -> Answer:
    return Answer(status, [(b"cache-control", cache_control.encode())] if cache_control else [], b"told", 4)


# ---------------------------------------------------------------------------------------------------------------- errors


def test_an_error_is_kept_for_ten_seconds_whoever_asks() -> None:
    clock = Clock()
    errors = KeptErrors({}, clock)
    errors.keep(GET._replace(query="a=b"), told(404))
    assert errors.get(GET._replace(headers={"authorization": "other"})) == told(404)
    assert errors.get(HEAD) == told(404)._replace(body=b"")
    assert errors.get(PUT) is None
    assert errors.get(GET._replace(path="/v2/a/manifests/u")) is None
    clock.now = 10.0
    assert errors.get(GET) is None


def test_what_is_no_error_or_no_pull_is_not_kept() -> None:
    errors = KeptErrors({})
    for head, status in ((GET, 200), (GET, 307), (PUT, 404), (GET, 401), (GET, 413), (GET, 416), (GET, 429), (GET, 400)):
        errors.keep(head, told(status))
    assert errors.get(GET) is None
    errors.keep(GET, told(400, "public, max-age=5"))
    assert errors.get(GET) is not None


@pytest.mark.parametrize("status", sorted(ALWAYS | IF_TOLD))
def test_the_template_has_no_error_kept(status: int) -> None:
    errors = KeptErrors(TTLS)
    errors.keep(GET, told(status))
    assert errors.get(GET) is None


@pytest.mark.parametrize("choice", CHOICES)
def test_make_run_keeps_what_the_template_has_kept(choice: str) -> None:
    if "Distribution" in of_type("AWS::CloudFront::Distribution", choice):
        assert ttls_of({"Properties": resource("Distribution", choice)}) == TTLS


def test_as_many_are_kept_as_there_is_room_for() -> None:
    errors = KeptErrors({}, most=2)
    for name in "abc":
        errors.keep(GET._replace(path=f"/{name}"), told(404))
    assert [errors.get(GET._replace(path=f"/{name}")) is None for name in "abc"] == [True, False, False]


def test_the_seconds_stand_in_the_template() -> None:
    responses = [{"ErrorCode": 404, "ErrorCachingMinTTL": 0}, {"ErrorCode": 500, "ResponseCode": 500}]
    resource = {"Properties": {"DistributionConfig": {"CustomErrorResponses": responses}}}
    assert ttls_of(resource) == {404: 0.0, 500: 10.0}
    assert ttls_of({"Properties": {"DistributionConfig": {}}}) == {}


# -------------------------------------------------------------------------------------------------------------- requests


def test_what_is_too_long_does_not_come_in() -> None:
    long = GET._replace(query="q" * (distribution.URL - len(GET.path) - 1))
    assert refusal_of(long, has_body=False) is None
    for head in (long._replace(query=f"{long.query}q"), GET._replace(headers={"x": "y" * distribution.REQUEST})):
        refused = refusal_of(head, has_body=False)
        assert refused is not None
        assert refused.status == 413


def test_a_get_has_no_body() -> None:
    refused = refusal_of(GET, has_body=True)
    assert refused is not None
    assert refused.status == 403
    assert refusal_of(PUT, has_body=True) is None


# ------------------------------------------------------------------------------------------------------------- functions

REQUESTS = {
    "request.method = 'POST'; return request;": 502,
    "request.headers['content-length'] = { value: '1' }; return request;": 502,
    "request.headers.host = { value: 'elsewhere.test' }; return request;": 502,
    "delete request.headers.host; return request;": 502,
    "request.headers['x-amz-cf-id'] = { value: 'x' }; return request;": 502,
    "request.headers.connection = { value: 'close' }; return request;": 502,
    "return { statusCode: 200, headers: { 'x-edge-y': { value: 'z' } } };": 502,
    "return { statusCode: 200, headers: {}, body: { data: 'x'.repeat(50000) } };": 502,
    "throw new Error('on purpose');": 503,
    "return request.headers.expect ? request : { statusCode: 204, headers: {} };": 204,
    "request.headers['x-own'] = { value: 'x' }; return request;": 0,
}
ANSWERS = {
    "response.headers['content-length'] = { value: '1' }; return response;": 502,
    "delete response.headers.warning; return response;": 502,
    "response.headers['x-cache'] = { value: 'x' }; return response;": 502,
    "response.statusCode = 201; return response;": 201,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the functions under test lie."""
    monkeypatch.setattr(edge, "FOLDER", tmp_path)
    return tmp_path


@pytest.mark.parametrize("source", REQUESTS)
def test_a_function_may_do_so_much_to_a_request(folder: Path, source: str) -> None:
    (folder / "viewer-request.js").write_text(f"function handler(event) {{ const request = event.request; {source} }}")
    passed = Edge({}).request(PUT._replace(headers={"host": "x", "expect": "100-continue", "content-length": "4"}))
    assert (0 if isinstance(passed, Passed) else passed.status) == REQUESTS[source]


@pytest.mark.parametrize("source", ANSWERS)
def test_a_function_may_do_so_much_to_an_answer(folder: Path, source: str) -> None:
    (folder / "viewer-response.js").write_text(f"function handler(event) {{ const response = event.response; {source} }}")
    given = Answer(200, [(b"warning", b'299 - "x"'), (b"x-cache", b"Miss from cloudfront")])
    head = PUT._replace(path="/v2/a/blobs/uploads/u")
    answer = Edge({}).response(head, given)
    assert answer.status == ANSWERS[source]
    if answer.status == 201:
        assert answer.headers == given.headers


def test_a_function_of_more_than_ten_kilobytes_is_none(folder: Path) -> None:
    (folder / "viewer-request.js").write_text(
        "function handler(event) { return event.request; }".ljust(distribution.SOURCE + 1)
    )
    refused = Edge({}).request(GET)
    assert isinstance(refused, Answer)
    assert refused.status == 503
