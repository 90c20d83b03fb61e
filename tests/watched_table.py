"""A table that counts its calls, and lets something happen just before one of them: another caller's work, or the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import TypeVar

from chalicelib.registry.errors import RegistryError
from chalicelib.registry.ports import Attributes, Delete, Item, Key, Put, Table, Update, Walked, Write

World = TypeVar("World")


class Died(BaseException):
    """The process is gone: no handler runs."""


class WatchedTable:
    """A ``Table`` on ``inner``; ``reads`` and ``writes`` count its calls, a batch and a transaction as one each."""

    def __init__(self, inner: Table) -> None:
        self.inner = inner
        self.reads = 0
        self.writes = 0
        self._left = 0
        self._deed: Callable[[], object] | None = None
        self._only_writes = False

    def before(self, nth: int, deed: Callable[[], object], *, only_writes: bool = False) -> None:
        """Do this before the call, or the write, that is number ``nth`` from now on."""
        self._left, self._deed, self._only_writes = nth, deed, only_writes

    def rest(self) -> None:
        """Wait for no call any more."""
        self._deed = None

    @property
    def is_waiting(self) -> bool:
        """Has there been no such call yet?"""
        return self._deed is not None

    def get(self, key: Key) -> Attributes | None:
        self._read()
        return self.inner.get(key)

    def batch_get(self, keys: Sequence[Key]) -> Mapping[Key, Attributes]:
        self._read()
        return self.inner.batch_get(keys)

    def write(self, write: Put | Update | Delete) -> None:
        self._write()
        self.inner.write(write)

    def transact(self, writes: Sequence[Write]) -> None:
        self._write()
        self.inner.transact(writes)

    def query(
        self, partition: str, *, prefix: str = "", after: str = "", limit: int | None = None, backward: bool = False
    ) -> Sequence[Item]:
        self._read()
        return self.inner.query(partition, prefix=prefix, after=after, limit=limit, backward=backward)

    def walk(self, cursor: str | None = None, limit: int = 100) -> Walked:
        self._read()
        return self.inner.walk(cursor, limit)

    def _read(self) -> None:
        self.reads += 1
        if not self._only_writes:
            self._call()

    def _write(self) -> None:
        self.writes += 1
        self._call()

    def _call(self) -> None:
        if self._deed is None:
            return
        self._left -= 1
        if self._left == 0:
            deed, self._deed = self._deed, None
            deed()


def die() -> None:
    """What to do before a write to end there."""
    raise Died


def refusal(deed: Callable[[], object]) -> str:
    """Do it: the name of the error that it was refused with, or ""."""
    try:
        deed()
    except RegistryError as error:
        return type(error).__name__
    return ""


def interleaved(
    make: Callable[[], World],
    watched: Callable[[World], WatchedTable],
    first: Callable[[World], object],
    second: Callable[[World], object],
) -> Iterator[tuple[World, str, str]]:
    """For each call of the table that ``first`` makes, a world in which ``second`` happened just before it, and what each of
    them was refused with; at last one in which it happened after all of them."""
    for nth in count(1):
        world = make()
        refused: list[str] = []
        watched(world).before(nth, lambda world=world, refused=refused: refused.append(refusal(lambda: second(world))))  # type: ignore[misc]
        outcome = refusal(lambda world=world: first(world))  # type: ignore[misc]
        is_last = watched(world).is_waiting
        if is_last:
            watched(world).rest()
            refused.append(refusal(lambda world=world: second(world)))  # type: ignore[misc]
        yield world, outcome, refused[0]
        if is_last:
            return
