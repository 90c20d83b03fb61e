"""Members of an organization: who reads, who changes, and that one organization's admin is nothing in another."""

from __future__ import annotations

import pytest

from tests.wire.management.asking import ACME, House

MEMBERS = f"{ACME}/members"
NOT_FOUND = (404, "NO_SUCH_ACCOUNT")
DENIED = (403, "NOT_AUTHORIZED")


@pytest.mark.parametrize("by", ["mia", "olga", "admin"])
def test_members_read(house: House, by: str) -> None:
    told = house.expect(200, "GET", MEMBERS, by=by)["members"]
    assert [(member["name"], member["isAdmin"]) for member in told] == [("mia", False), ("olga", True)]
    assert house.expect(200, "GET", f"{MEMBERS}/MIA", by=by) == {"name": "mia", "isAdmin": False, "isPublic": False}
    assert house.refused("GET", f"{MEMBERS}/bob", by=by) == (404, "NO_SUCH_MEMBER")


def test_strangers_do_not_even_learn_that_it_exists(house: House) -> None:
    for by in ("bob", house.robot):
        for method in ("GET", "PUT", "DELETE"):
            for user in ("mia", "bob", "nobody"):
                there = house.ask(method, f"{MEMBERS}/{user}", by=by)
                absent = house.ask(method, f"/enzi/v0/accounts/emca/members/{user}", by=by)
                assert there.status == absent.status == 404
                assert there.body.replace(b"acme", b"emca") == absent.body
        assert house.refused("GET", MEMBERS, by=by) == NOT_FOUND


def test_members_change_nothing_but_their_own_place(house: House) -> None:
    for method, user in (("PUT", "bob"), ("PUT", "mia"), ("DELETE", "olga")):
        assert house.refused(method, f"{MEMBERS}/{user}", {"isAdmin": True} if method == "PUT" else None, by="mia") == DENIED
    house.expect(204, "DELETE", f"{MEMBERS}/mia", by="mia")
    assert house.refused("GET", MEMBERS, by="mia") == NOT_FOUND
    assert house.expect(200, "GET", f"{ACME}/teams/devs/members", by="olga") == {"members": []}


def test_an_admin_of_another_organization_is_a_stranger(house: House) -> None:
    other = house.surface.accounts.create_organization("other")
    house.surface.organizations.add(other, "bob", is_admin=True)
    assert house.refused("PUT", f"{MEMBERS}/bob", {"isAdmin": True}, by="bob") == NOT_FOUND
    assert house.refused("PATCH", ACME, {"fullName": "x"}, by="bob") == NOT_FOUND
    assert house.refused("GET", f"{ACME}/teams", by="bob") == NOT_FOUND


def test_put_keeps_what_is_left_out(house: House) -> None:
    url = f"{MEMBERS}/Bob"
    assert house.expect(200, "PUT", url, {"isPublic": True}, by="olga") == {"name": "bob", "isAdmin": False, "isPublic": True}
    assert house.expect(200, "PUT", url, {"isAdmin": True}, by="olga") == {"name": "bob", "isAdmin": True, "isPublic": True}
    assert house.expect(200, "PUT", url, by="bob") == {"name": "bob", "isAdmin": True, "isPublic": True}
    house.expect(204, "DELETE", url)
    house.expect(204, "DELETE", url)


@pytest.mark.parametrize("user", ["nobody", "acme", "acme+ci", "a%00", "x" * 100])
def test_only_users_are_members(house: House, user: str) -> None:
    assert house.refused("PUT", f"{MEMBERS}/{user}", {}, by="olga") == NOT_FOUND
    house.expect(204, "DELETE", f"{MEMBERS}/{user}", by="olga")


def test_a_user_is_no_organization(house: House) -> None:
    for path in ("members", "teams", "teams/devs", "teams/devs/members"):
        assert house.refused("GET", f"/enzi/v0/accounts/bob/{path}") == NOT_FOUND
        assert house.refused("GET", f"/enzi/v0/accounts/bob/{path}", by="bob") == NOT_FOUND


def test_changes_and_tries_are_recorded(house: House) -> None:
    house.refused("PUT", f"{MEMBERS}/bob", {"isAdmin": True}, by="mia")
    house.expect(200, "PUT", f"{MEMBERS}/bob", {"isAdmin": True}, by="olga")
    told = house.events("MEMBER_PUT")
    assert sorted((event["actor"], event["result"]) for event in told) == [("mia", "denied"), ("olga", "done")]
    denied = next(event for event in told if event["result"] == "denied")
    assert denied["detail"] == {"user": "bob", "reason": "only admins of the organization may do this"}
    done = next(event for event in told if event["result"] == "done")
    assert (done["object"], done["detail"]) == ("acme", {"user": "bob", "fields": "isAdmin=true"})
