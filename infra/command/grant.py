"""``slipway grant``: levels that teams hold on repositories and on whole namespaces."""

from __future__ import annotations

import click

from infra.command.failures import WrongUse
from infra.command.names import LEVELS, PLACE, TEAM, Place, Team
from infra.command.options import LIMIT, RegistryGroup
from infra.command.session import Session, segments, with_session


@click.group(cls=RegistryGroup)
def grant() -> None:
    """What a team may do with a repository, acme/app, or with all of a namespace, acme/."""


@grant.command("list")
@click.argument("place", metavar="NS/REPO-or-NS/", type=PLACE)
@LIMIT
@with_session
def list_grants(session: Session, place: Place, limit: int | None) -> None:
    """The teams that were granted something there."""
    show_grants(session, place, limit)


@grant.command("set")
@click.argument("team", metavar="ORG/TEAM", type=TEAM)
@click.argument("place", metavar="NS/REPO-or-NS/", type=PLACE)
@click.argument("level", metavar=f"[{'|'.join(LEVELS)}]", type=click.Choice(LEVELS))
@with_session
def set_grant(session: Session, team: Team, place: Place, level: str) -> None:
    """Let a team do something. Of several grants the highest counts."""
    answer = session.send("PUT", _path(team, place), {"accessLevel": level})
    session.done(answer.content, f"{team} has {level} on {place}")


@grant.command("remove")
@click.argument("team", metavar="ORG/TEAM", type=TEAM)
@click.argument("place", metavar="NS/REPO-or-NS/", type=PLACE)
@with_session
def remove_grant(session: Session, team: Team, place: Place) -> None:
    """Take a grant back."""
    session.done(session.send("DELETE", _path(team, place)).content, f"{team} has no grant on {place} any more")


def show_grants(session: Session, place: Place, limit: int | None) -> None:
    """Print the grants on a place."""
    session.show_list(_all(place), {"team": "TEAM", "accessLevel": "LEVEL"}, limit=limit)


def _path(team: Team, place: Place) -> str:
    if team.org != place.namespace:
        raise WrongUse(f"{team} is a team of {team.org}, and can only be granted what lies in {team.org}/")
    return f"{_all(place)}/{segments(team.name)}"


def _all(place: Place) -> str:
    if place.repository:
        return f"/api/v0/repositories/{segments(place.namespace, place.repository)}/teamAccess"
    return f"/api/v0/repositoryNamespaces/{segments(place.namespace)}/teamAccess"
