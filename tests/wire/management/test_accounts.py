"""Accounts over HTTP: who sees and changes which, what nobody can give himself, and which names are nobody's."""

from __future__ import annotations

import json

import pytest

from tests.surface import PASSWORD
from tests.wire.management.asking import ACME, House, basic

ACCOUNTS = "/enzi/v0/accounts"
BOB = f"{ACCOUNTS}/bob"

NOT_FOUND = (404, "NO_SUCH_ACCOUNT")
DENIED = (403, "NOT_AUTHORIZED")


def names(house: House, by: str, query: str = "") -> list[str]:
    return [account["name"] for account in house.expect(200, "GET", f"{ACCOUNTS}{query}", by=by)["accounts"]]


@pytest.mark.parametrize("by", ["bob", "mia", "olga"])
def test_only_administrators_make_accounts(house: House, by: str) -> None:
    assert house.refused("POST", ACCOUNTS, {"name": "eve", "password": "x"}, by=by) == DENIED
    assert house.refused("GET", f"{ACCOUNTS}/eve") == NOT_FOUND


@pytest.mark.parametrize("by", ["bob", "olga"])
@pytest.mark.parametrize("field", ["isAdmin", "isActive"])
def test_nobody_gives_himself_more(house: House, by: str, field: str) -> None:
    before = house.expect(200, "GET", f"{ACCOUNTS}/{by}")
    for body in ({field: True}, {field: False}, {"fullName": "x", field: True}):
        assert house.refused("PATCH", f"{ACCOUNTS}/{by}", body, by=by) == DENIED
    assert house.expect(200, "GET", f"{ACCOUNTS}/{by}") == before


def test_a_stranger_looks_like_nobody(house: House) -> None:
    for method, body in (("GET", None), ("PATCH", {"fullName": "x"}), ("DELETE", None)):
        there = house.ask(method, f"{ACCOUNTS}/mia", body, by="bob")
        absent = house.ask(method, f"{ACCOUNTS}/xyz", body, by="bob")
        assert there.status == absent.status == 404
        assert there.body.replace(b"mia", b"xyz") == absent.body
    assert house.refused("POST", f"{ACCOUNTS}/mia/changePassword", {"newPassword": "x"}, by="bob") == NOT_FOUND
    assert house.refused("GET", f"{ACCOUNTS}/mia/organizations", by="bob") == NOT_FOUND
    assert house.refused("GET", ACME, by="bob") == NOT_FOUND


@pytest.mark.parametrize("name", ["", " ", "a b", "../x", "a/b", "-x", "x" * 65, "\u0430lice", "\u212aim", "a+b", "x\n", "x\0"])
def test_names_that_no_account_can_have(house: House, name: str) -> None:
    assert house.refused("POST", ACCOUNTS, {"name": name, "password": "x"}) == (400, "INVALID_ACCOUNT_NAME")


@pytest.mark.parametrize("name", ["admin", "Root", "whoami", "ANONYMOUS"])
@pytest.mark.parametrize("is_org", [True, False])
def test_reserved_names(house: House, name: str, *, is_org: bool) -> None:
    assert house.refused("POST", ACCOUNTS, {"name": name, "isOrg": is_org}) == (400, "RESERVED_NAME")


@pytest.mark.parametrize("name", ["bob", "BOB", "Acme"])
def test_a_name_is_given_once_however_it_is_spelled(house: House, name: str) -> None:
    assert house.refused("POST", ACCOUNTS, {"name": name}) == (409, "ACCOUNT_EXISTS")


@pytest.mark.parametrize("name", ["x%2fy", "..", "%00", "%ff", "x" * 2_000, "a b", "a%0a", "\u0430", "acme+ci+x", "+", "acme+"])
def test_paths_with_names_that_nobody_has(house: House, name: str) -> None:
    assert house.ask("GET", f"{ACCOUNTS}/{name}").status in {400, 404}


def test_made_as_told(house: House) -> None:
    made = house.expect(201, "POST", ACCOUNTS, {"name": "Eve", "fullName": "Eve E.", "isAdmin": True, "password": "pw"})
    assert made["name"] == "eve"
    assert (made["kind"], made["isOrg"], made["isActive"], made["isAdmin"]) == ("user", False, True, True)
    assert "password" not in json.dumps(made)
    assert house.surface.send("GET", "/api/v0/whoami", authorization=basic("eve", "pw")).status == 200


@pytest.mark.parametrize("body", [{"password": "x"}, {"isAdmin": True}, {"isActive": False}])
def test_an_organization_is_no_user(house: House, body: dict[str, object]) -> None:
    assert house.refused("POST", ACCOUNTS, {"name": "evil", "isOrg": True, **body}) == (400, "INVALID_JSON")
    assert house.refused("PATCH", ACME, {"isAdmin": True}) == (400, "INVALID_JSON")


@pytest.mark.parametrize("password", ["", "x" * 1_025, "\u00e4" * 600, "slt_x", 1, None, ["x"]])
def test_passwords_that_cannot_be(house: House, password: object) -> None:
    assert house.refused("POST", ACCOUNTS, {"name": "eve", "password": password}) == (400, "INVALID_JSON")
    assert house.refused("POST", f"{BOB}/changePassword", {"newPassword": password}) == (400, "INVALID_JSON")


def test_an_account_without_a_password_lets_nobody_in(house: House) -> None:
    house.expect(201, "POST", ACCOUNTS, {"name": "eve"})
    for password in ("", "x"):
        assert house.surface.send("GET", "/api/v0/whoami", authorization=basic("eve", password)).status == 401


def test_ones_own_password_needs_the_old_one(house: House) -> None:
    url = f"{BOB}/changePassword"
    assert house.refused("POST", url, {"newPassword": "new"}, by="bob") == (400, "INVALID_JSON")
    assert house.refused("POST", url, {"newPassword": "new", "oldPassword": "wrong"}, by="bob") == DENIED
    token = house.surface.access_tokens.create(house.surface.accounts.get("bob"), "x")[1]
    assert house.refused("POST", url, {"newPassword": "new", "oldPassword": token}, by=token) == DENIED
    house.expect(204, "POST", url, {"newPassword": "new", "oldPassword": PASSWORD}, by="bob")
    assert house.surface.send("GET", "/api/v0/whoami", authorization=basic("bob", "new")).status == 200
    assert house.ask("GET", "/api/v0/whoami", by="bob").status == 401
    assert [event["result"] for event in house.events("PASSWORD_CHANGE")].count("denied") == 2


def test_guessing_the_old_password_is_slowed_down(house: House) -> None:
    statuses = [
        house.ask("POST", f"{BOB}/changePassword", {"newPassword": "n", "oldPassword": f"{n}"}, by=house.robot).status
        for n in range(3)
    ]
    assert set(statuses) == {404}  # a robot is a stranger to bob
    token = house.surface.access_tokens.create(house.surface.accounts.get("bob"), "x")[1]
    answers = [
        house.ask("POST", f"{BOB}/changePassword", {"newPassword": "n", "oldPassword": f"{n}"}, by=token) for n in range(9)
    ]
    assert answers[-1].status == 429
    assert int(answers[-1].headers["Retry-After"]) >= 1


def test_an_administrator_gives_others_a_password(house: House) -> None:
    house.expect(204, "POST", f"{BOB}/changePassword", {"newPassword": "new"})
    assert house.surface.send("GET", "/api/v0/whoami", authorization=basic("bob", "new")).status == 200
    admin = f"{ACCOUNTS}/admin/changePassword"
    assert house.refused("POST", admin, {"newPassword": "new"}) == (400, "INVALID_JSON")
    assert house.refused("POST", f"{ACME}/changePassword", {"newPassword": "new"}) == (400, "INVALID_JSON")


def test_deleting_oneself_is_for_administrators(house: House) -> None:
    assert house.refused("DELETE", BOB, by="bob") == DENIED
    assert house.refused("DELETE", ACME, by="mia") == DENIED
    house.expect(204, "DELETE", BOB)
    assert house.ask("GET", "/api/v0/whoami", by="bob").status == 401


def test_the_last_administrator_stays(house: House) -> None:
    admin = f"{ACCOUNTS}/admin"
    for method, body in (("DELETE", None), ("PATCH", {"isAdmin": False}), ("PATCH", {"isActive": False})):
        assert house.refused(method, admin, body) == (409, "LAST_ADMIN")


def test_an_organization_with_repositories_stays(house: House) -> None:
    assert house.refused("DELETE", ACME, by="olga") == (409, "ACCOUNT_NOT_EMPTY")
    for name in ("team/app", "open"):
        house.expect(204, "DELETE", f"/api/v0/repositories/acme/{name}", by="olga")
    house.expect(204, "DELETE", ACME, by="olga")
    house.expect(204, "DELETE", ACME)  # again, and by who may know
    assert house.refused("DELETE", ACME, by="bob") == NOT_FOUND
    told = [(event["actor"], event["result"]) for event in house.events("ACCOUNT_DELETE")]
    assert sorted(told) == [("bob", "denied"), ("olga", "done")]  # what was in use, or gone already, is no change


def test_lists_show_what_the_caller_may_see(house: House) -> None:
    assert names(house, "admin") == ["acme", "acme+ci", "admin", "bob", "mia", "olga"]
    assert names(house, "admin", "?filter=orgs") == ["acme"]
    assert names(house, "admin", "?filter=admins") == ["admin"]
    assert names(house, "admin", "?filter=users&pageSize=2") == ["admin", "bob"]
    assert names(house, "mia") == ["acme", "mia"]
    assert names(house, "mia", "?filter=orgs") == ["acme"]
    assert names(house, "bob") == ["bob"]
    assert names(house, house.robot) == ["acme+ci"]
    assert house.refused("GET", f"{ACCOUNTS}?filter=none") == (400, "INVALID_PARAMETER")


def test_a_filtered_list_is_walked_to_its_end(house: House) -> None:
    for number in range(12):
        house.surface.accounts.create_organization(f"org{number:02}")
        house.surface.accounts.create_user(f"user{number:02}", "")
    seen: list[str] = []
    start = ""
    while True:
        answer = house.ask("GET", f"{ACCOUNTS}?filter=orgs&pageSize=4&pageStart={start}")
        seen += [account["name"] for account in json.loads(answer.body)["accounts"]]
        start = answer.headers.get("X-Next-Page-Start", "")
        if not start:
            break
    assert seen == ["acme", *(f"org{number:02}" for number in range(12))]


def test_organizations_of_a_user(house: House) -> None:
    for by in ("olga", "admin"):
        told = house.expect(200, "GET", f"{ACCOUNTS}/olga/organizations", by=by)
        assert told == {"organizations": [{"name": "acme", "isAdmin": True}]}
    assert house.expect(200, "GET", f"{BOB}/organizations", by="bob") == {"organizations": []}


def test_no_secret_is_in_any_event(house: House) -> None:
    house.expect(201, "POST", ACCOUNTS, {"name": "eve", "password": "s3cret-word"})
    house.expect(204, "POST", f"{BOB}/changePassword", {"newPassword": "s3cret-word", "oldPassword": PASSWORD}, by="bob")
    told = house.ask("GET", "/api/v0/events?pageSize=100").body
    assert b"s3cret-word" not in told
    assert PASSWORD.encode() not in told
    assert house.robot.encode() not in told
    assert house.events("ACCOUNT_CREATE")[0]["detail"] == {"fields": "name,password"}


def test_a_token_of_a_deleted_account_is_not_good_for_another_one_of_its_name_made_in_the_same_second(house: House) -> None:
    surface = house.surface
    surface.credentials = f"bob:{PASSWORD}"
    bearer = f"Bearer {surface.token('repository:bob/app:pull,push')}"
    assert surface.send("GET", "/v2/", authorization=bearer).status == 200
    house.expect(204, "DELETE", "/enzi/v0/accounts/bob")
    house.expect(201, "POST", "/enzi/v0/accounts", {"name": "bob", "password": "another"})
    assert surface.send("GET", "/v2/", authorization=bearer).status == 401
    assert surface.send("POST", "/v2/bob/app/blobs/uploads/", authorization=bearer).status == 401
