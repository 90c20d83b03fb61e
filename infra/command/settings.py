"""``slipway settings``: what holds for the whole registry."""

from __future__ import annotations

from collections.abc import Sequence

import click

from infra.command.failures import WrongUse
from infra.command.options import RegistryGroup
from infra.command.session import Session, with_session

SETTINGS = "/api/v0/meta/settings"


@click.group(cls=RegistryGroup)
def settings() -> None:
    """The registry's settings."""


@settings.command("show")
@with_session
def show_settings(session: Session) -> None:
    """All settings."""
    session.show(session.get(SETTINGS))


@settings.command("set")
@click.argument("changes", nargs=-1, required=True, metavar="NAME=VALUE...")
@with_session
def set_settings(session: Session, changes: Sequence[str]) -> None:
    """Change settings: createRepositoryOnPush=true eventRetentionDays=90 restorableDays=30."""
    session.show(session.send("PATCH", SETTINGS, dict(map(_change, changes))).content)


def _change(text: str) -> tuple[str, object]:
    """A name and a JSON value: true or yes, false or no (as ``show`` prints them), a whole number, or else text."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise WrongUse(f"a setting is NAME=VALUE, not {text!r}")
    if value in {"true", "yes", "false", "no"}:
        return name, value in {"true", "yes"}
    digits = value.removeprefix("-")
    return name, int(value) if digits.isascii() and digits.isdigit() and len(digits) < 16 else value
