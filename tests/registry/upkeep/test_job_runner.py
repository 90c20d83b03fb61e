"""Running jobs: what happens when those who run them die, fail, come twice, are slow, or are told to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chalicelib.registry.errors import JobEnded, JobUnderWay
from chalicelib.registry.ports import Conflict, Key, Put, StoreFull, Write
from chalicelib.registry.records import cron_key, open_key
from chalicelib.registry.upkeep.job_runner import (
    FIRST_DELAY,
    LEASE_SECONDS,
    LONGEST_DELAY,
    MAX_LINE,
    MAX_LINES,
    RESERVE_SECONDS,
    SAVE_SECONDS,
)
from chalicelib.registry.upkeep.jobs import CANCELLED, DONE, ENDED, FAILED, RUNNING, WAITING, Jobs, Kind, Run, Stopped
from tests.memory_table import MemoryTable
from tests.registry.test_lost_answers import LosingTable
from tests.running_jobs import AMPLE, STEPS, Broken, Works
from tests.watched_table import die, interleaved

ALL = list(range(STEPS))


def failing(times: int = 10**6, message: str = "no luck") -> Callable[[Run, int], None]:
    """Fails in the second step, so many times."""
    left = [times]

    def during(_run: Run, step: int) -> None:
        if step == 1 and left[0]:
            left[0] -= 1
            raise Broken(message)

    return during


def once(step: int, deed: Callable[[], object]) -> Callable[[Run, int], None]:
    """Does something in that step, once."""
    left = [deed]

    def during(_run: Run, now: int) -> None:
        if now == step and left:
            left.pop()()

    return during


# ----------------------------------------------------------------------------------------------------------------- dying


def deaths(make: Callable[[], Works]) -> int:
    """A tick dies before each of its calls of the table, in a world of its own; another one comes at once, and again when the
    lease is over. How many calls a tick makes."""
    nth = 0
    while True:
        nth += 1
        works = make()
        works.table.before(nth, die)
        if not works.tick_or_die():
            works.table.rest()
            return nth - 1
        was_held = any("holder" in entry for entry in works.entries().values())
        before = len(works.done)
        works.tick()  # at once: nobody runs it beside the other, who might be slow and not dead
        if was_held:
            assert len(works.done) == before
            assert works.only().status == RUNNING
            works.expire()
            works.tick()
        job = works.only()
        assert (job.status, job.counts) == (DONE, {"steps": STEPS}), nth
        assert sorted(set(works.done)) == ALL
        assert works.most_under_way == 1
        assert works.entries() == {}
        assert job.attempts == 1 + was_held
        taken_up = [line for line in works.said(job) if line.startswith("taken up: ")]
        assert len(taken_up) == was_held
        assert [line for line in works.said(job) if not line.startswith("taken up: ")] == [f"step {step}" for step in ALL]


def test_whenever_a_tick_dies_a_later_one_goes_on_from_the_last_checkpoint() -> None:
    def make() -> Works:
        works = Works()
        works.create()
        return works

    assert deaths(make) >= 2 + 2 + STEPS + 1


def test_also_when_it_makes_the_job_by_the_schedule() -> None:
    def make() -> Works:
        works = Works(schedule="0 0 0 1 * *")
        works.tick()
        works.clock.advance(40 * 86_400)
        return works

    assert deaths(make) >= 3 + 2 + STEPS + 1


def test_what_was_done_since_the_last_checkpoint_that_was_kept_is_done_again() -> None:
    works = Works(seconds=1)
    works.create()
    works.during = once(2, die)
    assert works.tick_or_die()
    works.expire()
    works.tick()
    assert works.done == [0, 1, *ALL]  # no checkpoint had been written: too little time had passed


def test_one_that_dies_again_and_again_fails() -> None:
    works = Works(retries=2)
    job = works.create()
    works.during = lambda _run, step: die() if step == 1 else None
    for _ in range(3):
        assert works.tick_or_die()
        works.expire()
    assert works.tick() == 0
    job = works.jobs.get(job.id)
    assert (job.status, job.attempts, job.error) == (FAILED, 3, "whoever ran it ended without a word, 3 times")
    works.create()


# ----------------------------------------------------------------------------------------------------------- side by side


def test_two_ticks_never_run_one_job_at_once() -> None:
    for seconds in (0, 6, 20):

        def make(seconds: float = seconds) -> Works:
            works = Works(seconds=seconds, schedule="0 0 0 1 * *")
            works.tick()
            works.clock.advance(40 * 86_400)
            return works

        worlds = list(interleaved(make, lambda works: works.table, Works.tick, Works.tick))
        assert len(worlds) > STEPS
        for works, *outcomes in worlds:
            assert outcomes == ["", ""]
            assert works.done == ALL
            assert works.most_under_way == 1
            assert works.only().status == DONE
            assert works.entries() == {}


def test_nor_do_two_that_find_it_abandoned() -> None:
    def make() -> Works:
        works = Works()
        works.create()
        works.during = once(1, die)
        assert works.tick_or_die()
        works.expire()
        return works

    for works, *outcomes in interleaved(make, lambda works: works.table, Works.tick, Works.tick):
        assert outcomes == ["", ""]
        assert works.most_under_way == 1
        job = works.only()
        assert (job.status, job.attempts, job.counts) == (DONE, 2, {"steps": STEPS})
        assert works.done == [0, 1, 2, 3]


def test_nor_does_one_that_saw_it_abandoned_before_another_took_it_up() -> None:
    def make() -> Works:
        works = Works()
        works.create()
        works.during = once(1, die)
        assert works.tick_or_die()
        works.expire()
        return works

    def begin(works: Works) -> None:
        works.during = once(2, die)  # as far as it has come meanwhile
        works.tick_or_die()
        works.during = lambda _run, _step: None

    worlds = list(interleaved(make, lambda works: works.table, Works.tick, begin))
    begun = [works for works, *_ in worlds if works.only().status == RUNNING]
    assert len(begun) > 3
    for works in begun:
        assert works.done == [0, 1]
    assert {works.only().status for works, *_ in worlds} == {RUNNING, DONE}


def test_whoever_comes_back_while_another_one_runs_it_leaves_it_to_that_one() -> None:
    works = Works()
    job = works.create()
    found: dict[str, object] = {}

    def meanwhile() -> None:
        works.clock.advance(LEASE_SECONDS)
        works.during = once(2, die)  # as far as it has come when the first comes back
        assert works.tick_or_die()
        works.during = lambda _run, _step: None
        found.update(job=works.jobs.get(job.id), entry=works.entries())

    works.during = once(1, meanwhile)
    works.tick()
    assert works.done == [0, 1, 1]
    assert works.jobs.get(job.id) == found["job"]
    assert works.entries() == found["entry"]


@pytest.mark.parametrize("nth", range(1, 8))
def test_an_answer_of_the_table_that_is_lost_costs_nothing(nth: int) -> None:
    table = LosingTable(nth)
    works = Works(table, schedule="0 0 0 1 * *")
    works.tick()
    works.clock.advance(40 * 86_400)
    table.is_on = True
    works.tick()
    job = works.only()
    assert (job.status, job.attempts, job.counts) == (DONE, 1, {"steps": STEPS})
    assert works.said(job) == [f"step {step}" for step in ALL]
    assert works.done == ALL


def test_whoever_was_taken_for_dead_writes_nothing_more() -> None:
    """The first is held up in its second step for longer than its lease; meanwhile the second takes the job up and ends it."""

    def slow(works: Works) -> Callable[[Run, int], None]:
        def meanwhile() -> None:
            works.under_way = 0  # as far as anybody knows
            works.clock.advance(LEASE_SECONDS)
            works.tick()
            assert works.only().status == DONE

        return once(1, meanwhile)

    works = Works()
    job = works.create()
    works.during = slow(works)
    works.tick()
    assert works.done == [0, 1, 2, 3, 1]  # its own step, and it ended at the checkpoint
    job = works.jobs.get(job.id)
    assert (job.status, job.attempts, job.counts) == (DONE, 2, {"steps": STEPS})
    assert works.said(job) == [
        "step 0",
        "taken up: whoever made attempt 1 ended without a word",
        "step 1",
        "step 2",
        "step 3",
    ]


@pytest.mark.parametrize("end", [Stopped(), Broken("late"), None])
def test_however_its_work_ends_then(end: Exception | None) -> None:
    works = Works()
    works.create()

    def meanwhile() -> None:
        works.clock.advance(LEASE_SECONDS)
        works.during = lambda _run, _step: None
        works.tick()
        works.create()  # and there is a new one of the kind
        if end:
            raise end

    works.during = once(3, meanwhile)
    works.tick()
    new, old = works.jobs.page("", 10)
    assert {old.status, new.status} == {DONE, WAITING}
    assert max(old.attempts, new.attempts) == 2
    assert "holder" not in works.entries()["steps"]


def test_a_tick_that_read_the_entry_of_a_job_does_not_take_the_next_one_of_the_kind_for_it() -> None:
    def make() -> Works:
        works = Works()
        works.create()
        return works

    def cancel_and_create(works: Works) -> None:
        works.jobs.cancel(works.jobs.page("", 1)[0].id)
        works.create()

    for works, _, refused in interleaved(make, lambda works: works.table, Works.tick, cancel_and_create):
        works.tick()
        works.tick()
        assert works.most_under_way == 1
        found = works.jobs.page("", 10)
        assert {job.status for job in found} <= {DONE, CANCELLED}
        if not refused and len(found) == 2:
            assert [job.status for job in found].count(DONE) >= 1


def test_the_lease_is_kept_as_long_as_checkpoints_come() -> None:
    works = Works(seconds=LEASE_SECONDS - 1)
    works.create()
    works.during = lambda _run, _step: works.tick()
    works.tick()
    assert works.done == ALL
    assert works.most_under_way == 1


def test_a_lease_by_a_clock_that_was_years_ahead_is_none() -> None:
    works = Works()
    job = works.create()
    now = works.clock.moment
    works.clock.advance(50 * 366 * 86_400)
    works.during = once(1, die)
    assert works.tick_or_die()
    works.clock.moment = now
    assert works.tick() == 1
    assert works.jobs.get(job.id).status == DONE


# ---------------------------------------------------------------------------------------------------------------- failing


def test_a_job_that_fails_is_tried_again_later_and_later_and_then_has_failed() -> None:
    works = Works(retries=9, deadline=86_400)
    job = works.create()
    works.during = failing()
    pauses = []
    while (found := works.jobs.get(job.id)).status not in ENDED:
        if found.attempts:
            pauses.append(found.due_at - int(works.clock.now().timestamp()))
            works.clock.advance(pauses[-1] - 1)
            assert works.tick() == 0
            works.clock.advance(1)
        assert works.tick() == 1
    assert pauses == [min(LONGEST_DELAY, FIRST_DELAY * 2**attempt) for attempt in range(9)]
    assert pauses[-1] == LONGEST_DELAY
    assert (found.status, found.attempts, found.error) == (FAILED, 10, "Broken: no luck")
    assert works.done == [0]
    said = works.said(found)
    assert said[1] == "attempt 1 failed: Broken: no luck; tried again in 30 s"
    assert said[-1] == "failed: Broken: no luck"
    assert works.entries() == {}


def test_a_retry_goes_on_from_the_cursor_and_leaves_no_error_behind() -> None:
    works = Works(seconds=1)
    job = works.create()
    works.during = failing(1)
    works.tick()
    waiting = works.jobs.get(job.id)
    assert (waiting.status, waiting.cursor, waiting.error) == (WAITING, "1", "Broken: no luck")
    works.clock.advance(FIRST_DELAY)
    works.tick()
    assert works.done == ALL
    done = works.jobs.get(job.id)
    assert (done.status, done.attempts, done.error, done.counts) == (DONE, 2, "", {"steps": STEPS})


def test_one_that_may_not_be_tried_again_fails_at_once() -> None:
    works = Works()
    job = works.jobs.create("steps", {}, "bob", retries=0)
    works.during = failing()
    works.tick()
    assert works.jobs.get(job.id).status == FAILED


def test_a_job_that_fails_keeps_no_other_from_being_run() -> None:
    works = Works()
    works.create("steps")
    works.clock.advance(1)
    works.create("other")
    works.during = failing()
    assert works.tick() == 2
    assert works.others == 1


@pytest.mark.parametrize("nth", range(1, 12))
def test_nor_does_one_that_cannot_be_written_down(nth: int) -> None:
    works = Works()
    works.create("steps")
    works.clock.advance(1)
    works.create("other")

    def break_down() -> None:
        raise OSError("the table is away")

    works.table.before(nth, break_down)
    try:
        works.tick()
    except OSError:
        assert nth <= 2  # what is read for all
    works.table.rest()
    works.clock.advance(LEASE_SECONDS + FIRST_DELAY)
    works.tick()
    assert works.others == 1
    assert {job.status for job in works.jobs.page("", 10)} == {DONE}
    assert sorted(set(works.done)) == ALL


@pytest.mark.parametrize(
    ("key", "attributes"),
    [
        (open_key("other"), {"job": "x"}),
        (open_key("other"), {"job": "x", "due_at": 0, "until": "x"}),
        (cron_key("other"), {"next_at": "x", "timed_by": "@daily", "schedule": "@daily"}),
    ],
)
def test_nor_does_a_record_that_nobody_here_wrote(key: Key, attributes: dict[str, str | int]) -> None:
    works = Works()
    works.table.write(Put(key, attributes))
    works.create()
    works.tick()
    assert works.done == ALL


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("", "Broken"),
        ("two\nlines \x1b[31m", "Broken: two lines \ufffd[31m"),
        ("x" * 5000, "Broken: " + "x" * 492),
        ("GET https://bob:pass@host/key?X-Amz-Signature=abc failed", "Broken: GET https://...host/key?... failed"),
        ("token slr_" + "A" * 43 + " is bad", "Broken: token ... is bad"),
        ("Bearer eyJhbGciOiJFUzI1NiJ9.eyJhIjoxfQ.sig", "Broken: Bearer ..."),
        ("why? it is so", "Broken: why? it is so"),
    ],
)
def test_an_error_is_told_in_one_line_without_secrets(message: str, told: str) -> None:
    works = Works()
    job = works.jobs.create("steps", {}, "bob", retries=0)
    works.during = failing(message=message)
    works.tick()
    assert works.jobs.get(job.id).error == told
    assert works.said(works.only())[-1] == f"failed: {told}"


def test_work_that_goes_on_after_it_was_stopped_is_stopped_again_and_that_counts() -> None:
    works = Works()
    job = works.create()

    def stubborn(run: Run, step: int) -> None:
        if step == 1:
            works.jobs.cancel(job.id)
            works.clock.advance(SAVE_SECONDS)
            for _ in range(2):
                with pytest.raises(Stopped):
                    run.checkpoint("7")
            raise Broken

    works.during = stubborn
    works.tick()
    assert works.jobs.get(job.id).status == CANCELLED


# --------------------------------------------------------------------------------------------------------- told to end


def test_a_waiting_job_is_cancelled_at_once() -> None:
    works = Works()
    job = works.create()
    cancelled = works.jobs.cancel(job.id)
    assert (cancelled.status, cancelled.ended_at) == (CANCELLED, job.created_at)
    assert works.tick() == 0
    with pytest.raises(JobEnded):
        works.jobs.cancel(job.id)
    works.create()


def test_a_running_one_at_its_next_checkpoint() -> None:
    works = Works()
    job = works.create()

    def cancel() -> None:
        assert works.jobs.cancel(job.id).is_cancelling
        with pytest.raises(JobUnderWay):
            works.create()

    works.during = once(1, cancel)
    works.tick()
    assert works.done == [0, 1]
    found = works.jobs.get(job.id)
    assert (found.status, found.is_cancelling, found.counts, found.cursor) == (CANCELLED, False, {"steps": 2}, "2")
    assert works.said(found) == ["step 0", "step 1"]


def test_a_running_one_whose_function_is_dead_when_that_is_known() -> None:
    works = Works()
    job = works.create()
    works.during = once(1, die)
    assert works.tick_or_die()
    works.jobs.cancel(job.id)
    works.tick()
    assert works.jobs.get(job.id).status == RUNNING
    works.expire()
    works.tick()
    assert works.jobs.get(job.id).status == CANCELLED
    assert works.done == [0]


def test_one_that_fails_while_it_is_to_be_cancelled_is_not_tried_again() -> None:
    works = Works()
    job = works.create()

    def cancel() -> None:
        works.jobs.cancel(job.id)
        raise Broken

    works.during = once(1, cancel)
    works.tick()
    assert works.jobs.get(job.id).status == CANCELLED


def test_whenever_it_is_cancelled_it_ends_once_and_the_next_one_may_come() -> None:
    def make() -> Works:
        works = Works()
        works.create()
        return works

    for works, _, refused in interleaved(make, lambda works: works.table, Works.tick, lambda w: w.jobs.cancel(w.only().id)):
        assert refused in {"", "JobEnded"}
        job = works.only()
        assert job.status == DONE if refused else job.status == CANCELLED or works.done == ALL
        assert not job.is_cancelling
        assert works.entries() == {}


@pytest.mark.parametrize("is_dead", [False, True])
def test_what_ends_while_somebody_cancels_it_has_ended(is_dead: bool) -> None:
    def make() -> Works:
        works = Works()
        works.create()
        if is_dead:
            works.during = once(1, die)
            assert works.tick_or_die()
            works.expire()
        return works

    for works, refused, _ in interleaved(make, lambda works: works.table, lambda w: w.jobs.cancel(w.only().id), Works.tick):
        job = works.only()
        assert job.status == (DONE if refused else CANCELLED)
        assert (job.status == DONE) == (works.done == ALL)
        assert refused in {"", "JobEnded"}
        assert not job.is_cancelling
        assert works.entries() == {}


def test_a_running_job_is_failed_at_the_first_checkpoint_after_its_deadline() -> None:
    works = Works(seconds=40)
    job = works.jobs.create("steps", {}, "bob", deadline=60)
    works.tick()
    assert works.done == [0, 1]
    found = works.jobs.get(job.id)
    assert (found.status, found.error) == (FAILED, "deadline passed")
    assert works.said(found)[-1] == "failed: deadline passed"


def test_a_job_that_waits_for_another_attempt_fails_when_its_deadline_passes() -> None:
    works = Works()
    job = works.jobs.create("steps", {}, "bob", deadline=100)
    works.during = failing()
    works.tick()
    works.clock.advance(100)
    assert works.tick() == 0
    assert (works.jobs.get(job.id).status, works.jobs.get(job.id).error) == (FAILED, "deadline passed")


def test_the_deadline_counts_from_the_first_start() -> None:
    works = Works()
    works.jobs.create("steps", {}, "bob", deadline=60)
    works.clock.advance(86_400)
    works.tick()
    assert works.only().status == DONE


# ------------------------------------------------------------------------------------------------------------- hand over


def test_near_the_end_of_its_time_a_process_hands_over_and_it_counts_as_one_attempt() -> None:
    works = Works()
    job = works.create()

    def run_short(_run: Run, _step: int) -> None:
        works.left = RESERVE_SECONDS - 1

    works.during = run_short
    for step in range(STEPS - 1):
        works.left = AMPLE
        assert works.tick() == 1
        found = works.jobs.get(job.id)
        assert (found.status, found.cursor, found.attempts) == (WAITING, str(step + 1), 1)
        assert found.due_at == int(works.clock.now().timestamp())
        assert works.tick() == 0  # it takes up no other either
    works.during = lambda _run, _step: None
    works.left = AMPLE
    works.tick()
    found = works.jobs.get(job.id)
    assert (found.status, found.attempts, found.counts) == (DONE, 1, {"steps": STEPS})
    assert works.done == ALL
    assert works.said(found) == [f"step {step}" for step in ALL]


def test_a_job_that_goes_on_and_on_ends_by_its_deadline() -> None:
    works = Works(deadline=100)
    works.create(most=1000)
    works.during = lambda _run, _step: setattr(works, "left", 0)
    for _ in range(40):
        works.left = AMPLE
        works.tick()
    assert works.only().status == FAILED


def test_one_that_was_handed_over_and_then_dies_has_made_its_attempt() -> None:
    works = Works(retries=1)
    job = works.create()
    works.during = lambda _run, _step: setattr(works, "left", 0)
    works.tick()
    works.left, works.during = AMPLE, lambda _run, _step: die()
    assert works.tick_or_die()
    works.expire()
    assert works.tick_or_die()
    assert works.jobs.get(job.id).attempts == 2
    works.expire()
    works.tick()
    assert works.jobs.get(job.id).status == FAILED


def test_who_has_waited_longest_comes_first() -> None:
    works = Works()
    works.create("steps")
    works.during = lambda _run, _step: setattr(works, "left", 0)
    works.tick()
    works.clock.advance(1)
    works.create("other")
    works.clock.advance(1)
    works.left = AMPLE
    assert works.tick() == 1
    works.left = AMPLE
    works.tick()
    assert works.others == 1


# ---------------------------------------------------------------------------------------------------- what it costs, keeps


def test_a_tick_with_nothing_to_do_reads_twice() -> None:
    works = Works(schedule="0 0 0 * * *")
    works.tick()
    works.table.reads = works.table.writes = 0
    works.tick()
    assert (works.table.reads, works.table.writes) == (2, 0)


def test_a_job_of_one_step_takes_one_read_and_two_writes() -> None:
    works = Works(seconds=1)
    works.create(most=1)
    works.table.reads = works.table.writes = 0
    works.tick()
    assert (works.table.reads, works.table.writes) == (2 + 1, 2)


def test_checkpoints_write_every_few_seconds_and_nothing_is_lost_at_the_end() -> None:
    works = Works(seconds=0.01)
    works.create(most=1000)
    works.table.reads = works.table.writes = 0
    works.tick()
    assert works.table.writes <= 2 + 10 / SAVE_SECONDS + 1000 / 50
    job = works.only()
    assert job.counts == {"steps": 1000}
    assert works.said(job) == [f"step {step}" for step in range(1000)]


def test_a_long_log_is_kept_up_to_its_bound_and_read_from_anywhere() -> None:
    works = Works(seconds=0)
    job = works.create(most=1)

    def talk(run: Run, _step: int) -> None:
        for number in range(MAX_LINES + 10):
            run.log(f"{number} " + "\u20ac" * (2 * MAX_LINE if number < 60 else 1))

    works.during = talk
    works.tick()
    said = works.jobs.log(job.id, 0, 100_000)
    assert len(said) <= MAX_LINES
    assert len(said) > MAX_LINES - 200
    assert [line.offset for line in said] == list(range(len(said)))
    assert max(len(line.text) for line in said) == MAX_LINE
    assert said[-1].text == "there is more to say than is kept"
    for offset in (0, 1, 49, 50, 51, 99, 100, 5000, len(said) - 1):
        assert works.jobs.log(job.id, offset, 3) == said[offset : offset + 3]
    for offset, limit in ((-1, 3), (len(said), 3), (10**9, 3), (0, 0)):
        assert not works.jobs.log(job.id, offset, limit)


def test_a_line_is_one_line_of_text() -> None:
    works = Works(seconds=0)
    job = works.create(most=1)
    works.during = lambda run, _step: run.log("a\nb \ud800 \x1b[31m \u20ac")
    works.tick()
    assert works.said(job)[0] == "a\ufffdb \ufffd \ufffd[31m \u20ac"


def test_progress_is_bounded() -> None:
    works = Works(seconds=0)
    works.create(most=1)

    def count(run: Run, _step: int) -> None:
        for number in range(1000):
            run.count(f"what {number}")

    works.during = count
    works.tick()
    assert len(works.only().counts) == 50


class Full(MemoryTable):
    """Takes nothing for a while."""

    refuses: type[Exception] | None = None
    for_calls = 0

    def transact(self, writes: Sequence[Write]) -> None:
        if self.refuses is not None and self.for_calls:
            self.for_calls -= 1
            raise self.refuses
        super().transact(writes)


@pytest.mark.parametrize("error", [StoreFull, Conflict])
def test_a_checkpoint_that_cannot_be_written_waits_for_the_next(error: type[Exception]) -> None:
    table = Full()
    works = Works(table)
    works.create()

    def fill() -> None:
        table.refuses, table.for_calls = error, 1

    works.during = once(1, fill)
    works.tick()
    assert works.done == ALL
    job = works.only()
    assert (job.status, job.attempts, job.counts) == (DONE, 1, {"steps": STEPS})
    assert works.said(job) == [f"step {step}" for step in ALL]


def test_nobody_works_on_beyond_a_lease_that_could_not_be_renewed() -> None:
    table = Full()
    works = Works(table, seconds=100)
    works.create(most=10)

    def fill() -> None:
        table.refuses, table.for_calls = StoreFull, 1000

    works.during = once(0, fill)
    works.tick()
    assert works.done == [0, 1]
    table.for_calls = 0
    works.tick()
    assert works.only().status == DONE


def test_a_kind_that_this_release_does_not_know_is_left_to_another_unless_it_is_to_be_cancelled() -> None:
    works = Works()
    job = works.create()
    works.during = once(1, die)
    assert works.tick_or_die()
    works.expire()
    fewer = Works(works.table.inner, works.clock)
    fewer.jobs.kinds = {}
    assert fewer.tick() == 0
    assert fewer.only().status == RUNNING
    fewer.jobs.cancel(job.id)
    fewer.tick()
    assert fewer.only().status == CANCELLED


def test_a_job_of_an_earlier_release_has_the_parameters_that_came_since() -> None:
    works = Works()
    earlier = Kind("steps", "Steps", lambda _run: None, "")
    job = Jobs(works.table, works.clock, [earlier]).create("steps", {}, "bob")
    works.tick()
    assert works.jobs.get(job.id).status == DONE
    assert works.done == ALL


# --------------------------------------------------------------------------------------------- whatever happens, in any order


@settings(max_examples=80, stateful_step_count=25, deadline=None)
class Lives(RuleBasedStateMachine):
    """Ticks, deaths at any call, failures, cancels and time, in any order: a job ends once, and nobody runs beside another."""

    @initialize()
    def begin(self) -> None:
        self.works = Works(seconds=6, schedule="0 */7 * * * *", deadline=2000)
        self.ends: dict[str, str] = {}

    def look(self) -> None:
        found = self.works.jobs.page("", 1000)
        for job in found:
            if job.status in ENDED:
                assert self.ends.setdefault(job.id, job.status) == job.status
                assert job.ended_at is not None
            else:
                assert job.id not in self.ends
        still = [job for job in found if job.status not in ENDED]
        assert len(still) == len(self.works.entries()) <= 1
        for entry in self.works.entries().values():
            assert entry["job"] == still[0].id
            assert ("holder" in entry) == (still[0].status == RUNNING)
        assert self.works.most_under_way <= 1

    @rule()
    def tick(self) -> None:
        self.works.tick()

    @rule(nth=st.integers(1, 14))
    def die_there(self, nth: int) -> None:
        self.works.table.before(nth, die)
        self.works.tick_or_die()
        self.works.table.rest()

    @rule(nth=st.integers(1, 14))
    def meet_another(self, nth: int) -> None:
        self.works.table.before(nth, self.works.tick)
        self.works.tick()
        self.works.table.rest()

    @rule(step=st.integers(0, STEPS - 1))
    def fail(self, step: int) -> None:
        def broken() -> None:
            raise Broken

        self.works.during = once(step, broken)
        self.works.tick()
        self.works.during = lambda _run, _step: None

    @rule(step=st.integers(0, STEPS - 1))
    def hand_over(self, step: int) -> None:
        self.works.during = once(step, lambda: setattr(self.works, "left", 0))
        self.works.tick()
        self.works.during, self.works.left = lambda _run, _step: None, AMPLE

    @rule(nth=st.integers(1, 14))
    def cancel_meanwhile(self, nth: int) -> None:
        self.works.table.before(nth, self.cancel)
        self.works.tick()
        self.works.table.rest()

    @rule()
    def cancel(self) -> None:
        for entry in self.works.entries().values():
            try:
                self.works.jobs.cancel(str(entry["job"]))
            except JobEnded:
                raise AssertionError("an open job has ended") from None

    @rule()
    def create(self) -> None:
        try:
            self.works.create()
        except JobUnderWay:
            assert self.works.entries()

    @rule(seconds=st.sampled_from([1, 30, LEASE_SECONDS, 700, 3000]))
    def wait(self, seconds: int) -> None:
        self.works.clock.moment += timedelta(seconds=seconds)

    @invariant()
    def consistent(self) -> None:
        if hasattr(self, "works"):
            self.look()

    def teardown(self) -> None:
        if not hasattr(self, "works"):
            return
        self.works.crons.unset("steps")
        for _ in range(3):
            self.works.clock.advance(LONGEST_DELAY)
            self.works.tick()
        self.look()
        assert self.works.entries() == {}


TestLives = Lives.TestCase
