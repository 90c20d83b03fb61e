"""Teams over HTTP: whose they are, who is in them, and names that none has."""

from __future__ import annotations

import pytest

from tests.wire.management.asking import ACME, House

TEAMS = f"{ACME}/teams"
DEVS = f"{TEAMS}/devs"
NO_ACCOUNT = (404, "NO_SUCH_ACCOUNT")
NO_TEAM = (404, "NO_SUCH_TEAM")
DENIED = (403, "NOT_AUTHORIZED")


def test_members_read_and_admins_change(house: House) -> None:
    assert [team["name"] for team in house.expect(200, "GET", TEAMS, by="mia")["teams"]] == ["devs"]
    assert house.expect(200, "GET", DEVS, by="mia")["description"] == ""
    for method, url, body in (
        ("POST", TEAMS, {"name": "ops"}),
        ("PATCH", DEVS, {"description": "x"}),
        ("DELETE", DEVS, None),
        ("PUT", f"{DEVS}/members/mia", None),
        ("DELETE", f"{DEVS}/members/mia", None),
    ):
        assert house.refused(method, url, body, by="mia") == DENIED
        assert house.refused(method, url, body, by="bob") == NO_ACCOUNT
    assert house.expect(200, "PATCH", DEVS, {"description": "x"}, by="olga")["description"] == "x"
    house.expect(204, "DELETE", DEVS, by="olga")
    house.expect(204, "DELETE", DEVS, by="olga")
    assert house.refused("GET", DEVS, by="mia") == NO_TEAM


@pytest.mark.parametrize("name", ["", "a b", "a/b", "..", "x" * 65, "\u0430", "a+b", "a\0"])
def test_names_that_no_team_can_have(house: House, name: str) -> None:
    assert house.refused("POST", TEAMS, {"name": name}, by="olga") == (400, "INVALID_ACCOUNT_NAME")


@pytest.mark.parametrize("name", ["none", "a%00", "x" * 3_000, "%ff", "a+b", "."])
def test_paths_with_teams_that_are_not_there(house: House, name: str) -> None:
    assert house.refused("GET", f"{TEAMS}/{name}", by="olga") == NO_TEAM
    assert house.refused("PATCH", f"{TEAMS}/{name}", {"description": "x"}, by="olga") == NO_TEAM
    assert house.refused("PUT", f"{TEAMS}/{name}/members/mia", by="olga") == NO_TEAM
    assert house.refused("GET", f"{TEAMS}/{name}/members", by="olga") == NO_TEAM
    house.expect(204, "DELETE", f"{TEAMS}/{name}", by="olga")
    house.expect(204, "DELETE", f"{TEAMS}/{name}/members/mia", by="olga")


def test_one_name_one_team(house: House) -> None:
    assert house.refused("POST", TEAMS, {"name": "DEVS"}, by="olga") == (409, "TEAM_EXISTS")
    assert house.expect(200, "GET", f"{TEAMS}/Devs", by="olga")["name"] == "devs"


def test_only_members_and_own_robots_join(house: House) -> None:
    assert house.expect(200, "PUT", f"{DEVS}/members/acme+ci", by="olga") == {"name": "acme+ci"}
    other = house.surface.accounts.create_organization("other")
    house.surface.accounts.create_robot(other, "ci")
    for user in ("bob", "other+ci", "acme"):
        assert house.refused("PUT", f"{DEVS}/members/{user}", by="olga") == (404, "NO_SUCH_MEMBER")
    assert house.refused("PUT", f"{DEVS}/members/nobody", by="olga") == NO_ACCOUNT
    assert house.refused("PUT", f"{DEVS}/members/mia", {"isAdmin": True}, by="olga") == (400, "INVALID_JSON")
    told = house.expect(200, "GET", f"{DEVS}/members", by="mia")["members"]
    assert told == [{"name": "acme+ci"}, {"name": "mia"}]
    house.expect(200, "GET", f"{DEVS}/members/MIA", by="mia")
    house.expect(204, "DELETE", f"{DEVS}/members/mia", by="olga")
    assert house.refused("GET", f"{DEVS}/members/mia", by="olga") == (404, "NO_SUCH_MEMBER")


def test_what_a_team_was_granted(house: House) -> None:
    url = "/api/v0/accounts/acme/teams/devs/repositoryAccess"
    told = house.expect(200, "GET", url, by="mia")
    assert told == {"repositoryAccessList": [{"repository": "acme/team/app", "accessLevel": "read-only"}]}
    assert house.refused("GET", url, by="bob") == NO_ACCOUNT
    assert house.refused("GET", url.replace("devs", "none"), by="mia") == NO_TEAM
