"""Collecting costs what there is of garbage, not of the registry; tests/bench/collection.py shows it with a million blobs."""

from __future__ import annotations

from collections import Counter

import pytest

from chalicelib.registry.ports import Put
from tests.bench.collection import Collection, rows
from tests.memory_table import MemoryTable

GARBAGE = 100
FEW, MANY = 100, 10_000


def collection(live: int) -> Collection:
    table = MemoryTable()
    for key, attributes in rows(live):
        table.write(Put(key, attributes))
    return Collection(table, live)


def test_garbage_costs_the_same_among_few_and_among_many() -> None:
    among_few, among_many = (collection(live).cost(GARBAGE).calls for live in (FEW, MANY))
    assert among_few == among_many
    assert sum(number for kind, number in among_few.items() if not kind.endswith("items")) < 10 * GARBAGE


@pytest.mark.parametrize("live", [FEW, MANY])
def test_where_nothing_is_to_be_done_nothing_is_looked_at(live: int) -> None:
    """The settings, and the beginnings of the five lists of what there is to do."""
    idle = collection(live)
    assert idle.collect() == {}
    assert idle.calls == Counter({"table.get": 1, "table.query": 5, "table: items": 0})
