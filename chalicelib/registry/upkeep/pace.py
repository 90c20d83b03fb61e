"""What a long work goes by, and what it does about a step that fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from chalicelib.registry.attempts import retried
from chalicelib.registry.errors import Busy, DigestInvalid
from chalicelib.registry.records import Malformed


class Pace(Protocol):
    """Who lets a long work go on: a job's ``Run``."""

    def count(self, what: str, number: int = 1) -> None:
        """Tell of progress."""

    def checkpoint(self, cursor: str | None = None) -> None:
        """Between two steps; raises what ends the work here."""


class Resumable(Pace, Protocol):
    """The same for a work that another process may go on with, and that has something to say."""

    @property
    def cursor(self) -> str:
        """What an earlier checkpoint saved, "" at the beginning."""

    def log(self, line: str) -> None:
        """Tell people."""


class Chosen(Resumable, Protocol):
    """The same for a work that has parameters."""

    @property
    def parameters(self) -> Mapping[str, int]:
        """By name."""


def settle(step: Callable[[], None], pace: Pace) -> None:
    """Do one of many steps until it is not disturbed. One that goes on being disturbed, or comes upon a record that nobody here
    wrote, is left to the next time: it must not keep the others from being done. Raises what ``pace`` and the stores raise."""
    try:
        retried(step)
    except (Busy, Malformed, DigestInvalid, ValueError):  # the last two are of keys that say nothing
        pace.count("left over")
    pace.checkpoint()
