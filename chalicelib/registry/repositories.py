"""Repositories: a name, an id that all contents hang on, what it says of itself, and whether everybody may pull."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

from chalicelib.registry.attempts import Changed, retried
from chalicelib.registry.errors import NameUnknown, RepositoryExists, VersionMismatch
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.ports import (
    Absent,
    All,
    Attributes,
    Check,
    Clock,
    Condition,
    ConditionFailed,
    Delete,
    Equals,
    Lacks,
    Put,
    Table,
    Update,
    Write,
)
from chalicelib.registry.records import (
    CATALOG_PARTITION,
    DELETING,
    VERSION,
    account_key,
    catalog_key,
    identity_key,
    number,
    public_key,
    removed_key,
    repository_key,
    text,
    text_or,
    unchanged,
    version_of,
)
from chalicelib.registry.times import seconds

PUBLIC, PRIVATE = "public", "private"

_REMEMBERED_SECONDS = 5
"""How long a name's record may be taken from memory, so that a pull costs no read for it. A repository that is deleted,
or made public or private, may thus be seen as it was for so long by this instance. What was begun under its id then ends
under its id; and who does not find what is looked for looks the name up again first."""

_REMEMBERED_NAMES = 10_000

_NOT_MADE = "no such repository, and a push does not make it here: create it first (createRepositoryOnPush is off)"

_NOBODYS = "no such repository, and none can be made: the account of its namespace is gone"


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository; ``created_at`` in seconds since the epoch."""

    id: str
    name: RepositoryName
    visibility: str
    created_at: int
    short_description: str = ""
    long_description: str = ""
    version: int = 0

    @property
    def is_public(self) -> bool:
        return self.visibility == PUBLIC


@dataclass(frozen=True, slots=True)
class Description:
    """What a repository is to say of itself, and who may see it; None leaves it as it is."""

    visibility: str | None = None
    short_description: str | None = None
    long_description: str | None = None


Also: TypeAlias = Callable[[str], Sequence[Write]]
"""What is written together with a new repository, by its id."""


def nothing_else(_identity: str) -> Sequence[Write]:
    """Nothing but the repository itself."""
    return ()


class Repositories:
    """The repositories of a registry."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._remembered: dict[RepositoryName, tuple[float, Repository]] = {}

    def find(self, name: RepositoryName) -> Repository | None:
        """The repository of that name as it is now, or None."""
        attributes = self._table.get(repository_key(name))
        return None if attributes is None else self._remember(repository_of(name, attributes))

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
        enough to begin an upload. Raises NameUnknown if its namespace is being deleted; Busy."""
        return self.find_recent(name) or self.make(name)

    def make(self, name: RepositoryName, also: Also = nothing_else, *, owned: bool = False) -> Repository:
        """A new repository, private, with what is ``also`` to be written; or the one that is there already. ``owned`` says
        that there has to be an account of its namespace. Raises NameUnknown if it may not be made, since its namespace is
        being deleted or a condition of ``also`` does not hold; Busy."""

        record = self._record(Description())

        def attempt() -> Repository:
            try:
                return self._create(name, record, also, owned=owned)
            except RepositoryExists:
                found = self.find(name)
                if found is None:
                    raise Changed from None
                return found

        return retried(attempt)

    def create(
        self, name: RepositoryName, description: Description, also: Also = nothing_else, *, owned: bool = False
    ) -> Repository:
        """A new repository, private unless said otherwise. Raises RepositoryExists; NameUnknown as ``make`` does; Busy."""
        record = self._record(description)
        return retried(lambda: self._create(name, record, also, owned=owned))

    def _record(self, description: Description) -> Attributes:
        return {
            "id": secrets.token_hex(12),
            "visibility": description.visibility or PRIVATE,
            "created_at": seconds(self._clock),
            "short_description": description.short_description or "",
            "long_description": description.long_description or "",
            VERSION: 1,
        }

    def _create(self, name: RepositoryName, record: Attributes, also: Also, *, owned: bool) -> Repository:
        repository = repository_of(name, record)
        nobodys = Check(account_key(name.namespace), unchanged(None) if owned else Lacks(DELETING))
        writes: list[Write] = [
            Put(repository_key(name), record, Absent()),
            Put(catalog_key(name), {}),
            Put(identity_key(repository.id), {"name": str(name)}),
            nobodys,
            *([Put(public_key(name), {})] if repository.is_public else []),
            *also(repository.id),
        ]
        try:
            self._table.transact(writes)
        except ConditionFailed as failed:
            if 0 not in failed.failed:
                raise NameUnknown(str(name), _NOBODYS if writes.index(nobodys) in failed.failed else _NOT_MADE) from None
            stored = self._table.get(repository_key(name)) or {}
            if stored.get("id") != repository.id:  # else it was made, and only the answer was lost
                raise RepositoryExists(str(name)) from None
        return self._remember(repository)

    def change(self, name: RepositoryName, description: Description, version: int | None = None) -> Repository:
        """Change what is given. ``version`` is the one that it must have. Raises NameUnknown, VersionMismatch, Busy."""

        def write() -> Repository:
            repository = self.get(name)
            if version not in {None, repository.version}:
                raise VersionMismatch
            changed = {field: value for field, value in asdict(description).items() if value is not None}
            is_public = (description.visibility or repository.visibility) == PUBLIC
            self._table.transact(
                [
                    Update(repository_key(name), set=changed, add={VERSION: 1}, condition=_as_read(repository)),
                    Put(public_key(name), {}) if is_public else Delete(public_key(name)),
                ]
            )
            return self.get(name)

        return retried(write)

    def delete(self, name: RepositoryName, version: int | None = None) -> None:
        """Take a repository away, at once and with everything in it; what it held is garbage (``garbage.py``).

        Raises NameUnknown, VersionMismatch, Busy."""

        def write() -> None:
            repository = self.get(name)
            if version not in {None, repository.version}:
                raise VersionMismatch
            self._table.transact(
                [
                    Delete(repository_key(name), _as_read(repository)),
                    Delete(catalog_key(name)),
                    Delete(public_key(name)),
                    Delete(identity_key(repository.id)),
                    Put(removed_key(seconds(self._clock), repository.id), {"name": str(name)}),
                ]
            )

        retried(write)
        self.forget(name)

    def page(self, after: str, limit: int) -> Sequence[RepositoryName]:
        """Up to ``limit`` names beyond ``after`` ("" for the first), in order."""
        items = self._table.query(CATALOG_PARTITION, after=after, limit=limit)
        return [RepositoryName.parse(item.key.sort) for item in items]

    def _remember(self, repository: Repository) -> Repository:
        if len(self._remembered) >= _REMEMBERED_NAMES:
            self._remembered.clear()
        self._remembered[repository.name] = (self._clock.now().timestamp() + _REMEMBERED_SECONDS, repository)
        return repository


def _as_read(repository: Repository) -> Condition:
    """Holds if the record is still as it was read, and not that of another repository of the name."""
    version = Equals(VERSION, repository.version) if repository.version else Lacks(VERSION)
    return All((Equals("id", repository.id), version))


def repository_of(name: RepositoryName, attributes: Attributes) -> Repository:
    """A repository from its record."""
    return Repository(
        text(attributes, "id"),
        name,
        text(attributes, "visibility"),
        number(attributes, "created_at"),
        text_or(attributes, "short_description", ""),
        text_or(attributes, "long_description", ""),
        version_of(attributes),
    )
