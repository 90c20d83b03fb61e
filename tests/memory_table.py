"""Tables for tests: one in memory for millions of steps, and one that makes any table refuse now and then."""

from __future__ import annotations

import json
import random
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence

from chalicelib.local.conditions import check_item, check_key, check_partition, check_transaction, check_write, holds, outcome
from chalicelib.registry.ports import (
    Attributes,
    ConditionFailed,
    Conflict,
    Delete,
    Item,
    Key,
    Put,
    Table,
    Update,
    Value,
    Walked,
    Write,
)


class MemoryTable:
    """A ``Table`` in a dict, with the sort keys of each partition in order. Threads may share it."""

    def __init__(self) -> None:
        self._items: dict[Key, dict[str, Value]] = {}
        self._sorts: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    def get(self, key: Key) -> Attributes | None:
        """See ``Table.get``."""
        check_key(key)
        found = self._items.get(key)
        return None if found is None else _copied(found)

    def batch_get(self, keys: Sequence[Key]) -> Mapping[Key, Attributes]:
        """See ``Table.batch_get``."""
        for key in keys:
            check_key(key)
        with self._lock:
            return {key: _copied(self._items[key]) for key in keys if key in self._items}

    def write(self, write: Put | Update | Delete) -> None:
        """See ``Table.write``."""
        self._apply((write,))

    def transact(self, writes: Sequence[Write]) -> None:
        """See ``Table.transact``."""
        check_transaction(writes)
        self._apply(writes)

    def query(
        self,
        partition: str,
        *,
        prefix: str = "",
        after: str = "",
        limit: int | None = None,
        backward: bool = False,
    ) -> Sequence[Item]:
        """See ``Table.query``."""
        if limit is not None and limit < 0:
            raise ValueError(f"a limit of {limit}")
        check_partition(partition)
        with self._lock:
            sorts = self._sorts.get(partition, [])
            if backward:
                candidates = sorts[: bisect_left(sorts, after)] if after else sorts
                chosen = [sort for sort in reversed(candidates) if sort.startswith(prefix)]
            else:
                # No key of the prefix lies before the prefix, and those that have it lie together.
                start = max(bisect_right(sorts, after), bisect_left(sorts, prefix))
                chosen = []
                for sort in sorts[start:]:
                    if not sort.startswith(prefix):
                        break
                    chosen.append(sort)
            keys = [Key(partition, sort) for sort in chosen[:limit]]
            return [Item(key, _copied(self._items[key])) for key in keys]

    def walk(self, cursor: str | None = None, limit: int = 100) -> Walked:
        """See ``Table.walk``. The cursor is the last key, as a JSON list."""
        if limit < 1:
            raise ValueError(f"a stretch of {limit} items")
        last = Key("", "") if cursor is None else Key(*json.loads(cursor))
        with self._lock:
            keys = sorted(key for key in self._items if key > last)
            items = tuple(Item(key, _copied(self._items[key])) for key in keys[:limit])
        return Walked(items, json.dumps(items[-1].key) if len(keys) > limit else None)

    def _apply(self, writes: Sequence[Write]) -> None:
        for write in writes:
            check_write(write)
        with self._lock:
            before = [self._items.get(write.key) for write in writes]
            failed = tuple(
                index
                for index, write in enumerate(writes)
                if write.condition is not None and not holds(write.condition, before[index])
            )
            if failed:
                raise ConditionFailed(failed)
            after = [outcome(write, found) for write, found in zip(writes, before, strict=True)]
            for write, attributes in zip(writes, after, strict=True):
                if attributes is not None:
                    check_item(write.key, attributes)
            for write, attributes in zip(writes, after, strict=True):
                self._store(write.key, attributes)

    def _store(self, key: Key, attributes: Attributes | None) -> None:
        if attributes is None:
            if self._items.pop(key, None) is not None:
                sorts = self._sorts[key.partition]
                del sorts[bisect_left(sorts, key.sort)]
            return
        if key not in self._items:
            insort(self._sorts.setdefault(key.partition, []), key.sort)
        self._items[key] = _copied(attributes)


class ConflictingTable:
    """A table that raises Conflict before some of the writes and transactions of ``inner``, as DynamoDB does when two meet:
    one in ``1 / rate``, drawn from ``chance``, so that the same seed refuses the same ones. Reads pass."""

    def __init__(self, inner: Table, chance: random.Random, rate: float) -> None:
        self._inner = inner
        self._chance = chance
        self._rate = rate
        self.conflicts = 0

    def get(self, key: Key) -> Attributes | None:
        """See ``Table.get``."""
        return self._inner.get(key)

    def batch_get(self, keys: Sequence[Key]) -> Mapping[Key, Attributes]:
        """See ``Table.batch_get``."""
        return self._inner.batch_get(keys)

    def write(self, write: Put | Update | Delete) -> None:
        """See ``Table.write``."""
        self._perhaps_refuse()
        self._inner.write(write)

    def transact(self, writes: Sequence[Write]) -> None:
        """See ``Table.transact``."""
        self._perhaps_refuse()
        self._inner.transact(writes)

    def query(
        self,
        partition: str,
        *,
        prefix: str = "",
        after: str = "",
        limit: int | None = None,
        backward: bool = False,
    ) -> Sequence[Item]:
        """See ``Table.query``."""
        return self._inner.query(partition, prefix=prefix, after=after, limit=limit, backward=backward)

    def walk(self, cursor: str | None = None, limit: int = 100) -> Walked:
        """See ``Table.walk``."""
        return self._inner.walk(cursor, limit)

    def _perhaps_refuse(self) -> None:
        if self._chance.random() < self._rate:
            self.conflicts += 1
            raise Conflict("injected")


def _copied(attributes: Attributes) -> dict[str, Value]:
    """Attributes that share nothing a caller could change, as if they had been stored and read back."""
    return {name: _copy(value) for name, value in attributes.items()}


def _copy(value: Value) -> Value:
    if isinstance(value, str | int | bytes) or value is None:
        return value
    if isinstance(value, Mapping):
        return {name: _copy(each) for name, each in value.items()}
    return [_copy(each) for each in value]
