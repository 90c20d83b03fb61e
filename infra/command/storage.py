"""``slipway storage``: how much is stored, as the last audit counted it."""

from __future__ import annotations

import click

from infra.command import output
from infra.command.options import RegistryCommand
from infra.command.session import Session, with_session

STORAGE = "/api/v0/meta/storage"


@click.command(cls=RegistryCommand)
@with_session
def storage(session: Session) -> None:
    """How much is stored and what for, when the last audit counted it."""
    told = session.get(STORAGE)
    session.show(told if session.as_json else {name: _in_words(value) for name, value in told.items()})
    if told.get("measuredAt", "") is None:
        output.tell("no audit has counted yet; this one does: slipway job run audit --follow")


def _in_words(value: object) -> object:
    return f"{value.get('bytes')} bytes in {value.get('blobs')} blobs" if isinstance(value, dict) else value
