"""Jobs on a table and a clock that instances share, and work that records what happens to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from chalicelib.local.cron_times import CronTimes
from chalicelib.registry.ports import Table
from chalicelib.registry.upkeep.crons import Crons
from chalicelib.registry.upkeep.job_runner import LEASE_SECONDS, Runner
from chalicelib.registry.upkeep.jobs import Job, Jobs, Kind, Parameter, Run
from tests.frozen_clock import FrozenClock
from tests.memory_table import MemoryTable
from tests.watched_table import Died, WatchedTable

AMPLE = 900.0
STEPS = 4


class Broken(Exception):
    """What work fails with."""


class Works:
    """A registry's jobs. The kind ``steps`` does ``STEPS`` steps, each of so many seconds; ``during`` is done in each, with the
    run and the number of the step. ``other`` does nothing at all."""

    def __init__(
        self,
        table: Table | None = None,
        clock: FrozenClock | None = None,
        *,
        seconds: float = 6,
        schedule: str = "",
        retries: int = 3,
        deadline: int = 3600,
    ) -> None:
        self.table = WatchedTable(table or MemoryTable())
        self.clock = clock or FrozenClock()
        self.seconds = seconds
        self.during: Callable[[Run, int], object] = lambda _run, _step: None
        self.done: list[int] = []
        self.others = 0
        self.under_way = 0
        self.most_under_way = 0
        self.left = AMPLE
        most = Parameter("Steps", STEPS, 0, 1000)
        self.kinds = (
            Kind("other", "Nothing", self._other, ""),
            Kind("steps", "Steps", self._steps, schedule, parameters={"most": most}, retries=retries, deadline=deadline),
        )
        self.jobs = Jobs(self.table, self.clock, self.kinds)
        self.crons = Crons(self.table, self.clock, self.jobs, CronTimes())
        self.runner = Runner(self.table, self.clock, self.jobs, self.crons)

    def create(self, kind: str = "steps", **parameters: int) -> Job:
        return self.jobs.create(kind, parameters, "bob")

    def tick(self) -> int:
        return self.runner.tick(lambda: self.left)

    def tick_or_die(self) -> bool:
        """Whether this tick died; whoever dies is not under way any more."""
        before = self.under_way
        try:
            self.tick()
        except Died:
            self.under_way = before
            return True
        return False

    def expire(self) -> None:
        """Whoever holds a lease has lost it."""
        self.clock.advance(LEASE_SECONDS)

    def only(self) -> Job:
        (job,) = self.jobs.page("", 10)
        return job

    def said(self, job: Job) -> Sequence[str]:
        return [line.text for line in self.jobs.log(job.id, 0, 100_000)]

    def entries(self) -> Mapping[str, Mapping[str, object]]:
        """The entries of open jobs."""
        return {item.key.sort: item.attributes for item in self.table.inner.query("open")}

    def _other(self, _run: Run) -> None:
        self.others += 1

    def _steps(self, run: Run) -> None:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            for step in range(int(run.cursor or 0), run.parameters["most"]):
                self.during(run, step)
                self.clock.advance(self.seconds)
                self.done.append(step)
                run.count("steps")
                run.log(f"step {step}")
                run.checkpoint(str(step + 1))
        except Exception:
            self.under_way -= 1
            raise
        self.under_way -= 1
