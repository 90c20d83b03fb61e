"""Every list is bounded, whatever is asked; pageStart is taken for what it is."""

from __future__ import annotations

import base64
import json

import pytest

from chalicelib.registry.errors import PaginationInvalid
from chalicelib.wire.http import Request
from chalicelib.wire.management.paging import encoded, page_of
from chalicelib.wire.management.routes import ROUTES
from tests.wire.management.asking import House

NAMES = {"org": "acme", "name": "bob", "user": "bob", "team": "devs", "account": "bob", "ns": "acme", "repo": "team/app"}
NAMES |= {"robot": "ci", "rule": "x", "id": "0", "job": "0", "action": "climb"}
LISTS = [row.path.format(**NAMES) for row in ROUTES if row.is_list]


@pytest.mark.parametrize("url", LISTS)
@pytest.mark.parametrize("size", ["0", "-1", "1000000000", "101", "abc", "1.5", "+1", " 1", "\u0661", "1e1", "9" * 5_000])
def test_sizes_that_are_refused(house: House, url: str, size: str) -> None:
    assert house.refused("GET", f"{url}?pageSize={size.replace('+', '%2B')}") == (400, "INVALID_PAGE")


@pytest.mark.parametrize("url", LISTS)
@pytest.mark.parametrize("key", ["zzz", "0", "9" * 13 + "/zz", "0" * 13 + "/0", "member/x", "a/b/c", "~", "a" * 255])
def test_a_start_that_was_made_up(house: House, url: str, key: str) -> None:
    answer = house.ask("GET", f"{url}?pageStart={encoded(key)}")
    assert answer.status in {200, 400}
    if answer.status == 400:
        assert json.loads(answer.body)["errors"][0]["code"] == "INVALID_PAGE"


MADE_UP = ["x", "!!!!", "YWRtaW4=", "YWRtaW5=", "\u00e9", "YQ==", "A" * 5_000]
MADE_UP += [encoded(key) for key in ("a\nb", "A", "\0", "a" * 256)]


@pytest.mark.parametrize("start", [*MADE_UP, base64.urlsafe_b64encode(b"\xff\xfe").decode()])
def test_a_start_that_nobody_was_told(start: str) -> None:
    with pytest.raises(PaginationInvalid):
        page_of(Request("GET", "/", {"pageStart": (start,)}))


@pytest.mark.parametrize("url", LISTS)
def test_a_list_is_walked_entry_by_entry(house: House, url: str) -> None:
    whole = house.expect(200, "GET", f"{url}?pageSize=100")
    (field,) = whole
    seen, start = [], ""
    for _ in range(len(whole[field]) + 1):
        answer = house.ask("GET", f"{url}?pageSize=1&pageStart={start}")
        assert answer.status == 200
        seen += json.loads(answer.body)[field]
        start = answer.headers.get("X-Next-Page-Start", "")
        if not start:
            break
    assert not start
    assert seen == whole[field]


def test_by_default_there_are_ten(house: House) -> None:
    for number in range(11):
        house.surface.accounts.create_user(f"user{number:02}", "")
    answer = house.ask("GET", "/enzi/v0/accounts")
    assert len(json.loads(answer.body)["accounts"]) == 10
    assert "X-Next-Page-Start" in answer.headers


def walked(house: House, url: str) -> list[object]:
    """All entries of a list, read one by one."""
    seen, start = [], ""
    while True:
        answer = house.ask("GET", f"{url}?pageSize=1&pageStart={start}")
        (entries,) = json.loads(answer.body).values()
        seen += entries
        start = answer.headers.get("X-Next-Page-Start", "")
        if not start:
            return seen


def test_what_is_being_deleted_does_not_end_a_list(house: House) -> None:
    surface = house.surface
    surface.accounts.create_robot(house.acme, "a")
    surface.accounts.create_robot(house.acme, "z")
    for name in ("admin2", "bob", "acme+ci"):
        if name == "admin2":
            surface.accounts.create_user(name, "")
        surface.accounts.begin_deletion(name)
    names = [entry["name"] for entry in walked(house, "/enzi/v0/accounts") if isinstance(entry, dict)]
    assert names == ["acme", "acme+a", "acme+z", "admin", "mia", "olga"]
    robots = [entry["name"] for entry in walked(house, "/api/v0/accounts/acme/robots") if isinstance(entry, dict)]
    assert robots == ["acme+a", "acme+z"]


def test_grants_on_what_is_gone_do_not_end_a_list(house: House) -> None:
    for name in ("a", "b", "z"):
        house.expect(201, "POST", "/api/v0/repositories/acme", {"name": name}, by="olga")
        house.expect(200, "PUT", f"/api/v0/repositories/acme/{name}/teamAccess/devs", {"accessLevel": "admin"}, by="olga")
    for name in ("a", "b"):
        house.expect(204, "DELETE", f"/api/v0/repositories/acme/{name}", by="olga")
    granted = walked(house, "/api/v0/accounts/acme/teams/devs/repositoryAccess")
    assert [entry["repository"] for entry in granted if isinstance(entry, dict)] == ["acme/team/app", "acme/z"]
