"""What a token and a page of repositories cost in a large registry: calls of the table, counted, with what they read.

    python -m tests.bench.access [--repositories 10000] [--teams 1000] [--grants 100000]

The table is SQLite, filled directly; each call would be one of DynamoDB's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from chalicelib.local.sqlite_table import SqliteTable
from chalicelib.local.system_clock import SystemClock
from chalicelib.registry.access import PULL, PUSH, Level
from chalicelib.registry.accounts import Accounts, Kind
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.organizations import Organizations
from chalicelib.registry.ports import MAX_TRANSACTION, Attributes, Item, Key, Put
from chalicelib.registry.records import (
    catalog_key,
    member_key,
    place_key,
    repository_grant_key,
    repository_key,
    team_key,
    team_member_key,
    team_repository_key,
)
from chalicelib.registry.rights import Rights
from chalicelib.registry.tokens import Asked, decide
from tests.plain_hasher import PlainHasher

T = TypeVar("T")

ORGANIZATION, MEMBER = "acme", "member"
TEAMS_OF_MEMBER = 10
PAGE = 50


@dataclass(frozen=True, slots=True)
class Size:
    """Of the registry: repositories and teams of one organization, and grants of teams on single repositories."""

    repositories: int = 10_000
    teams: int = 1_000
    grants: int = 100_000


@dataclass(frozen=True, slots=True)
class Cost:
    """What one question took: calls of the table, and items read by them."""

    question: str
    calls: int
    items: int


class CountedTable(SqliteTable):
    """Counts calls that read, and the items they bring."""

    calls = items = 0

    def get(self, key: Key) -> Attributes | None:
        return self._counted(super().get(key), 1)

    def batch_get(self, keys: Sequence[Key]) -> Mapping[Key, Attributes]:
        return self._counted(super().batch_get(keys), len(keys))

    def query(
        self, partition: str, *, prefix: str = "", after: str = "", limit: int | None = None, backward: bool = False
    ) -> Sequence[Item]:
        found = super().query(partition, prefix=prefix, after=after, limit=limit, backward=backward)
        return self._counted(found, len(found))

    def _counted(self, found: T, items: int) -> T:
        self.calls += 1
        self.items += items
        return found


def costs(folder: Path, size: Size) -> Sequence[Cost]:
    """Fill a table and ask."""
    table = CountedTable(folder / "large.sqlite")
    accounts = Accounts(table, PlainHasher(), SystemClock())
    accounts.create_user(MEMBER, "a password")
    organization = accounts.create_organization(ORGANIZATION)
    member = accounts.get(MEMBER).id
    _written(table, _items(size, organization.id, member))
    rights = Rights(table, Organizations(table, accounts))

    def asked(count: int) -> None:
        account = accounts.proven(accounts.read(MEMBER), "a password")
        assert account is not None
        assert account.kind is Kind.USER
        names = {_name(number): frozenset({PULL, PUSH}) for number in range(count)}
        decision = decide(account.identity, Asked(names), rights)
        assert len(decision.granted) == count

    def listed(after: str) -> None:
        found = rights.visible(accounts.find(MEMBER), after=after, limit=PAGE)
        assert len(found) == PAGE

    half = str(_name(size.repositories // 2))
    questions: Mapping[str, Callable[[], None]] = {
        "token, 1 scope": lambda: asked(1),
        "token, 10 scopes": lambda: asked(10),
        f"first page of {PAGE} visible": lambda: listed(""),
        f"page of {PAGE} visible, in the middle": lambda: listed(half),
    }
    return [_cost(table, question, ask) for question, ask in questions.items()]


def _cost(table: CountedTable, question: str, ask: Callable[[], None]) -> Cost:
    table.calls = table.items = 0
    ask()
    return Cost(question, table.calls, table.items)


def _name(number: int) -> RepositoryName:
    return RepositoryName(f"{ORGANIZATION}/app-{number:06d}")


def _items(size: Size, organization: str, member: str) -> Iterator[tuple[Key, Attributes]]:
    """The member is in teams that together were granted something on all repositories."""
    yield member_key(organization, MEMBER), {"id": member}
    yield place_key(member, organization), {"organization": ORGANIZATION}
    for team in range(size.teams):
        identity = f"t{team:06d}"
        yield team_key(organization, identity), {"id": identity, "created_at": 0, "version": 1}
        if team < TEAMS_OF_MEMBER:
            yield team_member_key(identity, MEMBER), {"id": member}
            yield place_key(member, organization, identity), {"organization": ORGANIZATION, "team": identity}
    for number in range(size.repositories):
        name, identity = _name(number), f"r{number:06d}"
        yield repository_key(name), {"id": identity, "visibility": "private", "created_at": 0, "version": 1}
        yield catalog_key(name), {}
    for grant in range(size.grants):
        number, turn = grant % size.repositories, grant // size.repositories
        # the first round of grants goes to the member's teams in turns, the others to teams all over
        team = number % TEAMS_OF_MEMBER if not turn else (number * 7 + turn * 101) % size.teams
        identity, level = f"t{team:06d}", Level.READ_WRITE.word
        yield repository_grant_key(f"r{number:06d}", identity), {"level": level, "team": identity}
        yield team_repository_key(identity, _name(number)), {"level": level, "id": f"r{number:06d}"}


def _written(table: SqliteTable, items: Iterable[tuple[Key, Attributes]]) -> None:
    waiting = iter(dict(items).items())  # a grant may come twice
    while batch := list(islice(waiting, MAX_TRANSACTION)):
        table.transact([Put(key, attributes) for key, attributes in batch])


def report(found: Sequence[Cost], size: Size) -> str:
    """The figures as lines of a table."""
    told = f"{size.repositories} repositories, {size.teams} teams, {size.grants} grants; a member of {TEAMS_OF_MEMBER} teams"
    lines = [f"{cost.question:38}{cost.calls:8}{cost.items:8}" for cost in found]
    return "\n".join([told, f"{'':38}{'calls':>8}{'items':>8}", *lines])


def measured(size: Size) -> Sequence[Cost]:
    """The same in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        return costs(Path(folder), size)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.access", description=__doc__)
    for name, default in (("repositories", 10_000), ("teams", 1_000), ("grants", 100_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args(arguments)
    size = Size(options.repositories, options.teams, options.grants)
    print(report(measured(size), size))
    return 0


if __name__ == "__main__":
    sys.exit(main())
