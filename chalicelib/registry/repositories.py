"""Repositories: a name, an id that all contents hang on, and whether everybody may pull."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from chalicelib.registry.attempts import retried
from chalicelib.registry.errors import NameUnknown
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.ports import Absent, Attributes, Clock, Exists, Put, Table, Update
from chalicelib.registry.records import CATALOG_PARTITION, catalog_key, identity_key, number, repository_key, text

PUBLIC, PRIVATE = "public", "private"

_REMEMBERED_SECONDS = 5
"""How long a name's record may be taken from memory, so that a pull costs no read for it. A repository that is deleted,
or made public or private, may thus be seen as it was for so long by this instance. What was begun under its id then ends
under its id; and who does not find what is looked for looks the name up again first."""

_REMEMBERED_NAMES = 10_000


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository; ``created_at`` in seconds since the epoch."""

    id: str
    name: RepositoryName
    visibility: str
    created_at: int

    @property
    def is_public(self) -> bool:
        return self.visibility == PUBLIC


class Repositories:
    """The repositories of a registry."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._remembered: dict[RepositoryName, tuple[float, Repository]] = {}

    def find(self, name: RepositoryName) -> Repository | None:
        """The repository of that name as it is now, or None."""
        attributes = self._table.get(repository_key(name))
        return None if attributes is None else self._remember(_repository(name, attributes))

    def get(self, name: RepositoryName) -> Repository:
        """The repository as it is now. Raises NameUnknown."""
        repository = self.find(name)
        if repository is None:
            raise NameUnknown(str(name))
        return repository

    def name_of(self, repository: str) -> RepositoryName | None:
        """The name of the repository with this id, or None if there is none."""
        identity = self._table.get(identity_key(repository))
        return None if identity is None else RepositoryName.parse(text(identity, "name"))

    def get_recent(self, name: RepositoryName) -> Repository:
        """The repository as it was at most some seconds ago; good enough to read from. Raises NameUnknown."""
        return self._recent(name) or self.get(name)

    def _recent(self, name: RepositoryName) -> Repository | None:
        remembered = self._remembered.get(name)
        # A clock that was set back must not make a name be remembered for an hour.
        if remembered is not None and 0 < remembered[0] - self._clock.now().timestamp() <= _REMEMBERED_SECONDS:
            return remembered[1]
        return None

    def forget(self, name: RepositoryName) -> bool:
        """Drop what is remembered of a name; True if there was something, so that looking again may help."""
        return self._remembered.pop(name, None) is not None

    def find_recent(self, name: RepositoryName) -> Repository | None:
        """See ``get_recent``; None if there is none."""
        return self._recent(name) or self.find(name)

    def ensure(self, name: RepositoryName) -> Repository:
        """The repository of that name, made now and private if there is none; as it was at most some seconds ago, which is good
        enough to begin an upload. Raises Busy."""
        return retried(lambda: self.find_recent(name) or self._create(name))

    def _create(self, name: RepositoryName) -> Repository:
        record = Repository(secrets.token_hex(12), name, PRIVATE, int(self._clock.now().timestamp()))
        attributes: Attributes = {"id": record.id, "visibility": record.visibility, "created_at": record.created_at}
        self._table.transact(
            [
                Put(repository_key(name), attributes, Absent()),
                Put(catalog_key(name), {}),
                Put(identity_key(record.id), {"name": str(name)}),
            ]
        )
        return self._remember(record)

    def set_visibility(self, name: RepositoryName, visibility: str) -> Repository:
        """Make it PUBLIC or PRIVATE. Raises NameUnknown, Busy."""

        def change() -> Repository:
            self.get(name)
            self._table.write(Update(repository_key(name), set={"visibility": visibility}, condition=Exists()))
            return self.get(name)

        return retried(change)

    def page(self, after: str, limit: int) -> Sequence[RepositoryName]:
        """Up to ``limit`` names beyond ``after`` ("" for the first), in order."""
        items = self._table.query(CATALOG_PARTITION, after=after, limit=limit)
        return [RepositoryName.parse(item.key.sort) for item in items]

    def visibility(self, names: Iterable[RepositoryName]) -> Mapping[RepositoryName, bool]:
        """For each of the repositories that exist: is it public? One batch of reads, none remembered."""
        keys = {repository_key(name): name for name in names}
        found = self._table.batch_get(list(keys))
        return {keys[key]: text(attributes, "visibility") == PUBLIC for key, attributes in found.items()}

    def _remember(self, repository: Repository) -> Repository:
        if len(self._remembered) >= _REMEMBERED_NAMES:
            self._remembered.clear()
        self._remembered[repository.name] = (self._clock.now().timestamp() + _REMEMBERED_SECONDS, repository)
        return repository


def _repository(name: RepositoryName, attributes: Attributes) -> Repository:
    return Repository(text(attributes, "id"), name, text(attributes, "visibility"), number(attributes, "created_at"))
