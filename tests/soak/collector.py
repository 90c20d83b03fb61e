"""``python -m tests.soak.collector <seed>``: collects the garbage of the environment's registry without pause, until killed.

Most runs have a clock by which what was condemned some seconds ago is due; every few seconds one has a clock by which all of
it is, also what an earlier run condemned by a clock that was ahead already. What is taken is told in lines: ``links 1``.
"""

from __future__ import annotations

import random
import sys
import time

from chalicelib.registry.condemned import RENEWED_AFTER
from chalicelib.registry.errors import Busy
from tests.soak.ahead import Ahead, garbage

GRACE = 3600 + RENEWED_AFTER
"""Seconds: the shortest that can be chosen."""
YOUNG = (4.0, 12.0)
"""Seconds for which a collector that is not far ahead leaves what nothing needs."""
FURTHER = (0.05, 0.2, 0.5, 2.0, 12.0)
"""Seconds between two runs whose clock is further ahead, by up to so many graces more, so that also what was deleted can no
longer be restored: bursts, and time between them in which an image of many layers can be pushed."""
GRACES = 18
BREATH = 0.02
"""Seconds between two runs: where there is nothing to take, they would leave the clients no processor."""


class Told:
    """A ``Pace`` that tells each count at once: the process may not live to tell a sum."""

    def count(self, what: str, number: int = 1) -> None:
        print(what, number, flush=True)

    def checkpoint(self, cursor: str | None = None) -> None:
        """Goes on."""


def main() -> None:
    chance, pace = random.Random(sys.argv[1]), Told()
    further = 0.0
    while True:
        ahead = GRACE - chance.uniform(*YOUNG)
        if time.monotonic() > further:
            further = time.monotonic() + chance.choice(FURTHER)
            ahead += GRACE * chance.randint(1, GRACES)
        try:
            garbage(Ahead(ahead)).collect(pace)
        except Busy:
            pace.count("busy")
        pace.count("runs")
        time.sleep(BREATH)  # the soak's own pacing


if __name__ == "__main__":
    main()
