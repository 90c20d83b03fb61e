"""What ends a command, each with the exit code that scripts go by. Nothing here imports what takes time.

0 done; 1 the registry said no, or the user did; 2 wrong use (also click.UsageError); 3 not logged in; 4 no usable answer.
"""

from __future__ import annotations


class Failure(Exception):
    """Why a command ends, in a sentence without a full stop. What the registry said in it is escaped where it is printed."""

    exit_code = 1


class Refused(Failure):
    """The registry said no. ``code`` is the API's, such as ``NOT_AUTHORIZED``; "" if the no is not the registry's."""

    def __init__(self, sentence: str, code: str = "") -> None:
        super().__init__(sentence)
        self.code = code


class WrongUse(Failure):
    """The command line or the environment says what cannot be done."""

    exit_code = 2


class NotLoggedIn(Failure):
    """No credentials, or none that can be read, or not ones that the registry takes."""

    exit_code = 3


class Unreachable(Failure):
    """No connection, or an answer that is not the API's: nobody said yes, and nobody said no."""

    exit_code = 4
