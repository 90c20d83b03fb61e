"""A robot's trust rules over HTTP: its organization's admins', and no rule that trusts everybody."""

from __future__ import annotations

import pytest

from tests.wire.management.asking import House

RULES = "/api/v0/accounts/acme/robots/ci/trust"
RULE = f"{RULES}/main"
GITHUB = "https://token.actions.githubusercontent.com"
BODY = {"issuer": GITHUB, "subject": "repo:acme/app:ref:refs/heads/main", "claims": {"environment": "prod*"}}


def test_put_read_listed_and_taken_away(house: House) -> None:
    told = house.expect(200, "PUT", RULE, BODY, by="olga")
    assert told == {"name": "main", **BODY}
    assert house.expect(200, "GET", RULE, by="olga") == told
    assert house.expect(200, "GET", RULES, by="admin") == {"trustRules": [told]}
    tag = house.ask("GET", RULE, by="olga").headers["ETag"]
    house.expect(200, "PUT", RULE, {**BODY, "claims": {}}, by="olga", if_match=tag)
    assert house.refused("PUT", RULE, BODY, by="olga", if_match=tag) == (412, "PRECONDITION_FAILED")
    assert house.refused("DELETE", RULE, by="olga", if_match=tag) == (412, "PRECONDITION_FAILED")
    for _ in range(2):
        house.expect(204, "DELETE", RULE, by="olga")
    assert house.refused("GET", RULE, by="olga") == (404, "NO_SUCH_TRUST_RULE")
    assert {event["detail"]["rule"] for event in house.events("TRUST_RULE_PUT")} == {"main"}


def test_who_may(house: House) -> None:
    for method, url in (("GET", RULES), ("GET", RULE), ("PUT", RULE), ("DELETE", RULE)):
        body = BODY if method == "PUT" else None
        assert house.refused(method, url, body, by="mia") == (403, "NOT_AUTHORIZED")
        for by in ("bob", house.robot):
            assert house.refused(method, url, body, by=by) == (404, "NO_SUCH_ACCOUNT")
        assert house.refused(method, url, body, by="") == (401, "NOT_AUTHENTICATED")
    for robot in ("none", "other+ci", "a%00"):
        assert house.refused("PUT", f"/api/v0/accounts/acme/robots/{robot}/trust/x", BODY) == (404, "NO_SUCH_ACCOUNT")


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "http://issuer.example"},
        {"issuer": "https://user@issuer.example"},
        {"issuer": ""},
        {"subject": "*"},
        {"subject": "repo:*"},
        {"subject": ""},
        {"subject": "x" * 513},
        {"claims": {"a": 1}},
        {"claims": {"": "x"}},
        {"claims": {f"{number}": "x" for number in range(17)}},
        {"name": "other"},
    ],
)
def test_rules_that_cannot_be(house: House, change: dict[str, object]) -> None:
    assert house.refused("PUT", RULE, {**BODY, **change}, by="olga") == (400, "INVALID_JSON")
    assert house.expect(200, "GET", RULES, by="olga") == {"trustRules": []}


@pytest.mark.parametrize("name", ["A", "a%00", "x" * 65, "a b", "%C3%A9", "..", "trust%2Fx"])
def test_names_that_no_rule_can_have(house: House, name: str) -> None:
    assert house.ask("PUT", f"{RULES}/{name}", BODY, by="olga").status in {400, 404}
    assert house.expect(200, "GET", RULES, by="olga") == {"trustRules": []}
