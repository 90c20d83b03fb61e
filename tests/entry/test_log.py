"""The request log: what is written, what never is, and that nobody writes a line of somebody else's."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from chalicelib.entry.log import Logged, RequestLog
from chalicelib.wire.http import Request, Response
from tests.surface import PASSWORD, Surface, image

LOGGER = logging.getLogger("slipway.test-log")


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def lines(heard: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(record.getMessage()) for record in heard.records if record.name.startswith("slipway.")]


def test_no_secret_is_in_the_log(heard: pytest.LogCaptureFixture) -> None:
    surface = Surface(logger=LOGGER)
    surface.push_image("admin/app", "t", b"layer")
    location = surface.call("POST", "/v2/admin/app/blobs/uploads/").headers["Location"]
    surface.call("PATCH", location, b"chunk")
    link = surface.call("GET", f"/v2/admin/app/blobs/sha256:{'0' * 64}")
    token = surface.token("repository:admin/app:pull")
    surface.send("GET", "/v2/", authorization="Bearer wrong.token.here")
    written = heard.text
    assert link.status == 404
    for secret in (PASSWORD, token, token.split(".")[2], "wrong.token.here", location.partition("_state=")[2], "mac="):
        assert secret not in written
    assert "/v2/admin/app/manifests/t" in written


def test_a_line_says_who_asked_for_what_and_got_which_answer(heard: pytest.LogCaptureFixture) -> None:
    headers = {"user-agent": "docker/28"}
    request = Request("PUT", "/v2/a/manifests/b", {}, headers, b"manifest", source="192.0.2.7", request_id="id-7")
    RequestLog(Logged.ALL, LOGGER).answered(request, Response(201, {}, b"xyz"), 0.01234, "invocation-7")
    assert lines(heard) == [
        {
            "request": "id-7",
            "invocation": "invocation-7",
            "method": "PUT",
            "path": "/v2/a/manifests/b",
            "source": "192.0.2.7",
            "agent": "docker/28",
            "received": 8,
            "ms": 12.3,
            "status": 201,
            "bytes": 3,
        }
    ]


def test_what_is_not_known_is_left_out(heard: pytest.LogCaptureFixture) -> None:
    """On one machine there is no invocation."""
    RequestLog(Logged.ALL, LOGGER).answered(Request("GET", "/v2/"), Response(200))
    (line,) = lines(heard)
    assert not line.keys() & {"invocation", "ms"}
    assert (line["received"], line["bytes"]) == (0, 0)


def test_the_log_shows_which_bytes_came_this_way(heard: pytest.LogCaptureFixture) -> None:
    surface = Surface(logger=LOGGER)
    surface.push_image("admin/app", "t", b"layer" * 100)
    received = {line["path"]: line["received"] for line in lines(heard) if line["status"] == 201}
    assert received["/v2/admin/app/blobs/uploads/"] == 500
    assert received["/v2/admin/app/manifests/t"] == len(image(b"layer" * 100))


@pytest.mark.parametrize(
    ("logged", "expected"),
    [(Logged.NONE, []), (Logged.CHANGES, ["PUT", "HEAD"]), (Logged.ALL, ["GET", "PUT", "HEAD"])],
)
def test_which_requests_are_logged(heard: pytest.LogCaptureFixture, logged: Logged, expected: list[str]) -> None:
    log = RequestLog(logged, LOGGER)
    for method, status in (("GET", 200), ("PUT", 201), ("HEAD", 404)):
        log.answered(Request(method, "/v2/"), Response(status))
    assert [line["method"] for line in lines(heard)] == expected


def test_a_failure_is_always_logged_with_its_place(heard: pytest.LogCaptureFixture) -> None:
    try:
        _break()
    except RuntimeError:
        RequestLog(Logged.NONE, LOGGER).failed(Request("GET", "/v2/", request_id="id-9"))
    (line,) = lines(heard)
    assert (line["request"], line["status"]) == ("id-9", 500)
    assert "something broke" in line["failure"]
    assert "test_log.py" in line["failure"]


def _break() -> None:
    raise RuntimeError("something broke")


@pytest.mark.parametrize(
    "told",
    [
        'Could not connect to "https://bucket.s3.test/data/1?X-Amz-Credential=SECRET&X-Amz-Signature=SECRET"',
        "https://bucket.s3.test/data/1?X-Amz-Security-Token=SECRET%2B",
        "/v2/a/blobs/uploads/1?_state=SECRET.SECRET&digest=x",
        "{'authorization': 'Bearer SECRET.SECRET.SECRET'}",
        "{'authorization': 'Basic SECRET=='}",
    ],
)
def test_a_failure_s_message_tells_no_secret(heard: pytest.LogCaptureFixture, told: str) -> None:
    try:
        raise RuntimeError(told)  # noqa: TRY301  # as a library would
    except RuntimeError:
        RequestLog(Logged.NONE, LOGGER).failed(Request("GET", "/v2/"), 0.5)
    (line,) = lines(heard)
    assert "RuntimeError" in line["failure"]
    assert "SECRET" not in line["failure"]
    assert line["ms"] == 500


def test_nobody_forges_a_line_or_floods_the_log(heard: pytest.LogCaptureFixture) -> None:
    hostile = '/v2/a\n{"request": "forged"}\r\x1b[31m' + "x" * 10_000
    agent = {"user-agent": "a\nb" * 10_000}
    RequestLog(Logged.ALL, LOGGER).answered(Request("GET", hostile, headers=agent), Response(404))
    (record,) = heard.records
    message = record.getMessage()
    assert message.isprintable()
    assert len(message) < 3_000
