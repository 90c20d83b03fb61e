"""A collector whose clock is wrong: hours ahead of everybody's, so that in minutes there is something to collect.

What is acknowledged rests on no clock, so nothing may be lost by it. What does rest on clocks is only for how long a blob stays
that no manifest came for: who pushes one may find it gone, and pushes it again.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from chalicelib import wiring
from chalicelib.registry.upkeep.expiry import Expiry
from chalicelib.registry.upkeep.garbage import Garbage


class Ahead:
    """A Clock that is so many seconds ahead."""

    def __init__(self, seconds: float) -> None:
        self._ahead = timedelta(seconds=seconds)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def garbage(clock: Ahead) -> Garbage:
    """The collector of the environment's registry, by that clock."""
    table, parts = wiring.table(), wiring.registry()
    expiry = Expiry(table, clock, parts.images)
    return Garbage(
        table, wiring.blob_store(), clock, configuration=wiring.configuration(), removals=parts.removals, expiry=expiry
    )
