"""What a long work is given to go by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Pace(Protocol):
    """Who lets a long work go on: a job's ``Run``."""

    def count(self, what: str, number: int = 1) -> None:
        """Tell of progress."""

    def checkpoint(self, cursor: str = "") -> None:
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
