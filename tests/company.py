"""The domain of accounts, teams and repositories on a table in memory, as one instance of the program sees it.

company = Company()
acme = company.organization("acme", "ann")
company.repository("acme/app")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chalicelib.registry import access
from chalicelib.registry.access import Level
from chalicelib.registry.accounts import Account, Accounts
from chalicelib.registry.configuration import Choices, Configuration
from chalicelib.registry.creations import Creations
from chalicelib.registry.events import Events
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.organizations import Organizations
from chalicelib.registry.ports import Attributes, Key, Table
from chalicelib.registry.repositories import PRIVATE, PUBLIC, Description, Repositories, Repository
from chalicelib.registry.rights import Rights
from chalicelib.registry.teams import Team, Teams
from chalicelib.registry.upkeep.remains import Remains
from tests.counts import Counts
from tests.frozen_clock import FrozenClock
from tests.memory_table import MemoryTable
from tests.plain_hasher import PlainHasher
from tests.watched_table import WatchedTable

PASSWORD = "right"


@dataclass
class Company:
    """The parts, made as wiring makes them; ``another`` shares what instances share, is watched apart and remembers nothing."""

    store: Table = field(default_factory=MemoryTable)
    clock: FrozenClock = field(default_factory=FrozenClock)

    def __post_init__(self) -> None:
        self.table = WatchedTable(self.store)
        self.accounts = Accounts(self.table, PlainHasher(), self.clock)
        self.organizations = Organizations(self.table, self.accounts)
        self.teams = Teams(self.table, self.accounts, self.clock)
        self.repositories = Repositories(self.table, self.clock)
        self.configuration = Configuration(self.table, self.clock, Choices(create_repository_on_push=True))
        self.events = Events(self.table, self.clock, self.configuration)
        self.rights = Rights(self.table, self.organizations)
        self.creations = Creations(self.repositories, self.rights, self.configuration, self.events)

    def another(self) -> Company:
        return Company(self.store, self.clock)

    def clear(self) -> dict[str, int]:
        """Clear away what deleted repositories left; how much of what."""
        counts = Counts()
        Remains(self.table, self.clock).clear(counts)
        return counts.counted

    def user(self, name: str, *, is_admin: bool = False) -> Account:
        return self.accounts.create_user(name, PASSWORD, is_admin=is_admin)

    def organization(self, name: str, *owners: str) -> Account:
        """An organization, and users made for it as its admins."""
        org = self.accounts.create_organization(name)
        for owner in owners:
            self.user(owner)
            self.organizations.add(org, owner, is_admin=True)
        return org

    def members(self, org: Account, *names: str) -> None:
        """Users made for an organization as members."""
        for name in names:
            self.user(name)
            self.organizations.add(org, name)

    def team(self, org: Account, name: str, *members: str) -> Team:
        team = self.teams.create(org, name)
        for member in members:
            self.teams.add(org, team, member)
        return team

    def repository(self, name: str, *, public: bool = False) -> Repository:
        visibility = PUBLIC if public else PRIVATE
        return self.repositories.create(RepositoryName.parse(name), Description(visibility=visibility))

    def level(self, name: str, repository: str) -> Level:
        """How far the account of that name gets in a repository now; "" is anonymous."""
        account = self.accounts.find(name) if name else None
        return access.level(account, self.rights.where(account, RepositoryName.parse(repository))).level

    def visible(self, name: str) -> list[str]:
        account = self.accounts.find(name) if name else None
        return [str(found.name) for found in self.rights.visible(account, limit=1000)]

    def stored(self) -> Mapping[Key, Attributes]:
        """All that the table holds."""
        return {item.key: item.attributes for item in self.store.walk(limit=100_000).items}


def watched(company: Company) -> WatchedTable:
    return company.table


def small() -> Company:
    """An organization, acme, whose team devs, that is bob, reads and writes acme/app."""
    company = Company()
    acme = company.organization("acme", "ann")
    company.members(acme, "bob")
    team = company.team(acme, "devs", "bob")
    company.teams.grant(acme, team, company.repository("acme/app"), Level.READ_WRITE)
    return company
