"""The settings over HTTP: everybody who signs in reads, administrators change."""

from __future__ import annotations

import pytest

from tests.wire.management.asking import House

URL = "/api/v0/meta/settings"

DEFAULTS = {
    "createRepositoryOnPush": True,
    "eventRetentionDays": 90,
    "graceHours": 24,
    "restorableDays": 7,
    "untaggedDays": 0,
}


def test_who_may(house: House) -> None:
    for by in ("bob", house.robot, "admin"):
        assert house.expect(200, "GET", URL, by=by) == DEFAULTS
    assert house.refused("GET", URL, by="") == (401, "NOT_AUTHENTICATED")
    for by in ("bob", "olga", house.narrowed("admin", "a/*")):
        assert house.refused("PATCH", URL, {"eventRetentionDays": 1}, by=by) == (403, "NOT_AUTHORIZED")
    house.expect(200, "PATCH", URL, {"createRepositoryOnPush": False})
    assert house.expect(200, "GET", URL, by="bob") == {**DEFAULTS, "createRepositoryOnPush": False}
    results = sorted(event["result"] for event in house.events("SETTINGS_UPDATE"))
    assert results == ["denied", "denied", "denied", "done"]


@pytest.mark.parametrize("days", [0, -1, 3_651, 1_000_000_000, 10**30, "7", 1.5, True, None])
def test_days_that_cannot_be(house: House, days: object) -> None:
    assert house.refused("PATCH", URL, {"eventRetentionDays": days}) == (400, "INVALID_JSON")
