"""When the registry's work is done by itself, and what kinds of it there are: ``/api/v0/crons``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from chalicelib.registry.upkeep import crons as domain
from chalicelib.wire.management.bodies import Input
from chalicelib.wire.management.call import Answer, Call
from chalicelib.wire.management.jobs import Deadline, Numbers, Retries, named
from chalicelib.wire.management.words import moment


class Accepted(Struct, frozen=True, rename="camel"):
    """A parameter of a kind of job: a whole number from ``least`` to ``most``."""

    summary: str
    default: int
    least: int
    most: int


class Cron(Struct, frozen=True, rename="camel"):
    """A kind of job, and when it runs by itself: ``schedule`` has six fields (second, minute, hour, day, month, weekday; UTC),
    "" is never. ``parameters``, ``retries`` and ``deadline`` are those of such jobs, ``accepts`` is all that the kind takes."""

    action: str
    summary: str
    schedule: str
    default_schedule: str
    next_at: datetime | None
    parameters: Numbers
    retries: int
    deadline: int
    accepts: dict[str, Accepted]


class Crons(Struct, frozen=True, rename="camel"):
    """A page of all kinds of jobs, in order of name."""

    crons: list[Cron]


class CronChange(Input, frozen=True):
    """When a kind runs, and how. What is left out is as the kind has it."""

    schedule: Annotated[str, Meta(min_length=1, max_length=domain.LONGEST_SCHEDULE)]
    parameters: Numbers | UnsetType = UNSET
    retries: Retries | UnsetType = UNSET
    deadline: Deadline | UnsetType = UNSET


def list_crons(call: Call) -> Answer:
    crons = sorted(call.services.crons.list(), key=lambda cron: cron.kind)
    found, more = call.page.part(crons, lambda cron: cron.kind)
    return Answer(Crons([_shown(call, cron) for cron in found]), next=more)


def read_cron(call: Call) -> Answer:
    """Raises JobKindUnknown."""
    cron = call.services.crons.get(call.names["action"])
    return Answer(_shown(call, cron), version=cron.version)


def put_cron(call: Call) -> Answer:
    """Raises JobKindUnknown, ScheduleInvalid, JobParametersInvalid, VersionMismatch, Busy."""
    body = call.given(CronChange)
    cron = call.services.crons.set(
        call.names["action"],
        body.schedule,
        {} if body.parameters is UNSET else body.parameters,
        retries=None if body.retries is UNSET else body.retries,
        deadline=None if body.deadline is UNSET else body.deadline,
        version=call.version,
    )
    return Answer(_shown(call, cron), version=cron.version, detail={"schedule": cron.schedule, **named(cron.parameters)})


def delete_cron(call: Call) -> Answer:
    """From now on it runs when somebody says so. Raises JobKindUnknown, VersionMismatch, Busy."""
    call.services.crons.unset(call.names["action"], version=call.version)
    return Answer()


def _shown(call: Call, cron: domain.Cron) -> Cron:
    kind = call.services.jobs.kinds[cron.kind]
    accepts = {name: Accepted(each.summary, each.default, each.least, each.most) for name, each in kind.parameters.items()}
    return Cron(
        action=cron.kind,
        summary=kind.summary,
        schedule=cron.schedule,
        default_schedule=kind.schedule,
        next_at=None if cron.next_at is None else moment(cron.next_at),
        parameters=dict(cron.parameters),
        retries=cron.retries,
        deadline=cron.deadline,
        accepts=accepts,
    )
