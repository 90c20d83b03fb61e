"""API Gateway and Lambda: what they refuse, what they change, and what a function sees of a request."""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.entry.gateway import request_of
from infra.local import gateway
from infra.local.events import Answer, Event, Head, event_1_of, event_of, raw_path
from infra.local.gateway import FAILED, MAPPINGS, PAYLOAD, REQUEST, TOO_LARGE, HttpApi, Mapped, parsed, result_size, size_of
from infra.stack import http_api

HEAD = Head("PUT", "/v2/a/manifests/t", "", {"host": "registry.test", "content-type": "application/octet-stream"})
TEXT = HEAD._replace(headers={"host": "registry.test", "content-type": "text/plain; charset=utf-8"})


class Told:
    """A function that answers what it was made with, and keeps its events."""

    def __init__(self, status: int = 200, body: str | bytes = "", **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.result: dict[str, object] = {"statusCode": status, "headers": named, "body": body, "isBase64Encoded": False}
        self.events: list[Event] = []

    def __call__(self, event: Event, context: object, /) -> Mapping[str, object]:
        self.events.append(event)
        return self.result


def headers_of(answer: Answer) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in answer.headers}


# -------------------------------------------------------------------------------------------------------------- requests


def test_a_body_beyond_ten_megabytes_is_the_gateway_s_to_refuse() -> None:
    function = Told()
    answer = HttpApi(function).call(HEAD, bytes(REQUEST + 1))
    assert (answer, answer.body) == (TOO_LARGE, b'{"message":"Request Entity Too Large"}')
    assert function.events == []


@pytest.mark.parametrize(("head", "growth"), [(HEAD, 4 / 3), (TEXT, 1)])
def test_an_event_at_the_limit_passes_and_one_byte_more_does_not(head: Head, growth: float) -> None:
    """The whole JSON counts, base64 and envelope included."""
    function = Told()
    api = HttpApi(function)
    room = int((PAYLOAD - 2_000) / growth)
    while size_of(event_of(head, b"x" * (room + 100))) <= PAYLOAD:
        room += 100
    while size_of(event_of(head, b"x" * (room + 1))) <= PAYLOAD:
        room += 1
    assert api.call(head, b"x" * room).status == 200
    assert len(json.dumps(function.events[0], separators=(",", ":"))) <= PAYLOAD
    assert api.call(head, b"x" * (room + 3)) == TOO_LARGE
    assert len(function.events) == 1


def test_text_counts_as_it_is_written_in_json() -> None:
    assert HttpApi(Told()).call(TEXT, b'"' * (PAYLOAD // 2)) == TOO_LARGE


def test_what_is_read_of_a_body_surely_fits() -> None:
    """Beside the largest head there may be."""
    long = HEAD._replace(headers={**HEAD.headers, "authorization": "x" * 4_000, "user-agent": "x" * 5_000})
    assert size_of(event_of(long, bytes(gateway.BODY))) <= PAYLOAD < size_of(event_of(HEAD, bytes(gateway.BODY + 20_000)))


@pytest.mark.parametrize(
    ("media_type", "encoded"),
    [
        ("", True),
        ("application/octet-stream", True),
        ("application/x-www-form-urlencoded", True),
        ("application/vnd.oci.image.manifest.v1+json", True),
        ("application/jsonx", True),
        ("application/json", False),
        ("Application/JSON; charset=utf-8", False),
        ("application/xml", False),
        ("application/javascript", False),
        ("text/anything", False),
    ],
)
def test_only_these_bodies_come_as_text(media_type: str, encoded: bool) -> None:
    event = event_of(HEAD._replace(headers={"content-type": media_type}), b"{}")
    assert event["isBase64Encoded"] is encoded
    assert event["body"] == (b64encode(b"{}").decode() if encoded else "{}")


def test_text_that_is_none_is_spoilt() -> None:
    assert event_of(TEXT, b"\xffx")["body"] == "\ufffdx"


def test_what_belongs_to_the_connection_ends_at_the_gateway() -> None:
    sent = {"host": "x", "connection": "keep-alive", "te": "trailers", "transfer-encoding": "chunked", "expect": "100-continue"}
    sent |= {"upgrade": "h2c", "keep-alive": "timeout=5", "proxy-connection": "close", "trailer": "x", "accept": "a,b"}
    event = event_of(Head("PUT", "/", "", sent), b"four")
    assert event["headers"] == {"host": "x", "accept": "a,b", "content-length": "4"}


@pytest.mark.parametrize(
    ("sent", "path", "meant"),
    [
        ("/v2/a/blobs/sha256%3Aab", "/v2/a/blobs/sha256:ab", "/v2/a/blobs/sha256:ab"),
        ("/v2/a%2fb/tags/list", "/v2/a/b/tags/list", "/v2/a/b/tags/list"),
        ("/v2/a%252Fb", "/v2/a%252Fb", "/v2/a%2Fb"),
        ("/%25%32%35", "/%2525", "/%25"),
        ("/v2/a%3Fn=1/tags", "/v2/a", "/v2/a"),
        ("/%c3%a9%23", "/\u00e9#", "/\u00e9#"),
        ("/%ff", "/\ufffd", "/\ufffd"),
        ("/100%", "/100%", "/100%"),
    ],
)
def test_a_path_comes_decoded_but_for_the_percent_sign(sent: str, path: str, meant: str) -> None:
    event = event_of(Head("GET", sent, "", {}))
    context = event["requestContext"]
    assert isinstance(context, dict)
    assert (event["rawPath"], context["http"]["path"]) == (path, path)
    assert request_of(event).path == meant


@given(st.text(st.characters(codec="utf-8", exclude_characters="?%"), max_size=20))
def test_a_path_means_the_same_before_and_behind_the_gateway(text: str) -> None:
    assert raw_path("".join(f"%{byte:02x}" for byte in text.encode())) == text


def test_payload_1_says_the_same_as_2() -> None:
    head = Head(
        "POST", "/v2/a%3Ab/tags/list", "n=1&n=2&_state=a%20b", {"host": "x", "accept": "a,b", "x-one": "1"}, ("c=1", "d=2"),
        "192.0.2.7", repeated=(("accept", ("a", "b")),),
    )  # fmt: skip
    old, new = request_of(event_1_of(head, b"\xff")), request_of(event_of(head, b"\xff"))
    assert (old.method, old.path, old.query, old.body, old.source) == (new.method, new.path, new.query, new.body, new.source)
    assert old.headers == {"host": "x", "accept": "a, b", "x-one": "1", "cookie": "c=1; d=2", "content-length": "1"}


# --------------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("body", ["x", b"x"])
def test_an_answer_at_the_limit_passes_and_one_byte_more_does_not(body: str | bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A body of bytes counts as the base64 that it would come in."""
    caplog.set_level(logging.CRITICAL)
    envelope = result_size(Told(200, body[:0]).result)
    room = (PAYLOAD - envelope) if isinstance(body, str) else (PAYLOAD - envelope) // 4 * 3
    assert HttpApi(Told(200, body * room)).call(HEAD).status == 200
    assert HttpApi(Told(200, body * (room + 3))).call(HEAD) == FAILED
    assert FAILED.body == b'{"message":"Internal Server Error"}'


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"statusCode": "200"},
        {"statusCode": 99},
        {"statusCode": 200, "headers": {"x": ["a", "b"]}},
        {"statusCode": 200, "headers": {"x": "a\r\nb"}},
        {"statusCode": 200, "headers": "x"},
        {"statusCode": 200, "body": {"a": 1}},
        {"statusCode": 200, "body": "not base64!", "isBase64Encoded": True},
    ],
)
def test_what_is_no_answer_is_a_500(result: dict[str, object], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    function = Told()
    function.result = result
    assert HttpApi(function).call(HEAD) == FAILED


def test_headers_of_several_values_count_in_payload_1_only() -> None:
    function = Told(x_one="1")
    function.result["multiValueHeaders"] = {"X-Many": ["a", "b"]}
    assert "x-many" not in headers_of(HttpApi(function).call(HEAD))
    assert [value for name, value in HttpApi(function, payload="1.0").call(HEAD).headers if name == b"x-many"] == [b"a", b"b"]


@pytest.mark.parametrize("body", ["four", ""])
def test_head_announces_the_body_that_is_left_out_and_nothing_else(body: str) -> None:
    answer = HttpApi(Told(200, body, content_length="9")).call(HEAD._replace(method="HEAD"))
    assert (answer.body, answer.length, "content-length" in headers_of(answer)) == (b"", len(body), False)


def test_what_the_gateway_writes_is_not_the_function_s_to_write() -> None:
    function = Told()
    names = ("Connection", "Transfer-Encoding", "Date", "Server", "Keep-Alive", "TE", "Upgrade", "Trailer", "Content-Length")
    function.result["headers"] = dict.fromkeys(names, "1")
    assert headers_of(HttpApi(function).call(HEAD)).keys() == {"apigw-requestid"}


def test_a_challenge_is_renamed_unless_the_template_puts_a_copy_in_its_place() -> None:
    function = Told(401, www_authenticate="Bearer a", x_slipway_www_authenticate="Bearer b")
    renamed = headers_of(HttpApi(function).call(HEAD))
    assert (renamed["x-amzn-remapped-www-authenticate"], "www-authenticate" in renamed) == ("Bearer a", False)
    mapped = headers_of(HttpApi(function, MAPPINGS).call(HEAD))
    assert (mapped["www-authenticate"], mapped["x-amzn-remapped-www-authenticate"]) == ("Bearer b", "Bearer a")
    function.result["statusCode"] = 403
    assert "www-authenticate" not in headers_of(HttpApi(function, MAPPINGS).call(HEAD))


def test_a_rest_api_renames_more() -> None:
    answer = headers_of(HttpApi(Told(200, "", authorization="x", www_authenticate="y"), payload="1.0").call(HEAD))
    assert answer.keys() == {"x-amzn-remapped-authorization", "x-amzn-remapped-www-authenticate", "x-amzn-requestid"}


def test_the_parameters_are_the_template_s() -> None:
    properties: Any = http_api.resources()["HttpApiIntegration"]["Properties"]
    assert parsed(properties["ResponseParameters"]) == MAPPINGS


def test_parameters_are_read_from_a_template() -> None:
    told = {"401": {"ResponseParameters": [{"Destination": "remove:header.X-A", "Source": "''"}]}}
    assert parsed(told) == {401: (Mapped("remove", b"x-a", b"''"),)}
    for destination, source in (("overwrite:statuscode", "403"), ("overwrite:header.x", "text"), ("append:path", "x")):
        with pytest.raises(ValueError, match="response parameter"):
            parsed({"401": {"ResponseParameters": [{"Destination": destination, "Source": source}]}})


def test_every_answer_names_its_request() -> None:
    function = Told()
    first, second = (headers_of(HttpApi(function).call(HEAD))["apigw-requestid"] for _ in range(2))
    assert first != second
    assert [event["requestContext"]["requestId"] for event in function.events] == [first, second]  # type: ignore[index]
