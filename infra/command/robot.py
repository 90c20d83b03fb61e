"""``slipway robot``: accounts of an organization's programs, which have tokens and no password."""

from __future__ import annotations

import click

from infra.command.failures import WrongUse
from infra.command.names import ACCOUNT, ROBOT, Robot
from infra.command.options import LIMIT, YES, RegistryGroup
from infra.command.session import Session, given, segments, with_session


@click.group(cls=RegistryGroup)
def robot() -> None:
    """Robots of an organization: acme+ci. Put one into a team to let it do something."""


@robot.command("list")
@click.argument("org", type=ACCOUNT)
@LIMIT
@with_session
def list_robots(session: Session, org: str, limit: int | None) -> None:
    """The robots of an organization."""
    columns = {"name": "NAME", "description": "DESCRIPTION", "isActive": "ACTIVE", "createdAt": "CREATED"}
    session.show_list(_robots(org), columns, limit=limit)


@robot.command("create")
@click.argument("which", metavar="ORG+ROBOT", type=ROBOT)
@click.option("--description", help="What it is for.")
@with_session
def create_robot(session: Session, which: Robot, description: str | None) -> None:
    """Make a robot. Its first access token is printed, once, alone on stdout."""
    answer = session.send("POST", _robots(which.org), given(name=which.name, description=description))
    session.show_secret(answer.content, f"created the robot {which}; this is its access token, which nobody can show again")


@robot.command("show")
@click.argument("which", metavar="ORG+ROBOT", type=ROBOT)
@with_session
def show_robot(session: Session, which: Robot) -> None:
    """One robot."""
    session.show(session.get(robot_path(which)))


@robot.command("edit")
@click.argument("which", metavar="ORG+ROBOT", type=ROBOT)
@click.option("--description", help="What it is for.")
@click.option("--active/--inactive", default=None, help="Whether it may do anything at all.")
@with_session
def edit_robot(session: Session, which: Robot, description: str | None, active: bool | None) -> None:
    """Change a robot's description or standing."""
    body = given(description=description, isActive=active)
    if not body:
        raise WrongUse("say what to change: --description, --active or --inactive")
    session.done(session.send("PATCH", robot_path(which), body).content, f"changed the robot {which}")


@robot.command("delete")
@click.argument("which", metavar="ORG+ROBOT", type=ROBOT)
@YES
@with_session
def delete_robot(session: Session, which: Robot, yes: bool) -> None:
    """Delete a robot with its tokens."""
    session.confirm(f"Delete the robot {which} and its tokens?", yes=yes)
    session.done(session.send("DELETE", robot_path(which)).content, f"deleted the robot {which}")


def robot_path(which: Robot) -> str:
    """Where a robot is found."""
    return f"{_robots(which.org)}/{segments(which.name)}"


def _robots(org: str) -> str:
    return f"/api/v0/accounts/{segments(org)}/robots"
