"""What an administrator may choose: ``/api/v0/meta/settings``."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from chalicelib.registry.configuration import LONGEST_RETENTION, Choices
from chalicelib.wire.management.bodies import Input
from chalicelib.wire.management.call import Answer, Call


class Settings(Struct, frozen=True, rename="camel"):
    """The registry's settings."""

    create_repository_on_push: bool
    event_retention_days: int


class SettingsChange(Input, frozen=True):
    """What to change of the settings."""

    create_repository_on_push: bool | UnsetType = UNSET
    event_retention_days: Annotated[int, Meta(ge=1, le=LONGEST_RETENTION)] | UnsetType = UNSET


def read_settings(call: Call) -> Answer:
    return _answer(call.services.configuration.read())


def change_settings(call: Call) -> Answer:
    """Raises VersionMismatch, Busy."""
    body = call.given(SettingsChange)
    chosen = call.services.configuration.change(
        create_repository_on_push=None if body.create_repository_on_push is UNSET else body.create_repository_on_push,
        event_retention_days=None if body.event_retention_days is UNSET else body.event_retention_days,
        version=call.version,
    )
    return _answer(chosen)


def _answer(choices: Choices) -> Answer:
    return Answer(Settings(choices.create_repository_on_push, choices.event_retention_days), version=choices.version)
