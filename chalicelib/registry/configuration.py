"""What an administrator may choose while the registry runs, kept in one record; drawn in records.py."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.registry.attempts import retried
from chalicelib.registry.errors import RequestInvalid, VersionMismatch
from chalicelib.registry.ports import Attributes, Check, Clock, Condition, Either, Equals, Key, Lacks, Table, Update
from chalicelib.registry.records import VERSION, flag, number, version_of

KEY = Key("configuration", "settings")

LONGEST_RETENTION = 3_650

_REMEMBERED_SECONDS = 5

_CREATE, _DAYS = "create_repository_on_push", "event_retention_days"


@dataclass(frozen=True, slots=True)
class Choices:
    """The settings: whether a push makes the repository that is not there, and for how many days events are kept."""

    create_repository_on_push: bool
    event_retention_days: int = 90
    version: int = 0


class Configuration:
    """Reads and changes the settings; ``default`` is what holds as long as nobody has chosen."""

    def __init__(self, table: Table, clock: Clock, default: Choices) -> None:
        self._table = table
        self._clock = clock
        self._default = default
        self._remembered: tuple[float, Choices] | None = None

    def read(self) -> Choices:
        """As it is now."""
        return self.learn(self._table.get(KEY))

    def recent(self) -> Choices:
        """As it was some seconds ago at most."""
        now = self._clock.now().timestamp()
        if self._remembered is not None and 0 <= now - self._remembered[0] < _REMEMBERED_SECONDS:
            return self._remembered[1]
        return self.read()

    def known(self) -> Choices:
        """As they were when this instance read them last, or the default: good enough to say how long an event is kept."""
        return self._default if self._remembered is None else self._remembered[1]

    def pushes_create(self) -> Check:
        """The condition that a push may make the repository that is not there."""
        chosen: Condition = Equals(_CREATE, value=True)
        return Check(KEY, Either((chosen, Lacks(_CREATE))) if self._default.create_repository_on_push else chosen)

    def learn(self, attributes: Attributes | None) -> Choices:
        """The settings of a record that was read along with others, remembered."""
        choices = self._default if attributes is None else _choices(attributes, self._default)
        self._remembered = (self._clock.now().timestamp(), choices)
        return choices

    def change(
        self,
        *,
        create_repository_on_push: bool | None = None,
        event_retention_days: int | None = None,
        version: int | None = None,
    ) -> Choices:
        """Choose; None leaves a setting as it is. ``version`` is the one that the record must have. Raises RequestInvalid,
        VersionMismatch, Busy."""
        if event_retention_days is not None and not 1 <= event_retention_days <= LONGEST_RETENTION:
            raise RequestInvalid(f"events are kept for 1 to {LONGEST_RETENTION} days")
        fields = {_CREATE: create_repository_on_push, _DAYS: event_retention_days}
        chosen: Attributes = {name: value for name, value in fields.items() if value is not None}

        def write() -> Choices:
            now = self.read()
            if version not in {None, now.version}:
                raise VersionMismatch
            condition = Equals(VERSION, now.version) if now.version else Lacks(VERSION)
            self._table.write(Update(KEY, set=chosen, add={VERSION: 1}, condition=condition))
            return self.read()

        return retried(write)


def _choices(attributes: Attributes, default: Choices) -> Choices:
    return Choices(
        flag(attributes, _CREATE) if _CREATE in attributes else default.create_repository_on_push,
        number(attributes, _DAYS) if _DAYS in attributes else default.event_retention_days,
        version_of(attributes),
    )
