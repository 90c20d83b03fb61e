"""What teams are granted: by who manages the access, to teams of the namespace's own organization."""

from __future__ import annotations

import pytest

from tests.wire.management.asking import APP, House

GRANTS = f"{APP}/teamAccess"
NAMESPACE = "/api/v0/repositoryNamespaces/acme/teamAccess"
NO_TEAM = (404, "NO_SUCH_TEAM")
NO_ACCOUNT = (404, "NO_SUCH_ACCOUNT")
DENIED = (403, "NOT_AUTHORIZED")


@pytest.mark.parametrize("level", ["none", "", "Admin", "owner", 3, None, ["admin"]])
@pytest.mark.parametrize("url", [GRANTS, NAMESPACE])
def test_levels_that_there_are_not(house: House, url: str, level: object) -> None:
    assert house.refused("PUT", f"{url}/devs", {"accessLevel": level}, by="olga") == (400, "INVALID_JSON")
    assert house.refused("PUT", f"{url}/devs", by="olga") == (400, "INVALID_JSON")


@pytest.mark.parametrize("url", [GRANTS, NAMESPACE])
def test_granted_read_and_withdrawn(house: House, url: str) -> None:
    for level in ("read-only", "read-write", "admin"):
        told = house.expect(200, "PUT", f"{url}/devs", {"accessLevel": level}, by="olga")
        assert told == {"team": "devs", "accessLevel": level}
        assert house.expect(200, "GET", f"{url}/DEVS", by="olga") == told
        assert house.expect(200, "GET", url, by="olga") == {"teamAccessList": [told]}
    for _ in range(2):
        house.expect(204, "DELETE", f"{url}/devs", by="olga")
    assert house.refused("GET", f"{url}/devs", by="olga") == NO_TEAM
    assert house.expect(200, "GET", url, by="olga") == {"teamAccessList": []}


@pytest.mark.parametrize("url", [GRANTS, NAMESPACE])
def test_teams_that_are_not_there(house: House, url: str) -> None:
    for team in ("none", "a%00", "x" * 2_000):
        assert house.refused("PUT", f"{url}/{team}", {"accessLevel": "admin"}, by="olga") == NO_TEAM
        assert house.refused("GET", f"{url}/{team}", by="olga") == NO_TEAM
        house.expect(204, "DELETE", f"{url}/{team}", by="olga")


def test_teams_of_other_organizations_get_nothing(house: House) -> None:
    other = house.surface.accounts.create_organization("other")
    house.surface.teams.create(other, "theirs")
    assert house.refused("PUT", f"{GRANTS}/theirs", {"accessLevel": "admin"}) == NO_TEAM


def test_a_users_namespace_has_no_teams(house: House) -> None:
    house.expect(201, "POST", "/api/v0/repositories/bob", {"name": "own"}, by="bob")
    url = "/api/v0/repositories/bob/own/teamAccess"
    assert house.expect(200, "GET", url, by="bob") == {"teamAccessList": []}
    assert house.refused("PUT", f"{url}/devs", {"accessLevel": "admin"}, by="bob") == NO_TEAM
    house.expect(204, "DELETE", f"{url}/devs", by="bob")
    assert house.refused("GET", "/api/v0/repositoryNamespaces/bob/teamAccess", by="bob") == NO_ACCOUNT


def test_a_namespace_is_its_organizations(house: House) -> None:
    house.expect(200, "PUT", f"{GRANTS}/devs", {"accessLevel": "admin"}, by="olga")
    assert house.refused("PUT", f"{NAMESPACE}/devs", {"accessLevel": "admin"}, by="mia") == DENIED
    assert house.refused("PUT", f"{NAMESPACE}/devs", {"accessLevel": "admin"}, by="bob") == NO_ACCOUNT
    house.expect(200, "GET", GRANTS, by="mia")


def test_what_is_withdrawn_is_gone_at_once(house: House) -> None:
    house.expect(200, "GET", APP, by="mia")
    house.expect(204, "DELETE", f"{GRANTS}/devs", by="olga")
    assert house.refused("GET", APP, by="mia") == (404, "NO_SUCH_REPOSITORY")
    house.expect(200, "PUT", f"{NAMESPACE}/devs", {"accessLevel": "read-write"}, by="olga")
    house.expect(200, "GET", APP, by="mia")
    house.expect(204, "DELETE", "/enzi/v0/accounts/acme/teams/devs/members/mia", by="olga")
    assert house.refused("GET", APP, by="mia") == (404, "NO_SUCH_REPOSITORY")
