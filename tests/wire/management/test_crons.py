"""Schedules over HTTP: what is none, who may, and what a changed one does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.wire.management.asking import House

CRONS = "/api/v0/crons"
CLIMB = f"{CRONS}/climb"
NIGHTLY = "0 30 2 * * *"


@pytest.mark.parametrize(
    "schedule", ["daily", "0 0 3 * *", "0 0 3 * * * *", "60 0 3 * * *", "0 0 24 * * *", "0 0 3 32 * *", "0 0 3 30 2 *", " "]
)
def test_schedules_that_are_none(house: House, schedule: str) -> None:
    assert house.refused("PUT", CLIMB, {"schedule": schedule}) == (400, "INVALID_SCHEDULE")
    assert house.expect(200, "GET", CLIMB)["schedule"] == "0 0 3 * * *"


GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "jobs.md").read_text()
TOLD = [*re.findall(r"^\| `(0 [^`]+)` \|", GUIDE, re.MULTILINE), *re.findall(r"`(@[a-z]+)`", GUIDE)]


@pytest.mark.parametrize("schedule", TOLD)
def test_schedules_that_the_guide_tells_of(house: House, schedule: str) -> None:
    assert len(TOLD) >= 9
    assert house.expect(200, "PUT", CLIMB, {"schedule": schedule})["nextAt"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"schedule": ""}, "INVALID_JSON"),
        ({"schedule": "0 " * 500}, "INVALID_JSON"),
        ({"schedule": None}, "INVALID_JSON"),
        ({"parameters": {"steps": 2_001}}, "INVALID_JOB_PARAMETERS"),
        ({"parameters": {"height": 1}}, "INVALID_JOB_PARAMETERS"),
        ({"parameters": {"steps": "1"}}, "INVALID_JSON"),
        ({"retries": -1}, "INVALID_JSON"),
        ({"deadline": 0}, "INVALID_JSON"),
        ({"nextAt": "2026-01-01T00:00:00Z"}, "INVALID_JSON"),
    ],
)
def test_crons_that_cannot_be(house: House, change: dict[str, object], code: str) -> None:
    before = house.expect(200, "GET", CLIMB)
    assert house.refused("PUT", CLIMB, {"schedule": NIGHTLY, **change}) == (400, code)
    assert house.expect(200, "GET", CLIMB) == before


@pytest.mark.parametrize("name", ["fly", "A", "x" * 300, "a%00", "..", "%C3%A9"])
def test_no_such_action(house: House, name: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        body = {"schedule": NIGHTLY} if method == "PUT" else None
        assert house.refused(method, f"{CRONS}/{name}", body) == (404, "NO_SUCH_ACTION")


def test_who_may(house: House) -> None:
    for method, path in (("GET", CRONS), ("GET", CLIMB), ("PUT", CLIMB), ("DELETE", CLIMB), ("GET", f"{CRONS}/none")):
        body = {"schedule": NIGHTLY} if method == "PUT" else None
        for by in ("bob", "olga", house.robot, house.narrowed("admin", "a/*")):
            assert house.refused(method, path, body, by=by) == (403, "NOT_AUTHORIZED")
        assert house.refused(method, path, body, by="") == (401, "NOT_AUTHENTICATED")
    assert {event["result"] for event in house.events("CRON_PUT")} == {"denied"}


def test_all_kinds_are_listed_with_what_they_take(house: House) -> None:
    house.surface.run_jobs()  # what comes next is known as soon as somebody has looked
    climb, stumble = house.expect(200, "GET", CRONS)["crons"]
    assert climb == {
        "action": "climb",
        "summary": "Goes up step by step",
        "schedule": "0 0 3 * * *",
        "defaultSchedule": "0 0 3 * * *",
        "nextAt": "2026-01-01T03:00:00Z",
        "parameters": {"steps": 3},
        "retries": 3,
        "deadline": 21_600,
        "accepts": {"steps": {"summary": "How many.", "default": 3, "least": 0, "most": 2_000}},
    }
    assert (stumble["action"], stumble["schedule"], stumble["nextAt"], stumble["accepts"]) == ("stumble", "", None, {})


def test_changed_run_and_unset(house: House) -> None:
    told = house.expect(200, "PUT", CLIMB, {"schedule": NIGHTLY, "parameters": {"steps": 5}, "retries": 0, "deadline": 60})
    assert (told["schedule"], told["nextAt"], told["defaultSchedule"]) == (NIGHTLY, "2026-01-01T02:30:00Z", "0 0 3 * * *")
    assert (told["parameters"], told["retries"], told["deadline"]) == ({"steps": 5}, 0, 60)
    house.surface.clock.advance(3 * 3_600)
    house.surface.run_jobs()
    (job,) = house.expect(200, "GET", "/api/v0/jobs")["jobs"]
    assert (job["status"], job["parameters"], job["createdBy"]) == ("done", {"steps": 5}, "")
    assert house.expect(200, "GET", CLIMB)["nextAt"] == "2026-01-02T02:30:00Z"
    for _ in range(2):
        house.expect(204, "DELETE", CLIMB)
    unset = house.expect(200, "GET", CLIMB)
    assert (unset["schedule"], unset["nextAt"]) == ("", None)
    house.surface.clock.advance(86_400)
    house.surface.run_jobs()
    assert house.expect(200, "GET", "/api/v0/jobs")["jobs"] == [job]


def test_what_is_left_out_is_as_the_kind_has_it(house: House) -> None:
    house.expect(200, "PUT", CLIMB, {"schedule": NIGHTLY, "parameters": {"steps": 5}, "retries": 0, "deadline": 60})
    told = house.expect(200, "PUT", CLIMB, {"schedule": NIGHTLY})
    assert (told["parameters"], told["retries"], told["deadline"]) == ({"steps": 3}, 3, 21_600)


def test_two_who_change_it(house: House) -> None:
    tag = house.ask("GET", CLIMB).headers["ETag"]
    changed = house.ask("PUT", CLIMB, {"schedule": NIGHTLY}, if_match=tag)
    assert (changed.status, json.loads(changed.body)["schedule"]) == (200, NIGHTLY)
    assert changed.headers["ETag"] != tag
    for method in ("PUT", "DELETE"):
        body = {"schedule": "0 0 0 1 * *"} if method == "PUT" else None
        assert house.refused(method, CLIMB, body, if_match=tag) == (412, "PRECONDITION_FAILED")
    assert house.ask("GET", CLIMB).headers["ETag"] == changed.headers["ETag"]
    house.expect(204, "DELETE", CLIMB, if_match=changed.headers["ETag"])


def test_changes_are_on_record(house: House) -> None:
    house.expect(200, "PUT", CLIMB, {"schedule": NIGHTLY, "parameters": {"steps": 5}})
    house.expect(204, "DELETE", CLIMB)
    (put,), (deleted,) = house.events("CRON_PUT"), house.events("CRON_DELETE")
    assert (put["object"], put["actor"], deleted["object"]) == ("climb", "admin", "climb")
    assert (put["detail"]["schedule"], put["detail"]["parameters"]) == (NIGHTLY, "steps=5")
