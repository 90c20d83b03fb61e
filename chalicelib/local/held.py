"""What threads hold for a time: values kept by key, a few of them, and one lock for each key in use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Generic, TypeVar

_Kind = TypeVar("_Kind")


class Kept(Generic[_Kind]):
    """The most recently kept values, at most ``most``. Taking one out makes it the taker's own until it is kept again."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._guard = Lock()
        self._values: OrderedDict[str, _Kind] = OrderedDict()

    def take(self, key: str) -> _Kind | None:
        with self._guard:
            return self._values.pop(key, None)

    def keep(self, key: str, value: _Kind) -> _Kind | None:
        """The value that had to go to make room, if any."""
        with self._guard:
            self._values[key] = value
            return self._values.popitem(last=False)[1] if len(self._values) > self._most else None

    def take_all(self) -> list[_Kind]:
        with self._guard:
            values = list(self._values.values())
            self._values.clear()
            return values


class KeyLocks:
    """One lock per key in use; the table holds no key that nobody holds or waits for."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._locks: dict[str, tuple[Lock, int]] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        with self._guard:
            lock, users = self._locks.get(key) or (Lock(), 0)
            self._locks[key] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._guard:
                users = self._locks[key][1] - 1
                if users:
                    self._locks[key] = (lock, users)
                else:
                    del self._locks[key]
