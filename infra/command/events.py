"""``slipway events``: what was done and what was refused, newest first."""

from __future__ import annotations

import click

from infra.command.names import REPOSITORY, Place
from infra.command.options import RegistryCommand
from infra.command.session import Session, segments, with_session

_COLUMNS = {"time": "TIME", "type": "TYPE", "actor": "ACTOR", "object": "OBJECT", "result": "RESULT", "source": "SOURCE"}


@click.command(cls=RegistryCommand)
@click.option("--repository", metavar="NS/REPO", type=REPOSITORY, help="Only of this repository.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, metavar="N", help="At most so many.")
@with_session
def events(session: Session, repository: Place | None, limit: int) -> None:
    """What was done, and what was refused, newest first."""
    of = f"/repositories/{segments(repository.namespace, repository.repository)}" if repository else ""
    session.show_list(f"/api/v0{of}/events", _COLUMNS, limit=limit)
