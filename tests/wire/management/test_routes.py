"""The table itself: every row declares its access, no path means two things, and nothing is reached around the one step."""

from __future__ import annotations

import pytest

from chalicelib.registry.access import AccountOperation, Operation
from chalicelib.registry.errors import EndpointUnknown, Unsupported
from chalicelib.wire.management.needs import Anybody, OfAccount, OfRepository, SignedIn
from chalicelib.wire.management.routes import ROUTES, Route, match_route
from tests.wire.management.asking import House
from tests.wire.management.test_paging import NAMES

ROWS = [pytest.param(row, id=f"{row.method} {row.path}") for row in ROUTES]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_found_by_its_own_path(row: Route) -> None:
    match = match_route(row.method, row.path.format(**NAMES))
    assert match.route is row
    assert all(NAMES[name] == text for name, text in match.names.items())


def test_a_method_and_a_path_stand_there_once() -> None:
    keys = [(row.method, row.path) for row in ROUTES]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("row", ROWS)
def test_changes_are_recorded_and_are_not_for_everybody(row: Route) -> None:
    if row.method == "GET":
        assert not row.event
    else:
        assert row.event
        assert not isinstance(row.needs, Anybody | SignedIn)
        assert row.needs != OfRepository(Operation.VIEW)
        assert not (isinstance(row.needs, OfAccount) and row.needs.operation is AccountOperation.VIEW)


@pytest.mark.parametrize("row", ROWS)
def test_a_field_that_needs_more_is_one_of_the_body(row: Route) -> None:
    declared = row.body.__struct_encode_fields__ if row.body else ()
    assert set(row.fields) <= set(declared)
    for operation in row.fields.values():
        row.needs.for_field(operation)


@pytest.mark.parametrize("row", ROWS)
def test_without_credentials_only_what_is_declared_for_everybody(house: House, row: Route) -> None:
    answer = house.ask(row.method, row.path.format(**NAMES), by="")
    assert answer.status == (200 if isinstance(row.needs, Anybody) else 401)


@pytest.mark.parametrize("row", ROWS)
def test_a_stranger_changes_nothing(house: House, row: Route) -> None:
    """Whatever the body: access is decided before anybody looks at it."""
    names = {**NAMES, "user": "mia", "name": "mia", "account": "mia"}
    url = row.path.format(**names) + ("?account=mia" if "api_tokens" in row.path else "")
    if row.method != "GET":
        for body in (None, {}, b"{", {"isAdmin": True}):
            assert house.ask(row.method, url, body, by="bob").status in {403, 404}


@pytest.mark.parametrize(
    ("path", "repo"),
    [
        ("/api/v0/repositories/a/b/c/d", "b/c/d"),
        ("/api/v0/repositories/a/events", "events"),
        ("/api/v0/repositories/a/b/teamaccess", "b/teamaccess"),
    ],
)
def test_slashes_in_repositories(path: str, repo: str) -> None:
    assert match_route("GET", path).names == {"ns": "a", "repo": repo}


def test_beneath_a_repository_wins() -> None:
    assert match_route("GET", "/api/v0/repositories/a/b/c/events").names == {"ns": "a", "repo": "b/c"}
    assert match_route("GET", "/api/v0/repositories/a/b/teamAccess/t").names == {"ns": "a", "repo": "b", "team": "t"}
    for method in ("DELETE", "PATCH"):
        for path in ("/api/v0/repositories/a/b/events", "/api/v0/repositories/a/b/teamAccess"):
            with pytest.raises(Unsupported):
                match_route(method, path)


@pytest.mark.parametrize("path", ["/api/v0/", "/api/v0", "/enzi/v0/accounts/", "/api/v0/repositories/a/", "/api/v0/whoami/x"])
def test_paths_that_are_nothing(path: str) -> None:
    with pytest.raises(EndpointUnknown):
        match_route("GET", path)
