"""Events: who changed what, when, from where, and who tried and was denied; drawn in records.py.

::

    events/<year>-<month>
        <time>/<random>         type, actor, source, object, result, detail
    repository/<repository id>
        event/<time>/<random>   the same, of what concerns the repository

``<time>`` is in milliseconds since the epoch, so that keys are in order. A push or a removal writes its event in its own
transaction; what goes by the management API is written by the door, right after.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from chalicelib.registry.attempts import settled
from chalicelib.registry.configuration import Configuration
from chalicelib.registry.ports import EXPIRES, Attributes, Clock, Key, Put, Table
from chalicelib.registry.records import Malformed, contents, text

DONE, DENIED = "done", "denied"

_LONGEST = 512
"""Characters of an event's texts at most."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts (an account's name, "" is anonymous), and the address that the request came from."""

    name: str = ""
    source: str = ""


NOBODY = Actor()
"""Where the registry itself acts."""


@dataclass(frozen=True, slots=True)
class Event:
    """What happened: ``type`` such as ``MANIFEST_PUSH``, ``object`` such as ``acme/app:1.0``, ``result`` DONE or DENIED.
    ``time`` is in milliseconds since the epoch, ``id`` the key that pages go on from; both are given when it is written."""

    type: str
    object: str
    actor: Actor = NOBODY
    result: str = DONE
    detail: Mapping[str, str] = field(default_factory=dict)
    id: str = ""
    time: int = 0


class Events:
    """Writes events and lists them, for as long as the settings say."""

    def __init__(self, table: Table, clock: Clock, configuration: Configuration) -> None:
        self._table = table
        self._clock = clock
        self._configuration = configuration

    def writes(self, event: Event, repository: str = "") -> list[Put]:
        """The writes that record an event, for a transaction; ``repository`` is the id of the one that it concerns."""
        now = self._clock.now()
        kept = timedelta(days=self._configuration.known().event_retention_days)
        attributes: Attributes = {
            "type": event.type,
            "object": event.object[:_LONGEST],
            "actor": event.actor.name,
            "source": event.actor.source[:_LONGEST],
            "result": event.result,
            "detail": {name: value[:_LONGEST] for name, value in event.detail.items()},
            EXPIRES: int((now + kept).timestamp()),
        }
        identity = f"{int(now.timestamp() * 1000):013d}/{secrets.token_hex(6)}"
        puts = [Put(Key(_month(now), identity), attributes)]
        if repository:
            puts.append(Put(Key(contents(repository), f"event/{identity}"), attributes))
        return puts

    def record(self, event: Event, repository: str = "") -> None:
        """Write an event by itself. Raises StoreFull, Busy."""
        puts = self.writes(event, repository)
        settled(lambda: self._table.transact(puts))

    def page(self, after: str, limit: int) -> Sequence[Event]:
        """Up to ``limit`` events older than ``after`` (an event's id; "" for the newest), newest first. A query a month."""
        oldest = self._oldest()
        month = self._clock.now()
        if after:  # a time to come, which somebody made up, must not cost a query for each month until then
            month = datetime.fromtimestamp(min(_time(after) / 1000, month.timestamp()), UTC)
        found: list[Event] = []
        while len(found) < limit and _month(month) >= _month(oldest):
            items = self._table.query(_month(month), after=after, limit=limit - len(found), backward=True)
            found += [_event(item.key.sort, item.attributes) for item in items]
            month = month.replace(day=1) - timedelta(days=1)
        return [event for event in found if event.time >= oldest.timestamp() * 1000]

    def of_repository(self, repository: str, after: str, limit: int) -> Sequence[Event]:
        """The same for one repository, by id. One query."""
        start = f"event/{after}" if after else ""
        items = self._table.query(contents(repository), prefix="event/", after=start, limit=limit, backward=True)
        events = [_event(item.key.sort.removeprefix("event/"), item.attributes) for item in items]
        oldest = self._oldest().timestamp() * 1000
        return [event for event in events if event.time >= oldest]

    def _oldest(self) -> datetime:
        return self._clock.now() - timedelta(days=self._configuration.recent().event_retention_days)


def is_event_id(value: str) -> bool:
    """May a page of events go on from it?"""
    time, _, rest = value.partition("/")
    return len(time) == 13 and time.isascii() and time.isdigit() and rest.isalnum()


def _month(moment: datetime) -> str:
    return f"events/{moment:%Y-%m}"


def _time(identity: str) -> int:
    return int(identity.partition("/")[0])


def _event(identity: str, attributes: Attributes) -> Event:
    detail = attributes.get("detail")
    if not isinstance(detail, Mapping):
        raise Malformed("detail")
    return Event(
        type=text(attributes, "type"),
        object=text(attributes, "object"),
        actor=Actor(text(attributes, "actor"), text(attributes, "source")),
        result=text(attributes, "result"),
        detail={name: str(value) for name, value in detail.items()},
        id=identity,
        time=_time(identity),
    )
