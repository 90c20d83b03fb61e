"""The registry's own work, under way and ended: ``/api/v0/jobs``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from chalicelib.registry.errors import JobUnknown, PaginationInvalid, ParameterInvalid
from chalicelib.registry.upkeep import jobs as domain
from chalicelib.wire.management.bodies import Input
from chalicelib.wire.management.call import NOTHING_THERE, Answer, Call
from chalicelib.wire.management.paging import Whole
from chalicelib.wire.management.words import moment

ACTION_PATTERN = "^[a-z][a-z0-9-]*$"
_ACTION = re.compile(ACTION_PATTERN[1:-1], re.ASCII)


OFFSET = Whole("offset", "The line to begin with.", 0, 0, 99_999_999)
LIMIT = Whole("limit", "Lines at most.", 100, 1, 1_000)

# The patterns are for those who read the description; what a kind takes is the domain's to say.
Action: TypeAlias = Annotated[str, Meta(extra_json_schema={"pattern": ACTION_PATTERN, "minLength": 1, "maxLength": 64})]
Numbers: TypeAlias = dict[str, int]
Retries: TypeAlias = Annotated[int, Meta(ge=0, le=domain.MOST_RETRIES)]
Deadline: TypeAlias = Annotated[int, Meta(ge=domain.SHORTEST_DEADLINE, le=domain.LONGEST_DEADLINE)]


class Job(Struct, frozen=True, rename="camel"):
    """Work of one kind. ``createdBy`` "" is the schedule; ``counts`` is how far it has come, ``deadline`` the seconds that it
    may take from its first start, ``error`` why it failed, last of all."""

    id: str
    action: str
    status: Literal["waiting", "running", "done", "failed", "cancelled"]
    parameters: Numbers
    retries: int
    deadline: int
    attempts: int
    counts: Numbers
    error: str
    is_cancelling: bool
    created_by: str
    created_at: datetime
    due_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class Jobs(Struct, frozen=True, rename="camel"):
    """A page of jobs, newest first."""

    jobs: list[Job]


class NewJob(Input, frozen=True):
    """What to do now. What is left out is as the kind has it."""

    action: Action
    parameters: Numbers | UnsetType = UNSET
    retries: Retries | UnsetType = UNSET
    deadline: Deadline | UnsetType = UNSET


class LogLine(Struct, frozen=True, rename="camel"):
    """A line that a job wrote down; the first one's offset is 0."""

    offset: int
    at: datetime
    text: str


class JobLog(Struct, frozen=True, rename="camel"):
    """A part of a job's log; ``next`` is the offset of what comes after it."""

    lines: list[LogLine]
    next: int


def list_jobs(call: Call) -> Answer:
    """Raises PaginationInvalid, ParameterInvalid."""
    after, asked = call.page.after, call.request
    if after and not domain.is_job_id(after):
        raise PaginationInvalid("pageStart is of another list")
    status, kind = asked.first("status"), asked.first("action")
    if "status" in asked.query and status not in domain.STATUSES:
        raise ParameterInvalid(f"status is one of {', '.join(domain.STATUSES)}", parameter="status")
    if "action" in asked.query and not _ACTION.fullmatch(kind):
        raise ParameterInvalid("action is the name of a kind of job", parameter="action")
    read = call.services.jobs.page(after, call.page.one_more, kind=kind, status=status)
    found, more = call.page.cut(read, lambda job: job.id)
    return Answer(Jobs([_shown(job) for job in found]), next=more)


def create_job(call: Call) -> Answer:
    """Raises JobKindUnknown, JobParametersInvalid, JobUnderWay, Busy."""
    body = call.given(NewJob)
    job = call.services.jobs.create(
        body.action,
        {} if body.parameters is UNSET else body.parameters,
        call.signed_in.name,
        retries=None if body.retries is UNSET else body.retries,
        deadline=None if body.deadline is UNSET else body.deadline,
    )
    return Answer(_shown(job), object=job.kind, detail={"job": job.id, **named(job.parameters)})


def read_job(call: Call) -> Answer:
    """Raises JobUnknown."""
    return Answer(_shown(call.services.jobs.get(call.names["job"])))


def cancel_job(call: Call) -> Answer:
    """Raises JobUnknown, JobEnded, Busy."""
    job = call.services.jobs.cancel(call.names["job"])
    return Answer(_shown(job), object=job.kind)


def delete_job(call: Call) -> Answer:
    """Raises JobUnderWay, Busy."""
    try:
        job = call.services.jobs.get(call.names["job"])
        call.services.jobs.delete(job.id)
    except JobUnknown:
        return NOTHING_THERE
    return Answer(object=job.kind)


def read_log(call: Call) -> Answer:
    """Raises JobUnknown, PaginationInvalid."""
    offset, limit = OFFSET.of(call.request), LIMIT.of(call.request)
    read = call.services.jobs.log(call.names["job"], offset, limit)
    lines = [LogLine(line.offset, moment(line.at), line.text) for line in read]
    return Answer(JobLog(lines, lines[-1].offset + 1 if lines else offset))


def named(parameters: Mapping[str, int]) -> dict[str, str]:
    """Parameters as an event's detail has them."""
    return {"parameters": ",".join(f"{name}={number}" for name, number in parameters.items())} if parameters else {}


def _shown(job: domain.Job) -> Job:
    return Job(
        id=job.id,
        action=job.kind,
        status=job.status,  # type: ignore[arg-type]
        parameters=dict(job.parameters),
        retries=job.retries,
        deadline=job.deadline,
        attempts=job.attempts,
        counts=dict(job.counts),
        error=job.error,
        is_cancelling=job.is_cancelling,
        created_by=job.created_by,
        created_at=moment(job.created_at),
        due_at=moment(job.due_at),
        started_at=None if job.started_at is None else moment(job.started_at),
        ended_at=None if job.ended_at is None else moment(job.ended_at),
    )
