"""What teams may do: with one repository, ``.../{repo}/teamAccess``, and in a whole namespace."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from chalicelib.registry.access import GRANTABLE
from chalicelib.registry.accounts import Account
from chalicelib.registry.errors import AccountUnknown, NameUnknown, TeamUnknown
from chalicelib.registry.repositories import Repository
from chalicelib.registry.teams import Granted
from chalicelib.wire.management.bodies import Input
from chalicelib.wire.management.call import NOTHING_THERE, Answer, Call
from chalicelib.wire.management.teams import team_in, team_name
from chalicelib.wire.management.words import AccessLevel


class TeamGrant(Struct, frozen=True, rename="camel"):
    """What a team was granted."""

    team: str
    access_level: AccessLevel


class TeamGrants(Struct, frozen=True, rename="camel"):
    """A page of what teams were granted, in order of their names."""

    team_access_list: list[TeamGrant]


class NewGrant(Input, frozen=True):
    """How much a team is to be granted."""

    access_level: AccessLevel


def list_repository_grants(call: Call) -> Answer:
    """Raises NameUnknown."""
    return _listed(call, call.services.teams.on_repository(_repository(call)))


def read_repository_grant(call: Call) -> Answer:
    """Raises NameUnknown, TeamUnknown, also for a team that was granted nothing."""
    return _one(call, call.services.teams.on_repository(_repository(call)))


def put_repository_grant(call: Call) -> Answer:
    """Raises NameUnknown, TeamUnknown, Busy."""
    repository = _repository(call)
    org = _owner(call, repository)
    team = team_in(call, org)
    level = GRANTABLE[call.given(NewGrant).access_level]
    return Answer(_shown(call.services.teams.grant(org, team, repository, level)), repository=repository.id)


def delete_repository_grant(call: Call) -> Answer:
    """Raises Busy."""
    try:
        repository = _repository(call)
        team = team_in(call, _owner(call, repository))
    except (NameUnknown, TeamUnknown):
        return NOTHING_THERE
    call.services.teams.withdraw(team, repository)
    return Answer(repository=repository.id)


def list_namespace_grants(call: Call) -> Answer:
    return _listed(call, call.services.teams.on_namespace(call.account))


def read_namespace_grant(call: Call) -> Answer:
    """Raises TeamUnknown."""
    return _one(call, call.services.teams.on_namespace(call.account))


def put_namespace_grant(call: Call) -> Answer:
    """Raises TeamUnknown, Busy."""
    level = GRANTABLE[call.given(NewGrant).access_level]
    team = team_in(call, call.account)
    return Answer(_shown(call.services.teams.grant_namespace(call.account, team, level)))


def delete_namespace_grant(call: Call) -> Answer:
    """Raises Busy."""
    try:
        team = team_in(call, call.account)
    except TeamUnknown:
        return NOTHING_THERE
    call.services.teams.withdraw_namespace(call.account, team)
    return Answer()


def _repository(call: Call) -> Repository:
    return call.services.repositories.get(call.repository)


def _owner(call: Call, repository: Repository) -> Account:
    """The organization of the repository's namespace; a user has no teams. Raises TeamUnknown."""
    try:
        return call.services.organizations.get(repository.name.namespace)
    except AccountUnknown:
        raise TeamUnknown(call.names["team"]) from None


def _listed(call: Call, granted: Sequence[Granted]) -> Answer:
    found, more = call.page.part(granted, lambda entry: entry.team)
    return Answer(TeamGrants([_shown(entry) for entry in found]), next=more)


def _one(call: Call, granted: Sequence[Granted]) -> Answer:
    name = team_name(call)
    for entry in granted:
        if entry.team == name:
            return Answer(_shown(entry))
    raise TeamUnknown(name)


def _shown(granted: Granted) -> TeamGrant:
    return TeamGrant(granted.team, granted.level.word)  # type: ignore[arg-type]
