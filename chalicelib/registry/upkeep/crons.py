"""When jobs are made by themselves: one schedule for each kind, in UTC, which an administrator may change; drawn in records.py.

::

    crons/<kind>        next_at?, timed_by; schedule?, parameters?, retries?, deadline? as they were set, and version

A schedule has six fields: second, minute, hour, day of the month, month, day of the week. Nobody has set those of which no
``schedule`` is stored: the kind's own holds, also when a later release changes it (``timed_by`` is the one that ``next_at`` was
found by). A job is made in one transaction with the next time, on the condition that the time is still the one that was read:
of two that come at once one makes the job. However late it is, it is one job.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Protocol

from chalicelib.registry.attempts import retried, settled
from chalicelib.registry.errors import RegistryError, ScheduleInvalid, VersionMismatch
from chalicelib.registry.ports import (
    All,
    Attributes,
    Clock,
    Condition,
    ConditionFailed,
    Equals,
    Lacks,
    StoreFull,
    Table,
    Update,
)
from chalicelib.registry.records import CRONS_PARTITION, VERSION, Malformed, cron_key, number, text_or, version_of
from chalicelib.registry.upkeep.jobs import Jobs, Kind, Limits

SHORTEST = 60
"""Seconds between two times of a schedule at least: the cloud looks once a minute."""

LONGEST_SCHEDULE = 200
"""Characters."""

SHORTHANDS = {
    "@hourly": "0 0 * * * *",
    "@daily": "0 0 0 * * *",
    "@weekly": "0 0 0 * * 0",
    "@monthly": "0 0 0 1 * *",
}

_FIELDS = 6
_NEXT, _TIMED_BY, _SCHEDULE = "next_at", "timed_by", "schedule"

logger = logging.getLogger(__name__)


class Times(Protocol):
    """Knows what six fields mean."""

    def after(self, schedule: str, moment: datetime) -> datetime | None:
        """The first time of the schedule after ``moment`` (UTC, aware), None if it has none for decades. Raises ValueError for
        what is no schedule."""


@dataclass(frozen=True, slots=True)
class Cron:
    """When jobs of a kind are made, and what they are given. ``schedule`` is "" for never, ``next_at`` in seconds since the
    epoch, None while it has not been found; ``version`` is 0 as long as nobody has set anything."""

    kind: str
    schedule: str
    parameters: Mapping[str, int]
    retries: int
    deadline: int
    next_at: int | None
    version: int


class Crons:
    """Reads and sets schedules, and makes the jobs that are due."""

    def __init__(self, table: Table, clock: Clock, jobs: Jobs, times: Times) -> None:
        self._table = table
        self._clock = clock
        self._jobs = jobs
        self._times = times

    def list(self) -> Sequence[Cron]:
        """Those of all kinds, by name. One query."""
        stored = self._stored()
        return [_cron(kind, stored.get(kind.name)) for kind in self._kinds()]

    def get(self, kind: str) -> Cron:
        """Raises JobKindUnknown."""
        return _cron(self._jobs.kind(kind), self._table.get(cron_key(kind)))

    def set(
        self,
        kind: str,
        schedule: str,
        parameters: Mapping[str, int] | None = None,
        *,
        retries: int | None = None,
        deadline: int | None = None,
        version: int | None = None,
    ) -> Cron:
        """From now on by this schedule; ``retries`` and ``deadline`` are the kind's if None. ``version`` is the one that it
        must have. Raises JobKindUnknown, JobParametersInvalid, ScheduleInvalid, VersionMismatch, Busy."""
        asked, given = self._jobs.kind(kind), dict(parameters or {})
        asked.checked(given)
        Limits(retries, deadline).checked()
        if schedule.isascii():  # anything else is no schedule
            schedule = " ".join(schedule.split())  # crontabs have tabs
        first = self._checked(schedule)
        limits = {name: value for name, value in (("retries", retries), ("deadline", deadline)) if value is not None}
        chosen: Attributes = {_SCHEDULE: schedule, "parameters": given, **limits, _NEXT: first, _TIMED_BY: schedule}
        return self._change(asked, chosen, version)

    def unset(self, kind: str, version: int | None = None) -> Cron:
        """Never by itself any more. Raises JobKindUnknown, VersionMismatch, Busy."""
        return self._change(self._jobs.kind(kind), {_SCHEDULE: "", _TIMED_BY: ""}, version)

    def make_due(self) -> int:
        """Make the jobs whose time has come; how many. One query if there are none. What cannot be made of one kind keeps no
        other from being made: it is logged, and tried again the next time."""
        stored, made = self._stored(), 0
        for kind in self._kinds():
            try:
                made += self._make(kind, stored.get(kind.name))
            except (RegistryError, StoreFull, Malformed) as error:
                logger.warning("no job of the kind %s was made: %s", kind.name, error or type(error).__name__)
        return made

    def _make(self, kind: Kind, stored: Attributes | None) -> bool:
        cron, now = _cron(kind, stored), self._clock.now()
        is_due = kind.is_prompt if stored is None else cron.next_at is not None and cron.next_at <= now.timestamp()
        if not cron.schedule or (cron.next_at is not None and not is_due and not self._is_astray(cron, now)):
            return False
        later: Attributes = {_NEXT: self._next(cron.schedule, now), _TIMED_BY: cron.schedule}
        move = Update(cron_key(kind.name), set=later, condition=_as_read(stored))
        if is_due:
            limits = Limits(cron.retries, cron.deadline)
            _, writes = self._jobs.made(kind, cron.parameters, "", limits)
            try:
                settled(lambda: self._table.transact([move, *writes]))
            except ConditionFailed as failed:
                if 0 in failed.failed:
                    return False  # another one was quicker
            else:
                return True
        # One of the kind is still open, or it is not yet known when the first one comes.
        with suppress(ConditionFailed):  # another one was quicker
            settled(lambda: self._table.write(move))
        return False

    def _is_astray(self, cron: Cron, now: datetime) -> bool:
        """Is its next time one that only a clock that was wrong can have found? For clocks that differ an hour is allowed."""
        return cron.next_at is not None and cron.next_at > self._next(cron.schedule, now + timedelta(hours=1))

    def _change(self, kind: Kind, chosen: Attributes, version: int | None) -> Cron:
        others = ("parameters", "retries", "deadline", _NEXT)
        dropped = tuple(name for name in others if name not in chosen)

        def write() -> Cron:
            now = self.get(kind.name)
            if version not in {None, now.version}:
                raise VersionMismatch
            condition = Equals(VERSION, now.version) if now.version else Lacks(VERSION)
            change = Update(cron_key(kind.name), set=chosen, add={VERSION: 1}, remove=dropped, condition=condition)
            self._table.write(change)
            return self.get(kind.name)

        return retried(write)

    def _checked(self, schedule: str) -> int:
        """The first time, in seconds since the epoch. Raises ScheduleInvalid."""
        moment = self._clock.now()
        first = self._next(schedule, moment)
        # Of three times at least two lie within one minute if any two of the schedule do.
        times = [first]
        while len(times) < 3:
            times.append(self._next(schedule, moment + timedelta(seconds=times[-1] - int(moment.timestamp()))))
        if any(later - earlier < SHORTEST for earlier, later in pairwise(times)):
            raise ScheduleInvalid(schedule, "the schedule asks for more than one job a minute")
        return first

    def _next(self, schedule: str, moment: datetime) -> int:
        """Raises ScheduleInvalid."""
        fields = SHORTHANDS.get(schedule, schedule)
        if len(fields) > LONGEST_SCHEDULE or not fields.isascii() or len(fields.split()) != _FIELDS:
            raise ScheduleInvalid(schedule)
        try:
            found = self._times.after(fields, moment)
        except ValueError as error:
            raise ScheduleInvalid(schedule, f"the schedule is not valid: {error}") from error
        if found is None:
            raise ScheduleInvalid(schedule, "the schedule has no time that ever comes")
        return int(found.timestamp())

    def _stored(self) -> Mapping[str, Attributes]:
        return {item.key.sort: item.attributes for item in self._table.query(CRONS_PARTITION)}

    def _kinds(self) -> Sequence[Kind]:
        return [self._jobs.kinds[name] for name in sorted(self._jobs.kinds)]


def _cron(kind: Kind, stored: Attributes | None) -> Cron:
    found: Attributes = stored or {}
    schedule = text_or(found, _SCHEDULE, kind.schedule)
    given = found.get("parameters")
    parameters = {name: number(given, name) for name in given} if isinstance(given, Mapping) else {}
    return Cron(
        kind=kind.name,
        schedule=schedule,
        parameters=kind.completed(parameters),
        retries=number(found, "retries") if "retries" in found else kind.retries,
        deadline=number(found, "deadline") if "deadline" in found else kind.deadline,
        next_at=number(found, _NEXT) if _NEXT in found and found.get(_TIMED_BY) == schedule else None,
        version=version_of(found),
    )


def _as_read(stored: Attributes | None) -> Condition:
    """Holds if nobody has moved or set the schedule since."""
    found: Attributes = stored or {}
    next_at = Equals(_NEXT, number(found, _NEXT)) if _NEXT in found else Lacks(_NEXT)
    return All((next_at, Equals(VERSION, version_of(found)) if VERSION in found else Lacks(VERSION)))
