"""The time as the machine has it."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """The Clock of every deployment; tests have ``tests.frozen_clock``."""

    def now(self) -> datetime:
        """The present moment in UTC, aware."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Let so much time pass."""
        time.sleep(seconds)
