"""Going through a partition in order: all of it, or a page of which not every entry is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from chalicelib.registry.ports import Item, Table

T = TypeVar("T")


def filled(
    table: Table,
    partition: str,
    shown: Callable[[Sequence[Item]], Iterable[T]],
    *,
    prefix: str = "",
    after: str,
    limit: int,
) -> Sequence[T]:
    """Up to ``limit`` of what ``shown`` makes of a partition's items whose sort keys begin with ``prefix``, beyond the one that
    goes on with ``after`` ("" for the first). Fewer only at the end: whoever lists takes a short page for the last one."""
    page: list[T] = []
    start = prefix + after if after else ""
    while len(page) < limit and (items := table.query(partition, prefix=prefix, after=start, limit=limit)):
        start = items[-1].key.sort
        page += shown(items)
    return page[:limit]


def every(table: Table, partition: str, *, prefix: str = "", after: str = "", stretch: int = 200) -> Iterator[Item]:
    """The items of a partition whose sort keys begin with ``prefix``, beyond ``after``, in order; ``stretch`` of them are read
    at a time. What changes meanwhile behind that is seen."""
    while True:
        items = table.query(partition, prefix=prefix, after=after, limit=stretch)
        yield from items
        if len(items) < stretch:
            return
        after = items[-1].key.sort
