"""Who changed what, and who tried: ``/api/v0/events`` and ``.../{repo}/events``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from chalicelib.registry import events as domain
from chalicelib.registry.errors import PaginationInvalid
from chalicelib.registry.events import is_event_id
from chalicelib.wire.management.call import Answer, Call
from chalicelib.wire.management.words import moment


class Event(Struct, frozen=True, rename="camel"):
    """Something that was done, or denied. ``actor`` "" is nobody who signed in, or the registry itself."""

    id: str
    type: str
    time: datetime
    actor: str
    source: str
    object: str
    result: Literal["done", "denied"]
    detail: dict[str, str]


class Events(Struct, frozen=True, rename="camel"):
    """A page of events, newest first."""

    events: list[Event]


def list_events(call: Call) -> Answer:
    """Raises PaginationInvalid."""
    return _listed(call, call.services.events.page(_after(call), call.page.one_more))


def list_repository_events(call: Call) -> Answer:
    """Raises NameUnknown, PaginationInvalid."""
    repository = call.services.repositories.get(call.repository)
    return _listed(call, call.services.events.of_repository(repository.id, _after(call), call.page.one_more))


def _after(call: Call) -> str:
    after = call.page.after
    if after and not is_event_id(after):
        raise PaginationInvalid("pageStart is of another list")
    return after


def _listed(call: Call, read: Sequence[domain.Event]) -> Answer:
    found, more = call.page.cut(read, lambda event: event.id)
    return Answer(Events([_shown(event) for event in found]), next=more)


def _shown(event: domain.Event) -> Event:
    return Event(
        id=event.id,
        type=event.type,
        time=moment(event.time / 1000),
        actor=event.actor.name,
        source=event.actor.source,
        object=event.object,
        result="denied" if event.result == domain.DENIED else "done",
        detail=dict(event.detail),
    )
