"""Teams: what they are granted ends with them, and nobody gets into one who does not belong there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

import pytest

from chalicelib.registry.access import Level
from chalicelib.registry.accounts import Account
from chalicelib.registry.errors import (
    AccountNameInvalid,
    AccountUnknown,
    MemberUnknown,
    NameUnknown,
    RequestInvalid,
    TeamExists,
    TeamUnknown,
    VersionMismatch,
)
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.ports import Conflict, Key, Update, Write
from chalicelib.registry.records import team_key
from chalicelib.registry.repositories import Repository
from chalicelib.registry.teams import Granted, Team
from tests.company import Company, watched
from tests.memory_table import MemoryTable
from tests.watched_table import Died, die, interleaved, refusal


def small() -> Company:
    """acme with the member bob, a robot, the repository app, and the team devs, which has all of them and the namespace."""
    company = Company()
    acme = company.organization("acme", "ann")
    company.members(acme, "bob")
    company.accounts.create_robot(acme, "ci")
    team = company.team(acme, "devs", "bob", "acme+ci")
    company.teams.grant(acme, team, company.repository("acme/app"), Level.READ_WRITE)
    company.teams.grant_namespace(acme, team, Level.READ_ONLY)
    return company


def acme(world: Company) -> Account:
    return world.organizations.get("acme")


def devs(world: Company) -> Team:
    return world.teams.get(acme(world), "devs")


def app(world: Company) -> Repository:
    return world.repositories.get(RepositoryName.parse("acme/app"))


@pytest.fixture
def company() -> Company:
    return small()


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", "\0", "\ud800", "a" * 65, "dévs"])
def test_a_name_that_no_team_can_have(company: Company, name: str) -> None:
    with pytest.raises(AccountNameInvalid):
        company.teams.create(acme(company), name)
    with pytest.raises(TeamUnknown):
        company.teams.get(acme(company), name)
    with pytest.raises(TeamUnknown):
        company.teams.describe(acme(company), name, "")
    before = company.stored()
    company.teams.delete(acme(company), name)
    company.teams.remove(acme(company), devs(company), name)
    assert not company.teams.is_member(devs(company), name)
    assert company.stored() == before


def test_names_are_folded(company: Company) -> None:
    assert company.teams.get(acme(company), "Devs") == devs(company)
    assert company.teams.describe(acme(company), "DEVS", "those").description == "those"
    assert company.teams.is_member(devs(company), "BOB")
    company.teams.remove(acme(company), devs(company), "Bob")
    assert not company.teams.is_member(devs(company), "bob")
    company.teams.delete(acme(company), "DevS")
    assert company.teams.page(acme(company), "", 10) == []


def test_a_team_is_made_once_and_only_where_there_is_an_organization(company: Company) -> None:
    with pytest.raises(TeamExists):
        company.teams.create(acme(company), "Devs")
    gone = company.organization("gone")
    company.organizations.delete_account("gone")
    with pytest.raises(AccountUnknown):
        company.teams.create(gone, "devs")
    company.organization("gone")
    with pytest.raises(AccountUnknown):
        company.teams.create(gone, "devs")


@pytest.mark.parametrize("name", ["cat", "other+ci", "acme", "nobody"])
def test_nobody_else_gets_in(company: Company, name: str) -> None:
    company.user("cat")
    company.accounts.create_robot(company.organization("other"), "ci")
    with pytest.raises(AccountUnknown if name == "nobody" else MemberUnknown):
        company.teams.add(acme(company), devs(company), name)
    assert company.teams.members(devs(company), "", 10) == ["acme+ci", "bob"]


def test_a_grant_is_for_a_repository_of_the_organization_that_is_there(company: Company) -> None:
    with pytest.raises(RequestInvalid):
        company.teams.grant(acme(company), devs(company), company.repository("acmee/app"), Level.ADMIN)
    old = app(company)
    company.repositories.delete(old.name)
    with pytest.raises(NameUnknown):
        company.teams.grant(acme(company), devs(company), old, Level.ADMIN)
    company.repository("acme/app")
    with pytest.raises(NameUnknown):
        company.teams.grant(acme(company), devs(company), old, Level.ADMIN)
    company.teams.withdraw_namespace(acme(company), devs(company))
    assert company.level("bob", "acme/app") is Level.NONE


def test_withdrawing_from_a_repository_that_is_gone_takes_nothing_from_its_successor(company: Company) -> None:
    old = app(company)
    company.repositories.delete(old.name)
    company.teams.grant(acme(company), devs(company), company.repository("acme/app"), Level.ADMIN)
    company.teams.withdraw(devs(company), old)
    assert company.teams.repositories(devs(company), "", 10) == [Granted("devs", Level.ADMIN, "acme/app")]
    assert company.visible("bob") == ["acme/app"]


def test_grants_are_listed_from_both_ends(company: Company) -> None:
    assert company.teams.on_repository(app(company)) == [Granted("devs", Level.READ_WRITE, "acme/app")]
    assert company.teams.on_namespace(acme(company)) == [Granted("devs", Level.READ_ONLY)]
    company.teams.grant(acme(company), devs(company), app(company), Level.ADMIN)
    assert company.teams.repositories(devs(company), "", 10) == [Granted("devs", Level.ADMIN, "acme/app")]
    for _ in range(2):
        company.teams.withdraw(devs(company), app(company))
        company.teams.withdraw_namespace(acme(company), devs(company))
    assert company.teams.on_repository(app(company)) == []
    assert company.teams.on_namespace(acme(company)) == []
    assert company.level("bob", "acme/app") is Level.NONE


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_what_is_gone_leaves_no_page_short(company: Company, limit: int) -> None:
    """Whoever lists takes a short page for the last."""
    org, team = acme(company), devs(company)
    for number in range(6):
        other = company.team(org, f"t{number}")
        company.teams.grant(org, team, company.repository(f"acme/r{number}"), Level.READ_ONLY)
        if number % 3:
            key = team_key(org.id, other.name)
            company.store.write(Update(key, set={"deleting": True}))
            company.repositories.delete(RepositoryName.parse(f"acme/r{number}"))
    teams: list[str] = []
    while page := company.teams.page(org, teams[-1] if teams else "", limit):
        teams += [each.name for each in page]
        assert len(page) == limit or not company.teams.page(org, teams[-1], limit)
    assert teams == ["devs", "t0", "t3"]
    granted: list[str] = []
    while found := company.teams.repositories(team, granted[-1] if granted else "", limit):
        granted += [each.repository for each in found]
        assert len(found) == limit or not company.teams.repositories(team, granted[-1], limit)
    assert granted == ["acme/app", "acme/r0", "acme/r3"]


def test_a_version_that_was_overtaken(company: Company) -> None:
    version = devs(company).version
    company.teams.describe(acme(company), "devs", "first", version)
    for change in (
        lambda: company.teams.describe(acme(company), "devs", "second", version),
        lambda: company.teams.delete(acme(company), "devs", version),
    ):
        with pytest.raises(VersionMismatch):
            change()
    assert devs(company).description == "first"
    company.teams.delete(acme(company), "devs", devs(company).version)


def test_a_team_is_not_deleted_at_a_version_that_was_overtaken_meanwhile() -> None:
    def delete(world: Company) -> None:
        world.teams.delete(acme(world), "devs", 1)

    def describe(world: Company) -> None:
        world.teams.describe(acme(world), "devs", "changed", 1)

    for world, *refused in interleaved(small, watched, delete, lambda world: describe(world.another())):
        assert refused in (["VersionMismatch", ""], ["", "TeamUnknown"])
        assert (refusal(lambda world=world: devs(world)) == "") == (refused[0] != "")  # type: ignore[misc]


def left_of(world: Company, team: Team) -> list[Key]:
    """What there still is that names the team by its id."""
    stored = world.stored()
    by_key = [key for key in stored if team.id in key.partition or team.id in key.sort]
    return by_key + [key for key, attributes in stored.items() if attributes.get("id") == team.id]


def test_a_team_of_the_same_name_inherits_nothing(company: Company) -> None:
    old = devs(company)
    company.teams.delete(acme(company), "devs")
    assert left_of(company, old) == []
    company.teams.create(acme(company), "devs")
    assert company.teams.members(devs(company), "", 10) == []
    assert company.level("bob", "acme/app") is Level.NONE
    assert company.level("acme+ci", "acme/app") is Level.NONE
    for deed in (
        lambda: company.teams.add(acme(company), old, "bob"),
        lambda: company.teams.grant(acme(company), old, app(company), Level.ADMIN),
        lambda: company.teams.grant_namespace(acme(company), old, Level.ADMIN),
    ):
        assert refusal(deed) == "TeamUnknown"
    assert left_of(company, old) == []


def test_an_interrupted_deletion_ends_when_it_is_tried_again() -> None:
    for nth in count(1):
        world = small()
        team = devs(world)
        world.table.before(nth, die, only_writes=True)
        try:
            world.teams.delete(acme(world), "devs")
        except Died:
            again = world.another()
            again.teams.delete(acme(again), "devs")
            assert left_of(again, team) == []
            assert again.level("bob", "acme/app") is Level.NONE
        else:
            assert nth > 3
            return


Deed = Callable[[Company], object]

RACES: list[tuple[str, Deed]] = [
    ("add a member", lambda world: world.teams.add(acme(world), devs(world), "ann")),
    ("remove a member", lambda world: world.teams.remove(acme(world), devs(world), "bob")),
    ("grant", lambda world: world.teams.grant(acme(world), devs(world), app(world), Level.ADMIN)),
    ("grant the namespace", lambda world: world.teams.grant_namespace(acme(world), devs(world), Level.ADMIN)),
    ("describe", lambda world: world.teams.describe(acme(world), "devs", "late")),
    ("withdraw", lambda world: world.teams.withdraw(devs(world), app(world))),
    ("delete", lambda world: world.teams.delete(acme(world), "devs")),
]


@pytest.mark.parametrize("deed", [race[1] for race in RACES], ids=[race[0] for race in RACES])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("made_again", [False, True])
def test_nothing_stays_of_a_team_that_is_deleted_meanwhile(deed: Deed, turned: bool, made_again: bool) -> None:
    """And a team that gets its name at once is not touched."""

    def delete(world: Company) -> None:
        world.teams.delete(acme(world), "devs")
        if made_again:
            world.teams.create(acme(world), "devs", "new")

    def make() -> Company:
        world = small()
        before[id(world)] = devs(world)
        worlds.append(world)
        return world

    before: dict[int, Team] = {}
    worlds: list[Company] = []
    outer, inner = (delete, deed) if turned else (deed, delete)
    for world, *refused in interleaved(make, watched, outer, lambda world: inner(world.another())):
        assert left_of(world, before[id(world)]) == []
        assert "Busy" not in refused
        teams = world.teams.page(acme(world), "", 10)
        if made_again and not turned and deed is not RACES[-1][1]:
            assert [team.name for team in teams] == ["devs"]


def test_a_grant_against_the_end_of_its_repository() -> None:
    def grant(world: Company) -> None:
        world.teams.grant(acme(world), devs(world), app(world), Level.ADMIN)

    def delete(world: Company) -> None:
        world.repositories.delete(RepositoryName.parse("acme/app"))

    for outer, inner in ((grant, delete), (delete, grant)):
        for world, *_ in interleaved(small, watched, outer, lambda world, inner=inner: inner(world.another())):  # type: ignore[misc]
            assert world.teams.repositories(devs(world), "", 10) == []
            world.clear()
            assert not [key for key in world.stored() if key.partition.startswith("repository/")]
            assert not [key for key in world.stored() if key.sort.startswith("repository/")]


def test_a_large_team_is_deleted() -> None:
    world = Company()
    org = world.organization("acme", "ann")
    team = world.teams.create(org, "devs")
    for number in range(130):
        world.accounts.create_robot(org, f"r{number}")
        world.teams.add(org, team, f"acme+r{number}")
        world.teams.grant(org, team, world.repository(f"acme/r{number}"), Level.READ_ONLY)
    world.teams.delete(org, "devs")
    assert left_of(world, team) == []


def test_a_lost_answer_is_no_refusal() -> None:
    """The table makes the team, the account, the repository; its answer is lost, and it is asked again."""

    class Losing(MemoryTable):
        is_on = False

        def transact(self, writes: Sequence[Write]) -> None:
            super().transact(writes)
            if self.is_on:
                self.is_on = False
                raise Conflict("TransactionInProgressException")

    table = Losing()
    world = Company(table)
    deeds: tuple[Callable[[], bool], ...] = (
        lambda: world.accounts.create_organization("acme").id == acme(world).id,
        lambda: world.teams.create(acme(world), "devs") == devs(world),
        lambda: world.accounts.create_robot(acme(world), "ci").id == world.accounts.get("acme+ci").id,
        lambda: world.repository("acme/app") == app(world),
    )
    for made in deeds:
        table.is_on = True
        assert made()
        assert not table.is_on
