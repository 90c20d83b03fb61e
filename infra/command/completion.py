"""``slipway completion``: the script by which a shell completes commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a shell's completion script.

    \b
        bash: eval "$(slipway completion bash)" in ~/.bashrc
        zsh:  eval "$(slipway completion zsh)" in ~/.zshrc
        fish: slipway completion fish > ~/.config/fish/completions/slipway.fish
    """
    found = get_completion_class(shell)
    root = context.find_root().command
    if found is not None:
        click.echo(found(root, {}, "slipway", "_SLIPWAY_COMPLETE").source())
