"""``slipway team``: an organization's teams, whom grants are given to."""

from __future__ import annotations

import click

from infra.command.names import ACCOUNT, TEAM, Team
from infra.command.options import LIMIT, YES, RegistryGroup
from infra.command.session import Session, given, segments, with_session


@click.group(cls=RegistryGroup)
def team() -> None:
    """Teams of an organization. Grants belong to them."""


@team.command("list")
@click.argument("org", type=ACCOUNT)
@LIMIT
@with_session
def list_teams(session: Session, org: str, limit: int | None) -> None:
    """The teams of an organization."""
    session.show_list(_teams(org), {"name": "NAME", "description": "DESCRIPTION"}, limit=limit)


@team.command("create")
@click.argument("which", metavar="ORG/TEAM", type=TEAM)
@click.option("--description", help="What it is for.")
@with_session
def create_team(session: Session, which: Team, description: str | None) -> None:
    """Make a team."""
    body = given(name=which.name, description=description)
    session.done(session.send("POST", _teams(which.org), body).content, f"created the team {which}")


@team.command("delete")
@click.argument("which", metavar="ORG/TEAM", type=TEAM)
@YES
@with_session
def delete_team(session: Session, which: Team, yes: bool) -> None:
    """Delete a team, and with it what was granted to it."""
    session.confirm(f"Delete the team {which} and what was granted to it?", yes=yes)
    session.done(session.send("DELETE", _path(which)).content, f"deleted the team {which}")


@team.command("members")
@click.argument("which", metavar="ORG/TEAM", type=TEAM)
@LIMIT
@with_session
def list_members(session: Session, which: Team, limit: int | None) -> None:
    """Who is in a team."""
    session.show_list(f"{_path(which)}/members", {"name": "NAME"}, limit=limit)


@team.command("add")
@click.argument("which", metavar="ORG/TEAM", type=TEAM)
@click.argument("member", metavar="USER-or-ROBOT", type=ACCOUNT)
@with_session
def add_member(session: Session, which: Team, member: str) -> None:
    """Put a member of the organization, or one of its robots, into a team."""
    answer = session.send("PUT", f"{_path(which)}/members/{segments(member)}", {})
    session.done(answer.content, f"{member} is in the team {which}")


@team.command("remove")
@click.argument("which", metavar="ORG/TEAM", type=TEAM)
@click.argument("member", metavar="USER-or-ROBOT", type=ACCOUNT)
@with_session
def remove_member(session: Session, which: Team, member: str) -> None:
    """Take somebody out of a team."""
    answer = session.send("DELETE", f"{_path(which)}/members/{segments(member)}")
    session.done(answer.content, f"{member} is not in the team {which} any more")


@team.command("access")
@click.argument("which", metavar="ORG/TEAM", type=TEAM)
@LIMIT
@with_session
def list_access(session: Session, which: Team, limit: int | None) -> None:
    """The repositories that were granted to a team.

    What was granted on all of acme/ is listed by slipway grant list acme/.
    """
    columns = {"repository": "REPOSITORY", "accessLevel": "LEVEL"}
    path = f"/api/v0/accounts/{segments(which.org)}/teams/{segments(which.name)}/repositoryAccess"
    session.show_list(path, columns, limit=limit)


def _teams(org: str) -> str:
    return f"/enzi/v0/accounts/{segments(org)}/teams"


def _path(which: Team) -> str:
    return f"{_teams(which.org)}/{segments(which.name)}"
