"""``slipway``, the registry's command line: a module of this package for each command, imported when it is called.

    slipway login registry.example.org
    slipway repo list

Exit codes: 0 done, 1 the registry said no, 2 wrong use, 3 not logged in, 4 no usable answer; 130 after Ctrl-C.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

import click

from infra.command.failures import Failure
from infra.command.output import tell

INTERRUPTED = 130

COMMANDS = {
    "login": ("login", "Prove who you are, and keep it where docker does."),
    "logout": ("login", "Forget a registry's credentials."),
    "whoami": ("login", "Show who the registry takes you for."),
    "user": ("user", "Users: list, create, show, edit, delete, passwd."),
    "org": ("org", "Organizations and their members."),
    "team": ("team", "Teams of an organization, their members and rights."),
    "repo": ("repo", "Repositories: list, create, show, edit, delete, access."),
    "grant": ("grant", "What a team may do with a repository or a namespace."),
    "robot": ("robot", "Accounts of an organization's programs."),
    "trust": ("trust", "Whose identity tokens a robot may log in with."),
    "token": ("token", "Access tokens: list, create, revoke, delete."),
    "can-i": ("can_i", "Ask whether you may do something, and why."),
    "events": ("events", "What was done, and what was refused."),
    "settings": ("settings", "The registry's settings: show, set."),
    "job": ("job", "The registry's own work: list, show, run, cancel, logs, delete, kinds."),
    "cron": ("cron", "When that work is done by itself: list, set, unset."),
    "completion": ("completion", "Print the completion script of a shell."),
    "relay": ("relay", "Bring large layers to a registry that takes small requests only."),
}
"""Each command's module, and what --help says of it without importing that."""


class Commands(click.Group):
    """All of them, each imported when it is asked for: a relay has no use for the client, nor --help for either."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of the module's variable of the same name."""
        if cmd_name not in COMMANDS:
            return None
        found = getattr(import_module(f"infra.command.{COMMANDS[cmd_name][0]}"), cmd_name.replace("-", "_"))
        return found if isinstance(found, click.Command) else None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The options of all commands that call a registry may stand before the command, too."""
        from infra.command.options import SHARED

        return [*super().get_params(ctx), *SHARED]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The table, without importing what it names."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, told) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
def slipway() -> None:
    """A container registry's command line."""


def main(
    arguments: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> int:
    """Run a command line, that of the process when None is given; the exit code. ``wait`` waits for seconds."""
    from infra.command.options import Surroundings

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks
    surroundings = Surroundings(os.environ if environ is None else environ, wait)
    try:
        code = slipway.main(arguments, prog_name="slipway", standalone_mode=False, obj=surroundings)
    except click.Abort:
        tell("interrupted")
        return INTERRUPTED
    except click.ClickException as wrong:
        wrong.show()
        return wrong.exit_code
    except Failure as failure:
        tell(str(failure))
        return failure.exit_code
    return code if isinstance(code, int) else 0
