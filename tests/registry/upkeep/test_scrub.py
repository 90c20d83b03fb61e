"""The scrub reads every blob again, over as many runs as it takes, and tells which are damaged."""

from __future__ import annotations

from itertools import count

import pytest

from chalicelib.registry.names import Digest
from chalicelib.registry.ports import Put
from chalicelib.registry.records import blob_key
from chalicelib.registry.upkeep.scrub import DAMAGED_AT, POSITION, Scrub
from tests.counts import Run
from tests.memory_table import MemoryTable
from tests.surface import Surface
from tests.watched_table import Died, WatchedTable, die

SIZE = 100


class Stopped(Exception):
    """The job has to end here."""


class Stopping(Run):
    """A run that is stopped at its first checkpoint."""

    def checkpoint(self, cursor: str | None = None) -> None:
        raise Stopped


def scrub(surface: Surface, budget: int = 10**9, run: Run | None = None, large: int = 1 << 30) -> Run:
    run = run or Run()
    Scrub(surface.table, surface.store, surface.clock, surface.registry.events, large=large).run(run, budget)
    return run


def layer(number: int) -> bytes:
    return f"{number:0{SIZE}}".encode()


@pytest.fixture
def surface() -> Surface:
    return filled()


def filled() -> Surface:
    surface = Surface(table=WatchedTable(MemoryTable()))
    for number in range(10):
        surface.push_blob("admin/app", layer(number))
    return surface


def damage(surface: Surface, content: bytes, instead: bytes) -> Digest:
    digest = Digest.of(content)
    record = surface.table.get(blob_key(digest))
    assert record is not None
    surface.store.put(str(record["key"]), instead)
    return digest


def events(surface: Surface) -> list[str]:
    """The blobs of which an event says that they are damaged."""
    return [event.object for event in surface.registry.events.page("", 100) if event.type == "BLOB_DAMAGED"]


def damaged(surface: Surface, digest: Digest) -> bool:
    return DAMAGED_AT in (surface.table.get(blob_key(digest)) or {})


@pytest.mark.parametrize("instead", [b"x" * SIZE, layer(5)[:-1], b"", layer(5) + b"0"])
def test_a_damaged_blob_is_told(surface: Surface, instead: bytes) -> None:
    digest = damage(surface, layer(5), instead)
    for _ in range(2):
        run = scrub(surface)
        assert run.counted["damaged"] == 1
        assert run.counted["blobs"] == 10
        assert str(digest) in run.lines[0]
    assert damaged(surface, digest)
    assert events(surface) == [str(digest)]
    damage(surface, layer(5), layer(5))
    assert "damaged" not in scrub(surface).counted
    assert not damaged(surface, digest)


def test_sound_blobs_are_left_alone(surface: Surface) -> None:
    before = {item.key: item.attributes for item in surface.table.walk(limit=1000).items}
    assert scrub(surface).counted == {"blobs": 10, "bytes": 10 * SIZE}
    after = {item.key: item.attributes for item in surface.table.walk(limit=1000).items if item.key != POSITION}
    assert after == before


def test_a_record_that_nobody_here_wrote_keeps_no_other_from_being_read(surface: Surface) -> None:
    digest = Digest.of(layer(5))
    surface.table.write(Put(blob_key(digest), {"key": "data/x"}))
    run = scrub(surface)
    blobs = len(list(surface.store.list("data/")))
    assert (run.counted["unreadable"], run.counted["blobs"]) == (1, blobs - 1)
    assert any(str(digest) in line for line in run.lines)


def test_what_is_not_there_is_told(surface: Surface) -> None:
    record = surface.table.get(blob_key(Digest.of(layer(5))))
    assert record is not None
    surface.store.delete(str(record["key"]))
    assert scrub(surface).counted == {"blobs": 9, "bytes": 9 * SIZE, "lost": 1}


def test_each_run_goes_on_from_the_last_one_and_around(surface: Surface) -> None:
    digest = damage(surface, layer(5), b"x" * SIZE)
    for _ in range(2):
        runs = [scrub(surface, 3 * SIZE) for _ in range(4)]
        assert [run.counted["blobs"] for run in runs] == [3, 3, 3, 1]
        assert sum(run.counted.get("damaged", 0) for run in runs) == 1
    assert damaged(surface, digest)


def test_a_job_that_goes_on_has_what_is_left_of_its_budget(surface: Surface) -> None:
    run = scrub(surface, 3 * SIZE)
    assert scrub(surface, 3 * SIZE, Run(cursor=run.cursor)).counted == {}
    assert scrub(surface, 5 * SIZE, Run(cursor=run.cursor)).counted["blobs"] == 2


def test_a_blob_that_is_larger_than_the_budget_is_read_all_the_same(surface: Surface) -> None:
    assert [scrub(surface, 1).counted["blobs"] for _ in range(10)] == [1] * 10


def test_one_that_is_never_read_to_its_end_keeps_nobody(surface: Surface) -> None:
    for _ in range(3):
        with pytest.raises(Stopped):
            scrub(surface, run=Stopping(), large=SIZE)
    run = scrub(surface, large=SIZE)
    assert (run.counted["skipped"], run.counted["blobs"]) == (1, 9)
    assert scrub(surface, large=SIZE).counted["blobs"] == 10


def test_it_goes_on_wherever_it_died() -> None:
    for nth in count(1):
        surface = filled()
        digest = damage(surface, layer(5), b"x" * SIZE)
        assert isinstance(surface.table, WatchedTable)
        surface.table.before(nth, die)
        try:
            scrub(surface)
        except Died:
            scrub(surface)
            scrub(surface)
            assert damaged(surface, digest)
            assert events(surface) == [str(digest)]
        else:
            assert nth > 20
            return


def test_the_budget_is_given_in_gigabytes(surface: Surface) -> None:
    run = Run(parameters={"gigabytes": 1})
    Scrub(surface.table, surface.store, surface.clock, surface.registry.events).work(run)
    assert run.counted["blobs"] == 10
    Scrub(surface.table, surface.store, surface.clock, surface.registry.events).work(
        nothing := Run(parameters={"gigabytes": 0})
    )
    assert nothing.counted == {}
