"""Events of both payload formats become the same request; bodies survive byte by byte."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.entry.gateway import EventInvalid, event_response, request_of
from chalicelib.wire.http import Request, Response

BODY = bytes(range(256))


def version_2(body: str = "", *, encoded: bool = False, path: str = "/v2/a/tags/list", query: str = "") -> dict[str, object]:
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"content-type": "text/plain", "x-many": "a, b"},
        "requestContext": {"http": {"method": "PUT", "sourceIp": "192.0.2.7"}, "requestId": "id-1"},
        "body": body,
        "isBase64Encoded": encoded,
    }


def version_1(body: str = "", *, encoded: bool = False, path: str = "/v2/a/tags/list") -> dict[str, object]:
    return {
        "path": path,
        "httpMethod": "PUT",
        "multiValueHeaders": {"Content-Type": ["text/plain"], "X-Many": ["a", "b"]},
        "multiValueQueryStringParameters": {"n": ["1"], "tag": ["x", "y&z"]},
        "requestContext": {"requestId": "id-1", "identity": {"sourceIp": "192.0.2.7"}},
        "body": body or None,
        "isBase64Encoded": encoded,
    }


def test_both_formats_say_the_same() -> None:
    encoded = base64.b64encode(BODY).decode()
    expected = Request(
        method="PUT",
        path="/v2/a/tags/list",
        query={"n": ("1",), "tag": ("x", "y&z")},
        headers={"content-type": "text/plain", "x-many": "a, b"},
        body=BODY,
        source="192.0.2.7",
        request_id="id-1",
        raw_path="/v2/a/tags/list",
    )
    assert request_of(version_2(encoded, encoded=True, query="n=1&tag=x&tag=y%26z")) == expected
    assert request_of(version_1(encoded, encoded=True)) == expected


def test_paths_are_decoded_once() -> None:
    for event in (version_2(path="/v2/a%3Ab/%252F"), version_1(path="/v2/a%3Ab/%252F")):
        request = request_of(event)
        assert (request.path, request.raw_path) == ("/v2/a:b/%2F", "/v2/a%3Ab/%252F")


def test_a_text_body_is_its_utf_8() -> None:
    assert request_of(version_2("{\u00e9}")).body == "{\u00e9}".encode()


@pytest.mark.parametrize("body", ["not base64!", "AA=", "\u00e9"])
def test_a_body_that_is_not_what_it_says(body: str) -> None:
    with pytest.raises((EventInvalid, ValueError)):
        request_of(version_2(body, encoded=True))


@given(st.binary(max_size=300))
def test_answers_keep_every_byte(content: bytes) -> None:
    answer = event_response(Response(200, {"Content-Type": "x/y"}, content))
    json.dumps(answer)
    decoded = base64.b64decode(answer["body"]) if answer["isBase64Encoded"] else str(answer["body"]).encode()
    assert (decoded, answer["statusCode"], answer["headers"]) == (content, 200, {"Content-Type": "x/y"})


def test_within_one_process_a_body_is_not_written_as_json() -> None:
    answer = event_response(Response(200, {}, b"\xff"), as_bytes=True)
    assert (answer["body"], answer["isBase64Encoded"]) == (b"\xff", False)
