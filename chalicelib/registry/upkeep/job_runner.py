"""Running jobs: whoever ticks makes those that are due by their schedule, takes up what is waiting or abandoned, and works.

Functions die without a word, come twice, and are slow. So whoever takes a job up writes a random word, ``holder``, and a time,
``until``, into ``open/<kind>``, on the condition that nobody has changed that item since it was read. The word is the fence:
every later write for the job is in one transaction with the condition that it still stands there. Who was taken for dead
and comes back finds another one's word, or none, at the next write, writes nothing and ends. The time only tells the
others when to take somebody for dead; it is moved on at checkpoints.

The work itself is not fenced: a step during which the lease ran out may meet the same step of the next holder. Steps take
seconds and a lease lasts minutes, and what jobs do is right also if it is done twice.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from chalicelib.registry.attempts import settled
from chalicelib.registry.errors import Busy
from chalicelib.registry.ports import (
    All,
    Attributes,
    Clock,
    Condition,
    ConditionFailed,
    Delete,
    Equals,
    Item,
    Lacks,
    Put,
    StoreFull,
    Table,
    Update,
    Write,
)
from chalicelib.registry.records import (
    OPEN_PARTITION,
    REVISION,
    Malformed,
    job_key,
    job_log_key,
    number,
    number_or,
    open_key,
    text,
)
from chalicelib.registry.times import seconds
from chalicelib.registry.upkeep.crons import Crons
from chalicelib.registry.upkeep.jobs import CANCELLED, DONE, FAILED, LINES_AT_ONCE, RUNNING, WAITING, Job, Jobs, Stopped

LEASE_SECONDS = 180
"""After so long without a checkpoint whoever runs a job is taken for dead."""

SAVE_SECONDS = 5
"""Between two writes of a checkpoint, unless there is much to keep."""

RESERVE_SECONDS = 30
"""Of a process's time that are left when it hands its job over, and when it takes up no other."""

FIRST_DELAY, LONGEST_DELAY = 30, 3600
"""Seconds before a job that failed is tried again; they double."""

FARTHEST = LONGEST_DELAY + 3600
"""Seconds from now beyond which nobody's time to wait can lie, unless a clock was wrong; an hour is for clocks that differ."""

MAX_LINES, MAX_LINE = 10_000, 1_000
"""Lines of a job's log, and characters of a line, at most."""

_OWN_LINES = 100
"""Lines of those that are kept for what the runner itself has to say."""

_MAX_ERROR = 500
_MAX_CURSOR = 2_000
_MAX_COUNTS = 50

_SECRET = re.compile(r"(?<=://)[^/\s@]+@|(?<=\?)\S+|\b(?:eyJ|sl[a-z]_)[\w.~+/=-]{16,}")
"""What might let somebody in, if the text of an error had it: a URL's password and its query, our tokens."""

_LOST, _CANCEL, _LATE, _OVER = "lease lost", "cancelled", "deadline passed", "time is over"

logger = logging.getLogger(__name__)


class Runner:
    """Any number of them may tick at once, anywhere."""

    def __init__(self, table: Table, clock: Clock, jobs: Jobs, crons: Crons) -> None:
        self._table = table
        self._clock = clock
        self._jobs = jobs
        self._crons = crons

    def tick(self, seconds_left: Callable[[], float]) -> int:
        """Make the jobs that are due and work on each open one, until all are done or less than ``RESERVE_SECONDS`` of this
        process's time are left; how many were worked on. A job that fails keeps no other from being run."""
        self._crons.make_due()
        run = 0
        for entry in self._due():
            if seconds_left() < RESERVE_SECONDS:
                break
            try:
                run += self._run(entry, seconds_left)
            except Exception:
                logger.exception("the job of the kind %s could not be kept; another tick goes on with it", entry.key.sort)
        return run

    def _due(self) -> Sequence[Item]:
        """Entries of jobs that wait no longer, and of those that nobody runs any more; who has waited longest comes first."""
        now = seconds(self._clock)
        entries = self._table.query(OPEN_PARTITION)
        due = [item for item in entries if not 0 < _free_at(item) - now <= FARTHEST]
        return sorted(due, key=_due_at)

    def _run(self, entry: Item, seconds_left: Callable[[], float]) -> bool:
        """Whether its work was begun."""
        job = self._jobs.get(text(entry.attributes, "job"))
        if job.kind in self._jobs.kinds:  # an earlier release may have made it, which knew other parameters
            job = replace(job, parameters=self._jobs.kinds[job.kind].completed(job.parameters))
        run = JobRun(self._table, self._clock, job, number(entry.attributes, REVISION), seconds_left)
        is_dead = "holder" in entry.attributes
        if job.is_cancelling:
            run.say("cancelled: whoever ran it is gone")
            run.end(CANCELLED)
        elif run.is_late():
            run.end(FAILED, _LATE)
        elif is_dead and job.attempts > job.retries:
            run.end(FAILED, f"whoever ran it ended without a word, {job.attempts} times")
        elif job.kind in self._jobs.kinds:  # else an instance of another release knows it
            if is_dead:
                run.say(f"taken up: whoever made attempt {job.attempts} ended without a word")
            return run.take() and self._work(run, job)
        return False

    def _work(self, run: JobRun, job: Job) -> bool:
        failure: Exception | None = None
        try:
            self._jobs.kinds[job.kind].work(run)
        except Stopped:
            pass
        except Exception as error:
            logger.exception("the job %s of the kind %s failed", job.id, job.kind)
            failure = error
        run.conclude(failure)
        return True


class JobRun:
    """One attempt of a job, or what is left of it: ``jobs.Run``. ``revision`` is that of the job's entry as it was read, the
    fence until ``take`` puts a word of its own there. Not for two threads."""

    def __init__(self, table: Table, clock: Clock, job: Job, revision: int, seconds_left: Callable[[], float]) -> None:
        self._table = table
        self._clock = clock
        self._job = job
        self._fence: Condition = All((Equals("job", job.id), Equals(REVISION, revision)))
        self._seconds_left = seconds_left
        self._attempts = job.attempts
        self._started_at = job.started_at
        self._saved_at = self._until = 0
        self._stopped = ""
        self._cursor = job.cursor
        self._counts = dict(job.counts)
        self._kept = job.lines
        self._lines: list[tuple[int, str]] = []

    # ------------------------------------------------------------------------------------------------- told to the work

    @property
    def parameters(self) -> Mapping[str, int]:
        return self._job.parameters

    @property
    def cursor(self) -> str:
        return self._cursor

    def log(self, line: str) -> None:
        """See ``jobs.Run.log``."""
        left = MAX_LINES - _OWN_LINES - self._kept - len(self._lines)
        if left > 0:
            self.say(line if left > 1 else "there is more to say than is kept")

    def count(self, what: str, number: int = 1) -> None:
        """See ``jobs.Run.count``."""
        if what in self._counts or len(self._counts) < _MAX_COUNTS:
            self._counts[what] = self._counts.get(what, 0) + number

    def checkpoint(self, cursor: str | None = None) -> None:
        """See ``jobs.Run.checkpoint``. Raises ValueError for a cursor that is too long to be kept."""
        if cursor is not None:
            if len(cursor) > _MAX_CURSOR:
                raise ValueError(f"a cursor of {len(cursor)} characters")
            self._cursor = cursor
        self._stopped = self._stopped or self._why_stop()
        if self._stopped:
            raise Stopped(self._stopped)

    # --------------------------------------------------------------------------------------------------- for the runner

    def say(self, line: str) -> None:
        """A line of the runner's own."""
        if self._kept + len(self._lines) < MAX_LINES:
            self._lines.append((seconds(self._clock), _printable(line)[:MAX_LINE]))

    def is_late(self) -> bool:
        """Is its deadline, which counts from its first start, over?"""
        return self._started_at is not None and seconds(self._clock) >= self._started_at + self._job.deadline

    def take(self) -> bool:
        """Begin an attempt, or go on with one that was handed over; False if somebody else did, or it was cancelled."""
        now, holder = seconds(self._clock), secrets.token_hex(8)
        self._attempts += not self._job.is_continued
        self._started_at = now if self._started_at is None else self._started_at
        self._until = now + LEASE_SECONDS
        lease = self._entry({"holder": holder, "until": self._until})
        changes: Attributes = {"status": RUNNING, "attempts": self._attempts, "started_at": self._started_at}
        is_taken = self._write(lease, changes, drop=("continued",))
        if not is_taken and not self._is_held_by(holder):  # it may have been written, and the answer lost
            return False
        self._fence = Equals("holder", holder)
        self._saved_at, self._stopped = now, ""
        return True

    def _is_held_by(self, holder: str) -> bool:
        entry = self._table.get(open_key(self._job.kind))
        return entry is not None and entry.get("holder") == holder

    def conclude(self, failure: Exception | None) -> None:
        """Keep what became of the attempt: whether it was stopped, or failed (by ``failure``), or is done."""
        if self._stopped == _LOST:
            logger.warning("the job %s was taken up by somebody else", self._job.id)
        elif self._stopped == _CANCEL:
            self.end(CANCELLED)
        elif self._stopped == _LATE:
            self.end(FAILED, _LATE)
        elif self._stopped == _OVER:
            self._wait(seconds(self._clock), {"continued": True})
        elif failure is None:
            self.end(DONE)
        else:
            self._fail(_told(failure))

    def end(self, status: str, error: str = "") -> None:
        """The end of the job, unless somebody else has taken it up."""
        if error:
            self.say(f"failed: {error}")
        changes: Attributes = {"status": status, "ended_at": seconds(self._clock), "error": error}
        self._write(Delete(open_key(self._job.kind), self._fence), changes, drop=("cancelling", "continued"))

    def _fail(self, error: str) -> None:
        if self._attempts > self._job.retries:
            self.end(FAILED, error)
            return
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** (self._attempts - 1))
        self.say(f"attempt {self._attempts} failed: {error}; tried again in {delay} s")
        self._wait(seconds(self._clock) + delay, {"error": error})

    def _wait(self, due_at: int, changes: Attributes) -> None:
        """Give the lease up; from ``due_at`` on anybody takes the job up. If it was to be cancelled it ends here."""
        entry = self._entry({"due_at": due_at}, drop=("holder", "until"))
        is_kept = self._write(entry, {"status": WAITING, "due_at": due_at, **changes}, only_if=Lacks("cancelling"))
        if not is_kept and self._stopped != _LOST:
            self.end(CANCELLED)

    def _why_stop(self) -> str:
        now = seconds(self._clock)
        if self.is_late():
            return _LATE
        if self._seconds_left() < RESERVE_SECONDS:
            return _OVER
        if 0 <= now - self._saved_at < SAVE_SECONDS and len(self._lines) < LINES_AT_ONCE:
            return ""
        return self._save(now)

    def _save(self, now: int) -> str:
        """A checkpoint's write: why the work has to stop, or ""."""
        self._saved_at = now
        try:
            is_going_on = self._write(self._entry({"until": now + LEASE_SECONDS}), {}, only_if=Lacks("cancelling"))
        except (Busy, StoreFull):  # the next checkpoint may have more luck
            return _LOST if now >= self._until else ""
        self._until = now + LEASE_SECONDS
        return "" if is_going_on else self._stopped or _CANCEL

    def _entry(self, changes: Attributes, drop: tuple[str, ...] = ()) -> Update:
        """A write of the job's entry, if the fence stands."""
        return Update(open_key(self._job.kind), set=changes, add={REVISION: 1}, remove=drop, condition=self._fence)

    def _write(
        self, entry: Update | Delete, changes: Attributes, *, drop: tuple[str, ...] = (), only_if: Condition | None = None
    ) -> bool:
        """Change the job and its entry in one transaction, with what was counted and logged; False if ``only_if`` does not
        hold of the job, or the lease is lost. Lines beyond one item's worth go before, in transactions of their own."""
        try:
            while len(self._lines) > LINES_AT_ONCE:
                self._transact(self._entry({}), {}, (), only_if)
            self._transact(entry, changes, drop, only_if)
        except ConditionFailed as failed:
            if 0 in failed.failed:
                self._stopped = _LOST
            return False
        return True

    def _transact(self, entry: Update | Delete, changes: Attributes, drop: tuple[str, ...], only_if: Condition | None) -> None:
        lines = self._lines[:LINES_AT_ONCE]
        kept: Attributes = {"cursor": self._cursor, "counts": dict(self._counts), "lines": self._kept + len(lines)}
        key = job_key(self._job.id)
        writes: list[Write] = [entry, Update(key, set={**kept, **changes}, remove=drop, condition=only_if)]
        if lines:
            writes.append(Put(job_log_key(self._job.id, self._kept), {"lines": [list(line) for line in lines]}))
        settled(lambda: self._table.transact(writes))
        self._kept += len(lines)
        del self._lines[: len(lines)]


def _due_at(entry: Item) -> int:
    """0 where nobody here wrote it: whoever takes it up is told so."""
    with suppress(Malformed):
        return number(entry.attributes, "due_at")
    return 0


def _free_at(entry: Item) -> int:
    """From when on anybody may take the job up."""
    with suppress(Malformed):
        return max(_due_at(entry), number_or(entry.attributes, "until", 0))
    return 0


def _told(error: Exception) -> str:
    """An error's class and message, without what might let somebody in."""
    name = type(error).__name__
    message = _SECRET.sub("...", " ".join(str(error).split()))
    return _printable(f"{name}: {message}" if message else name)[:_MAX_ERROR]


def _printable(line: str) -> str:
    """Text that a table takes and a terminal shows as one line."""
    return "".join(character if character.isprintable() else "\ufffd" for character in line[: 4 * MAX_LINE])
