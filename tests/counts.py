"""A pace for tests: it counts, and ends nothing unless told to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chalicelib.registry.upkeep.leftovers import Leftovers


@dataclass
class Counts:
    """A ``Pace``; ``counted`` is the progress that was told."""

    counted: dict[str, int] = field(default_factory=dict)

    def count(self, what: str, number: int = 1) -> None:
        self.counted[what] = self.counted.get(what, 0) + number

    def checkpoint(self, cursor: str | None = None) -> None:
        """Goes on."""


@dataclass
class Run(Counts):
    """A ``Chosen``, as a job's run is one; ``lines`` is what it was told, ``cursor`` what was saved last."""

    cursor: str = ""
    parameters: Mapping[str, int] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def checkpoint(self, cursor: str | None = None) -> None:
        self.cursor = self.cursor if cursor is None else cursor

    def log(self, line: str) -> None:
        self.lines.append(line)


def swept(leftovers: Leftovers) -> int:
    """Sweep the store; how many objects and unfinished uploads of parts went."""
    counts = Counts()
    leftovers.sweep(counts)
    return counts.counted.get("objects", 0)
