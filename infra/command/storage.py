"""``slipway storage``: how much is stored, as the last audit counted it."""

from __future__ import annotations

import click

from infra.command.options import RegistryCommand
from infra.command.session import Session, with_session

STORAGE = "/api/v0/meta/storage"


@click.command(cls=RegistryCommand)
@with_session
def storage(session: Session) -> None:
    """How much is stored and what for, when the last audit counted it."""
    session.show(session.get(STORAGE))
