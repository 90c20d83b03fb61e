"""``slipway job``: the registry's own work, under way and ended; run, watched, cancelled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from infra.command import output
from infra.command.client import Json
from infra.command.failures import Refused, Unreachable, WrongUse
from infra.command.names import ACCOUNT
from infra.command.options import LIMIT, YES, RegistryGroup
from infra.command.session import Session, given, segments, with_session

JOBS = "/api/v0/jobs"
KINDS = "/api/v0/crons"
"""What jobs there can be stands with when they run by themselves."""

STATUSES = ("waiting", "running", "done", "failed", "cancelled")
_ENDED = frozenset({"done", "failed", "cancelled"})

_COLUMNS = {
    "id": "ID",
    "action": "ACTION",
    "status": "STATUS",
    "createdAt": "CREATED",
    "createdBy": "BY",
    "endedAt": "ENDED",
    "counts": "COUNTS",
}
_LINES = 1_000
PAUSE = 2.0
"""Seconds between two looks at a job that is under way."""

PARAMETERS = click.option("--parameter", "parameters", multiple=True, metavar="NAME=NUMBER", help="May be repeated.")
RETRIES = click.option("--retries", type=click.IntRange(0), metavar="N", help="How often it is tried again when it fails.")
DEADLINE = click.option("--deadline", type=click.IntRange(1), metavar="SECONDS", help="How long it may take.")
_FOLLOW = click.option("--follow", "-f", is_flag=True, help="Print its log until it ends. Exit code 1 if it is not done then.")
_ID = click.argument("number", metavar="ID", type=ACCOUNT)


@click.group(cls=RegistryGroup)
def job() -> None:
    """Jobs: the registry's own long work. Ctrl-C ends the watching, not the job."""


@job.command("list")
@click.option("--action", type=ACCOUNT, help="Only of this kind.")
@click.option("--status", type=click.Choice(STATUSES), help="Only those.")
@LIMIT
@with_session
def list_jobs(session: Session, action: str | None, status: str | None, limit: int | None) -> None:
    """Jobs, newest first."""
    session.show_list(JOBS, _COLUMNS, query={"action": action or "", "status": status or ""}, limit=limit, shown=in_words)


@job.command("kinds")
@LIMIT
@with_session
def list_kinds(session: Session, limit: int | None) -> None:
    """What jobs there can be, and their parameters with default and bounds."""
    session.show_list(KINDS, {"action": "ACTION", "accepts": "PARAMETERS", "summary": "SUMMARY"}, limit=limit, shown=_kind)


@job.command("show")
@_ID
@with_session
def show_job(session: Session, number: str) -> None:
    """One job."""
    told = session.get(_path(number))
    session.show(told if session.as_json else in_words(told))


@job.command("run")
@click.argument("action", type=ACCOUNT)
@PARAMETERS
@RETRIES
@DEADLINE
@_FOLLOW
@with_session
def run_job(
    session: Session, action: str, *, parameters: Sequence[str], retries: int | None, deadline: int | None, follow: bool
) -> None:
    """Run a job now: job run collect-garbage --parameter minutes=10 --follow."""
    body = {"action": action, **given(parameters=parameters_of(parameters) or None, retries=retries, deadline=deadline)}
    made = session.send("POST", JOBS, body).content
    number = str(made.get("id", ""))
    if not follow:
        session.done(made, f"started the job {number}")
        return
    output.tell(f"started the job {number}")
    for line in _log(session, number, follow=True):
        _echo(session, line)
    _ended(session, number, is_shown=True)


@job.command("cancel")
@_ID
@with_session
def cancel_job(session: Session, number: str) -> None:
    """End a job. One that is running stops at its next step."""
    told = session.send("POST", f"{_path(number)}/cancel").content
    ends = "is cancelled" if told.get("status") == "cancelled" else "will be cancelled at its next step"
    session.done(told, f"the job {number} {ends}")


@job.command("logs")
@_ID
@_FOLLOW
@with_session
def show_logs(session: Session, number: str, follow: bool) -> None:
    """What a job has written down."""
    lines = []
    for line in _log(session, number, follow=follow):
        _echo(session, line)
        lines.append(line)
    if session.as_json:
        output.echo_json({"lines": lines})
    if follow:
        _ended(session, number, is_shown=False)


@job.command("delete")
@_ID
@YES
@with_session
def delete_job(session: Session, number: str, yes: bool) -> None:
    """Delete an ended job with its log."""
    session.confirm(f"Delete the job {number} and its log?", yes=yes)
    session.done(session.send("DELETE", _path(number)).content, f"deleted the job {number}")


def in_words(told: Json) -> Json:
    """What is counted, and what was asked for, as a table has it: ``days=30``."""
    numbers = {field: told[field] for field in ("counts", "parameters") if isinstance(told.get(field), dict)}
    return {**told, **{field: [f"{name}={number}" for name, number in each.items()] for field, each in numbers.items()}}


def parameters_of(said: Sequence[str]) -> dict[str, int]:
    """Each NAME=NUMBER. Raises WrongUse."""
    return dict(map(_parameter, said))


def _parameter(text: str) -> tuple[str, int]:
    name, equals, value = text.partition("=")
    digits = value.removeprefix("-")
    if not (name and equals and digits.isascii() and digits.isdigit() and len(digits) < 16):
        raise WrongUse(f"--parameter is NAME=NUMBER, not {text!r}")
    return name, int(value)


def _path(number: str) -> str:
    return f"{JOBS}/{segments(number)}"


def _kind(told: Json) -> Json:
    """A kind with its parameters in words: ``minutes=0 (0 to 1440)``."""
    accepts = told.get("accepts")
    bounds = accepts.items() if isinstance(accepts, dict) else ()
    words = [f"{name}={each.get('default')} ({each.get('least')} to {each.get('most')})" for name, each in bounds]
    return {**told, "accepts": words}


def _log(session: Session, number: str, *, follow: bool) -> Iterator[Json]:
    """A job's log as far as there is one, or until the job has ended: whether it has is asked before the log is read, so that
    no last line is missed."""
    offset = 0
    while True:
        is_last = not follow or session.get(_path(number)).get("status") in _ENDED
        while True:
            lines, following = _page(session, number, offset)
            yield from lines
            if not lines:
                break
            offset = following
        if is_last:
            return
        session.pause(PAUSE)


def _page(session: Session, number: str, offset: int) -> tuple[list[Json], int]:
    """Lines of a log from one on, and where the rest goes on. Raises Unreachable for what is no log."""
    told = session.get(f"{_path(number)}/logs", {"offset": str(offset), "limit": str(_LINES)})
    lines, following = told.get("lines"), told.get("next")
    is_log = isinstance(lines, list) and all(isinstance(each, dict) for each in lines)
    if not is_log or not isinstance(following, int) or (lines and following <= offset):
        raise Unreachable(f"{session.client.address.host} did not answer with a log: is it a Slipway registry?")
    return list(lines or ()), following


def _echo(session: Session, line: Json) -> None:
    if not session.as_json:
        click.echo(output.escaped(f"{line.get('at')}  {line.get('text')}"))


def _ended(session: Session, number: str, *, is_shown: bool) -> None:
    """How a job that was followed has ended. Raises Refused if it is not done."""
    told = session.get(_path(number))
    if is_shown and session.as_json:
        output.echo_json(told)
    status, error = told.get("status"), told.get("error")
    if status != "done":
        raise Refused(
            f"the job {number} {'failed' if status == 'failed' else 'was cancelled'}" + (f": {error}" if error else "")
        )
    counts = told.get("counts")
    numbers = ", ".join(f"{what} {count}" for what, count in counts.items()) if isinstance(counts, dict) else ""
    output.tell(f"the job {number} is done" + (f": {numbers}" if numbers else ""))
