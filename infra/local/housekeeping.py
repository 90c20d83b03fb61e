"""What the cloud's schedules do, done by one thread: a list of (interval, job), each run shortly after the start."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

log = logging.getLogger("slipway.housekeeping")


@dataclass(frozen=True, slots=True)
class Chore:
    """``job`` every ``interval`` seconds, counted from the end of its last run so that slow runs never pile up."""

    name: str
    interval: float
    job: Callable[[], object]


class Housekeeping:
    """Runs its chores one after another until stopped. A chore that fails is logged and tried again at its next turn."""

    def __init__(self, chores: Sequence[Chore], first_after: float = 5.0) -> None:
        self._chores = tuple(chores)
        self._first_after = first_after
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Begin; the first run of each chore comes ``first_after`` seconds later."""
        self._thread.start()

    def stop(self, patience: float) -> bool:
        """No further chore begins; whether the running one ended within ``patience`` seconds."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        due = dict.fromkeys(range(len(self._chores)), time.monotonic() + self._first_after)
        while due:
            index = min(due, key=due.__getitem__)
            if self._stopped.wait(max(0.0, due[index] - time.monotonic())):
                return
            chore = self._chores[index]
            try:
                chore.job()
            except Exception:
                log.exception("%s failed; next try in %d s", chore.name, chore.interval)
            due[index] = time.monotonic() + chore.interval
