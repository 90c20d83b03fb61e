"""Events over HTTP: newest first, page by page, to whoever may see them."""

from __future__ import annotations

import json

from chalicelib.wire.management.paging import encoded
from tests.wire.management.asking import APP, House

EVENTS = "/api/v0/events"


def test_who_may(house: House) -> None:
    for by in ("bob", "olga"):
        assert house.refused("GET", EVENTS, by=by) == (403, "NOT_AUTHORIZED")
    assert house.refused("GET", EVENTS, by="") == (401, "NOT_AUTHENTICATED")
    told = house.expect(200, "GET", f"{APP}/events", by="olga")["events"]
    assert [(event["type"], event["actor"], event["object"]) for event in told] == [("GRANT_PUT", "olga", "acme/team/app")]


def test_a_repositorys_events_hold_who_was_denied(house: House) -> None:
    house.refused("PATCH", APP, {"visibility": "public"}, by="mia")
    house.refused("DELETE", APP, by="bob")
    told = house.expect(200, "GET", f"{APP}/events", by="olga")["events"]
    denied = [(event["type"], event["actor"]) for event in told if event["result"] == "denied"]
    assert sorted(denied) == [("REPOSITORY_DELETE", "bob"), ("REPOSITORY_UPDATE", "mia")]


def test_another_repository_of_that_name_has_none_of_them(house: House) -> None:
    house.expect(204, "DELETE", APP, by="olga")
    house.expect(201, "POST", "/api/v0/repositories/acme", {"name": "team/app"}, by="olga")
    told = house.expect(200, "GET", f"{APP}/events", by="olga")["events"]
    assert [event["type"] for event in told] == ["REPOSITORY_CREATE"]


def test_newest_first_over_months(house: House) -> None:
    for month in range(3):
        house.surface.clock.advance(31 * 86_400)
        house.expect(200, "PATCH", "/enzi/v0/accounts/bob", {"fullName": f"{month}"})
    start, times = "", []
    while True:
        answer = house.ask("GET", f"{EVENTS}?pageSize=1&pageStart={start}")
        times += [event["time"] for event in json.loads(answer.body)["events"]]
        start = answer.headers.get("X-Next-Page-Start", "")
        if not start:
            break
    assert times == sorted(times, reverse=True)
    assert len(times) >= 3


def test_a_start_of_another_list(house: House) -> None:
    for url in (EVENTS, f"{APP}/events"):
        assert house.refused("GET", f"{url}?pageStart={encoded('admin')}") == (400, "INVALID_PAGE")


def test_a_start_in_the_far_future_costs_no_more_than_one_of_today(house: House) -> None:
    house.expect(200, "GET", f"{EVENTS}?pageStart={encoded('9999999999999/zz')}")


def test_the_events_tell_where_from(house: House) -> None:
    house.expect(200, "PATCH", "/enzi/v0/accounts/bob", {"fullName": "x"}, x_slipway_viewer="192.0.2.7")
    assert house.events("ACCOUNT_UPDATE")[0]["source"] == "192.0.2.7"
