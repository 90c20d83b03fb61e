"""What a decision of ``access.py`` is made from, looked up: at most five reads for a repository, none for administrators
and in one's own namespace.

For one scope of a token, after the account itself: the repository and its namespace's account (one batch), the account's
places in that organization (one query), and only if it has any, the grants on the namespace and on the repository (a query
each). More scopes share the batch, and one namespace's queries.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, takewhile

from chalicelib.registry import access
from chalicelib.registry.access import GRANTABLE, Membership, Operation, TeamGrant, Verdict, Where
from chalicelib.registry.accounts import Account, Kind
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.organizations import Organizations, Place
from chalicelib.registry.ports import Attributes, Item, Table
from chalicelib.registry.records import (
    CATALOG_PARTITION,
    PUBLIC_PARTITION,
    account_key,
    contents,
    last_segment,
    organization,
    repository_key,
    team_contents,
    text,
    text_or,
)
from chalicelib.registry.repositories import PUBLIC, Repository, repository_of

_AHEAD = 50
"""Names that are read of one list at a time."""


@dataclass(frozen=True, slots=True)
class _Namespace:
    """How an account stands to a namespace: in which of its teams by id, and what those were granted on all of it."""

    owns: bool = False
    teams: frozenset[str] = frozenset()
    grants: tuple[TeamGrant, ...] = ()


@dataclass(frozen=True, slots=True)
class _Entry:
    """A repository's name in a list, and what that says of how the account stands to it; ``repository`` is the id for which it
    holds, "" for whichever has the name."""

    name: str
    owns: bool = False
    grants: tuple[TeamGrant, ...] = ()
    repository: str = ""


@dataclass(frozen=True, slots=True)
class _Search:
    """Names that begin with ``prefix``; or the one that it is."""

    prefix: str
    is_exact: bool = False


@dataclass(frozen=True, slots=True)
class _Names:
    """A list of repositories' names: those of a partition, or of one namespace in it. What is known of how the account
    stands to each is the same for all."""

    partition: str
    namespace: str = ""
    owns: bool = False
    grants: tuple[TeamGrant, ...] = ()

    def entries(self, table: Table, search: str, after: str) -> Iterator[_Entry]:
        """Those that begin with ``search`` and lie beyond ``after``, in order, read as they are asked for."""
        within = f"{self.namespace}/" if self.namespace else ""
        if within.startswith(search):
            if self.namespace and self.namespace.startswith(search) and self.namespace > after:
                yield self._entry(self.namespace)  # a repository of one component, if there is one
            search = within
        elif not search.startswith(within):
            return
        for item in _ahead(table, self.partition, search, after):
            yield self._entry(item.key.sort)

    def _entry(self, name: str) -> _Entry:
        return _Entry(name, self.owns, self.grants)


@dataclass(frozen=True, slots=True)
class _OfTeam:
    """The list of the repositories that a team was granted something on."""

    team: Place

    def entries(self, table: Table, search: str, after: str) -> Iterator[_Entry]:
        """See ``_Names.entries``."""
        before = "repository/"
        for item in _ahead(table, team_contents(self.team.team_id), before + search, before + after if after else ""):
            grant = TeamGrant(self.team.team, GRANTABLE[text(item.attributes, "level")])
            yield _Entry(item.key.sort.removeprefix(before), grants=(grant,), repository=text(item.attributes, "id"))


def _ahead(table: Table, partition: str, prefix: str, after: str) -> Iterator[Item]:
    """The items of a partition, some at a time."""
    while items := table.query(partition, prefix=prefix, after=after, limit=_AHEAD):
        yield from items
        if len(items) < _AHEAD:
            return
        after = items[-1].key.sort


class Rights:
    """Answers who may do what."""

    def __init__(self, table: Table, organizations: Organizations) -> None:
        self._table = table
        self._organizations = organizations

    def decide(self, account: access.Account | None, operation: Operation, name: RepositoryName) -> Verdict:
        """May the account (None: anonymous) do this, as things are now?"""
        return access.decide(account, operation, self.where(account, name))

    def where(self, account: access.Account | None, name: RepositoryName) -> Where:
        """How the account stands to a repository, as things are now."""
        return self.everywhere(account, [name])[name]

    def everywhere(self, account: access.Account | None, names: Iterable[RepositoryName]) -> Mapping[RepositoryName, Where]:
        """The same for many repositories. Where that is settled by who the account is, nothing is looked up, and a
        repository counts as there and private."""
        wheres = {name: Where(name) for name in names}
        open_names = [name for name in wheres if not access.is_settled(account, name)]
        if not open_names:
            return wheres
        keys = [repository_key(name) for name in open_names]
        keys += [account_key(namespace) for namespace in dict.fromkeys(name.namespace for name in open_names)]
        found = self._table.batch_get(keys)
        namespaces: dict[str, _Namespace] = {}
        for name in open_names:
            if name.namespace not in namespaces:
                namespaces[name.namespace] = self._namespace(account, found.get(account_key(name.namespace)))
            wheres[name] = self._where(name, found.get(repository_key(name)), namespaces[name.namespace])
        return wheres

    def _namespace(self, account: access.Account | None, owner: Attributes | None) -> _Namespace:
        if account is None or not account.is_active or owner is None or text_or(owner, "kind", "") != Kind.ORGANIZATION.value:
            return _Namespace()
        identity = text(owner, "id")
        places = self._organizations.places(account.id, identity)
        if not places:
            return _Namespace()
        if any(place.is_admin for place in places):
            return _Namespace(owns=True)
        teams = frozenset(place.team_id for place in places if place.team_id)
        granted = self._granted(organization(identity), teams, on_namespace=True) if teams else ()
        return _Namespace(teams=teams, grants=granted)

    def _where(self, name: RepositoryName, repository: Attributes | None, namespace: _Namespace) -> Where:
        grants = namespace.grants
        if repository is None:
            return Where(name, exists=False, owns=namespace.owns, grants=grants)
        if namespace.teams:
            grants += self._granted(contents(text(repository, "id")), namespace.teams, on_namespace=False)
        public = text(repository, "visibility") == PUBLIC
        return Where(name, public=public, owns=namespace.owns, grants=grants)

    def _granted(self, partition: str, teams: frozenset[str], *, on_namespace: bool) -> tuple[TeamGrant, ...]:
        """What these teams were granted there."""
        items = self._table.query(partition, prefix="grant/")
        return tuple(
            TeamGrant(text(item.attributes, "team"), GRANTABLE[text(item.attributes, "level")], on_namespace)
            for item in items
            if last_segment(item.key.sort) in teams
        )

    def membership(self, account: access.Account | None, org: Account) -> Membership:
        """How an account stands to an organization, or to the organization of a robot, as things are now."""
        if account is None or org.kind is Kind.USER:
            return Membership.STRANGER
        return self._organizations.membership(account.id, org.organization or org.id)

    # ------------------------------------------------------------------------------------------------------- listing

    def visible(self, account: access.Account | None, *, prefix: str = "", after: str = "", limit: int) -> Sequence[Repository]:
        """Up to ``limit`` repositories that the account may view, whose names begin with ``prefix`` and lie beyond ``after``,
        in order of name.

        Read from lists that are in that order already: the public ones, and for each namespace, organization or team that gives
        the account anything, that one's. They say what gives it, so a page costs a query for each of those and a batch, however
        many repositories there are; for a narrowed token a query for each of those and each of its patterns.
        """
        searches = _searches(account, prefix)
        lists = [_within(source, self._table, search, after) for source in self._sources(account) for search in searches]
        merged = groupby(heapq.merge(*lists, key=_name), key=_name)
        page: list[Repository] = []
        while len(page) < limit:
            batch = {name: [*entries] for name, entries in islice(merged, limit)}
            page += self._viewable(account, batch)
            if len(batch) < limit:
                break
        return page[:limit]

    def _viewable(self, account: access.Account | None, batch: Mapping[str, Sequence[_Entry]]) -> Iterator[Repository]:
        """Those of the names that are repositories, and may be seen: a team's list may name one that is gone."""
        found = self._table.batch_get([repository_key(RepositoryName(name)) for name in batch])
        for name, entries in batch.items():
            attributes = found.get(repository_key(RepositoryName(name)))
            if attributes is None:
                continue
            repository = repository_of(RepositoryName(name), attributes)
            valid = [entry for entry in entries if entry.repository in {"", repository.id}]
            where = Where(
                repository.name,
                public=repository.is_public,
                owns=any(entry.owns for entry in valid),
                grants=tuple(grant for entry in valid for grant in entry.grants),
            )
            if access.decide(account, Operation.VIEW, where).allowed:
                yield repository

    def _sources(self, account: access.Account | None) -> Iterator[_Names | _OfTeam]:
        """The lists that hold what an account may view, and perhaps more."""
        if account is not None and account.is_active and account.is_admin:
            yield _Names(CATALOG_PARTITION)
            return
        yield _Names(PUBLIC_PARTITION)
        if account is None or not account.is_active:
            return
        yield _Names(CATALOG_PARTITION, namespace=account.name)
        by_organization = _by_organization(self._organizations.places(account.id))
        owners = self._table.batch_get([account_key(places[0].organization) for places in by_organization])
        for places in by_organization:
            owner = owners.get(account_key(places[0].organization), {})
            if owner.get("id") == places[0].organization_id:
                yield from self._of_organization(places)

    def _of_organization(self, places: Sequence[Place]) -> Iterator[_Names | _OfTeam]:
        name, identity = places[0].organization, places[0].organization_id
        if any(place.is_admin for place in places):
            yield _Names(CATALOG_PARTITION, namespace=name, owns=True)
            return
        teams = {place.team_id: place for place in places if place.team_id}
        grants = self._granted(organization(identity), frozenset(teams), on_namespace=True) if teams else ()
        if grants:
            yield _Names(CATALOG_PARTITION, namespace=name, grants=grants)
            return
        for team in sorted(teams):
            yield _OfTeam(teams[team])


def _searches(account: access.Account | None, prefix: str) -> Sequence[_Search]:
    """What of the names with this prefix an account's token can be about."""
    if account is None or account.limits is None:
        return [_Search(prefix)]
    searches = []
    for pattern in dict.fromkeys(account.limits.repositories):
        is_exact = not pattern.endswith("/*")
        begins = pattern if is_exact else pattern[:-1]
        if begins.startswith(prefix):
            searches.append(_Search(begins, is_exact))
        elif not is_exact and prefix.startswith(begins):
            searches.append(_Search(prefix))
    return searches


def _within(source: _Names | _OfTeam, table: Table, search: _Search, after: str) -> Iterator[_Entry]:
    entries = source.entries(table, search.prefix, after)
    # A name comes before all others that begin with it.
    return takewhile(lambda entry: entry.name == search.prefix, entries) if search.is_exact else entries


def _name(entry: _Entry) -> str:
    return entry.name


def _by_organization(places: Sequence[Place]) -> Sequence[Sequence[Place]]:
    by_id: dict[str, list[Place]] = {}
    for place in places:
        by_id.setdefault(place.organization_id, []).append(place)
    return [*by_id.values()]
