"""The work of the kinds of jobs: what it does, in steps, and that it goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import pytest

from chalicelib.registry.errors import JobUnknown
from chalicelib.registry.names import Digest
from chalicelib.registry.ports import Put
from chalicelib.registry.records import job_key
from chalicelib.registry.upkeep import work
from chalicelib.registry.upkeep.jobs import DONE, Jobs, Run, Stopped
from chalicelib.registry.upkeep.leftovers import GRACE, Leftovers
from chalicelib.registry.upkeep.pairing import Pairing
from tests.running_jobs import Works
from tests.surface import Surface
from tests.watched_table import interleaved


class Steps:
    """A run that is stopped at its checkpoint number ``stop``."""

    def __init__(self, cursor: str = "", stop: int = 0, **parameters: int) -> None:
        self.parameters = parameters
        self.cursor = cursor
        self.counts: dict[str, int] = {}
        self.lines: list[str] = []
        self.left = stop

    def log(self, line: str) -> None:
        self.lines.append(line)

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    def checkpoint(self, cursor: str | None = None) -> None:
        self.cursor = self.cursor if cursor is None else cursor
        self.left -= 1
        if self.left == 0:
            raise Stopped


# ----------------------------------------------------------------------------------------------------------- trim-history


def history(days: Sequence[int]) -> Works:
    """Jobs that ended so many days apart, oldest first, with a line of log each, and one that waits."""
    works = Works(seconds=0)
    for pause in days:
        works.create(most=1)
        works.tick()
        works.clock.advance(pause * 86_400)
    works.create("steps")
    return works


def left(works: Works) -> list[int]:
    """How old the jobs are that have ended, in days."""
    now = works.clock.now().timestamp()
    return [int(now - job.ended_at) // 86_400 for job in works.jobs.page("", 1000) if job.ended_at is not None]


def trim(works: Works, run: Run) -> None:
    work.trim_history(works.jobs, works.clock, run)


def test_what_ended_long_ago_is_forgotten() -> None:
    works = history([10, 10, 10, 10])
    run = Steps(days=30, keep=1000)
    trim(works, run)
    assert left(works) == [10, 20, 30]
    assert run.counts == {"jobs": 1}


def test_and_what_is_beyond_so_many_but_never_what_has_not_ended() -> None:
    works = history([1] * 10)
    trim(works, Steps(days=30, keep=3))
    assert left(works) == [1, 2, 3]
    trim(works, Steps(days=30, keep=0))
    assert left(works) == []
    assert len(works.jobs.page("", 10)) == 1
    kept = {item.key.partition for item in works.table.inner.walk(limit=1000).items}
    assert len([partition for partition in kept if partition.startswith("job/")]) == 1


@pytest.mark.parametrize("stop", range(1, 15))
def test_stopped_anywhere_it_goes_on_from_there(stop: int) -> None:
    works = history([1] * 10)
    first = Steps(stop=stop, days=30, keep=4)
    try:
        trim(works, first)
    except Stopped:
        trim(works, Steps(first.cursor, days=30, keep=4))
    assert left(works) == [1, 2, 3, 4]


def test_one_that_an_administrator_deletes_meanwhile_is_no_failure() -> None:
    def delete_all(works: Works) -> None:
        for job in works.jobs.page("", 10, status=DONE):
            with suppress(JobUnknown):
                works.jobs.delete(job.id)

    def trim_all(works: Works) -> None:
        trim(works, Steps(days=30, keep=0))

    for works, *outcomes in interleaved(lambda: history([1] * 3), lambda works: works.table, trim_all, delete_all):
        assert outcomes == ["", ""]
        assert left(works) == []


def test_one_that_cannot_be_read_keeps_no_other_from_being_forgotten() -> None:
    works = history([1] * 3)
    unreadable = works.jobs.page("", 10, status=DONE)[1]
    works.table.write(Put(job_key(unreadable.id), {}))
    trim(works, Steps(days=30, keep=1))
    assert left(works) == [1]


def test_more_jobs_than_one_stretch_holds() -> None:
    works = Works(seconds=0)
    for _ in range(230):
        works.clock.advance(1)
        works.create("other")
        works.tick()
    trim(works, Steps(days=30, keep=120))
    assert len(works.jobs.page("", 1000)) == 120


# ----------------------------------------------------------------------------------------------------------------- others


class Sweep:
    """Has so many to drop."""

    def __init__(self, there: int) -> None:
        self.there = there
        self.calls = 0

    def __call__(self, limit: int) -> int:
        self.calls += 1
        dropped = min(limit, self.there)
        self.there -= dropped
        return dropped

    sweep = __call__


def test_uploads_and_pushes_go_in_bounded_steps() -> None:
    uploads, pushes = Sweep(250), Sweep(100)
    run = Steps()
    work.expire_uploads(uploads, pushes, run)  # type: ignore[arg-type]
    assert run.counts == {"uploads": 250, "pushes": 100}
    assert (uploads.calls, pushes.calls) == (3, 2)
    with pytest.raises(Stopped):
        work.expire_uploads(Sweep(250), Sweep(0), Steps(stop=2))  # type: ignore[arg-type]


def test_garbage_is_collected_for_some_minutes() -> None:
    surface = Surface()
    for number in range(5):
        surface.push_blob("admin/app", b"%d" % number)
    surface.clock.advance(30 * 3600)

    class Slow(Steps):
        def checkpoint(self, cursor: str | None = None) -> None:
            super().checkpoint(cursor)
            surface.clock.advance(60)

    slow = Slow(minutes=2)
    work.collect_garbage(surface.garbage, surface.clock, slow)
    assert slow.counts == {"links": 2}
    rest = Steps(minutes=0)
    work.collect_garbage(surface.garbage, surface.clock, rest)
    assert rest.counts == {"links": 3}


def test_and_whoever_goes_on_has_what_is_left_of_them() -> None:
    surface = Surface()
    for number in range(5):
        surface.push_blob("admin/app", b"%d" % number)
    surface.clock.advance(30 * 3600)
    first = Steps(stop=1, minutes=10)
    with pytest.raises(Stopped):
        work.collect_garbage(surface.garbage, surface.clock, first)
    surface.clock.advance(9 * 60)
    second = Steps(first.cursor, stop=1, minutes=10)
    with pytest.raises(Stopped):
        work.collect_garbage(surface.garbage, surface.clock, second)
    surface.clock.advance(60)
    third = Steps(second.cursor, minutes=10)
    work.collect_garbage(surface.garbage, surface.clock, third)
    assert [run.counts for run in (first, second, third)] == [{"links": 1}] * 3


def test_the_sweep_goes_on_where_it_was_stopped() -> None:
    surface = Surface()
    leftovers, pairing = Leftovers(surface.table, surface.store, surface.clock), Pairing(surface.table, surface.store)
    for number in range(5):
        surface.push_blob("admin/app", b"%d" % number)
        surface.store.put(f"proofs/{number}", b"left")
        surface.store.put(f"direct/{number}/{Digest.of(b'left')}/{number:032x}", b"left")
    surface.clock.advance(GRACE)
    cursor, dropped = "", 0
    for _ in range(5):
        run = Steps(cursor, stop=3)
        with pytest.raises(Stopped):
            work.sweep_staging(leftovers, pairing, run)
        cursor, dropped = run.cursor, dropped + run.counts.get("objects", 0)
    work.sweep_staging(leftovers, pairing, Steps(cursor, stop=1))
    assert dropped == 10
    assert [stored.key.split("/")[0] for stored in surface.store.list("")] == [*["data"] * 5, "registry"]


def test_the_keys_are_on_record() -> None:
    class Ring:
        def rotate(self) -> Sequence[str]:
            return ["now", "next"]

    run = Steps()
    work.rotate_keys(Ring(), run)
    assert run.lines == ["keys: now, next"]


def test_a_history_is_trimmed_while_jobs_come_and_go() -> None:
    """By the runner itself, with the job that does it in the history."""
    works = Works(seconds=0)
    for _ in range(5):
        works.clock.advance(1)
        works.create("other")
        works.tick()

    def trimming(jobs: Jobs, run: Run) -> None:
        works.clock.advance(1)
        jobs.create("other", {}, "bob")
        work.trim_history(jobs, works.clock, Steps(days=1, keep=2))
        run.count("trimmed")

    works.during = lambda run, _step: partial(trimming, works.jobs)(run)
    works.clock.advance(1)
    works.create("steps", most=1)
    works.tick()
    assert [(job.kind, job.status) for job in works.jobs.page("", 10)] == [
        ("other", "waiting"),
        ("steps", "done"),
        ("other", "done"),
        ("other", "done"),
    ]
