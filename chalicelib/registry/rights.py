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
from itertools import groupby, islice
from operator import attrgetter

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


@dataclass(frozen=True, slots=True, order=True)
class _Listed:
    """A repository's name as a list has it, and when that says that it may be viewed: if it has this id, if it is public, or
    anyway."""

    name: str
    identity: str = ""
    if_public: bool = False

    def holds(self, repository: Repository) -> bool:
        if self.if_public:
            return repository.is_public
        return not self.identity or self.identity == repository.id


@dataclass(frozen=True, slots=True)
class _Names:
    """A list of repositories' names in a partition whose sort keys are ``before`` and the name: all of them, or those of one
    namespace."""

    partition: str
    before: str = ""
    namespace: str = ""

    def listed(self, table: Table, search: str, after: str) -> Iterator[_Listed]:
        """Those that begin with ``search`` and lie beyond ``after``, in order, read as they are asked for."""
        within = f"{self.namespace}/" if self.namespace else ""
        if within.startswith(search):
            if self.namespace and self.namespace.startswith(search) and self.namespace > after:
                yield _Listed(self.namespace)  # a repository of one component, if there is one
            search = within
        elif not search.startswith(within):
            return
        start = f"{self.before}{after}" if after else ""
        while items := table.query(self.partition, prefix=self.before + search, after=start, limit=_AHEAD):
            yield from map(self._of, items)
            start = items[-1].key.sort

    def _of(self, item: Item) -> _Listed:
        name = item.key.sort.removeprefix(self.before)
        return _Listed(name, text_or(item.attributes, "id", ""), self.partition == PUBLIC_PARTITION)


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
        the account anything, that one's. So a page costs a query for each of those and a batch, however many repositories
        there are.
        """
        lists = [source.listed(self._table, prefix, after) for source in self._sources(account)]
        groups = ((name, tuple(group)) for name, group in groupby(heapq.merge(*lists), key=attrgetter("name")))
        covered = (each for each in groups if _covers(account, each[0]))
        page: list[Repository] = []
        while len(page) < limit and (batch := dict(islice(covered, limit - len(page)))):
            page += self._viewable(batch)
        return page

    def _viewable(self, batch: Mapping[str, Sequence[_Listed]]) -> Iterator[Repository]:
        """Those of the names that are repositories, and what their lists say: a team's may name one that is gone."""
        names = [RepositoryName(name) for name in batch]
        found = self._table.batch_get([repository_key(name) for name in names])
        for name in names:
            if repository_key(name) in found:
                repository = repository_of(name, found[repository_key(name)])
                if any(listed.holds(repository) for listed in batch[str(name)]):
                    yield repository

    def _sources(self, account: access.Account | None) -> Iterator[_Names]:
        """The lists of what an account may view."""
        if account is not None and account.is_active and account.is_admin:
            yield _Names(CATALOG_PARTITION)
            return
        yield _Names(PUBLIC_PARTITION)
        if account is None or not account.is_active:
            return
        yield _Names(CATALOG_PARTITION, namespace=account.name)
        places = self._organizations.places(account.id)
        owners = self._table.batch_get([account_key(name) for name in {place.organization for place in places}])
        for of_one in _by_organization(places):
            owner = owners.get(account_key(of_one[0].organization), {})
            if owner.get("id") == of_one[0].organization_id:  # else deleted, and its name perhaps another's
                yield from self._of_organization(of_one)

    def _of_organization(self, places: Sequence[Place]) -> Iterator[_Names]:
        first, teams = places[0], frozenset(place.team_id for place in places if place.team_id)
        owns = any(place.is_admin for place in places)
        if owns or self._granted(organization(first.organization_id), teams, on_namespace=True):
            yield _Names(CATALOG_PARTITION, namespace=first.organization)
            return
        for team in sorted(teams):
            yield _Names(team_contents(team), "repository/")


def _by_organization(places: Sequence[Place]) -> Iterator[Sequence[Place]]:
    by_id: dict[str, list[Place]] = {}
    for place in places:
        by_id.setdefault(place.organization_id, []).append(place)
    yield from by_id.values()


def _covers(account: access.Account | None, name: str) -> bool:
    """Is it within what the access token is narrowed to, if it is?"""
    return account is None or account.limits is None or account.limits.cover_name(RepositoryName(name))
