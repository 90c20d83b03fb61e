"""Access tokens over HTTP: everybody's own; a robot's are its organization's admins' too."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.wire.management.asking import House

TOKENS = "/api/v0/api_tokens"
NO_ACCOUNT = (404, "NO_SUCH_ACCOUNT")
NO_TOKEN = (404, "NO_SUCH_TOKEN")


def make(house: House, by: str, query: str = "", **body: object) -> dict[str, Any]:
    made: dict[str, Any] = house.expect(201, "POST", f"{TOKENS}{query}", {"tokenLabel": "x", **body}, by=by)
    return made


def test_shown_once_and_stored_hashed(house: House) -> None:
    made = make(house, "bob")
    assert made["token"].startswith("slt_")
    assert house.expect(200, "GET", "/api/v0/whoami", by=made["token"])["name"] == "bob"
    for url in (TOKENS, f"{TOKENS}/{made['id']}"):
        told = house.ask("GET", url, by="bob").body
        assert made["token"].encode() not in told
        assert made["hashedToken"].encode() in told
    assert made["token"].encode() not in house.ask("GET", "/api/v0/events").body


def test_a_token_makes_no_other_which_would_outlive_it(house: House) -> None:
    off = make(house, "bob")
    house.expect(200, "PATCH", f"{TOKENS}/{off['id']}", {"isActive": False}, by="bob")
    secret = make(house, "bob")["token"]
    refused = (403, "NOT_AUTHORIZED")
    assert house.refused("POST", TOKENS, {"tokenLabel": "x"}, by=secret) == refused
    assert house.refused("PATCH", f"{TOKENS}/{off['id']}", {"isActive": True}, by=secret) == refused
    house.expect(200, "PATCH", f"{TOKENS}/{off['id']}", {"isActive": False}, by=secret)
    house.expect(204, "DELETE", f"{TOKENS}/{off['id']}", by=secret)


def test_a_token_makes_no_robot_and_no_trust_either(house: House) -> None:
    secret, rule = make(house, "olga")["token"], {"issuer": "https://issuer.test", "subject": "repo:acme/app"}
    house.expect(201, "POST", "/api/v0/accounts/acme/robots", {"name": "deploy"}, by="olga")
    refused = (403, "NOT_AUTHORIZED")
    assert house.refused("POST", "/api/v0/accounts/acme/robots", {"name": "more"}, by=secret) == refused
    assert house.refused("PUT", "/api/v0/accounts/acme/robots/deploy/trust/main", rule, by=secret) == refused
    house.expect(200, "PUT", "/api/v0/accounts/acme/robots/deploy/trust/main", rule, by="olga")


def test_nobody_elses(house: House) -> None:
    made = make(house, "mia")
    for by in ("bob", "olga"):
        for method, body in (("GET", None), ("PATCH", {"isActive": False})):
            assert house.refused(method, f"{TOKENS}/{made['id']}", body, by=by) == NO_TOKEN
            assert house.refused(method, f"{TOKENS}/{made['id']}?account=mia", body, by=by) == NO_ACCOUNT
        house.expect(204, "DELETE", f"{TOKENS}/{made['id']}", by=by)
        assert house.refused("DELETE", f"{TOKENS}/{made['id']}?account=mia", by=by) == NO_ACCOUNT
        assert house.refused("POST", f"{TOKENS}?account=mia", {"tokenLabel": "x"}, by=by) == NO_ACCOUNT
        assert house.refused("GET", f"{TOKENS}?account=nobody", by=by) == NO_ACCOUNT
    assert house.expect(200, "GET", "/api/v0/whoami", by=made["token"])["name"] == "mia"
    assert {event["object"] for event in house.events("TOKEN_DELETE")} == {"mia"}


def test_a_robots_are_its_admins(house: House) -> None:
    for account in ("acme%2Bci", "acme+ci"):
        made = make(house, "olga", f"?account={account}")
        assert house.expect(200, "GET", "/api/v0/whoami", by=made["token"])["name"] == "acme+ci"
        assert house.refused("POST", f"{TOKENS}?account={account}", {"tokenLabel": "x"}, by="mia") == (403, "NOT_AUTHORIZED")
        assert house.refused("POST", f"{TOKENS}?account={account}", {"tokenLabel": "x"}, by="bob") == NO_ACCOUNT
        house.expect(204, "DELETE", f"{TOKENS}/{made['id']}?account={account}", by="olga")
        assert house.ask("GET", "/api/v0/whoami", by=made["token"]).status == 401
    assert house.refused("POST", f"{TOKENS}?account=acme", {"tokenLabel": "x"}, by="olga") == (400, "INVALID_JSON")


def test_a_narrowed_token_makes_no_other(house: House) -> None:
    narrow = make(house, "bob", scope={"repositories": ["bob/*"], "actions": ["pull"]})
    assert narrow["scope"] == {"repositories": ["bob/*"], "actions": ["pull"]}
    for method, url, body in (
        ("POST", TOKENS, {"tokenLabel": "wide"}),
        ("GET", TOKENS, None),
        ("PATCH", f"{TOKENS}/{narrow['id']}", {"isActive": True}),
        ("DELETE", f"{TOKENS}/{narrow['id']}", None),
        ("PATCH", "/enzi/v0/accounts/bob", {"fullName": "x"}),
        ("POST", "/enzi/v0/accounts/bob/changePassword", {"newPassword": "x"}),
        ("POST", "/api/v0/repositories/bob", {"name": "x"}),
        ("GET", "/enzi/v0/accounts", None),
        ("GET", "/api/v0/meta/settings", None),
        ("GET", "/enzi/v0/accounts/nobody", None),
    ):
        assert house.refused(method, url, body, by=narrow["token"]) == (403, "NOT_AUTHORIZED")
    who = house.expect(200, "GET", "/api/v0/whoami", by=narrow["token"])
    assert who["narrowed"] == {"repositories": ["bob/*"], "actions": ["pull"]}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"tokenLabel": ""},
        {"tokenLabel": "x" * 101},
        {"tokenLabel": "a\nb"},
        {"tokenLabel": "x", "expiresAt": "2020-01-01T00:00:00Z"},
        {"tokenLabel": "x", "expiresAt": "2030-01-01T00:00:00"},
        {"tokenLabel": "x", "expiresAt": 1893456000},
        {"tokenLabel": "x", "expiresAt": "0001-01-01T00:00:00+23:59"},
        {"tokenLabel": "x", "scope": {}},
        {"tokenLabel": "x", "scope": {"repositories": [], "actions": ["pull"]}},
        {"tokenLabel": "x", "scope": {"repositories": ["*"], "actions": ["pull"]}},
        {"tokenLabel": "x", "scope": {"repositories": ["a/*/b"], "actions": ["pull"]}},
        {"tokenLabel": "x", "scope": {"repositories": ["a"] * 21, "actions": ["pull"]}},
        {"tokenLabel": "x", "scope": {"repositories": ["a"], "actions": []}},
        {"tokenLabel": "x", "scope": {"repositories": ["a"], "actions": ["*"]}},
        {"tokenLabel": "x", "scope": {"repositories": ["a"], "actions": ["pull"], "isAdmin": True}},
        {"tokenLabel": "x", "isAdmin": True},
        {"tokenLabel": "x", "token": "slt_x"},
    ],
)
def test_tokens_that_cannot_be(house: House, body: object) -> None:
    assert house.refused("POST", TOKENS, body, by="bob") == (400, "INVALID_JSON")
    assert house.expect(200, "GET", TOKENS, by="bob") == {"apiTokens": []}


@pytest.mark.parametrize("identity", ["0", "a%00", "x" * 3_000, "..", "token", "%C3%A9"])
def test_ids_that_there_are_not(house: House, identity: str) -> None:
    assert house.refused("GET", f"{TOKENS}/{identity}", by="bob") == NO_TOKEN
    assert house.refused("PATCH", f"{TOKENS}/{identity}", {"isActive": False}, by="bob") == NO_TOKEN
    house.expect(204, "DELETE", f"{TOKENS}/{identity}", by="bob")


def test_switched_off_and_on_with_its_version(house: House) -> None:
    made = make(house, "bob", expiresAt="2026-01-02T00:00:00+01:00")
    assert made["expiresAt"] == "2026-01-01T23:00:00Z"
    url = f"{TOKENS}/{made['id']}"
    tag = house.ask("GET", url, by="bob").headers["ETag"]
    off = house.ask("PATCH", url, {"isActive": False, "tokenLabel": "y"}, by="bob", if_match=tag)
    assert (off.status, json.loads(off.body)["tokenLabel"]) == (200, "y")
    assert house.ask("GET", "/api/v0/whoami", by=made["token"]).status == 401
    assert house.refused("DELETE", url, by="bob", if_match=tag) == (412, "PRECONDITION_FAILED")
    house.expect(200, "PATCH", url, {"isActive": True}, by="bob", if_match=off.headers["ETag"])
    house.surface.clock.advance(86_400)
    assert house.ask("GET", "/api/v0/whoami", by=made["token"]).status == 401
    assert house.refused("GET", url, by="bob") == NO_TOKEN


def test_nobodys_tokens_are_not_ones_own(house: House) -> None:
    for method, url, body in (("GET", TOKENS, None), ("POST", TOKENS, {"tokenLabel": "x"}), ("DELETE", f"{TOKENS}/0", None)):
        assert house.refused(method, f"{url}?account=", body, by="bob") == (400, "INVALID_PARAMETER")


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-01:00", "9999-12-31T23:59:59.999999-14:00"])
def test_no_token_ends_after_the_last_year_that_can_be_written(house: House, moment: str) -> None:
    body = {"tokenLabel": "x", "expiresAt": moment}
    assert house.refused("POST", TOKENS, body, by="bob") == (400, "INVALID_JSON")
    assert house.expect(200, "GET", TOKENS, by="bob") == {"apiTokens": []}


def test_a_token_that_ends_with_the_last_year(house: House) -> None:
    assert make(house, "bob", expiresAt="9999-12-31T23:59:59Z")["expiresAt"] == "9999-12-31T23:59:59Z"


def test_there_is_a_bound(house: House) -> None:
    for _ in range(100):
        make(house, "bob")
    assert house.refused("POST", TOKENS, {"tokenLabel": "x"}, by="bob") == (409, "TOO_MANY")
