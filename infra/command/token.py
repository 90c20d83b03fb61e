"""``slipway token``: access tokens, which stand for an account and may be narrower than it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import click

from infra.command.failures import WrongUse
from infra.command.names import ACCOUNT
from infra.command.options import LIMIT, YES, RegistryGroup
from infra.command.session import Session, given, segments, with_session

TOKENS = "/api/v0/api_tokens"
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_ACCOUNT = click.option("--account", type=ACCOUNT, help="Whose, if not your own: a robot's, acme+ci.")

_COLUMNS = {
    "id": "ID",
    "tokenLabel": "LABEL",
    "isActive": "ACTIVE",
    "lastUsed": "LAST USED",
    "expiresAt": "EXPIRES",
    "scope": "SCOPE",
}


@click.group(cls=RegistryGroup)
def token() -> None:
    """Access tokens: passwords for programs, each with its own label, end and bounds."""


@token.command("list")
@_ACCOUNT
@LIMIT
@with_session
def list_tokens(session: Session, account: str | None, limit: int | None) -> None:
    """The tokens of an account."""
    session.show_list(TOKENS, _COLUMNS, query=_of(account), limit=limit)


@token.command("create")
@_ACCOUNT
@click.option("--label", required=True, help="What it is for.")
@click.option("--expires", metavar="WHEN", help="12h, 30d, 8w from now, or a time such as 2027-01-31T00:00:00Z.")
@click.option("--repository", "repositories", multiple=True, metavar="NS/REPO-or-NS/*", help="Only these. May be repeated.")
@click.option("--action", "actions", multiple=True, type=click.Choice(["pull", "push", "delete"]), help="Only these.")
@with_session
def create_token(
    session: Session,
    *,
    account: str | None,
    label: str,
    expires: str | None,
    repositories: Sequence[str],
    actions: Sequence[str],
) -> None:
    """Make an access token. It is printed, once, alone on stdout."""
    if bool(repositories) != bool(actions):
        raise WrongUse("a narrow token needs both: --repository and --action")
    scope = {"repositories": list(repositories), "actions": list(actions)} if repositories else None
    body = given(tokenLabel=label, expiresAt=_time(expires) if expires else None, scope=scope)
    answer = session.send("POST", TOKENS, body, _of(account))
    session.show_secret(answer.content, f"created the access token {label!r}, which nobody can show again")


@token.command("revoke")
@click.argument("number", metavar="ID", type=ACCOUNT)
@_ACCOUNT
@with_session
def revoke_token(session: Session, number: str, account: str | None) -> None:
    """Make a token useless, and keep it in the list."""
    answer = session.send("PATCH", f"{TOKENS}/{segments(number)}", {"isActive": False}, _of(account))
    session.done(answer.content, f"revoked the token {number}")


@token.command("delete")
@click.argument("number", metavar="ID", type=ACCOUNT)
@_ACCOUNT
@YES
@with_session
def delete_token(session: Session, number: str, account: str | None, yes: bool) -> None:
    """Delete a token; whoever has it can do nothing with it any more."""
    session.confirm(f"Delete the token {number}?", yes=yes)
    answer = session.send("DELETE", f"{TOKENS}/{segments(number)}", query=_of(account))
    session.done(answer.content, f"deleted the token {number}")


def _of(account: str | None) -> dict[str, str]:
    """The query that names an account, empty for the caller's own."""
    return {"account": account} if account else {}


def _time(text: str) -> str:
    """RFC 3339, of a length of time from now or of a time with its zone."""
    if span := re.fullmatch(r"([0-9]{1,4})([hdw])", text):
        return _rfc3339(datetime.now(UTC) + int(span[1]) * _UNITS[span[2]])
    try:
        when = datetime.fromisoformat(text)
        if when.tzinfo is not None:
            return _rfc3339(when.astimezone(UTC))
    except (ValueError, OverflowError):  # no time, or one at the edge of what there are years for
        pass
    raise WrongUse(f"--expires is 12h, 30d, 8w or a time such as 2027-01-31T00:00:00Z, not {text!r}")


def _rfc3339(when: datetime) -> str:
    return when.isoformat(timespec="seconds").replace("+00:00", "Z")
