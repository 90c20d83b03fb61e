"""Completion scripts, and bash completing with one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.infra.command.running import ROOT, User


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("slipway us", {"user"}),
        ("slipway user p", {"passwd"}),
        ("slipway can-i pu", {"pull", "push"}),
        ("slipway grant set acme/dev acme/ read-", {"read-only", "read-write"}),
        ("slipway repo edit --pu", {"--public"}),
        ("slipway team list --reg", {"--registry"}),
        ("slipway job list --status ca", {"cancelled"}),
        ("slipway cron ", {"list", "set", "unset"}),
        ("slipway relay --up", {"--upstream"}),
        ("slipway --output ", {"table", "json"}),
        ("slipway user delete --yes nothing-that-is-known", set()),
    ],
)
def test_bash_completes(tmp_path: Path, line: str, expected: set[str]) -> None:
    program = tmp_path / "slipway"
    program.write_text(f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m infra.command "$@"\n')
    program.chmod(0o755)
    script = f"""
        eval "$(slipway completion bash)"
        complete -p slipway >/dev/null || exit 9
        COMP_LINE={line!r}; IFS=' ' read -ra COMP_WORDS <<< "$COMP_LINE"
        [[ $COMP_LINE == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        _slipway_completion slipway
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(["bash", "--norc", "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert (set(done.stdout.split()), done.stderr) == (expected, "")


@pytest.mark.parametrize(("shell", "word"), [("bash", "complete "), ("zsh", "compdef"), ("fish", "complete ")])
def test_scripts(user: User, shell: str, word: str) -> None:
    done = user.run("completion", shell)
    assert done.code == 0
    assert word in done.out


def test_another_shell(user: User) -> None:
    assert user.run("completion", "tcsh").code == 2
