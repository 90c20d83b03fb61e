"""Organizations: their members, and who of those are its admins; drawn in records.py.

Everything hangs on ids: an account that gets the name of a deleted one gets none of its places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib.registry.access import Membership
from chalicelib.registry.accounts import Account, Accounts, Kind
from chalicelib.registry.attempts import retried, settled
from chalicelib.registry.errors import AccountInUse, AccountUnknown, MemberUnknown
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.ports import Attributes, Check, Delete, Put, Table, Write
from chalicelib.registry.records import (
    CATALOG_PARTITION,
    account_key,
    flag,
    last_segment,
    member_key,
    organization,
    place_key,
    places,
    repository_key,
    team_member_key,
    text,
    token_key,
    tokens_key,
    unchanged,
)

AT_ONCE = 20
"""Places that are given up in one transaction."""


@dataclass(frozen=True, slots=True)
class Member:
    """A user in an organization; ``is_public`` is whether the user wants to be seen there by strangers."""

    name: str
    is_admin: bool = False
    is_public: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """What a user or a robot is in: an organization (as its admin or not), or a team of it."""

    organization: str
    organization_id: str
    is_admin: bool = False
    team: str = ""
    team_id: str = ""


class Organizations:
    """Who belongs to which organization."""

    def __init__(self, table: Table, accounts: Accounts) -> None:
        self._table = table
        self._accounts = accounts

    def get(self, name: str) -> Account:
        """The organization of that name. Raises AccountUnknown, also for an account of another kind."""
        account = self._accounts.get(name)
        if account.kind is not Kind.ORGANIZATION:
            raise AccountUnknown(name)
        return account

    def members(self, org: Account, after: str, limit: int) -> Sequence[Member]:
        """Up to ``limit`` members beyond the name ``after``, in order of name."""
        start = f"member/{after}" if after else ""
        items = self._table.query(organization(org.id), prefix="member/", after=start, limit=limit)
        return [_member(last_segment(item.key.sort), item.attributes) for item in items]

    def member(self, org: Account, name: str) -> Member:
        """Raises MemberUnknown."""
        attributes = self._table.get(member_key(org.id, name))
        if attributes is None:
            raise MemberUnknown(name)
        return _member(name, attributes)

    def add(self, org: Account, name: str, *, is_admin: bool | None = None, is_public: bool | None = None) -> Member:
        """Make a user a member, or change what the member may; None leaves that as it is.

        Raises AccountUnknown for a name that is no user's, or an organization that is gone; Busy."""

        def write() -> Member:
            user = self._user(name)
            found = self._table.get(member_key(org.id, user.name))
            old = _member(user.name, found or {})
            new = Member(
                user.name,
                old.is_admin if is_admin is None else is_admin,
                old.is_public if is_public is None else is_public,
            )
            place: Attributes = {"organization": org.name, "is_admin": new.is_admin}
            listed: Attributes = {"id": user.id, "is_admin": new.is_admin, "is_public": new.is_public}
            self._table.transact(
                [
                    Put(member_key(org.id, user.name), listed),
                    Put(place_key(user.id, org.id), place),
                    Check(account_key(org.name), unchanged(None)),
                    Check(account_key(user.name), unchanged(None)),
                ]
            )
            return new

        return retried(write)

    def _user(self, name: str) -> Account:
        user = self._accounts.get(name)
        if user.kind is not Kind.USER:
            raise AccountUnknown(name)
        return user

    def remove(self, org: Account, name: str) -> None:
        """Take a member out of the organization and of all its teams; nothing happens if there is none. Raises Busy."""

        attributes = self._table.get(member_key(org.id, name))
        user = None if attributes else self._accounts.read(name)
        identity = text(attributes, "id") if attributes else user.id if user else ""
        # First the membership, which whoever adds to a team makes sure of; the rest is done when this is run again.
        settled(lambda: self._table.write(Delete(member_key(org.id, name))))
        if identity:
            self._leave(identity, name, prefix=f"in/{org.id}")

    def places(self, account_id: str, org_id: str = "") -> Sequence[Place]:
        """Where a user or a robot is in: its organizations and teams, or those of one organization. One query."""
        items = self._table.query(places(account_id), prefix=f"in/{org_id}")
        return [_place(item.key.sort, item.attributes) for item in items]

    def membership(self, account_id: str, org_id: str) -> Membership:
        """How an account stands to an organization. One read."""
        attributes = self._table.get(place_key(account_id, org_id))
        if attributes is None:
            return Membership.STRANGER
        return Membership.OWNER if flag(attributes, "is_admin") else Membership.MEMBER

    def robots(self, org: Account, after: str, limit: int) -> Sequence[Account]:
        """Up to ``limit`` robots beyond the name ``after``, in order of name; fewer only at the end."""
        page: list[Account] = []
        start = f"robot/{after}" if after else ""
        while len(page) < limit and (
            items := self._table.query(organization(org.id), prefix="robot/", after=start, limit=limit)
        ):
            start = items[-1].key.sort
            robots = self._accounts.several([last_segment(item.key.sort) for item in items])
            page += [robot for robot in robots if robot.organization == org.id and not robot.is_deleting]
        return page[:limit]

    # ------------------------------------------------------------------------------------------------ deleting accounts

    def delete_account(self, name: str, version: int | None = None) -> None:
        """Delete a user, a robot or an organization, with robots, teams and memberships. It is locked at once; after
        an interruption this may be done again.

        Raises AccountUnknown, AccountInUse while its namespace holds repositories, VersionMismatch, LastAdmin, Busy.
        """
        account = self._accounts.begin_deletion(name, version)
        if self._holds_repositories(account):
            self._accounts.keep(account)
            raise AccountInUse(account.name)
        if account.kind is Kind.ORGANIZATION:
            self._empty(account)
        self._leave(account.id, account.name, prefix="in/")
        self._drop_tokens(account.id)
        self._accounts.end_deletion(account)

    def _holds_repositories(self, account: Account) -> bool:
        if account.kind is Kind.ROBOT:
            return False
        if self._table.get(repository_key(RepositoryName(account.name))) is not None:
            return True
        return bool(self._table.query(CATALOG_PARTITION, prefix=f"{account.name}/", limit=1))

    def _empty(self, org: Account) -> None:
        partition = organization(org.id)
        for item in self._table.query(partition, prefix="robot/"):
            try:
                self.delete_account(last_segment(item.key.sort))
            except AccountUnknown:
                retried(lambda key=item.key: self._table.write(Delete(key)))  # type: ignore[misc]
        for item in self._table.query(partition, prefix="member/"):
            self.remove(org, last_segment(item.key.sort))
        for prefix in ("grant/", "team/"):
            for item in self._table.query(partition, prefix=prefix):
                retried(lambda key=item.key: self._table.write(Delete(key)))  # type: ignore[misc]

    def _leave(self, account_id: str, name: str, prefix: str) -> None:
        """Give up an account's places in whatever begins so."""
        items = self._table.query(places(account_id), prefix=prefix)
        for start in range(0, len(items), AT_ONCE):
            writes: list[Write] = []
            for item in items[start : start + AT_ONCE]:
                place = _place(item.key.sort, item.attributes)
                listed = team_member_key(place.team_id, name) if place.team_id else member_key(place.organization_id, name)
                writes += [Delete(item.key), Delete(listed)]
            retried(lambda writes=writes: self._table.transact(writes))  # type: ignore[misc]

    def _drop_tokens(self, account_id: str) -> None:
        """Take an account's access tokens away. They are no good any more as it is: they hang on the account's id."""
        items = self._table.query(places(account_id), prefix="token/")
        for start in range(0, len(items), AT_ONCE):
            writes: list[Write] = []
            for item in items[start : start + AT_ONCE]:
                writes += [Delete(item.key), Delete(token_key(text(item.attributes, "hash")))]
            retried(lambda writes=writes: self._table.transact(writes))  # type: ignore[misc]
        retried(lambda: self._table.write(Delete(tokens_key(account_id))))


def _member(name: str, attributes: Attributes) -> Member:
    return Member(name, flag(attributes, "is_admin"), flag(attributes, "is_public"))


def _place(sort: str, attributes: Attributes) -> Place:
    _, org_id, *team = sort.split("/")
    return Place(
        text(attributes, "organization"),
        org_id,
        flag(attributes, "is_admin"),
        text(attributes, "team") if team else "",
        team[0] if team else "",
    )
