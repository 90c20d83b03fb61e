"""The scheduled function: it looks what there is to do. Chalice hands on the event alone, with Lambda's context in it."""

from __future__ import annotations

import time
from typing import Any

from chalicelib import wiring

WITHOUT_LIMIT_SECONDS = 300.0
"""How long jobs are worked on at a stretch where nobody says how long this process lives."""


def run_jobs(event: Any, context: Any = None) -> dict[str, int]:  # noqa: ANN401  # whatever the scheduler sends
    """Make the jobs that are due by their schedules and work on those that are open; answer how many were worked on."""
    told = getattr(context or getattr(event, "context", None), "get_remaining_time_in_millis", None)
    until = time.monotonic() + WITHOUT_LIMIT_SECONDS

    def seconds_left() -> float:
        return until - time.monotonic() if told is None else float(told()) / 1000

    return {"run": wiring.runner().tick(seconds_left)}
