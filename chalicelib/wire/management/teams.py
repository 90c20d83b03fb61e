"""Teams and who is in them: ``/enzi/v0/accounts/{org}/teams``; what a team was granted in all."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from chalicelib.registry import teams as domain
from chalicelib.registry.accounts import Account
from chalicelib.registry.errors import AccountNameInvalid, MemberUnknown, TeamUnknown, VersionMismatch
from chalicelib.registry.names import parse_login, parse_team_name
from chalicelib.wire.management.bodies import Input
from chalicelib.wire.management.call import NOTHING_THERE, Answer, Call
from chalicelib.wire.management.words import AccessLevel, AccountName, Label


class Team(Struct, frozen=True, rename="camel"):
    """A team of an organization."""

    name: str
    id: str
    description: str


class Teams(Struct, frozen=True, rename="camel"):
    """A page of teams, in order of name."""

    teams: list[Team]


class NewTeam(Input, frozen=True):
    """A team without members."""

    name: AccountName
    description: Label = ""


class TeamChange(Input, frozen=True):
    """What to change of a team."""

    description: Label | UnsetType = UNSET


class TeamMember(Struct, frozen=True, rename="camel"):
    """A user or a robot in a team."""

    name: str


class TeamMembers(Struct, frozen=True, rename="camel"):
    """A page of a team's members, in order of name."""

    members: list[TeamMember]


class RepositoryGrant(Struct, frozen=True, rename="camel"):
    """What a team was granted on a repository."""

    repository: str
    access_level: AccessLevel


class RepositoryGrants(Struct, frozen=True, rename="camel"):
    """A page of what a team was granted, in order of the repositories' names."""

    repository_access_list: list[RepositoryGrant]


def list_teams(call: Call) -> Answer:
    read = call.services.teams.page(call.account, call.page.after, call.page.one_more)
    found, more = call.page.cut(read, lambda team: team.name)
    return Answer(Teams([_shown(team) for team in found]), next=more)


def create_team(call: Call) -> Answer:
    """Raises AccountNameInvalid, TeamExists, AccountUnknown, Busy."""
    body = call.given(NewTeam)
    team = call.services.teams.create(call.account, body.name, body.description)
    return Answer(_shown(team), version=team.version, object=f"{call.account.name}/{team.name}")


def read_team(call: Call) -> Answer:
    """Raises TeamUnknown."""
    team = team_in(call, call.account)
    return Answer(_shown(team), version=team.version)


def change_team(call: Call) -> Answer:
    """Raises TeamUnknown, VersionMismatch, Busy."""
    body, name = call.given(TeamChange), team_name(call)
    description = "" if body.description is UNSET else body.description
    team = call.services.teams.describe(call.account, name, description, call.version)
    return Answer(_shown(team), version=team.version)


def delete_team(call: Call) -> Answer:
    """With all that it was granted. Raises VersionMismatch, Busy."""
    try:
        name = team_name(call)
        is_there = call.services.teams.exists(call.account, name)
    except TeamUnknown:
        is_there = False
    if not is_there:
        if call.version is not None:
            raise VersionMismatch
        return NOTHING_THERE
    call.services.teams.delete(call.account, name, call.version)
    return Answer()


def list_team_members(call: Call) -> Answer:
    """Raises TeamUnknown."""
    team = team_in(call, call.account)
    found, more = call.page.cut(call.services.teams.members(team, call.page.after, call.page.one_more), str)
    return Answer(TeamMembers([TeamMember(name) for name in found]), next=more)


def read_team_member(call: Call) -> Answer:
    """Raises TeamUnknown, MemberUnknown."""
    team, name = team_in(call, call.account), _login(call)
    if not call.services.teams.is_member(team, name):
        raise MemberUnknown(name)
    return Answer(TeamMember(name))


def put_team_member(call: Call) -> Answer:
    """A member of the organization, or a robot of it. Raises TeamUnknown, AccountUnknown, MemberUnknown, Busy."""
    team = team_in(call, call.account)
    return Answer(TeamMember(call.services.teams.add(call.account, team, call.names["user"])))


def delete_team_member(call: Call) -> Answer:
    """Raises Busy."""
    try:
        team, name = team_in(call, call.account), _login(call)
    except (TeamUnknown, MemberUnknown):
        return NOTHING_THERE
    if not call.services.teams.is_member(team, name):
        return NOTHING_THERE
    call.services.teams.remove(call.account, team, name)
    return Answer()


def list_team_repositories(call: Call) -> Answer:
    """Raises TeamUnknown."""
    team = team_in(call, call.account)
    read = call.services.teams.repositories(team, call.page.after, call.page.one_more)
    found, more = call.page.cut(read, lambda granted: granted.repository)
    grants = [RepositoryGrant(granted.repository, granted.level.word) for granted in found]  # type: ignore[arg-type]
    return Answer(RepositoryGrants(grants), next=more)


def team_name(call: Call) -> str:
    """``{team}``, folded. Raises TeamUnknown."""
    given = call.names["team"]
    try:
        return parse_team_name(given)
    except AccountNameInvalid:
        raise TeamUnknown(given) from None


def team_in(call: Call, org: Account) -> domain.Team:
    """The team of the organization that the path names. Raises TeamUnknown."""
    return call.services.teams.get(org, team_name(call))


def _login(call: Call) -> str:
    given = call.names["user"]
    try:
        return parse_login(given)
    except AccountNameInvalid:
        raise MemberUnknown(given) from None


def _shown(team: domain.Team) -> Team:
    return Team(team.name, team.id, team.description)
