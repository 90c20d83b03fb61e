"""What deleted repositories leave: their contents, by an id that no name leads to any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from chalicelib.registry.attempts import retried, settled
from chalicelib.registry.condemned import Link, unlink
from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.ports import (
    Attributes,
    Clock,
    ConditionFailed,
    Delete,
    Equals,
    Exists,
    Item,
    Key,
    Put,
    Table,
    Update,
    Write,
)
from chalicelib.registry.records import (
    REMOVED_PARTITION,
    blob_key,
    contents,
    last_segment,
    number_or,
    retired_key,
    team_repository_key,
    text,
)
from chalicelib.registry.times import seconds
from chalicelib.registry.upkeep.pace import Pace, settle

_AT_ONCE = 24
"""Records that are cleared away in one transaction, four writes each at most."""

LINGERS = 3600
"""Seconds for which a deleted repository that was cleared away is looked at again: what was begun under its id ends there, and
an instance may remember a name for some seconds. What comes later can be a blob alone, which is condemned from birth."""


class Remains:
    """Clears them away."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    def clear(self, pace: Pace) -> None:
        """All there is. Raises what ``pace`` raises."""
        for item in self._table.query(REMOVED_PARTITION):
            settle(partial(self._clear, item, pace), pace)

    def _clear(self, item: Item, pace: Pace) -> None:
        repository, name = last_segment(item.key.sort), text(item.attributes, "name")
        while cleared := retried(partial(self._clear_some, repository, name)):
            pace.count("records", cleared)
            pace.checkpoint()
        self._linger(item)

    def _linger(self, item: Item) -> None:
        """Forget the repository an hour after a collector first cleared it away: by the clocks of collectors alone, because an
        hour since it was deleted may, by a collector's clock, be over at once."""
        now = seconds(self._clock)
        cleared_at = number_or(item.attributes, "cleared_at", now + 1)
        if cleared_at > now:
            change: Update | Delete = Update(item.key, set={"cleared_at": now}, condition=Exists())
        elif cleared_at + LINGERS <= now:
            change = Delete(item.key)
        else:
            return
        with suppress(ConditionFailed):
            settled(partial(self._table.write, change))

    def _clear_some(self, repository: str, name: str) -> int:
        found = self._table.query(contents(repository), limit=_AT_ONCE)
        if not found:
            return 0
        blobs = self._blobs(found)
        for item in found:
            self._unlist(item, name, repository)
        self._table.transact([write for item in found for write in self._gone(item, repository, blobs)])
        return len(found)

    def _blobs(self, items: Sequence[Item]) -> Mapping[Key, Attributes]:
        """The blobs of those of the items that are links."""
        keys = [blob_key(Digest.parse(last_segment(item.key.sort))) for item in items if item.key.sort.startswith("blob/")]
        return self._table.batch_get(keys) if keys else {}

    def _gone(self, item: Item, repository: str, blobs: Mapping[Key, Attributes]) -> Sequence[Write]:
        kind, _, rest = item.key.sort.partition("/")
        if kind == "blob":
            digest = Digest.parse(rest)
            has_blob = blob_key(digest) in blobs
            return unlink(Link(repository, digest), seconds(self._clock), None, has_blob=has_blob)
        writes: list[Write] = [Delete(item.key)]
        if kind in {"content", "removed"} and "key" in item.attributes:
            writes.append(Put(retired_key(text(item.attributes, "key")), {}))
        return writes

    def _unlist(self, item: Item, name: str, repository: str) -> None:
        """Take a repository from the list of a team that was granted something on it; a later one of the name stays there."""
        kind, _, team = item.key.sort.partition("/")
        if kind == "grant":
            listed = Delete(team_repository_key(team, RepositoryName(name)), Equals("id", repository))
            with suppress(ConditionFailed):
                settled(partial(self._table.write, listed))
