"""``slipway``, the registry's command line: a subcommand per module of this package.

    slipway relay --upstream https://registry.example.org

A module has ``NAME``, ``HELP``, ``add_arguments`` and ``run``; it imports what it runs only when it does.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Protocol

from infra.command import relay


class Command(Protocol):
    """A subcommand."""

    NAME: str
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Say what it takes."""

    def run(self, options: argparse.Namespace, environ: Mapping[str, str]) -> int:
        """Do it; the exit code."""


COMMANDS: tuple[Command, ...] = (relay,)


def main(arguments: Sequence[str] | None = None, environ: MutableMapping[str, str] = os.environ) -> int:
    """Run a command line, that of the process when None is given; the exit code."""
    parser = argparse.ArgumentParser(prog="slipway", description="A container registry's command line.")
    chosen = parser.add_subparsers(dest="command", required=True, metavar="command")
    for command in COMMANDS:
        found = chosen.add_parser(command.NAME, help=command.HELP, description=command.__doc__, formatter_class=_Verbatim)
        command.add_arguments(found)
        found.set_defaults(run=command.run)
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    code: int = options.run(options, environ)
    return code


_Verbatim = argparse.RawDescriptionHelpFormatter
