"""What an administrator may choose while the registry runs, kept in one record; drawn in records.py."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chalicelib.registry.attempts import retried
from chalicelib.registry.errors import RequestInvalid, VersionMismatch
from chalicelib.registry.ports import Attributes, Check, Clock, Condition, Either, Equals, Key, Lacks, Table, Update
from chalicelib.registry.records import VERSION, flag, number, version_of

KEY = Key("configuration", "settings")

LONGEST_RETENTION = 3_650

LONGEST_GRACE = 720

_REMEMBERED_SECONDS = 5

_CREATE = "create_repository_on_push"


BOUNDS = {
    "event_retention_days": (1, LONGEST_RETENTION),
    "grace_hours": (1, LONGEST_GRACE),
    "restorable_days": (0, LONGEST_RETENTION),
    "untagged_days": (0, LONGEST_RETENTION),
}
"""What may be chosen of each number."""


@dataclass(frozen=True, slots=True)
class Choices:
    """The settings: whether a push makes the repository that is not there, for how many days events are kept, for how many
    hours what nothing needs, for how many days what was removed, and for how many untagged manifests (0: for ever)."""

    create_repository_on_push: bool
    event_retention_days: int = 90
    grace_hours: int = 24
    restorable_days: int = 7
    untagged_days: int = 0
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

    def change(self, *, version: int | None = None, **chosen: bool | int) -> Choices:
        """Choose, by the names of ``Choices``. ``version`` is the one that the record must have. Raises RequestInvalid,
        VersionMismatch, Busy."""
        for name, value in chosen.items():
            least, most = BOUNDS.get(name, (0, 1))
            if not least <= value <= most:
                raise RequestInvalid(f"{name.replace('_', ' ')}: {least} to {most}")

        def write() -> Choices:
            now = self.read()
            if version not in {None, now.version}:
                raise VersionMismatch
            condition = Equals(VERSION, now.version) if now.version else Lacks(VERSION)
            self._table.write(Update(KEY, set=chosen, add={VERSION: 1}, condition=condition))
            return self.read()

        return retried(write)


def _choices(attributes: Attributes, default: Choices) -> Choices:
    chosen = {name: number(attributes, name) for name in BOUNDS if name in attributes}
    create = flag(attributes, _CREATE) if _CREATE in attributes else default.create_repository_on_push
    return replace(default, create_repository_on_push=create, version=version_of(attributes), **chosen)
