"""The one exit: whatever happens, an answer in the protocol's form, and nothing of the inside in it."""

from __future__ import annotations

import json
import logging

import pytest

from chalicelib.entry.application import Application
from chalicelib.entry.log import Logged, RequestLog
from chalicelib.registry.ports import StoreFull
from chalicelib.wire.http import Request, Response
from tests.surface import Surface, code

SECRET = "the token was eyJhbGciOi"


def failing(_: Request) -> Response | None:
    raise RuntimeError(SECRET)


def full(_: Request) -> Response | None:
    raise StoreFull


def test_a_failure_inside_is_a_500_that_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    log = RequestLog(Logged.NONE, logging.getLogger("slipway.under-test"))
    answer = Application("failing", (failing,), log).answer(Request("GET", "/v2/", request_id="id-7"))
    assert (answer.status, code(answer)) == (500, "UNKNOWN")
    assert json.loads(answer.body)["errors"][0]["detail"] == {"requestId": "id-7"}
    assert SECRET not in str(answer)
    assert "id-7" in caplog.text


def test_a_full_store_is_a_507() -> None:
    assert Application("full", (full,), RequestLog(Logged.NONE)).answer(Request("PUT", "/v2/")).status == 507


def test_a_path_that_no_door_knows() -> None:
    for path in ("/", "/favicon.ico", "/v1/", "/metrics"):
        answer = Surface().send("GET", path)
        assert (answer.status, code(answer)) == (404, "UNSUPPORTED")


def test_an_event_that_is_broken_is_the_sender_s_fault() -> None:
    event = {
        "version": "2.0",
        "rawPath": "/v2/",
        "requestContext": {"http": {"method": "GET"}},
        "body": "!",
        "isBase64Encoded": True,
    }
    answer = Surface().app(event, None)
    assert answer["statusCode"] == 400


def test_health_is_everybody_s_to_ask() -> None:
    surface = Surface()
    for path in ("/_ping", "/health"):
        answer = surface.send("GET", path)
        assert (answer.status, json.loads(answer.body)) == (200, {"Error": "", "Healthy": True})


def test_every_challenge_goes_twice() -> None:
    """The HTTP API of the stack puts the copy in the first one's place on each 401, so none may lack it."""
    for path in ("/v2/", "/auth/token", "/api/v0/repositories/admin/app"):
        event = {
            "version": "2.0",
            "rawPath": path,
            "headers": {"authorization": "Basic bm9ib2R5Og=="},
            "requestContext": {"http": {"method": "GET"}},
        }
        answer = Surface().app(event, None)
        assert answer["statusCode"] == 401
        assert answer["headers"]["X-Slipway-WWW-Authenticate"] == answer["headers"]["WWW-Authenticate"]


def test_the_log_has_the_function_s_id_and_how_long_it_took(caplog: pytest.LogCaptureFixture) -> None:
    class Context:
        aws_request_id = "invocation-7"

    event = {"version": "2.0", "rawPath": "/v2/", "requestContext": {"http": {"method": "GET"}, "requestId": "id-7"}}
    caplog.set_level(logging.INFO)
    Surface().app(event, Context())
    line = json.loads(caplog.messages[-1])
    assert (line["request"], line["invocation"]) == ("id-7", "invocation-7")
    assert line["ms"] > 0
