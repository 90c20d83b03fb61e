"""Organizations and the end of accounts: nobody keeps or inherits a place, whatever happens at the same time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from chalicelib.registry.access import Level, Membership, Operation
from chalicelib.registry.accounts import Account, Changes
from chalicelib.registry.errors import AccountInUse, AccountUnknown, MemberUnknown
from chalicelib.registry.events import NOBODY
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.organizations import Member
from chalicelib.registry.ports import Key, Put
from chalicelib.registry.records import account_key
from chalicelib.registry.repositories import Description
from chalicelib.registry.teams import Team
from tests.company import Company, watched
from tests.watched_table import Died, die, interleaved, refusal


@pytest.fixture
def company() -> Company:
    company = Company()
    company.accounts.ensure_admin("right")
    acme = company.organization("acme", "ann")
    company.members(acme, "bob", "cat")
    return company


def small() -> Company:
    """acme with its admin ann, the member bob, a robot and a team that has all of them and the namespace."""
    company = Company()
    company.accounts.ensure_admin("right")
    acme = company.organization("acme", "ann")
    company.members(acme, "bob")
    company.accounts.create_robot(acme, "ci")
    devs = company.team(acme, "devs", "ann", "bob", "acme+ci")
    company.teams.grant_namespace(acme, devs, Level.READ_WRITE)
    return company


# --------------------------------------------------------------------------------------------------------------- members


def test_members_in_order_and_in_pages(company: Company) -> None:
    acme = company.organizations.get("Acme")
    everybody = [Member("ann", is_admin=True), Member("bob"), Member("cat")]
    for limit in range(1, 5):
        listed: list[Member] = []
        while page := company.organizations.members(acme, listed[-1].name if listed else "", limit):
            assert len(page) <= limit
            listed += page
        assert listed == everybody


@pytest.mark.parametrize("name", ["nobody", "acme", "acme+ci", "no name", "", "\0", "\ud800", "a" * 300, "../x"])
def test_only_users_become_members(company: Company, name: str) -> None:
    acme = company.organizations.get("acme")
    company.accounts.create_robot(acme, "ci")
    with pytest.raises(AccountUnknown):
        company.organizations.add(acme, name)
    with pytest.raises(MemberUnknown):
        company.organizations.member(acme, name)
    before = company.stored()
    company.organizations.remove(acme, name)
    assert company.stored() == before


@pytest.mark.parametrize("name", ["ann", "acme+ci", "nobody", "", "\ud800"])
def test_only_an_organization_is_one(company: Company, name: str) -> None:
    company.accounts.create_robot(company.organizations.get("acme"), "ci")
    with pytest.raises(AccountUnknown):
        company.organizations.get(name)


def test_a_member_keeps_what_is_not_changed(company: Company) -> None:
    acme = company.organizations.get("acme")
    assert company.organizations.add(acme, "bob", is_public=True) == Member("bob", is_public=True)
    assert company.organizations.add(acme, "bob", is_admin=True) == Member("bob", is_admin=True, is_public=True)
    assert company.organizations.add(acme, "BOB") == Member("bob", is_admin=True, is_public=True)
    assert company.organizations.member(acme, "Bob").is_admin
    assert company.level("bob", "acme/app") is Level.ADMIN


def test_a_name_in_capitals_is_removed_wholly(company: Company) -> None:
    acme = company.organizations.get("acme")
    company.team(acme, "devs", "bob")
    company.organizations.remove(acme, "BOB")
    assert [member.name for member in company.organizations.members(acme, "", 10)] == ["ann", "cat"]
    assert not [key for key in company.stored() if "bob" in key.sort and key.partition not in {"accounts", "account/bob"}]


def test_a_removed_member_may_nothing_any_more(company: Company) -> None:
    acme = company.organizations.get("acme")
    devs = company.team(acme, "devs", "bob")
    company.teams.grant_namespace(acme, devs, Level.ADMIN)
    company.repository("acme/app")
    assert company.level("bob", "acme/app") is Level.ADMIN
    company.organizations.remove(acme, "bob")
    assert company.level("bob", "acme/app") is Level.NONE
    assert company.visible("bob") == []
    company.organizations.add(acme, "bob")
    assert company.level("bob", "acme/app") is Level.NONE, "the team is not come back to"


def test_two_who_change_a_member_at_once_do_not_undo_each_other() -> None:
    """One takes the admin's rights, the other changes what strangers see."""

    def demote(world: Company) -> None:
        world.organizations.add(world.organizations.get("acme"), "ann", is_admin=False)

    def publish(world: Company) -> None:
        world.organizations.add(world.organizations.get("acme"), "ann", is_public=True)

    for first, second in ((demote, publish), (publish, demote)):
        for world, *refused in interleaved(small, watched, first, lambda world, second=second: second(world.another())):  # type: ignore[misc]
            assert refused == ["", ""]
            acme = world.organizations.get("acme")
            assert world.organizations.member(acme, "ann") == Member("ann", is_admin=False, is_public=True)
            assert world.organizations.membership(world.accounts.get("ann").id, acme.id) is Membership.MEMBER


# ------------------------------------------------------------------------------------------------------------------ ends


def remains(company: Company, *names: str) -> list[Key]:
    """What there still is of accounts of these names, and whatever hangs on an id that no account has."""
    stored = company.stored()
    living = {str(attributes["id"]) for key, attributes in stored.items() if key.partition.startswith("account/")}
    teams = {str(item["id"]) for key, item in stored.items() if key.sort.startswith("team/") and "created_at" in item}
    repositories = {str(item["id"]) for key, item in stored.items() if key.partition.startswith("name/")}

    def is_left(key: Key) -> bool:
        kind, _, identity = key.partition.partition("/")
        named = key.partition in {f"account/{name}" for name in names} or (
            key.partition in {"accounts", "admins"} and key.sort in names
        )
        hangs = {"user": living, "organization": living, "team": teams, "repository": repositories}
        listed = key.sort.startswith("member/") and key.sort.removeprefix("member/") in names
        return named or listed or (kind in hangs and identity not in hangs[kind])

    return [key for key in stored if is_left(key)]


@pytest.mark.parametrize("name", ["acme", "bob", "ann", "acme+ci"])
def test_an_end_leaves_nothing(name: str) -> None:
    company = small()
    company.organizations.delete_account(name)
    assert remains(company, name, *(["acme+ci"] if name == "acme" else [])) == []
    with pytest.raises(AccountUnknown):
        company.organizations.delete_account(name)
    for lookup in (company.accounts.get, company.organizations.get):
        with pytest.raises(AccountUnknown):
            lookup(name)
    assert name not in {account.name for account in company.accounts.page("", 100)}


@pytest.mark.parametrize("name", ["acme", "bob", "acme+ci"])
def test_an_end_that_was_interrupted_anywhere_comes_about_when_it_is_tried_again(name: str) -> None:
    for nth in count(1):
        company = small()
        company.table.before(nth, die, only_writes=True)
        try:
            company.organizations.delete_account(name)
        except Died:
            again = company.another()
            assert again.accounts.find(name) is None or nth == 1 or not again.accounts.find(name).is_active  # type: ignore[union-attr]
            refusal(lambda again=again: again.organizations.delete_account(name))  # type: ignore[misc]
            assert remains(again, name, *(["acme+ci"] if name == "acme" else [])) == []
        else:
            assert nth > 2
            return


def test_an_account_made_again_inherits_nothing(company: Company) -> None:
    acme = company.organizations.get("acme")
    devs = company.team(acme, "devs", "bob")
    company.teams.grant_namespace(acme, devs, Level.ADMIN)
    company.organizations.add(acme, "bob", is_admin=True)
    company.organizations.delete_account("bob")
    bob = company.user("bob")
    company.repository("acme/app")
    assert company.organizations.places(bob.id) == []
    assert company.level("bob", "acme/app") is Level.NONE
    assert company.visible("bob") == []
    with pytest.raises(MemberUnknown):
        company.organizations.member(acme, "bob")
    with pytest.raises(MemberUnknown):
        company.teams.add(acme, devs, "bob")


def test_an_organization_made_again_has_no_members_teams_robots_or_grants(company: Company) -> None:
    acme = company.organizations.get("acme")
    devs = company.team(acme, "devs", "bob")
    company.teams.grant_namespace(acme, devs, Level.ADMIN)
    company.accounts.create_robot(acme, "ci")
    company.organizations.delete_account("acme")
    again = company.accounts.create_organization("acme")
    company.repository("acme/app")
    assert company.organizations.members(again, "", 10) == []
    assert company.teams.page(again, "", 10) == []
    assert company.teams.on_namespace(again) == []
    assert company.accounts.find("acme+ci") is None
    for name in ("ann", "bob"):
        assert company.level(name, "acme/app") is Level.NONE
        assert company.visible(name) == []
        assert company.organizations.places(company.accounts.get(name).id) == []


def test_the_robot_of_a_deleted_organization_is_nobodys(company: Company) -> None:
    acme = company.organizations.get("acme")
    company.organizations.delete_account("acme")
    with pytest.raises(AccountUnknown):
        company.accounts.create_robot(acme, "ci")
    company.accounts.create_organization("acme")
    with pytest.raises(AccountUnknown):
        company.accounts.create_robot(acme, "ci")
    with pytest.raises(AccountUnknown):
        company.organizations.add(acme, "bob")


@pytest.mark.parametrize("repository", ["acme/app", "acme", "acme/x/y"])
def test_an_account_with_repositories_stays_as_it_is(company: Company, repository: str) -> None:
    company.repository(repository)
    before = company.stored()
    with pytest.raises(AccountInUse):
        company.organizations.delete_account("acme")
    assert company.stored() == before
    company.repositories.delete(RepositoryName.parse(repository))
    company.repository("acmee/app")
    company.organizations.delete_account("acme")


def test_a_repository_found_after_the_lock_opens_it_again() -> None:
    """Also where an earlier try died with the account locked."""
    for name in ("bob", "acme"):
        company = small()
        company.accounts.begin_deletion(name)
        company.store.write(Put(Key("catalog", f"{name}/app"), {}))  # made before the lock, seen after it
        assert refusal(lambda name=name, company=company: company.organizations.delete_account(name)) == "AccountInUse"  # type: ignore[misc]
        account = company.another().accounts.get(name)
        assert account.is_active
        assert not account.is_deleting
    company = small()
    company.accounts.change("bob", Changes(is_active=False))
    company.accounts.begin_deletion("bob")
    company.store.write(Put(Key("catalog", "bob/app"), {}))
    assert refusal(lambda: company.organizations.delete_account("bob")) == "AccountInUse"
    assert not company.accounts.get("bob").is_active, "one that was locked before stays so"


def test_an_account_of_an_earlier_release_comes_to_its_end() -> None:
    company = small()
    company.user("boss", is_admin=True)
    key = account_key("admin")
    old = {name: value for name, value in company.stored()[key].items() if name not in {"id", "kind", "version", "full_name"}}
    company.store.write(Put(key, old))
    company.accounts.change("admin", Changes(full_name="The First"))
    assert company.accounts.set_password("admin", "another")
    company.repository("admin/app")
    with pytest.raises(AccountInUse):
        company.organizations.delete_account("admin")
    company.repositories.delete(RepositoryName.parse("admin/app"))
    company.organizations.add(company.organizations.get("acme"), "admin")
    company.organizations.delete_account("admin")
    assert remains(company, "admin") == []


def test_a_large_organization_comes_to_its_end() -> None:
    company = Company()
    acme = company.organization("acme", "ann")
    names = [f"user-{number}" for number in range(250)]
    for name in names:
        company.accounts.create_user(name, "")
        company.organizations.add(acme, name)
        company.accounts.create_robot(acme, name)
    everybody = company.team(acme, "everybody", *names)
    for number in range(250):
        team = company.team(acme, f"team-{number}", "ann", f"acme+user-{number}")
        company.teams.grant_namespace(acme, team, Level.READ_ONLY)
    company.teams.grant_namespace(acme, everybody, Level.ADMIN)
    company.organizations.delete_account("acme")
    assert remains(company, "acme", *(f"acme+{name}" for name in names)) == []
    assert company.organizations.places(company.accounts.get("ann").id) == []


# ----------------------------------------------------------------------------------------------------------------- races

Deed = Callable[[Company], object]


def delete(name: str) -> Deed:
    return lambda world: world.organizations.delete_account(name)


def join(name: str) -> Deed:
    return lambda world: world.organizations.add(acme_of(world), name, is_admin=True)


def leave(name: str) -> Deed:
    return lambda world: world.organizations.remove(acme_of(world), name)


def enter(name: str) -> Deed:
    return lambda world: world.teams.add(acme_of(world), devs(world), name)


def devs(world: Company) -> Team:
    return world.teams.get(acme_of(world), "devs")


def acme_of(world: Company) -> Account:
    return world.organizations.get("acme")


RACES: list[tuple[str, Deed, Deed]] = [
    ("a member is added while the user goes", join("bob"), delete("bob")),
    ("a member is added while the organization goes", join("bob"), delete("acme")),
    ("a robot enters a team while it goes", enter("acme+ci"), delete("acme+ci")),
    ("a member enters a team while the user goes", enter("bob"), delete("bob")),
    ("a member enters a team while the organization goes", enter("bob"), delete("acme")),
    ("a robot is made while the organization goes", lambda w: w.accounts.create_robot(acme_of(w), "cd"), delete("acme")),
    ("a team is made while the organization goes", lambda w: w.team(acme_of(w), "ops"), delete("acme")),
    (
        "a team is granted the namespace while the organization goes",
        lambda w: w.teams.grant_namespace(acme_of(w), devs(w), Level.ADMIN),
        delete("acme"),
    ),
    ("a user goes twice", delete("bob"), delete("bob")),
    ("an organization goes twice", delete("acme"), delete("acme")),
    ("an organization goes while its robot does", delete("acme"), delete("acme+ci")),
    ("an organization goes while its member does", delete("acme"), delete("bob")),
    ("a member is removed while the user goes", leave("bob"), delete("bob")),
]


@pytest.mark.parametrize(("first", "second"), [race[1:] for race in RACES], ids=[race[0] for race in RACES])
@pytest.mark.parametrize("turned", [False, True])
def test_nothing_is_added_to_what_goes(first: Deed, second: Deed, turned: bool) -> None:
    """Whoever is first and whoever comes in between: what has gone leaves nothing behind, and nothing hangs on it."""
    outer, inner = (second, first) if turned else (first, second)
    for world, *refused in interleaved(small, watched, outer, lambda world: inner(world.another())):
        gone = [name for name in ("acme", "acme+ci", "bob") if world.another().accounts.find(name) is None]
        assert gone
        assert remains(world, *gone) == [], refused
        assert "Busy" not in refused


def test_a_member_who_leaves_is_in_no_team() -> None:
    for first, second in ((enter("bob"), leave("bob")), (leave("bob"), enter("bob"))):
        for world, *_ in interleaved(small, watched, first, lambda world, second=second: second(world.another())):  # type: ignore[misc]
            bob = world.accounts.get("bob")
            places = world.organizations.places(bob.id)
            assert places == []
            assert not world.teams.is_member(devs(world), "bob")


def test_a_member_who_comes_back_while_being_removed_is_listed_as_what_he_is() -> None:
    for world, *_ in interleaved(
        small, watched, leave("bob"), lambda world: (join("bob")(world.another()), enter("bob")(world))
    ):
        bob, acme = world.accounts.get("bob"), acme_of(world)
        is_member = world.organizations.membership(bob.id, acme.id) is not Membership.STRANGER
        assert is_member == ("bob" in [member.name for member in world.organizations.members(acme, "", 10)])
        in_team = bool([place for place in world.organizations.places(bob.id) if place.team])
        assert in_team == world.teams.is_member(devs(world), "bob")
        assert is_member or not in_team


@pytest.mark.parametrize("name", ["bob/app", "acme/app", "acme"])
@pytest.mark.parametrize("by_push", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_no_repository_is_made_in_a_namespace_that_goes(name: str, by_push: bool, turned: bool) -> None:
    """Either the account stays with its repository, or there is neither: whoever gets its name gets no repository with it."""
    parsed = RepositoryName.parse(name)

    def create(world: Company) -> None:
        account = world.accounts.get("ann" if parsed.namespace == "acme" else "bob")
        if by_push:
            world.creations.ensure(parsed, account.identity, NOBODY)
        elif world.rights.decide(account.identity, Operation.CREATE, parsed).allowed:
            world.creations.create(parsed, Description(), NOBODY)

    end = delete(parsed.namespace)
    outer, inner = (end, create) if turned else (create, end)
    for world, *refused in interleaved(small, watched, outer, lambda world: inner(world.another())):
        account = world.another().accounts.find(parsed.namespace)
        made = world.another().repositories.find(parsed)
        assert (account is None) == (made is None), refused
        assert account is None or account.is_active


@pytest.mark.parametrize("what", ["change", "password", "join", "enter", "delete"])
def test_what_is_meant_for_an_account_never_hits_another_of_its_name(what: str) -> None:
    """The account goes, and another of the name is made, between what was read last and the first thing written."""
    deeds: dict[str, Deed] = {
        "change": lambda world: world.accounts.change("bob", Changes(is_admin=True), 1),
        "password": lambda world: world.accounts.set_password("bob", "of the old one"),
        "join": join("bob"),
        "enter": enter("acme+ci"),
        "delete": delete("bob"),
    }
    world = small()
    other = world.another()

    def again() -> None:
        for name in ("bob", "acme+ci"):
            other.organizations.delete_account(name)
        other.user("bob")
        other.accounts.create_robot(acme_of(other), "ci")

    world.table.before(1, again, only_writes=True)
    refusal(lambda: deeds[what](world))
    fresh = world.another()
    bob, robot = fresh.accounts.read("bob"), fresh.accounts.get("acme+ci")
    assert not fresh.teams.is_member(devs(fresh), "acme+ci")
    assert fresh.organizations.places(robot.id) == []
    assert remains(fresh) == []
    if bob is not None:
        assert fresh.accounts.proven(fresh.accounts.read("bob"), "of the old one") is None
        members = {member.name for member in fresh.organizations.members(acme_of(fresh), "", 10)}
        assert ("bob" in members) == bool(fresh.organizations.places(bob.id))
