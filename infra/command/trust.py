"""``slipway trust``: rules by which a robot logs in with an identity that somebody else vouches for (federation)."""

from __future__ import annotations

from collections.abc import Sequence

import click

from infra.command.failures import WrongUse
from infra.command.names import ACCOUNT, ROBOT, Robot
from infra.command.options import LIMIT, RegistryGroup
from infra.command.robot import robot_path
from infra.command.session import Session, segments, with_session


@click.group(cls=RegistryGroup)
def trust() -> None:
    """Whose identity tokens a robot may log in with, instead of a secret."""


@trust.command("list")
@click.argument("which", metavar="ORG+ROBOT", type=ROBOT)
@LIMIT
@with_session
def list_rules(session: Session, which: Robot, limit: int | None) -> None:
    """A robot's rules."""
    columns = {"name": "NAME", "issuer": "ISSUER", "subject": "SUBJECT", "claims": "CLAIMS"}
    session.show_list(f"{robot_path(which)}/trust", columns, limit=limit)


@trust.command("set")
@click.argument("which", metavar="ORG+ROBOT", type=ROBOT)
@click.argument("rule", type=ACCOUNT)
@click.option("--issuer", required=True, help="Who vouches, such as https://token.actions.githubusercontent.com.")
@click.option("--subject", required=True, help="For whom, a pattern such as repo:acme/app:*.")
@click.option("--claim", "claims", multiple=True, metavar="NAME=PATTERN", help="What else the token must say. May be repeated.")
@with_session
def set_rule(session: Session, which: Robot, rule: str, *, issuer: str, subject: str, claims: Sequence[str]) -> None:
    """Make a rule, or put another in its place."""
    body: dict[str, object] = {"issuer": issuer, "subject": subject}
    if claims:
        body["claims"] = dict(map(_pair, claims))
    answer = session.send("PUT", _path(which, rule), body)
    session.done(answer.content, f"{which} may log in by {rule}: {subject} of {issuer}")


@trust.command("remove")
@click.argument("which", metavar="ORG+ROBOT", type=ROBOT)
@click.argument("rule", type=ACCOUNT)
@with_session
def remove_rule(session: Session, which: Robot, rule: str) -> None:
    """Remove a rule."""
    session.done(session.send("DELETE", _path(which, rule)).content, f"{which} may not log in by {rule} any more")


def _path(which: Robot, rule: str) -> str:
    return f"{robot_path(which)}/trust/{segments(rule)}"


def _pair(text: str) -> tuple[str, str]:
    name, equals, pattern = text.partition("=")
    if not (name and equals):
        raise WrongUse(f"--claim is NAME=PATTERN, not {text!r}")
    return name, pattern
