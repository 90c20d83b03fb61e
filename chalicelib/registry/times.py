"""The time as records have it."""

from __future__ import annotations

from chalicelib.registry.ports import Clock


def seconds(clock: Clock) -> int:
    """The present moment in seconds since the epoch."""
    return int(clock.now().timestamp())
