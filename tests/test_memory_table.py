"""The table in memory keeps the contract, and the one that refuses refuses as it is told."""

from __future__ import annotations

import random

import pytest

from chalicelib.registry.ports import Conflict, Key, Put, Table, Update
from tests.contracts.table import TableContract, insisting
from tests.memory_table import ConflictingTable, MemoryTable


class TestMemoryTable(TableContract):
    @pytest.fixture
    def table(self) -> Table:
        return MemoryTable()


def refused(seed: int) -> list[int]:
    """Which of a hundred writes the table refuses."""
    table = ConflictingTable(MemoryTable(), random.Random(seed), 0.3)
    numbers = []
    for number in range(100):
        try:
            table.transact([Put(Key("p", str(number)), {})])
        except Conflict:
            numbers.append(number)
            assert table.get(Key("p", str(number))) is None
    assert len(table.query("p")) == 100 - len(numbers) == 100 - table.conflicts
    return numbers


def test_injected_conflicts_write_nothing_and_follow_the_seed() -> None:
    assert 10 < len(refused(1)) < 60
    assert refused(1) == refused(1) != refused(2)


def test_a_caller_that_tries_again_gets_through() -> None:
    table = ConflictingTable(MemoryTable(), random.Random(3), 0.5)
    for _ in range(50):
        insisting(lambda: table.write(Update(Key("p", "s"), add={"n": 1})))
    assert table.get(Key("p", "s")) == {"n": 50}
    assert table.conflicts > 0
