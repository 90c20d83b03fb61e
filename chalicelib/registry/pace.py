"""What a long work is given to go by."""

from __future__ import annotations

from typing import Protocol


class Pace(Protocol):
    """Who lets a long work go on: a job's ``Run``."""

    def count(self, what: str, number: int = 1) -> None:
        """Tell of progress."""

    def checkpoint(self, cursor: str | None = None) -> None:
        """Between two steps; raises what ends the work here."""
