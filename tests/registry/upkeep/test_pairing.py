"""A table and a store that do not belong together lose nothing by each other."""

from __future__ import annotations

import pytest

from chalicelib.registry.keys import MARK
from chalicelib.registry.ports import Table
from chalicelib.registry.upkeep import work
from chalicelib.registry.upkeep.leftovers import GRACE, Leftovers
from chalicelib.registry.upkeep.pairing import Pairing, Unpaired
from tests.auditing import audit
from tests.frozen_clock import FrozenClock
from tests.memory_blobs import MemoryBlobs
from tests.memory_table import MemoryTable
from tests.registry.upkeep.test_work import Steps
from tests.surface import Surface
from tests.watched_table import WatchedTable, interleaved

YEAR = 366 * 86_400


def keys(surface: Surface) -> list[str]:
    return [stored.key for stored in surface.store.list("")]


@pytest.fixture
def used() -> Surface:
    """A registry with an image, that was swept once."""
    surface = Surface()
    surface.push_image("admin/app", "1.0", b"layer")
    sweep(surface, surface.table)
    return surface


def sweep(surface: Surface, table: Table) -> None:
    leftovers = Leftovers(table, surface.store, surface.clock)
    work.sweep_staging(leftovers, Pairing(table, surface.store), Steps())


def test_a_new_table_on_a_used_store_takes_nothing(used: Surface) -> None:
    used.clock.advance(2 * GRACE)
    before, new = keys(used), MemoryTable()
    with pytest.raises(Unpaired, match=MARK):
        sweep(used, new)
    assert keys(used) == before
    assert list(new.walk().items) == []


def test_without_the_mark_it_would_have_taken_all(used: Surface) -> None:
    """What the mark is for."""
    used.store.delete(MARK)
    used.clock.advance(2 * GRACE)
    sweep(used, MemoryTable())
    assert keys(used) == [MARK]


def test_another_registry_s_store(used: Surface) -> None:
    other = Surface()
    sweep(other, other.table)
    with pytest.raises(Unpaired):
        sweep(used, other.table)


def test_a_store_that_was_brought_back_without_its_mark_gets_it_again(used: Surface) -> None:
    before = keys(used)
    used.store.delete(MARK)
    sweep(used, used.table)
    assert keys(used) == before
    sweep(used, used.table)


def test_the_audit_knows_the_mark(used: Surface) -> None:
    used.clock.advance(YEAR)
    assert "unknown" not in audit(used).counted
    assert MARK in keys(used)


def test_two_that_mark_at_once_agree() -> None:
    class Both:
        def __init__(self) -> None:
            self.table = WatchedTable(MemoryTable())
            self.store = MemoryBlobs(FrozenClock())

    def check(both: Both) -> None:
        Pairing(both.table, both.store).check()

    for both, *outcomes in interleaved(Both, lambda both: both.table, check, check):
        assert outcomes == ["", ""]
        check(both)
