"""Passwords as they come in: from a terminal that does not show them, or from stdin; never from the command line."""

from __future__ import annotations

import getpass
import sys

from infra.command.failures import WrongUse


def ask(what: str, *, twice: bool = False) -> str:
    """A password typed at the terminal. Raises WrongUse where there is none, or nothing or two things are typed."""
    if not sys.stdin.isatty():
        raise WrongUse("there is no terminal to ask for a password; give it by --password-stdin")
    typed = getpass.getpass(f"{what}: ")
    if not typed:
        raise WrongUse("the password is empty")
    if twice and getpass.getpass("Again: ") != typed:
        raise WrongUse("the two are not the same")
    return typed


def from_stdin() -> str:
    """All of stdin, without one line's end. Raises WrongUse."""
    (password,) = lines_from_stdin(1)
    return password


def lines_from_stdin(number: int) -> list[str]:
    """So many passwords, a line each; of the last one only the line's end is cut. Raises WrongUse."""
    try:
        text = sys.stdin.read()
    except UnicodeDecodeError as error:
        raise WrongUse("stdin does not hold a password in this terminal's encoding") from error
    found = text.removesuffix("\n").removesuffix("\r").split("\n", number - 1)
    found = [*(line.removesuffix("\r") for line in found[:-1]), found[-1]]
    if len(found) != number or not all(found) or "\n" in found[-1]:
        raise WrongUse(
            "stdin must hold a password" if number == 1 else "stdin must hold the old password and the new one, a line each"
        )
    return found
