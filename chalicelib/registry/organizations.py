"""Organizations: their members, and who of those are its admins; drawn in records.py.

Everything hangs on ids: an account that gets the name of a deleted one gets none of its places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from chalicelib.registry.access import Membership
from chalicelib.registry.accounts import Account, Accounts, Kind
from chalicelib.registry.attempts import retried
from chalicelib.registry.errors import AccountInUse, AccountNameInvalid, AccountUnknown, MemberUnknown
from chalicelib.registry.names import RepositoryName, parse_login
from chalicelib.registry.pages import filled
from chalicelib.registry.ports import (
    Absent,
    All,
    Attributes,
    Check,
    Condition,
    ConditionFailed,
    Delete,
    Either,
    Equals,
    Item,
    Key,
    Lacks,
    Put,
    Table,
    Write,
)
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
    team_contents,
    team_member_key,
    text,
    token_key,
    tokens_key,
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
        folded = _folded(name)
        attributes = self._table.get(member_key(org.id, folded)) if folded else None
        if attributes is None:
            raise MemberUnknown(name)
        return _member(folded, attributes)

    def add(self, org: Account, name: str, *, is_admin: bool | None = None, is_public: bool | None = None) -> Member:
        """Make a user a member, or change what the member may; None leaves that as it is.

        Raises AccountUnknown for a name that is no user's, or an organization that is gone; Busy."""

        def write() -> Member:
            user = self._user(name)
            key = member_key(org.id, user.name)
            found = self._table.get(key)
            old = _member(user.name, found if found and found.get("id") == user.id else {})
            new = Member(
                user.name,
                old.is_admin if is_admin is None else is_admin,
                old.is_public if is_public is None else is_public,
            )
            place: Attributes = {"organization": org.name, "is_admin": new.is_admin}
            listed: Attributes = {"id": user.id, "is_admin": new.is_admin, "is_public": new.is_public}
            writes: list[Write] = [
                Check(account_key(org.name), org.alive),
                Check(account_key(user.name), user.alive),
                Put(key, listed, _as_read(found)),  # two who change different things at once must not undo each other
                Put(place_key(user.id, org.id), place),
            ]
            try:
                self._table.transact(writes)
            except ConditionFailed as failed:
                if 0 in failed.failed:
                    raise AccountUnknown(org.name) from None
                raise
            return new

        return retried(write)

    def _user(self, name: str) -> Account:
        user = self._accounts.get(name)
        if user.kind is not Kind.USER:
            raise AccountUnknown(name)
        return user

    def remove(self, org: Account, name: str) -> None:
        """Take a member out of the organization and of all its teams; nothing happens if there is none. Raises Busy."""
        folded = _folded(name)
        if not folded:
            return
        key = member_key(org.id, folded)
        attributes = self._table.get(key)
        user = None if attributes else self._accounts.read(folded)
        identity = text(attributes, "id") if attributes else user.id if user else ""
        if not identity:
            return
        # First the membership, which whoever adds to a team makes sure of; the rest is done when this is run again.
        self._give_up([Delete(key, _if(identity)), Delete(place_key(identity, org.id))])
        self._leave(identity, folded, prefix=f"in/{org.id}/")

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

        def shown(items: Sequence[Item]) -> Iterable[Account]:
            robots = self._accounts.several([last_segment(item.key.sort) for item in items])
            return (robot for robot in robots if robot.organization == org.id and not robot.is_deleting)

        return filled(self._table, organization(org.id), shown, prefix="robot/", after=after, limit=limit)

    # ------------------------------------------------------------------------------------------------ deleting accounts

    def delete_account(self, name: str, version: int | None = None) -> None:
        """Delete a user, a robot or an organization, with robots, teams and memberships. It is locked at once; after
        an interruption this may be done again.

        Raises AccountUnknown, AccountInUse while its namespace holds repositories, VersionMismatch, LastAdmin, Busy.
        """
        account = self._accounts.read(name)
        if account is not None and not account.is_deleting and self._holds_repositories(account):
            raise AccountInUse(account.name)  # without locking it for a moment
        account = self._begin_deletion(name, version)
        if account.kind is Kind.ORGANIZATION:
            self._empty(account)
        self._leave(account.id, account.name, prefix="in/")
        self._drop_tokens(account.id)
        self._accounts.end_deletion(account)

    def _begin_deletion(self, name: str, version: int | None) -> Account:
        """Lock the account, and look once more whether it has repositories: none is made in its namespace from now on."""
        account = self._accounts.begin_deletion(name, version)
        if self._holds_repositories(account):
            self._accounts.keep(account)
            raise AccountInUse(account.name)
        try:
            self._accounts.go_on_with_deletion(account)
        except ConditionFailed:
            # Somebody else who deleted it found a repository and took that back, or has come to the end.
            raise (AccountInUse if self._accounts.read(name) else AccountUnknown)(account.name) from None
        return account

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
                retried(partial(self._table.write, Delete(item.key)))
        for item in self._table.query(partition, prefix="member/"):
            self.remove(org, last_segment(item.key.sort))
        # First the teams, so that none is granted anything any more; what is in a team before the team, which leads to it.
        for item in self._table.query(partition, prefix="team/"):
            self._delete([each.key for each in self._table.query(team_contents(text(item.attributes, "id")))])
            self._delete([item.key])
        self._delete([item.key for item in self._table.query(partition, prefix="grant/")])

    def _delete(self, keys: Sequence[Key]) -> None:
        for start in range(0, len(keys), AT_ONCE):
            self._give_up([Delete(key) for key in keys[start : start + AT_ONCE]])

    def _leave(self, account_id: str, name: str, prefix: str) -> None:
        """Give up an account's places in whatever begins so."""
        items = self._table.query(places(account_id), prefix=prefix)
        for start in range(0, len(items), AT_ONCE):
            self._give_up([write for item in items[start : start + AT_ONCE] for write in _left(item, account_id, name)])

    def _drop_tokens(self, account_id: str) -> None:
        """Take an account's access tokens away. They are no good any more as it is: they hang on the account's id."""
        items = self._table.query(places(account_id), prefix="token/")
        self._delete([key for item in items for key in (item.key, token_key(text(item.attributes, "hash")))])
        self._delete([tokens_key(account_id)])

    def _give_up(self, writes: Sequence[Delete]) -> None:
        """Delete in one transaction what is still as its condition says."""

        gone: list[Delete] = []

        def write() -> None:
            left = [write for write in writes if write not in gone]
            try:
                self._table.transact(left)
            except ConditionFailed as failed:
                gone.extend(left[index] for index in failed.failed)
                raise

        retried(write)


def _folded(name: str) -> str:
    """The name as it is listed; "" if nobody can have it."""
    try:
        return parse_login(name)
    except AccountNameInvalid:
        return ""


def _as_read(found: Attributes | None) -> Condition:
    """Holds if a member is listed as it was when it was read."""
    if found is None:
        return Absent()
    flags = tuple(Equals(name, flag(found, name)) for name in ("is_admin", "is_public"))
    return All((Equals("id", text(found, "id")), *flags))


def _if(account_id: str) -> Condition:
    """Holds if it is this account that is listed, or none: another one of its name stays."""
    return Either((Equals("id", account_id), Lacks("id")))


def _left(item: Item, account_id: str, name: str) -> Sequence[Delete]:
    """What takes a place away, and the account from the list of those who have one there."""
    place = _place(item.key.sort, item.attributes)
    listed = team_member_key(place.team_id, name) if place.team_id else member_key(place.organization_id, name)
    return [Delete(item.key), Delete(listed, _if(account_id))]


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
