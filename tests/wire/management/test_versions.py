"""ETag and If-Match: what was changed meanwhile is not overwritten."""

from __future__ import annotations

import pytest

from tests.wire.management.asking import ACME, APP, House

BOB = "/enzi/v0/accounts/bob"
VERSIONED = [
    (BOB, {"fullName": "B"}),
    (f"{ACME}/teams/devs", {"description": "d"}),
    (APP, {"shortDescription": "s"}),
    ("/api/v0/accounts/acme/robots/ci", {"description": "d"}),
]


@pytest.mark.parametrize(("url", "body"), VERSIONED)
def test_an_old_version_is_refused(house: House, url: str, body: object) -> None:
    tag = house.ask("GET", url).headers["ETag"]
    changed = house.ask("PATCH", url, body, if_match=tag)
    assert (changed.status, changed.headers["ETag"] != tag) == (200, True)
    for method in ("PATCH", "DELETE"):
        for old in (tag, '"0"', '"99"', '"x"', f"W/{changed.headers['ETag']}"):
            assert house.refused(method, url, body, if_match=old) == (412, "PRECONDITION_FAILED")
    assert house.ask("GET", url).headers["ETag"] == changed.headers["ETag"]
    house.expect(200, "PATCH", url, body, if_match="*")
    now = house.ask("GET", url).headers["ETag"]
    house.expect(204, "DELETE", url, if_match=now)


@pytest.mark.parametrize("tag", ["", "1", '"1', '1"', '"1","2"', "x", '"1" x', '""x', "**"])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_what_is_no_entity_tag(house: House, method: str, tag: str) -> None:
    assert house.refused(method, BOB, {"fullName": "x"}, if_match=tag) == (400, "INVALID_PARAMETER")
    assert house.expect(200, "GET", BOB)["fullName"] == ""


def test_what_has_no_version_matches_no_tag(house: House) -> None:
    for method, url, body in (
        ("PUT", f"{ACME}/members/bob", {}),
        ("DELETE", f"{ACME}/members/mia", None),
        ("PUT", f"{APP}/teamAccess/devs", {"accessLevel": "admin"}),
    ):
        assert house.refused(method, url, body, if_match='"1"') == (412, "PRECONDITION_FAILED")
        assert house.ask(method, url, body, if_match="*").status in {200, 204}


@pytest.mark.parametrize("url", ["/enzi/v0/accounts/none", f"{ACME}/teams/none", "/api/v0/repositories/acme/none"])
def test_what_is_not_there_has_no_version_either(house: House, url: str) -> None:
    assert house.refused("DELETE", url, if_match='"1"') == (412, "PRECONDITION_FAILED")
    house.expect(204, "DELETE", url)


def test_settings_have_a_version_before_they_were_ever_changed(house: House) -> None:
    url = "/api/v0/meta/settings"
    tag = house.ask("GET", url).headers["ETag"]
    changed = house.ask("PATCH", url, {"eventRetentionDays": 7}, if_match=tag)
    assert changed.status == 200
    assert house.refused("PATCH", url, {"eventRetentionDays": 8}, if_match=tag) == (412, "PRECONDITION_FAILED")
    house.expect(200, "PATCH", url, {"eventRetentionDays": 8}, if_match=changed.headers["ETag"])
