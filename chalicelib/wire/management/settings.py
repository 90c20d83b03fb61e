"""What an administrator may choose: ``/api/v0/meta/settings``."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import asdict, fields

from chalicelib.registry.configuration import BOUNDS, Choices
from chalicelib.wire.management.bodies import Input
from chalicelib.wire.management.call import Answer, Call


class Settings(Struct, frozen=True, rename="camel"):
    """The registry's settings."""

    create_repository_on_push: bool
    event_retention_days: int
    grace_hours: int
    restorable_days: int
    untagged_days: int


def _within(name: str) -> Meta:
    least, most = BOUNDS[name]
    return Meta(ge=least, le=most)


class SettingsChange(Input, frozen=True):
    """What to change of the settings."""

    create_repository_on_push: bool | UnsetType = UNSET
    event_retention_days: Annotated[int, _within("event_retention_days")] | UnsetType = UNSET
    grace_hours: Annotated[int, _within("grace_hours")] | UnsetType = UNSET
    restorable_days: Annotated[int, _within("restorable_days")] | UnsetType = UNSET
    untagged_days: Annotated[int, _within("untagged_days")] | UnsetType = UNSET


def read_settings(call: Call) -> Answer:
    return _answer(call.services.configuration.read())


def change_settings(call: Call) -> Answer:
    """Raises VersionMismatch, Busy."""
    given = asdict(call.given(SettingsChange))
    chosen = {name: value for name, value in given.items() if value is not UNSET}
    return _answer(call.services.configuration.change(version=call.version, **chosen))


def _answer(choices: Choices) -> Answer:
    shown = {field.name: getattr(choices, field.name) for field in fields(Settings)}
    return Answer(Settings(**shown), version=choices.version)
