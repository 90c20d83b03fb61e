"""Rights against a model of plain sets that looks at everything; what a question costs, counted; and paging."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.registry import access
from chalicelib.registry.access import Account, Level, Limits, Membership, Operation
from chalicelib.registry.accounts import Account as StoredAccount
from chalicelib.registry.accounts import Changes
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.repositories import PRIVATE, PUBLIC, Description
from tests.company import Company
from tests.watched_table import refusal

USERS = ["acm", "ann", "bob", "root-of-all"]
ORGANIZATIONS = ["acme", "beta"]
ROBOTS = ["acme+ci"]
TEAMS = ["devs", "ops"]
REPOSITORIES = ["acme", "acme/app", "acme/app-2", "acme/app/x", "acme/lib", "acm/app", "ann", "ann/app", "beta/app", "beta/zoo"]
LEVELS = [Level.READ_ONLY, Level.READ_WRITE, Level.ADMIN]

Step = tuple[str, ...]


@dataclass
class Model:
    """What there is, in sets, and what follows from it."""

    members: dict[tuple[str, str], bool] = field(default_factory=dict)
    teams: set[tuple[str, str]] = field(default_factory=set)
    in_team: set[tuple[str, str, str]] = field(default_factory=set)
    on_namespace: dict[tuple[str, str], Level] = field(default_factory=dict)
    on_repository: dict[tuple[str, str, str], Level] = field(default_factory=dict)
    repositories: dict[str, bool] = field(default_factory=dict)
    locked: set[str] = field(default_factory=set)

    def level(self, name: str, repository: str) -> Level:
        namespace = repository.partition("/")[0]
        exists = repository in self.repositories
        found = {Level.NONE}
        if self.repositories.get(repository):
            found.add(Level.READ_ONLY)
        if name and name not in self.locked:
            if name in {"root-of-all", namespace} or self.members.get((namespace, name)):
                found.add(Level.ADMIN)
            for org, team, member in self.in_team:
                if member == name and org == namespace:
                    found.add(self.on_namespace.get((org, team), Level.NONE))
                    if exists:
                        found.add(self.on_repository.get((org, team, repository), Level.NONE))
        return max(found)

    def visible(self, name: str) -> list[str]:
        return sorted(each for each in self.repositories if self.level(name, each) >= Level.READ_ONLY)

    # One method for each kind of step; what is impossible changes nothing.

    def join(self, org: str, user: str, is_admin: str) -> None:
        self.members[org, user] = is_admin == "admin"

    def leave(self, org: str, user: str) -> None:
        self.members.pop((org, user), None)
        self.in_team = {each for each in self.in_team if not (each[0] == org and each[2] == user)}

    def found(self, org: str, team: str) -> None:
        self.teams.add((org, team))

    def dissolve(self, org: str, team: str) -> None:
        self.teams.discard((org, team))
        self.in_team = {each for each in self.in_team if each[:2] != (org, team)}
        self.on_namespace.pop((org, team), None)
        self.on_repository = {key: level for key, level in self.on_repository.items() if key[:2] != (org, team)}

    def enter(self, org: str, team: str, name: str) -> None:
        if (org, team) in self.teams and ((org, name) in self.members or name == f"{org}+ci"):
            self.in_team.add((org, team, name))

    def quit(self, org: str, team: str, name: str) -> None:
        self.in_team.discard((org, team, name))

    def create(self, repository: str, visibility: str) -> None:
        self.repositories.setdefault(repository, visibility == PUBLIC)

    def show(self, repository: str, visibility: str) -> None:
        if repository in self.repositories:
            self.repositories[repository] = visibility == PUBLIC

    def delete(self, repository: str) -> None:
        self.repositories.pop(repository, None)
        self.on_repository = {key: level for key, level in self.on_repository.items() if key[2] != repository}

    def grant(self, org: str, team: str, repository: str, word: str) -> None:
        if (org, team) in self.teams and repository in self.repositories and repository.partition("/")[0] == org:
            self.on_repository[org, team, repository] = access.GRANTABLE[word]

    def withdraw(self, org: str, team: str, repository: str) -> None:
        self.on_repository.pop((org, team, repository), None)

    def open(self, org: str, team: str, word: str) -> None:
        if (org, team) in self.teams:
            self.on_namespace[org, team] = access.GRANTABLE[word]

    def close(self, org: str, team: str) -> None:
        self.on_namespace.pop((org, team), None)

    def lock(self, name: str) -> None:
        self.locked ^= {name}

    def remake(self, name: str) -> None:
        """An account goes, with what it had, and another one gets its name; not while it has repositories."""
        if any(each.partition("/")[0] == name for each in self.repositories):
            return
        self.locked.discard(name)
        for org in ORGANIZATIONS:
            self.leave(org, name)
        for org, team in list(self.teams):
            if org == name:
                self.dissolve(org, team)
        self.members = {key: value for key, value in self.members.items() if key[0] != name}
        self.locked -= {f"{name}+ci"}


class Real:
    """The same steps with the domain."""

    def __init__(self) -> None:
        self.company = company = Company()
        for name in USERS:
            company.accounts.create_user(name, "", is_admin=name == "root-of-all")
        company.accounts.create_user("second", "", is_admin=True)
        for name in ORGANIZATIONS:
            company.accounts.create_organization(name)
        company.accounts.create_robot(company.organizations.get("acme"), "ci")

    def take(self, step: Step) -> None:
        kind, *arguments = step
        deed: Callable[..., object] = getattr(self, kind)
        refusal(lambda: deed(*arguments))

    def join(self, org: str, user: str, is_admin: str) -> None:
        self.company.organizations.add(self._org(org), user, is_admin=is_admin == "admin")

    def leave(self, org: str, user: str) -> None:
        self.company.organizations.remove(self._org(org), user)

    def found(self, org: str, team: str) -> None:
        self.company.teams.create(self._org(org), team)

    def dissolve(self, org: str, team: str) -> None:
        self.company.teams.delete(self._org(org), team)

    def enter(self, org: str, team: str, name: str) -> None:
        self.company.teams.add(self._org(org), self.company.teams.get(self._org(org), team), name)

    def quit(self, org: str, team: str, name: str) -> None:
        self.company.teams.remove(self._org(org), self.company.teams.get(self._org(org), team), name)

    def create(self, repository: str, visibility: str) -> None:
        self.company.repositories.create(RepositoryName.parse(repository), Description(visibility))

    def show(self, repository: str, visibility: str) -> None:
        self.company.repositories.change(RepositoryName.parse(repository), Description(visibility))

    def delete(self, repository: str) -> None:
        self.company.repositories.delete(RepositoryName.parse(repository))
        if len(repository) % 2:  # now and then it is cleared away at once
            self.company.clear()

    def grant(self, org: str, team: str, repository: str, word: str) -> None:
        found = self.company.repositories.get(RepositoryName.parse(repository))
        team_ = self.company.teams.get(self._org(org), team)
        self.company.teams.grant(self._org(org), team_, found, access.GRANTABLE[word])

    def withdraw(self, org: str, team: str, repository: str) -> None:
        found = self.company.repositories.get(RepositoryName.parse(repository))
        self.company.teams.withdraw(self.company.teams.get(self._org(org), team), found)

    def open(self, org: str, team: str, word: str) -> None:
        self.company.teams.grant_namespace(self._org(org), self.company.teams.get(self._org(org), team), access.GRANTABLE[word])

    def close(self, org: str, team: str) -> None:
        self.company.teams.withdraw_namespace(self._org(org), self.company.teams.get(self._org(org), team))

    def lock(self, name: str) -> None:
        account = self.company.accounts.get(name)
        self.company.accounts.change(name, Changes(is_active=not account.is_active))

    def remake(self, name: str) -> None:
        self.company.organizations.delete_account(name)
        if name in ORGANIZATIONS:
            self.company.accounts.create_organization(name)
            if name == "acme":
                self.company.accounts.create_robot(self._org("acme"), "ci")
        else:
            self.company.accounts.create_user(name, "")

    def _org(self, name: str) -> StoredAccount:
        return self.company.organizations.get(name)


orgs, teams, users = st.sampled_from(ORGANIZATIONS), st.sampled_from(TEAMS), st.sampled_from(USERS[:3])
names, repositories = st.sampled_from(USERS[:3] + ROBOTS), st.sampled_from(REPOSITORIES)
words, visibilities = st.sampled_from([level.word for level in LEVELS]), st.sampled_from([PUBLIC, PRIVATE])


def step(kind: str, *arguments: st.SearchStrategy[str]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(kind), *arguments)


steps = st.one_of(
    step("join", orgs, users, st.sampled_from(["admin", "member", "member"])),
    step("leave", orgs, users),
    step("found", orgs, teams),
    step("dissolve", orgs, teams),
    step("enter", orgs, teams, names),
    step("enter", orgs, teams, names),
    step("quit", orgs, teams, names),
    step("create", repositories, visibilities),
    step("show", repositories, visibilities),
    step("delete", repositories),
    step("grant", orgs, teams, repositories, words),
    step("grant", orgs, teams, repositories, words),
    step("withdraw", orgs, teams, repositories),
    step("open", orgs, teams, words),
    step("close", orgs, teams),
    step("lock", st.sampled_from([*USERS, *ROBOTS])),
    step("remake", st.sampled_from(["acm", "bob", "beta", "acme"])),
)
peopled: list[Step] = [
    ("found", "acme", "devs"),
    ("found", "beta", "devs"),
    ("join", "acme", "bob", "member"),
    ("join", "beta", "ann", "member"),
    ("enter", "acme", "devs", "bob"),
    ("enter", "acme", "devs", "acme+ci"),
    ("enter", "beta", "devs", "ann"),
    ("create", "acme/app", PRIVATE),
    ("create", "acme/app-2", PRIVATE),
    ("create", "beta/zoo", PRIVATE),
    ("grant", "acme", "devs", "acme/app", "read-write"),
    ("grant", "beta", "devs", "beta/zoo", "read-only"),
]
histories = st.lists(steps, max_size=30).map(lambda more: [*peopled, *more])
everybody = ["", *USERS, *ROBOTS]


def lived(history: list[Step]) -> tuple[Company, Model]:
    real, model = Real(), Model()
    for each in history:
        real.take(each)
        getattr(model, each[0])(*each[1:])
    return real.company, model


def paged(company: Company, account: Account | None, prefix: str, limit: int) -> list[str]:
    found: list[str] = []
    while page := company.rights.visible(account, prefix=prefix, after=found[-1] if found else "", limit=limit):
        assert len(page) <= limit
        found += [str(repository.name) for repository in page]
        if len(page) < limit:
            assert not company.rights.visible(account, prefix=prefix, after=found[-1], limit=limit), "a short page is the last"
    return found


slow = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@given(histories)
@slow
def test_decisions_are_those_of_the_model(history: list[Step]) -> None:
    company, model = lived(history)
    for name in everybody:
        account = company.accounts.find(name) if name else None
        parsed = [RepositoryName.parse(repository) for repository in [*REPOSITORIES, "acme/none", "none/x"]]
        wheres = company.rights.everywhere(account, parsed)
        for repository in parsed:
            level = access.level(account, wheres[repository]).level
            assert level is model.level(name, str(repository)), (name, str(repository))
            assert wheres[repository] == company.rights.where(account, repository)


@given(histories, st.sampled_from(["", "a", "acme", "acme/", "acme/app", "acme/app/", "b", "beta/z", "x", "ann"]))
@slow
def test_lists_are_those_of_the_model_in_pages_of_any_size(history: list[Step], prefix: str) -> None:
    company, model = lived(history)
    for name in everybody:
        account = company.accounts.find(name) if name else None
        expected = [each for each in model.visible(name) if each.startswith(prefix)]
        for limit in (1, 2, 3, len(expected) or 1, len(expected) + 1):
            assert paged(company, account, prefix, limit) == expected, name


@given(
    histories,
    st.lists(st.sampled_from(["acme/*", "acme/app/*", "acme/app", "acme", "ann/*", "beta/zoo", "none/*"]), max_size=3),
    st.sampled_from(["", "acme/", "acme/app", "a"]),
)
@slow
def test_a_narrowed_token_lists_what_its_owner_sees_of_its_repositories(
    history: list[Step], patterns: list[str], prefix: str
) -> None:
    company, model = lived(history)
    limits = Limits(tuple(patterns), frozenset({"pull"}))
    for name in everybody[1:]:
        found = company.accounts.find(name)
        assert found is not None
        account = replace(found, limits=limits)
        covered = [each for each in model.visible(name) if limits.cover_name(RepositoryName.parse(each))]
        expected = [each for each in covered if each.startswith(prefix)]
        for limit in (1, 2, 100):
            assert paged(company, account, prefix, limit) == expected, name


@given(histories)
@slow
def test_what_is_left_when_all_is_taken_back(history: list[Step]) -> None:
    """Nobody but administrators, and who owns a namespace, sees anything when the last grant is gone."""
    company, model = lived(history)
    for org in ORGANIZATIONS:
        found = company.organizations.get(org)
        for team in company.teams.page(found, "", 10):
            company.teams.delete(found, team.name)
        for member in company.organizations.members(found, "", 10):
            company.organizations.remove(found, member.name)
    for name in [*USERS[:3], *ROBOTS]:
        private = [each for each in company.visible(name) if not model.repositories[each]]
        assert {each.partition("/")[0] for each in private} <= {name}
        account = company.accounts.get(name)
        assert company.organizations.places(account.id) == []


# ------------------------------------------------------------------------------------------------------------------ cost


def crowded(teams: int, repositories: int) -> Company:
    """bob is in so many teams of acme, each with a grant on so many of its repositories."""
    company = Company()
    acme = company.organization("acme", "ann")
    company.members(acme, "bob")
    made = [company.repository(f"acme/r{number:03d}") for number in range(repositories)]
    for number in range(teams):
        team = company.team(acme, f"t{number}", "bob")
        company.teams.grant(acme, team, made[number % repositories], Level.READ_ONLY)
    return company


def reads(company: Company, deed: Callable[[], object]) -> int:
    before = company.table.reads
    deed()
    return company.table.reads - before


@pytest.mark.parametrize(("name", "most"), [("bob", 5), ("ann", 3), ("", 1)])
def test_a_scope_costs_five_reads_however_many_there_are(name: str, most: int) -> None:
    for size in (10, 200):
        company = crowded(size, size)

        def ask(company: Company = company) -> None:
            account = company.accounts.find(name) if name else None
            company.rights.where(account, RepositoryName.parse("acme/r001"))

        assert reads(company, ask) == most
    administrator = company.user("boss", is_admin=True).identity
    assert reads(company, lambda: company.rights.where(administrator, RepositoryName.parse("acme/r001"))) == 0
    bob = company.accounts.find("bob")
    assert reads(company, lambda: company.rights.where(bob, RepositoryName.parse("bob/app"))) == 0


def test_more_scopes_share_what_is_the_same() -> None:
    company = crowded(10, 20)
    bob = company.accounts.find("bob")
    names = [RepositoryName.parse(f"acme/r{number:03d}") for number in range(20)]
    assert reads(company, lambda: company.rights.everywhere(bob, names)) == 3 + len(names)


def test_a_page_costs_the_lists_that_it_is_read_from() -> None:
    """Not the repositories on it, nor those that are not."""
    for repositories in (10, 400):
        company = crowded(5, repositories)
        assert page_reads(company, "", 10) == 2  # the public ones, and the batch
        assert page_reads(company, "ann", 10) <= 7  # also places, their organizations, two namespaces; two batches
        assert page_reads(company, "bob", 10) == 11  # also the namespace's grants, and five teams
    acme = company.organizations.get("acme")
    company.teams.grant_namespace(acme, company.teams.get(acme, "t0"), Level.READ_ONLY)
    assert page_reads(company, "bob", 100) == 10  # fifty names are read at a time


def page_reads(company: Company, name: str, limit: int) -> int:
    account = company.accounts.find(name) if name else None
    return reads(company, lambda: company.rights.visible(account, limit=limit))


def test_a_narrowed_token_of_an_administrator_does_not_go_through_the_catalogue() -> None:
    company = crowded(1, 400)
    boss = replace(company.user("boss", is_admin=True).identity, limits=Limits(("acme/r399", "boss/*"), frozenset({"pull"})))

    def look() -> None:
        assert [str(found.name) for found in company.rights.visible(boss, limit=10)] == ["acme/r399"]

    assert reads(company, look) <= 4


# ----------------------------------------------------------------------------------------------------------- memberships


def test_how_an_account_stands_to_an_organization() -> None:
    company = Company()
    acme = company.organization("acme", "ann")
    company.members(acme, "bob")
    company.user("cat")
    robot = company.accounts.create_robot(acme, "ci")
    company.team(acme, "devs", "acme+ci")
    stands = {name: company.rights.membership(company.accounts.find(name), acme) for name in ("ann", "bob", "cat", "acme+ci")}
    assert stands == {
        "ann": Membership.OWNER,
        "bob": Membership.MEMBER,
        "cat": Membership.STRANGER,
        "acme+ci": Membership.STRANGER,
    }
    assert company.rights.membership(company.accounts.find("ann"), robot) is Membership.OWNER
    assert company.rights.membership(None, acme) is Membership.STRANGER
    assert company.rights.membership(company.accounts.find("ann"), company.accounts.get("bob")) is Membership.STRANGER


def test_the_sentence_of_a_refusal_does_not_tell_whether_there_is_a_repository() -> None:
    company = crowded(1, 1)
    company.user("cat")
    for name in ("", "cat", "bob"):
        account = company.accounts.find(name) if name else None
        for operation in Operation:
            said = {
                company.rights.decide(account, operation, RepositoryName.parse(repository)).reason
                for repository in ("acme/secret", "acme/none", "none/none", "cat2/none")
            }
            company.repositories.ensure(RepositoryName.parse("acme/secret"))
            said.add(company.rights.decide(account, operation, RepositoryName.parse("acme/secret")).reason)
            assert len(said) == 1
            company.repositories.delete(RepositoryName.parse("acme/secret"))
