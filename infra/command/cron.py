"""``slipway cron``: when the registry's jobs run by themselves."""

from __future__ import annotations

from collections.abc import Sequence

import click

from infra.command.job import DEADLINE, KINDS, PARAMETERS, RETRIES, in_words, parameters_of
from infra.command.names import ACCOUNT
from infra.command.options import LIMIT, RegistryGroup
from infra.command.session import Session, given, segments, with_session

_COLUMNS = {"action": "ACTION", "schedule": "SCHEDULE", "nextAt": "NEXT", "parameters": "PARAMETERS", "summary": "SUMMARY"}


@click.group(cls=RegistryGroup)
def cron() -> None:
    """When jobs run by themselves."""


@cron.command("list")
@LIMIT
@with_session
def list_crons(session: Session, limit: int | None) -> None:
    """Each kind of job with its schedule."""
    session.show_list(KINDS, _COLUMNS, limit=limit, shown=in_words)


@cron.command("set")
@click.argument("action", type=ACCOUNT)
@click.argument("schedule")
@PARAMETERS
@RETRIES
@DEADLINE
@with_session
def set_cron(
    session: Session, action: str, schedule: str, *, parameters: Sequence[str], retries: int | None, deadline: int | None
) -> None:
    """Choose when a job runs, in UTC: cron set scrub "0 30 2 * * sun" is Sundays at half past two.

    The fields are second, minute, hour, day, month and weekday. Parameters that are not said are the kind's own.
    """
    body = {"schedule": schedule, **given(parameters=parameters_of(parameters) or None, retries=retries, deadline=deadline)}
    told = session.send("PUT", _path(action), body).content
    session.done(told, f"{action} runs next at {told.get('nextAt')}")


@cron.command("unset")
@click.argument("action", type=ACCOUNT)
@with_session
def unset_cron(session: Session, action: str) -> None:
    """Have a job run only when somebody says so."""
    session.done(session.send("DELETE", _path(action)).content, f"{action} does not run by itself any more")


def _path(action: str) -> str:
    return f"{KINDS}/{segments(action)}"
