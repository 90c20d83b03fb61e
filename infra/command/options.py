"""The options that all commands share, and what the process gives them. They may stand before or after a command's name."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import click

PREFIX = "slipway."
"""Of the shared options' names in a click context's ``meta``."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the process gives to a command."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    wait: Callable[[float], None] = time.sleep


def _remember(context: click.Context, option: click.Parameter, value: object) -> None:
    """Keep a shared option for the session; the one that stands nearest to the end of the line counts."""
    if value and option.name:
        context.meta[PREFIX + option.name] = value


_shared = partial(click.Option, expose_value=False, callback=_remember)


SHARED = (
    _shared(["--registry"], metavar="URL", help="The registry. Default: SLIPWAY_REGISTRY, else the one logged in to last."),
    _shared(["--output"], type=click.Choice(["table", "json"]), help="How to print what is found. JSON is the API's own."),
    _shared(
        ["--ca-file"],
        type=click.Path(exists=True, dir_okay=False),
        help="Authorities that the registry's certificate is checked against (PEM).",
    ),
    _shared(["--insecure-http"], is_flag=True, help="Allow http to hosts other than this machine."),
)


class RegistryCommand(click.Command):
    """A command that calls a registry: it has the shared options."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own, then the shared ones."""
        return [*super().get_params(ctx), *SHARED]


class RegistryGroup(click.Group):
    """A noun, whose commands call a registry."""

    command_class = RegistryCommand


LIMIT = click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many.")
YES = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
