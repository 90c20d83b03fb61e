"""Who calls, and who is nobody."""

from __future__ import annotations

import pytest

from tests.surface import PASSWORD
from tests.wire.management.asking import House, basic

URL = "/api/v0/whoami"


def test_who(house: House) -> None:
    assert house.expect(200, "GET", URL, by="bob") == {"name": "bob", "kind": "user", "isAdmin": False, "narrowed": None}
    assert house.expect(200, "GET", URL, by=house.robot)["name"] == "acme+ci"
    assert house.refused("GET", URL, by="") == (401, "NOT_AUTHENTICATED")


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer slt_",
        "Bearer slt_x",
        "Bearer x.y.z",
        "Basic",
        "Basic !!",
        "Digest x",
        "slt_x",
        "Bearer " + "x" * 9_000,
        basic("bob", "wrong"),
        basic("acme", ""),
        basic("acme+ci", PASSWORD),
        basic("", ""),
    ],
)
def test_who_is_nobody(house: House, authorization: str) -> None:
    answer = house.surface.send("GET", URL, authorization=authorization)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    # Wrong credentials are none of those that may go without.
    assert house.surface.send("GET", "/api/v0/repositories", authorization=authorization).status == 401


def test_a_robots_token_is_not_good_for_another_name(house: House) -> None:
    for name in ("bob", "acme", "admin", "acme+cd"):
        assert house.surface.send("GET", URL, authorization=basic(name, house.robot)).status == 401
    assert house.surface.send("GET", URL, authorization=basic("Acme+CI", house.robot)).status == 200


def test_who_was_locked_out_is_out_at_once(house: House) -> None:
    house.expect(200, "PATCH", "/enzi/v0/accounts/bob", {"isActive": False})
    assert house.ask("GET", URL, by="bob").status == 401


def test_what_there_is_besides_is_told_to_who_signs_in(house: House) -> None:
    for url in ("/api/v0/x", "/enzi/v0/", "/api/v0/accounts", "/enzi/v0/accounts/"):
        assert house.refused("GET", url, by="") == (401, "NOT_AUTHENTICATED")
        assert house.refused("GET", url, by="bob") == (404, "NO_SUCH_ENDPOINT")
