"""Jobs: work that the registry does for itself, by a schedule or because an administrator asks for it; drawn in records.py.

::

    job/<job id>
        job             kind, status, parameters, created_at, created_by, due_at, started_at?, ended_at?, attempts, retries,
                        deadline, counts, cursor, lines, error?, cancelling?, continued?
        log/<offset>    lines: a list of [time, text], numbered from <offset>
    jobs/<job id>       the list of all
    open/<kind>         job, due_at, holder?, until?; revision

A job is *waiting* until somebody takes it up, *running* while somebody does, and ends as *done*, *failed* or *cancelled*.
``open/<kind>`` is there from the transaction that makes a job to the one that ends it, so there is one of a kind at a time. Who
runs it has written a random word there, ``holder``, and every write of its own to the job is in one transaction with the
condition that the word still stands: job_runner.py.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from chalicelib.registry.attempts import retried, settled
from chalicelib.registry.errors import JobEnded, JobKindUnknown, JobParametersInvalid, JobUnderWay, JobUnknown
from chalicelib.registry.ports import (
    Absent,
    Attributes,
    Clock,
    Delete,
    Equals,
    Item,
    Put,
    Table,
    Update,
    Value,
    Write,
)
from chalicelib.registry.records import (
    JOBS_PARTITION,
    REVISION,
    Malformed,
    flag,
    job_contents,
    job_key,
    job_log_key,
    jobs_key,
    number,
    number_or,
    open_key,
    text,
    text_or,
)
from chalicelib.registry.times import seconds

WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
STATUSES = (WAITING, RUNNING, DONE, FAILED, CANCELLED)
ENDED = frozenset({DONE, FAILED, CANCELLED})

MOST_RETRIES = 20
SHORTEST_DEADLINE, LONGEST_DEADLINE = 60, 7 * 86_400
"""Seconds."""

LINES_AT_ONCE = 50
"""Lines of a log in one item at most: they fit there however long each is."""

_STRETCH = 20
"""Items of a log that are read at once."""

_DELETES = 100

_LOOKED_AT = 100
"""Jobs that are read at once to find some of them."""

logger = logging.getLogger(__name__)

_IDENTIFIER = re.compile(r"[0-9a-f]{23}", re.ASCII)


class Stopped(Exception):
    """The work has to end here. Whoever works lets it pass: what becomes of the job is not the work's matter."""


class Run(Protocol):
    """What work is given: what it shall do, where it goes on, and whom it tells how far it is."""

    @property
    def parameters(self) -> Mapping[str, int]:
        """All of its kind's, those not given by their defaults."""

    @property
    def cursor(self) -> str:
        """Where to go on: "" at first, else what the last checkpoint of an earlier attempt was given."""

    def log(self, line: str) -> None:
        """Keep a line with the job, cut off after 1,000 characters; beyond 10,000 lines nothing is kept."""

    def count(self, what: str, number: int = 1) -> None:
        """Progress: so many more of these are done."""

    def checkpoint(self, cursor: str | None = None) -> None:
        """To be called between any two steps, each of some seconds at most; None leaves the cursor as it is. Costs nothing but
        now and then a write, which keeps what was counted and logged and tells that this work goes on. Raises Stopped."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """Of a kind: an integer within bounds."""

    summary: str
    default: int
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Kind:
    """What jobs of this name do. ``schedule`` (crons.py, "" for none) holds until another is set; ``is_prompt`` has the first
    job of a new registry made at once, not at the schedule's next time; ``deadline`` is in seconds from a job's first start."""

    name: str
    summary: str
    work: Callable[[Run], None]
    schedule: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    deadline: int = 6 * 3600
    retries: int = 3
    is_prompt: bool = False

    def checked(self, given: Mapping[str, int]) -> None:
        """Raises JobParametersInvalid."""
        for name, value in given.items():
            parameter = self.parameters.get(name)
            if parameter is None:
                raise JobParametersInvalid(f"a job of the kind {self.name} takes no such parameter", name)
            _within(name, value, parameter.least, parameter.most)

    def completed(self, given: Mapping[str, int]) -> Mapping[str, int]:
        """All parameters: those given as far as the kind still takes them, the others by default."""
        found = {name: given.get(name, each.default) for name, each in self.parameters.items()}
        return {
            name: value if self.parameters[name].least <= value <= self.parameters[name].most else self.parameters[name].default
            for name, value in found.items()
        }


@dataclass(frozen=True, slots=True)
class Job:
    """One job. ``created_by`` is an account's name, "" for the schedule; ``due_at`` when it may be taken up (again);
    ``attempts`` how often it was begun; ``error`` why it failed, last of all; ``lines`` how many its log has; ``is_continued``:
    the next to take it up goes on with the attempt. Times are in seconds since the epoch, ``deadline`` in seconds."""

    id: str
    kind: str
    status: str
    parameters: Mapping[str, int]
    created_at: int
    created_by: str
    due_at: int
    started_at: int | None
    ended_at: int | None
    attempts: int
    retries: int
    deadline: int
    counts: Mapping[str, int]
    cursor: str
    error: str
    is_cancelling: bool
    lines: int = 0
    is_continued: bool = False


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a job's log: its number, when it was written (seconds since the epoch), what it says."""

    offset: int
    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Limits:
    """How often a job that failed is tried again, and within how many seconds from its first start; None: as its kind says."""

    retries: int | None = None
    deadline: int | None = None

    def checked(self) -> None:
        """Raises JobParametersInvalid."""
        if self.retries is not None:
            _within("retries", self.retries, 0, MOST_RETRIES)
        if self.deadline is not None:
            _within("deadline", self.deadline, SHORTEST_DEADLINE, LONGEST_DEADLINE)


class Jobs:
    """Makes jobs, tells of them, ends them. ``kinds`` are those that there are."""

    def __init__(self, table: Table, clock: Clock, kinds: Iterable[Kind]) -> None:
        self._table = table
        self._clock = clock
        self.kinds: Mapping[str, Kind] = {kind.name: kind for kind in kinds}

    def kind(self, name: str) -> Kind:
        """Raises JobKindUnknown."""
        if name not in self.kinds:
            raise JobKindUnknown(name)
        return self.kinds[name]

    def create(
        self,
        kind: str,
        parameters: Mapping[str, int],
        created_by: str,
        *,
        retries: int | None = None,
        deadline: int | None = None,
    ) -> Job:
        """A job that is due now. Raises JobKindUnknown, JobParametersInvalid, JobUnderWay, Busy."""
        asked, limits = self.kind(kind), Limits(retries, deadline)
        asked.checked(parameters)
        limits.checked()
        job, writes = self.made(asked, parameters, created_by, limits)

        def write() -> Job:
            under_way = self._table.get(open_key(kind))
            if under_way is None:
                self._table.transact(writes)
            elif text(under_way, "job") != job.id:  # else it was made, and the answer lost
                raise JobUnderWay(kind, text(under_way, "job"))
            return job

        return retried(write)

    def made(self, kind: Kind, parameters: Mapping[str, int], created_by: str, limits: Limits) -> tuple[Job, list[Write]]:
        """A new job, and the writes that make it; the first of them fails while one of its kind is open."""
        moment = self._clock.now()
        now, identifier = int(moment.timestamp()), _new_identifier(moment)
        record: Attributes = {
            "kind": kind.name,
            "status": WAITING,
            "parameters": dict(kind.completed(parameters)),
            "created_at": now,
            "created_by": created_by,
            "due_at": now,
            "attempts": 0,
            "retries": kind.retries if limits.retries is None else limits.retries,
            "deadline": kind.deadline if limits.deadline is None else limits.deadline,
            "counts": {},
            "cursor": "",
            "lines": 0,
        }
        return job_of(identifier, record), [
            Put(open_key(kind.name), {"job": identifier, "due_at": now, REVISION: 1}, Absent()),
            Put(job_key(identifier), record, Absent()),
            Put(jobs_key(identifier), {"kind": kind.name}),
        ]

    def get(self, identifier: str) -> Job:
        """Raises JobUnknown."""
        record = self._table.get(job_key(identifier)) if is_job_id(identifier) else None
        if record is None:
            raise JobUnknown(identifier)
        return job_of(identifier, record)

    def page(self, after: str, limit: int, *, kind: str = "", status: str = "") -> Sequence[Job]:
        """Up to ``limit`` jobs, newest first, beyond the one whose id is ``after`` ("" for the first page); only those of a
        kind or a status, unless that is "". Fewer only at the end."""
        page: list[Job] = []
        asked = limit if not (kind or status) else max(limit, _LOOKED_AT)
        while len(page) < limit and (items := self.stretch(after, asked)):
            after = items[-1].key.sort
            chosen = [item for item in items if kind in {"", item.attributes.get("kind")}]
            page += [job for job in self.of(chosen) if status in {"", job.status}]
        return page[:limit]

    def stretch(self, after: str, limit: int) -> Sequence[Item]:
        """Up to ``limit`` entries of the list of jobs, newest first, beyond that of ``after``."""
        return self._table.query(JOBS_PARTITION, after=after, limit=limit, backward=True)

    def of(self, entries: Sequence[Item]) -> Sequence[Job]:
        """The jobs of these entries of the list, in their order; one deleted meanwhile is left out, as is a record that nobody
        here wrote: it keeps no other job from being told of."""
        found = self._table.batch_get([job_key(item.key.sort) for item in entries]) if entries else {}
        jobs = []
        for identifier in (item.key.sort for item in entries if job_key(item.key.sort) in found):
            try:
                jobs.append(job_of(identifier, found[job_key(identifier)]))
            except Malformed as error:
                logger.warning("the record of the job %s says no %s", identifier, error)
        return jobs

    def cancel(self, identifier: str) -> Job:
        """End a job that is waiting, or have a running one end at its next checkpoint. Raises JobUnknown, JobEnded, Busy."""
        job = self.get(identifier)
        if job.status in ENDED:
            raise JobEnded(identifier, job.status)
        retried(lambda: self._cancel(identifier))
        return self.get(identifier)

    def _cancel(self, identifier: str) -> None:
        job = self.get(identifier)
        if job.status == WAITING:
            ended: Attributes = {"status": CANCELLED, "ended_at": self._now()}
            change = Update(job_key(identifier), set=ended, condition=Equals("status", WAITING))
            self._table.transact([change, Delete(open_key(job.kind))])
        elif job.status == RUNNING:
            asked = Update(job_key(identifier), set={"cancelling": True}, condition=Equals("status", RUNNING))
            self._table.write(asked)
        elif job.status != CANCELLED:  # else it was cancelled, and the answer lost
            raise JobEnded(identifier, job.status)

    def delete(self, identifier: str) -> None:
        """Forget a job that has ended, and its log. Raises JobUnknown, JobUnderWay, Busy."""
        job = self.get(identifier)
        if job.status not in ENDED:
            raise JobUnderWay(job.kind, identifier)
        while lines := self._table.query(job_contents(identifier), prefix="log/", limit=_DELETES):
            gone = [Delete(item.key) for item in lines]
            settled(lambda gone=gone: self._table.transact(gone))  # type: ignore[misc]
        settled(lambda: self._table.transact([Delete(job_key(identifier)), Delete(jobs_key(identifier))]))

    def log(self, identifier: str, offset: int, limit: int) -> Sequence[LogLine]:
        """Up to ``limit`` lines of a job's log from the one numbered ``offset``. Raises JobUnknown."""
        job = self.get(identifier)
        found: list[LogLine] = []
        if not 0 <= offset < job.lines:
            return found
        # The stretch that holds the line begins less than a whole stretch before it.
        after = job_log_key(identifier, offset - LINES_AT_ONCE).sort if offset >= LINES_AT_ONCE else ""
        while len(found) < limit and (
            items := self._table.query(job_contents(identifier), prefix="log/", after=after, limit=_STRETCH)
        ):
            after = items[-1].key.sort
            found += [line for item in items for line in _lines(item) if line.offset >= offset]
        return found[:limit]

    def _now(self) -> int:
        return seconds(self._clock)


def is_job_id(value: str) -> bool:
    return _IDENTIFIER.fullmatch(value) is not None


def job_of(identifier: str, attributes: Attributes) -> Job:
    """What a job's record says. Raises Malformed."""
    return Job(
        id=identifier,
        kind=text(attributes, "kind"),
        status=text(attributes, "status"),
        parameters=_numbers(attributes, "parameters"),
        created_at=number(attributes, "created_at"),
        created_by=text(attributes, "created_by"),
        due_at=number(attributes, "due_at"),
        started_at=number(attributes, "started_at") if "started_at" in attributes else None,
        ended_at=number(attributes, "ended_at") if "ended_at" in attributes else None,
        attempts=number(attributes, "attempts"),
        retries=number(attributes, "retries"),
        deadline=number(attributes, "deadline"),
        counts=_numbers(attributes, "counts"),
        cursor=text(attributes, "cursor"),
        error=text_or(attributes, "error", ""),
        is_cancelling=flag(attributes, "cancelling"),
        lines=number_or(attributes, "lines", 0),
        is_continued=flag(attributes, "continued"),
    )


def _new_identifier(moment: datetime) -> str:
    """It begins with the time in milliseconds, so that ids are in the order of creation."""
    return f"{int(moment.timestamp() * 1000):011x}{secrets.token_hex(6)}"


def _within(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise JobParametersInvalid(f"{name} must be a whole number from {least} to {most}", name)


def _numbers(attributes: Attributes, name: str) -> Mapping[str, int]:
    found = attributes.get(name)
    if not isinstance(found, Mapping):
        raise Malformed(name)
    return {each: number(found, each) for each in found}


def _lines(item: Item) -> list[LogLine]:
    first, lines = int(item.key.sort.removeprefix("log/")), item.attributes.get("lines")
    if not isinstance(lines, Sequence) or isinstance(lines, str | bytes):
        raise Malformed("lines")
    return [_line(first + index, value) for index, value in enumerate(lines)]


def _line(offset: int, value: Value) -> LogLine:
    match value:
        case [int(at), str(said)]:
            return LogLine(offset, at, said)
        case _:
            raise Malformed("lines")
