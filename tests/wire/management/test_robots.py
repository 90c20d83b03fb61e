"""Robots over HTTP: their organization's, and no other's."""

from __future__ import annotations

import pytest

from tests.surface import PASSWORD
from tests.wire.management.asking import ACME, House, basic

ROBOTS = "/api/v0/accounts/acme/robots"
CI = f"{ROBOTS}/ci"
NO_ACCOUNT = (404, "NO_SUCH_ACCOUNT")
DENIED = (403, "NOT_AUTHORIZED")


def test_the_first_token_is_shown_once_and_signs_in(house: House) -> None:
    made = house.expect(201, "POST", ROBOTS, {"name": "Deploy", "description": "d"}, by="olga")
    assert made["name"] == "acme+deploy"
    who = house.surface.send("GET", "/api/v0/whoami", authorization=basic("acme+deploy", made["token"]))
    assert b'"kind":"robot"' in who.body
    assert made["token"].encode() not in house.ask("GET", f"{ROBOTS}/deploy", by="olga").body
    assert made["token"].encode() not in house.ask("GET", "/api/v0/api_tokens?account=acme%2Bdeploy", by="olga").body


def test_members_and_strangers_have_no_robots(house: House) -> None:
    for method, url, body in (
        ("GET", ROBOTS, None),
        ("POST", ROBOTS, {"name": "x"}),
        ("GET", CI, None),
        ("PATCH", CI, {"isActive": False}),
        ("DELETE", CI, None),
    ):
        assert house.refused(method, url, body, by="mia") == DENIED
        assert house.refused(method, url, body, by="bob") == NO_ACCOUNT
        assert house.refused(method, url, body, by=house.robot) == NO_ACCOUNT


def test_another_organizations_robot_is_out_of_reach(house: House) -> None:
    other = house.surface.accounts.create_organization("other")
    house.surface.accounts.create_robot(other, "ci")
    for method, body in (("GET", None), ("PATCH", {"isActive": False})):
        assert house.refused(method, f"{ROBOTS}/other+ci", body, by="olga") == NO_ACCOUNT
    house.expect(204, "DELETE", f"{ROBOTS}/other+ci", by="olga")
    assert house.surface.accounts.get("other+ci").is_active
    assert house.refused("GET", "/api/v0/accounts/other/robots/ci", by="olga") == NO_ACCOUNT
    assert house.refused("DELETE", "/enzi/v0/accounts/other+ci", by="olga") == NO_ACCOUNT


@pytest.mark.parametrize("name", ["", "a+b", "acme+x", "a/b", "A B", "x" * 65])
def test_names_that_no_robot_can_have(house: House, name: str) -> None:
    assert house.refused("POST", ROBOTS, {"name": name}, by="olga") == (400, "INVALID_ACCOUNT_NAME")


def test_locked_and_deleted(house: House) -> None:
    assert house.refused("POST", ROBOTS, {"name": "ci"}, by="olga") == (409, "ACCOUNT_EXISTS")
    assert house.expect(200, "PATCH", f"{ROBOTS}/acme+ci", {"isActive": False}, by="olga")["isActive"] is False
    assert house.ask("GET", "/api/v0/whoami", by=house.robot).status == 401
    house.expect(200, "PATCH", CI, {"isActive": True}, by="olga")
    assert house.ask("GET", "/api/v0/whoami", by=house.robot).status == 200
    house.expect(204, "DELETE", CI, by="olga")
    house.expect(204, "DELETE", CI, by="olga")
    assert house.ask("GET", "/api/v0/whoami", by=house.robot).status == 401
    assert house.expect(200, "GET", ROBOTS, by="olga") == {"robots": []}


def test_a_robot_has_no_password_and_governs_nothing(house: House) -> None:
    url = "/enzi/v0/accounts/acme+ci/changePassword"
    assert house.refused("POST", url, {"newPassword": PASSWORD}) == (400, "INVALID_JSON")
    assert house.refused("PATCH", "/enzi/v0/accounts/acme+ci", {"isAdmin": True}, by=house.robot) == DENIED
    assert house.refused("PATCH", "/enzi/v0/accounts/acme+ci", {"isAdmin": True}) == (400, "INVALID_JSON")
    assert house.refused("PUT", f"{ACME}/members/bob", {"isAdmin": True}, by=house.robot) == NO_ACCOUNT
