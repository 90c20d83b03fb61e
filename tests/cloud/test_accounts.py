"""Accounts, teams, robots and tokens on the deployed stage: through the edge, by the functions' roles."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.cloud.client import Client, Refused
from tests.cloud.stage import Cloud
from tests.conformance.management import SETTINGS, Administrator, NotDone
from tests.conformance.registry_process import RunningRegistry

NAME = "harbour/app"


@pytest.fixture(scope="module")
def admin(cloud: Cloud) -> Administrator:
    return Administrator(cloud.registry)


@pytest.fixture(scope="module")
def robot(cloud: Cloud, admin: Administrator) -> RunningRegistry:
    """The registry as harbour+ci uses it, whose team may push to harbour/app."""
    admin.ask("POST", "/enzi/v0/accounts", {"name": "harbour", "isOrg": True})
    admin.ask("POST", "/enzi/v0/accounts/harbour/teams", {"name": "builders"})
    made = admin.ask("POST", "/api/v0/accounts/harbour/robots", {"name": "ci"})
    admin.ask("PUT", "/enzi/v0/accounts/harbour/teams/builders/members/harbour+ci")
    admin.ask("POST", "/api/v0/repositories/harbour", {"name": "app"})
    admin.ask("PUT", f"/api/v0/repositories/{NAME}/teamAccess/builders", {"accessLevel": "read-write"})
    return RunningRegistry(cloud.registry.host, "harbour+ci", made["token"])


def refused(admin: Administrator, method: str, path: str, body: Mapping[str, object] | None = None) -> int:
    with pytest.raises(NotDone) as caught:
        admin.ask(method, path, body)
    return caught.value.status


def test_a_push_makes_no_repository_unless_somebody_says_so(cloud: Cloud, admin: Administrator) -> None:
    assert cloud.defaults["createRepositoryOnPush"] is False
    admin.ask("PATCH", SETTINGS, {"createRepositoryOnPush": False})
    try:
        with pytest.raises(Refused, match="404"):
            Client(cloud.registry, "admin/nowhere/yet").push_image("v1", b"layer")
    finally:
        admin.let_pushes_create()
    Client(cloud.registry, "admin/nowhere/yet").push_image("v1", b"layer")


def test_a_robot_pushes_where_its_team_may(robot: RunningRegistry) -> None:
    client = Client(robot, NAME)
    pushed = client.push_image("v1", b"a robot's layer")
    assert client.pull_image("v1") == pushed
    with pytest.raises(Refused, match="403"):
        Client(robot, "harbour/other").push_image("v1", b"layer")


def test_what_it_did_and_was_denied_is_on_record(robot: RunningRegistry, admin: Administrator) -> None:
    events = admin.ask("GET", f"/api/v0/repositories/{NAME}/events")["events"]
    assert {event["actor"] for event in events if event["type"] == "MANIFEST_PUSH"} == {"harbour+ci"}
    assert "denied" in {event["result"] for event in admin.ask("GET", "/api/v0/events?pageSize=100")["events"]}


def test_a_locked_robot_is_out(robot: RunningRegistry, admin: Administrator) -> None:
    admin.ask("PATCH", "/api/v0/accounts/harbour/robots/ci", {"isActive": False})
    with pytest.raises(Refused, match="401"):
        Client(robot, NAME).pull_image("v1")
    admin.ask("PATCH", "/api/v0/accounts/harbour/robots/ci", {"isActive": True})


def test_a_deleted_repository_is_gone_with_all_in_it(robot: RunningRegistry, cloud: Cloud, admin: Administrator) -> None:
    assert refused(Administrator(robot), "DELETE", f"/api/v0/repositories/{NAME}") == 403
    admin.ask("DELETE", f"/api/v0/repositories/{NAME}")
    assert refused(admin, "GET", f"/api/v0/repositories/{NAME}") == 404
    assert cloud.run_job("collect-garbage")["counts"]["records"] > 0
    cloud.pass_time(hours=2)  # for so long it is looked whether somebody was still at it
    assert "records" not in cloud.run_job("collect-garbage")["counts"]
    assert cloud.items("removed") == []
