"""A pace for tests: it counts, and never ends anything."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Counts:
    """A ``Pace``; ``counted`` is the progress that was told."""

    counted: dict[str, int] = field(default_factory=dict)

    def count(self, what: str, number: int = 1) -> None:
        self.counted[what] = self.counted.get(what, 0) + number

    def checkpoint(self, cursor: str | None = None) -> None:
        """Goes on."""
