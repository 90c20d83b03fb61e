"""Jobs over HTTP: what is refused, who may, and a job's way from its order to its log."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.wire.management.paging import encoded
from tests.wire.management.asking import House

JOBS = "/api/v0/jobs"
NONE = f"{JOBS}/0000"


def ordered(house: House, action: str = "climb", **fields: object) -> dict[str, Any]:
    made: dict[str, Any] = house.expect(201, "POST", JOBS, {"action": action, **fields})
    return made


def url(job: dict[str, Any]) -> str:
    return f"{JOBS}/{job['id']}"


# ------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"action": "fly"}, 404, "NO_SUCH_ACTION"),
        ({"action": ""}, 404, "NO_SUCH_ACTION"),
        ({"action": "climb", "parameters": {"steps": -1}}, 400, "INVALID_JOB_PARAMETERS"),
        ({"action": "climb", "parameters": {"steps": 2_001}}, 400, "INVALID_JOB_PARAMETERS"),
        ({"action": "climb", "parameters": {"height": 1}}, 400, "INVALID_JOB_PARAMETERS"),
        ({"action": "stumble", "parameters": {"steps": 1}}, 400, "INVALID_JOB_PARAMETERS"),
        ({"action": "climb", "parameters": {"steps": 1.5}}, 400, "INVALID_JSON"),
        ({"action": "climb", "parameters": {"steps": True}}, 400, "INVALID_JSON"),
        ({"action": "climb", "parameters": {"steps": 10**30}}, 400, "INVALID_JOB_PARAMETERS"),
        ({"action": "climb", "parameters": None}, 400, "INVALID_JSON"),
        ({"action": "climb", "retries": -1}, 400, "INVALID_JSON"),
        ({"action": "climb", "retries": 10**6}, 400, "INVALID_JSON"),
        ({"action": "climb", "deadline": 0}, 400, "INVALID_JSON"),
        ({"action": "climb", "deadline": 10**9}, 400, "INVALID_JSON"),
        ({"action": "climb", "id": "x"}, 400, "INVALID_JSON"),
        ({}, 400, "INVALID_JSON"),
        (b"[]", 400, "INVALID_JSON"),
    ],
)
def test_jobs_that_cannot_be(house: House, body: object, status: int, code: str) -> None:
    assert house.refused("POST", JOBS, body) == (status, code)
    assert house.expect(200, "GET", JOBS) == {"jobs": []}
    assert house.events("JOB_CREATE") == []


def test_a_refusal_names_the_bounds(house: House) -> None:
    told = house.ask("POST", JOBS, {"action": "climb", "parameters": {"steps": 5_000}})
    assert "0 to 2000" in json.loads(told.body)["errors"][0]["message"]


def test_one_of_a_kind_at_a_time(house: House) -> None:
    job = ordered(house)
    assert house.refused("POST", JOBS, {"action": "climb"}) == (409, "JOB_UNDER_WAY")
    assert job["id"] in json.loads(house.ask("POST", JOBS, {"action": "climb"}).body)["errors"][0]["message"]
    assert house.refused("DELETE", url(job)) == (409, "JOB_UNDER_WAY")
    ordered(house, "stumble")
    house.expect(200, "POST", f"{url(job)}/cancel")
    assert house.refused("POST", f"{url(job)}/cancel") == (409, "JOB_ENDED")
    ordered(house)


@pytest.mark.parametrize("name", ["0000", "A", "x" * 300, "a%00", "..", "kinds", "%C3%A9"])
def test_no_such_job(house: House, name: str) -> None:
    for method, path in (("GET", ""), ("GET", "/logs"), ("POST", "/cancel")):
        assert house.refused(method, f"{JOBS}/{name}{path}") == (404, "NO_SUCH_JOB")
    assert house.ask("DELETE", f"{JOBS}/{name}").status == 204  # as of everything that is gone
    assert house.events("JOB_DELETE") == []


@pytest.mark.parametrize("query", ["offset=-1", "offset=x", "offset=%D9%A1", "limit=0", "limit=1001", "limit=", "offset=1e3"])
def test_parts_of_a_log_that_cannot_be(house: House, query: str) -> None:
    job = ordered(house)
    assert house.refused("GET", f"{url(job)}/logs?{query}") == (400, "INVALID_PAGE")


def test_filters_that_cannot_be(house: House) -> None:
    for query in ("status=over", "status=", "action=", "action=A%20B"):
        assert house.refused("GET", f"{JOBS}?{query}") == (400, "INVALID_PARAMETER")
    assert house.refused("GET", f"{JOBS}?pageStart={encoded('admin')}") == (400, "INVALID_PAGE")


def test_who_may(house: House) -> None:
    job = ordered(house)
    calls = [("GET", JOBS), ("POST", JOBS), ("GET", url(job)), ("DELETE", url(job)), ("GET", f"{url(job)}/logs")]
    for method, path in (*calls, ("POST", f"{url(job)}/cancel"), ("GET", NONE)):
        body = {"action": "stumble"} if path == JOBS and method == "POST" else None
        for by in ("bob", "olga", house.robot, house.narrowed("admin", "a/*")):
            assert house.refused(method, path, body, by=by) == (403, "NOT_AUTHORIZED")
        assert house.refused(method, path, body, by="") == (401, "NOT_AUTHENTICATED")
    assert house.expect(200, "GET", JOBS)["jobs"] == [job]
    assert {event["result"] for event in house.events("JOB_CANCEL")} == {"denied"}


# -------------------------------------------------------------------------------------------------------------- a life


def test_ordered_run_and_read(house: House) -> None:
    job = ordered(house, parameters={"steps": 2}, retries=1, deadline=600)
    assert job == {
        "id": job["id"],
        "action": "climb",
        "status": "waiting",
        "parameters": {"steps": 2},
        "retries": 1,
        "deadline": 600,
        "attempts": 0,
        "counts": {},
        "error": "",
        "isCancelling": False,
        "createdBy": "admin",
        "createdAt": "2026-01-01T00:00:00Z",
        "dueAt": "2026-01-01T00:00:00Z",
        "startedAt": None,
        "endedAt": None,
    }
    house.surface.run_jobs()
    ended = house.expect(200, "GET", url(job))
    assert (ended["status"], ended["counts"], ended["attempts"]) == ("done", {"steps": 2}, 1)
    assert ended["startedAt"]
    assert ended["endedAt"]
    told = house.expect(200, "GET", f"{url(job)}/logs")
    assert [(line["offset"], line["text"]) for line in told["lines"]][:2] == [(0, "step 0"), (1, "step 1")]
    assert told["next"] == len(told["lines"])
    house.expect(204, "DELETE", url(job))
    assert house.refused("GET", url(job)) == (404, "NO_SUCH_JOB")


def test_one_that_fails_says_why(house: House) -> None:
    job = ordered(house, "stumble")
    house.surface.run_jobs()
    ended = house.expect(200, "GET", url(job))
    assert (ended["status"], ended["attempts"]) == ("failed", 1)
    assert "there is no way on" in ended["error"]


def test_a_log_is_read_part_by_part(house: House) -> None:
    job = ordered(house, parameters={"steps": 250})
    house.surface.run_jobs()
    whole = house.expect(200, "GET", f"{url(job)}/logs?limit=1000")["lines"]
    assert len(house.expect(200, "GET", f"{url(job)}/logs")["lines"]) == 100
    lines: list[object] = []
    offset = 0
    while (part := house.expect(200, "GET", f"{url(job)}/logs?offset={offset}&limit=64"))["lines"]:
        lines += part["lines"]
        offset = part["next"]
    assert lines == whole
    assert part == {"lines": [], "next": len(whole)}
    assert house.expect(200, "GET", f"{url(job)}/logs?offset=99999999") == {"lines": [], "next": 99_999_999}


def test_what_there_is_newest_first(house: House) -> None:
    made = []
    for action in ("climb", "stumble", "climb", "climb"):
        made.append(ordered(house, action)["id"])
        house.surface.run_jobs()
        house.surface.clock.advance(60)
    newest = made[::-1]
    assert ids(house, "") == newest
    assert ids(house, "action=climb") == [newest[0], newest[1], newest[3]]
    assert ids(house, "status=failed") == [newest[2]]
    assert ids(house, "status=waiting") == []
    assert ids(house, "action=climb&status=failed") == []
    assert ids(house, "action=of-old") == []


def ids(house: House, query: str) -> list[str]:
    """Of all jobs of a list, page by page."""
    found: list[str] = []
    start = ""
    while True:
        answer = house.ask("GET", f"{JOBS}?{query}&pageSize=1&pageStart={start}")
        found += [job["id"] for job in json.loads(answer.body)["jobs"]]
        start = answer.headers.get("X-Next-Page-Start", "")
        if not start:
            return found


def test_changes_are_on_record(house: House) -> None:
    job = ordered(house, parameters={"steps": 7})
    house.expect(200, "POST", f"{url(job)}/cancel")
    house.expect(204, "DELETE", url(job))
    (made,), (cancelled,), (deleted,) = (house.events(f"JOB_{what}") for what in ("CREATE", "CANCEL", "DELETE"))
    assert (made["object"], made["detail"]["job"], made["detail"]["parameters"]) == ("climb", job["id"], "steps=7")
    for event in (cancelled, deleted):
        assert (event["object"], event["detail"], event["actor"]) == ("climb", {"job": job["id"]}, "admin")
