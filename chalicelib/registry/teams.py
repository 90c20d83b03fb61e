"""Teams of an organization: who is in them, and what they were granted; drawn in records.py.

A grant is an item of what it is on, a repository or a namespace, and names the team by id; so a repository that gets the
name of a deleted one, or a team that does, comes with no rights.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from chalicelib.registry.access import GRANTABLE, Level
from chalicelib.registry.accounts import Account, Accounts, Kind
from chalicelib.registry.attempts import retried, settled
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
from chalicelib.registry.names import RepositoryName, parse_login, parse_team_name
from chalicelib.registry.pages import filled
from chalicelib.registry.ports import (
    Absent,
    All,
    Attributes,
    Check,
    Clock,
    ConditionFailed,
    Delete,
    Either,
    Equals,
    Item,
    Key,
    Lacks,
    Put,
    Table,
    Update,
    Write,
)
from chalicelib.registry.records import (
    DELETING,
    VERSION,
    account_key,
    contents,
    flag,
    last_segment,
    member_key,
    namespace_grant_key,
    number,
    organization,
    place_key,
    repository_grant_key,
    repository_key,
    team_contents,
    team_key,
    team_member_key,
    team_repository_key,
    text,
    text_or,
    unchanged,
    version_of,
)
from chalicelib.registry.repositories import Repository
from chalicelib.registry.times import seconds

AT_ONCE = 40


@dataclass(frozen=True, slots=True)
class Team:
    """One team of an organization; ``created_at`` in seconds since the epoch."""

    id: str
    name: str
    description: str
    created_at: int
    version: int
    is_deleting: bool = False


@dataclass(frozen=True, slots=True)
class Granted:
    """What a team may do with a repository; on a whole namespace ``repository`` is empty."""

    team: str
    level: Level
    repository: str = ""


class Teams:
    """The teams of all organizations."""

    def __init__(self, table: Table, accounts: Accounts, clock: Clock) -> None:
        self._table = table
        self._accounts = accounts
        self._clock = clock

    # --------------------------------------------------------------------------------------------------------- teams

    def create(self, org: Account, name: str, description: str = "") -> Team:
        """Raises AccountNameInvalid, TeamExists, AccountUnknown for an organization that is gone, Busy."""
        parsed = parse_team_name(name)
        record: Attributes = {
            "id": secrets.token_hex(12),
            "description": description,
            "created_at": seconds(self._clock),
            VERSION: 1,
        }
        writes: list[Write] = [Put(team_key(org.id, parsed), record, Absent()), Check(account_key(org.name), org.alive)]
        try:
            settled(lambda: self._table.transact(writes))
        except ConditionFailed as failed:
            if 0 not in failed.failed:
                raise AccountUnknown(org.name) from None
            stored = self._table.get(team_key(org.id, parsed)) or {}
            if stored.get("id") != record["id"]:  # else it was made, and only the answer was lost
                raise TeamExists(parsed) from None
        return _team(parsed, record)

    def get(self, org: Account, name: str) -> Team:
        """Raises TeamUnknown, also while it is being deleted."""
        team = self._find(org, name)
        if team is None or team.is_deleting:
            raise TeamUnknown(name)
        return team

    def exists(self, org: Account, name: str) -> bool:
        """Is there such a team, even one that is being deleted?"""
        return self._find(org, name) is not None

    def _find(self, org: Account, name: str) -> Team | None:
        try:
            parsed = parse_team_name(name)
        except AccountNameInvalid:
            return None
        attributes = self._table.get(team_key(org.id, parsed))
        return None if attributes is None else _team(parsed, attributes)

    def page(self, org: Account, after: str, limit: int) -> Sequence[Team]:
        """Up to ``limit`` teams beyond the name ``after``, in order of name; fewer only at the end."""

        def shown(items: Sequence[Item]) -> Iterable[Team]:
            teams = (_team(last_segment(item.key.sort), item.attributes) for item in items)
            return (team for team in teams if not team.is_deleting)

        return filled(self._table, organization(org.id), shown, prefix="team/", after=after, limit=limit)

    def describe(self, org: Account, name: str, description: str, version: int | None = None) -> Team:
        """Raises TeamUnknown, VersionMismatch, Busy."""

        def write() -> Team:
            team = self.get(org, name)
            if version not in {None, team.version}:
                raise VersionMismatch
            condition = All((_is_team(team), unchanged(team.version)))
            key = team_key(org.id, team.name)
            self._table.write(Update(key, {"description": description}, {VERSION: 1}, condition=condition))
            return self.get(org, name)

        return retried(write)

    def delete(self, org: Account, name: str, version: int | None = None) -> None:
        """Take a team away: first what it was granted, then its members, then itself; nothing happens if there is none. Who is
        interrupted may do so again. Raises VersionMismatch, Busy."""

        def mark() -> Team | None:
            team = self._find(org, name)
            if team is None or team.is_deleting:
                return team
            if version not in {None, team.version}:
                raise VersionMismatch
            condition = All((_is_team(team), unchanged(team.version)))
            self._table.write(Update(team_key(org.id, team.name), {DELETING: True}, {VERSION: 1}, condition=condition))
            return team

        team = retried(mark)
        if team is None:
            return
        self._clear(org, team)
        with suppress(ConditionFailed):  # somebody else has come to the end, and there may be another team of the name
            settled(lambda: self._table.write(Delete(team_key(org.id, team.name), Equals("id", team.id))))

    def _clear(self, org: Account, team: Team) -> None:
        keys = [namespace_grant_key(org.id, team.id)]
        for item in self._table.query(team_contents(team.id), prefix="repository/"):
            keys += [repository_grant_key(text(item.attributes, "id"), team.id), item.key]
        for item in self._table.query(team_contents(team.id), prefix="member/"):
            keys += [place_key(text(item.attributes, "id"), org.id, team.id), item.key]
        for start in range(0, len(keys), AT_ONCE):
            batch: list[Write] = [Delete(key) for key in keys[start : start + AT_ONCE]]
            settled(partial(self._table.transact, batch))

    # ------------------------------------------------------------------------------------------------------- members

    def members(self, team: Team, after: str, limit: int) -> Sequence[str]:
        """Up to ``limit`` names beyond ``after``: of users, and of robots as ``acme+ci``."""
        start = f"member/{after}" if after else ""
        items = self._table.query(team_contents(team.id), prefix="member/", after=start, limit=limit)
        return [last_segment(item.key.sort) for item in items]

    def is_member(self, team: Team, name: str) -> bool:
        try:
            return self._table.get(team_member_key(team.id, parse_login(name))) is not None
        except AccountNameInvalid:
            return False

    def add(self, org: Account, team: Team, name: str) -> str:
        """Put a member of the organization, or a robot of it, into a team; the name as it is kept.

        Raises AccountUnknown, MemberUnknown for a user who is no member, TeamUnknown, Busy."""
        account = self._accounts.get(name)
        belongs = [Check(account_key(account.name), account.alive)]
        if account.kind is Kind.USER:
            belongs.append(Check(member_key(org.id, account.name), Equals("id", account.id)))
        elif account.kind is not Kind.ROBOT or account.organization != org.id:
            raise MemberUnknown(name)
        writes: list[Write] = [
            Check(team_key(org.id, team.name), _is_team(team)),
            Put(team_member_key(team.id, account.name), {"id": account.id}),
            Put(place_key(account.id, org.id, team.id), {"organization": org.name, "team": team.name}),
            *belongs,
        ]
        try:
            settled(lambda: self._table.transact(writes))
        except ConditionFailed as failed:
            raise (TeamUnknown(team.name) if 0 in failed.failed else MemberUnknown(name)) from None
        return account.name

    def remove(self, org: Account, team: Team, name: str) -> None:
        """Nothing happens if there is no such member. Raises Busy."""
        try:
            key = team_member_key(team.id, parse_login(name))
        except AccountNameInvalid:
            return

        def write() -> None:
            found = self._table.get(key)
            if found is not None:
                identity = text(found, "id")
                gone = [Delete(key, Equals("id", identity)), Delete(place_key(identity, org.id, team.id))]
                self._table.transact(gone)

        retried(write)

    # -------------------------------------------------------------------------------------------------------- grants

    def grant(self, org: Account, team: Team, repository: Repository, level: Level) -> Granted:
        """Let a team do so much with a repository of its organization's namespace. Raises TeamUnknown, NameUnknown,
        RequestInvalid for another namespace's repository, Busy."""
        name = repository.name
        if name.namespace != org.name:
            raise RequestInvalid("a team is granted access to repositories of its own organization only")
        writes: list[Write] = [
            Check(team_key(org.id, team.name), _is_team(team)),
            Check(repository_key(name), Equals("id", repository.id)),
            Put(repository_grant_key(repository.id, team.id), {"level": level.word, "team": team.name}),
            Put(team_repository_key(team.id, name), {"level": level.word, "id": repository.id}),
        ]
        try:
            settled(lambda: self._table.transact(writes))
        except ConditionFailed as failed:
            raise (TeamUnknown(team.name) if 0 in failed.failed else NameUnknown(str(name))) from None
        return Granted(team.name, level, str(name))

    def withdraw(self, team: Team, repository: Repository) -> None:
        """Take back what a team was granted on a repository; nothing happens if that is nothing. Raises Busy."""
        grant = Delete(repository_grant_key(repository.id, team.id))
        this_or_none = Either((Equals("id", repository.id), Lacks("id")))
        try:
            listed = Delete(team_repository_key(team.id, repository.name), this_or_none)
            settled(lambda: self._table.transact([grant, listed]))
        except ConditionFailed:  # a later repository of the name is listed, and stays
            settled(lambda: self._table.write(grant))

    def grant_namespace(self, org: Account, team: Team, level: Level) -> Granted:
        """Let a team do so much with every repository of its organization. Raises TeamUnknown, Busy."""
        writes: list[Write] = [
            Check(team_key(org.id, team.name), _is_team(team)),
            Put(namespace_grant_key(org.id, team.id), {"level": level.word, "team": team.name}),
        ]
        try:
            settled(lambda: self._table.transact(writes))
        except ConditionFailed:
            raise TeamUnknown(team.name) from None
        return Granted(team.name, level)

    def withdraw_namespace(self, org: Account, team: Team) -> None:
        settled(lambda: self._table.write(Delete(namespace_grant_key(org.id, team.id))))

    def on_repository(self, repository: Repository) -> Sequence[Granted]:
        """What teams were granted on a repository, by team name. One query."""
        return self._granted(contents(repository.id), str(repository.name))

    def on_namespace(self, org: Account) -> Sequence[Granted]:
        """What teams were granted on a whole namespace, by team name. One query."""
        return self._granted(organization(org.id), "")

    def _granted(self, partition: str, name: str) -> Sequence[Granted]:
        items = self._table.query(partition, prefix="grant/")
        granted = [Granted(text(item.attributes, "team"), _level(item.attributes), name) for item in items]
        return sorted(granted, key=lambda entry: entry.team)

    def repositories(self, team: Team, after: str, limit: int) -> Sequence[Granted]:
        """Up to ``limit`` repositories beyond the name ``after`` that a team was granted something on; fewer only at the
        end."""
        return filled(
            self._table,
            team_contents(team.id),
            partial(self._still_there, team),
            prefix="repository/",
            after=after,
            limit=limit,
        )

    def _still_there(self, team: Team, items: Sequence[Item]) -> Sequence[Granted]:
        names = [item.key.sort.removeprefix("repository/") for item in items]
        found = self._table.batch_get([repository_key(RepositoryName(name)) for name in names])
        return [
            Granted(team.name, _level(item.attributes), name)
            for item, name in zip(items, names, strict=True)
            if _has_id(found, repository_key(RepositoryName(name)), text(item.attributes, "id"))
        ]


def _has_id(found: Mapping[Key, Attributes], key: Key, identifier: str) -> bool:
    return key in found and found[key].get("id") == identifier


def _level(attributes: Attributes) -> Level:
    return GRANTABLE[text(attributes, "level")]


def _is_team(team: Team) -> All:
    return All((Equals("id", team.id), unchanged(None)))


def _team(name: str, attributes: Attributes) -> Team:
    return Team(
        text(attributes, "id"),
        name,
        text_or(attributes, "description", ""),
        number(attributes, "created_at"),
        version_of(attributes),
        flag(attributes, DELETING),
    )
