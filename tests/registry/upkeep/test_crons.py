"""Schedules: when jobs are made, by whom of several, and what an administrator may set."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.local.cron_times import CronTimes
from chalicelib.registry.errors import JobKindUnknown, JobParametersInvalid, ScheduleInvalid, VersionMismatch
from chalicelib.registry.records import cron_key
from chalicelib.registry.upkeep.crons import SHORTEST, SHORTHANDS
from chalicelib.registry.upkeep.jobs import DONE, Kind
from tests.frozen_clock import FrozenClock
from tests.memory_table import ConflictingTable, MemoryTable
from tests.running_jobs import Works
from tests.watched_table import interleaved

DAILY = "0 0 3 * * *"


def at(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp())  # type: ignore[arg-type,misc]


def made(works: Works) -> int:
    return len(works.jobs.page("", 1000))


# ------------------------------------------------------------------------------------------------------------ when they come


def test_the_first_time_is_found_by_the_first_tick() -> None:
    works = Works(schedule=DAILY)
    assert works.crons.get("steps").next_at is None
    works.tick()
    assert works.crons.get("steps").next_at == at(2026, 1, 1, 3)
    assert made(works) == 0
    works.clock.moment = datetime(2026, 1, 1, 2, 59, 59, 999_999, tzinfo=UTC)
    assert works.tick() == 0
    works.clock.moment = datetime(2026, 1, 1, 3, tzinfo=UTC)
    assert works.tick() == 1
    (job,) = works.jobs.page("", 10)
    assert (job.kind, job.created_by, job.status) == ("steps", "", DONE)
    assert works.crons.get("steps").next_at == at(2026, 1, 2, 3)


def test_a_schedule_missed_for_long_makes_one_job() -> None:
    works = Works(schedule=DAILY)
    works.tick()
    works.clock.advance(100 * 86_400)
    for _ in range(5):
        works.tick()
    assert made(works) == 1
    assert works.crons.get("steps").next_at == at(2026, 4, 11, 3)


def test_a_clock_that_was_years_ahead_once_puts_no_schedule_off() -> None:
    works = Works(schedule=DAILY)
    works.tick()
    works.clock.advance(50 * 366 * 86_400)
    works.tick()
    works.clock.moment = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert works.tick() == 0
    assert works.crons.get("steps").next_at == at(2026, 1, 2, 3)
    works.clock.advance(15 * 3600)
    assert works.tick() == 1


def test_one_that_is_an_hour_ahead_makes_the_job_once() -> None:
    works = Works(schedule=DAILY)
    works.tick()
    works.clock.moment = datetime(2026, 1, 1, 3, tzinfo=UTC)
    assert works.tick() == 1
    works.clock.advance(-3600)
    for _ in range(120):
        assert works.tick() == 0
        works.clock.advance(60)


def test_a_kind_that_is_prompt_has_its_first_job_at_once_and_once() -> None:
    works = Works()
    kind = Kind("prompt", "", lambda _run: None, DAILY, is_prompt=True)
    works.jobs.kinds = {**works.jobs.kinds, "prompt": kind}
    for _ in range(3):
        works.tick()
    assert made(works) == 1
    assert works.crons.get("prompt").next_at == at(2026, 1, 1, 3)


def test_one_that_is_still_open_stands_in_for_the_next() -> None:
    works = Works(schedule=DAILY, retries=20, deadline=7 * 86_400)
    works.tick()

    def broken(_run: object, _step: int) -> None:
        raise OSError

    works.during = broken
    for _ in range(3):
        works.clock.advance(86_400)
        works.tick()
    assert made(works) == 1
    assert works.only().attempts == 3
    assert works.crons.get("steps").next_at == at(2026, 1, 4, 3)


def test_of_ticks_that_come_at_once_one_makes_the_job() -> None:
    def make() -> Works:
        works = Works(schedule=DAILY)
        works.tick()
        works.clock.advance(86_400)
        return works

    for first_start in (False, True):
        begin = (lambda: Works(schedule=DAILY)) if first_start else make
        for works, *outcomes in interleaved(begin, lambda works: works.table, Works.tick, Works.tick):
            assert outcomes == ["", ""]
            assert made(works) == (not first_start)
            assert works.crons.get("steps").next_at == at(2026, 1, 1 if first_start else 2, 3)


def test_a_schedule_set_while_a_tick_makes_the_job_of_the_earlier_holds() -> None:
    def make() -> Works:
        works = Works(schedule=DAILY)
        works.tick()
        works.clock.advance(86_400)
        return works

    def another(works: Works) -> None:
        works.crons.set("steps", "0 0 5 * * *", version=0)

    for works, *outcomes in interleaved(make, lambda works: works.table, Works.tick, another):
        assert outcomes == ["", ""]
        cron = works.crons.get("steps")
        assert (cron.schedule, cron.next_at, cron.version) == ("0 0 5 * * *", at(2026, 1, 2, 5), 1)
        assert made(works) <= 1


def test_one_that_is_unset_while_its_first_time_is_found_stays_unset() -> None:
    def make() -> Works:
        works = Works()
        works.jobs.kinds = {"prompt": Kind("prompt", "", lambda _run: None, DAILY, is_prompt=True)}
        return works

    for works, *outcomes in interleaved(make, lambda works: works.table, Works.tick, lambda works: works.crons.unset("prompt")):
        assert outcomes == ["", ""]
        stored = works.table.inner.get(cron_key("prompt"))
        assert stored is not None
        assert "next_at" not in stored


def test_one_kind_whose_schedule_is_broken_keeps_no_other_from_its_jobs() -> None:
    works = Works(schedule=DAILY)
    works.jobs.kinds = {"broken": Kind("broken", "", lambda _run: None, "often"), **works.jobs.kinds}
    works.tick()
    works.clock.advance(86_400)
    assert works.tick() == 1
    assert works.only().kind == "steps"


@pytest.fixture
def far_away() -> Iterator[None]:
    """A machine whose own time has summers."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "America/New_York"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("far_away")
def test_times_are_utc_all_the_year() -> None:
    for day in (datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)):  # clocks there change
        works = Works(clock=FrozenClock(day), schedule="0 30 * * * *", seconds=0)
        works.tick()
        for _ in range(48):
            works.clock.advance(1800)
            works.tick()
        assert made(works) == 24
        assert {job.created_at % 3600 for job in works.jobs.page("", 100)} == {1800}


# -------------------------------------------------------------------------------------------------------- what may be set


def test_until_another_is_set_the_kind_s_own_holds_also_a_new_one() -> None:
    table, clock = MemoryTable(), FrozenClock()
    works = Works(table, clock, schedule=DAILY)
    works.tick()
    newer = Works(table, clock, schedule="@hourly", retries=7)
    newer.tick()
    cron = newer.crons.get("steps")
    assert (cron.schedule, cron.next_at, cron.retries, cron.version) == ("@hourly", at(2026, 1, 1, 1), 7, 0)
    assert made(newer) == 0
    newer.crons.set("steps", "@weekly")
    latest = Works(table, clock, schedule=DAILY)
    latest.tick()
    assert latest.crons.get("steps").schedule == "@weekly"


def test_what_was_set_is_what_jobs_are_made_of() -> None:
    works = Works(schedule=DAILY)
    works.tick()
    cron = works.crons.set("steps", "0 15 * * * *", {"most": 2}, retries=0, deadline=90)
    assert (cron.schedule, cron.next_at, cron.parameters) == ("0 15 * * * *", at(2026, 1, 1, 0, 15), {"most": 2})
    works.clock.advance(900)
    works.tick()
    job = works.only()
    assert (job.parameters, job.retries, job.deadline) == ({"most": 2}, 0, 90)
    cron = works.crons.set("steps", DAILY)
    assert (cron.parameters, cron.retries, cron.deadline, cron.version) == ({"most": 4}, 3, 3600, 2)


def test_one_that_was_unset_stays_unset_in_every_release() -> None:
    works = Works(schedule=DAILY)
    works.tick()
    cron = works.crons.unset("steps")
    assert (cron.schedule, cron.next_at, cron.version) == ("", None, 1)
    later = Works(works.table.inner, works.clock, schedule="@hourly")
    for _ in range(3):
        later.clock.advance(86_400)
        later.tick()
    assert made(later) == 0
    later.crons.set("steps", "@hourly")
    later.clock.advance(3600)
    assert later.tick() == 1


def test_all_kinds_are_listed_by_name() -> None:
    works = Works(schedule=DAILY)
    works.crons.unset("other")
    assert [(cron.kind, cron.schedule) for cron in works.crons.list()] == [("other", ""), ("steps", DAILY)]
    assert works.crons.list() == [works.crons.get("other"), works.crons.get("steps")]


def test_a_version_that_is_not_there_any_more_is_refused() -> None:
    works = Works(schedule=DAILY)
    works.crons.set("steps", DAILY, version=0)
    works.clock.advance(10 * 86_400)
    works.tick()  # what the clock does is no other version
    assert works.crons.set("steps", DAILY, version=1).version == 2
    with pytest.raises(VersionMismatch):
        works.crons.set("steps", DAILY, version=1)
    with pytest.raises(VersionMismatch):
        works.crons.unset("steps", version=0)


def test_of_two_that_set_one_version_one_is_refused() -> None:
    def setting(schedule: str) -> object:
        return lambda works: works.crons.set("steps", schedule, version=0)

    worlds = interleaved(Works, lambda works: works.table, setting("@daily"), setting("@weekly"))  # type: ignore[arg-type]
    for works, first, second in worlds:
        assert sorted((first, second)) == ["", "VersionMismatch"]
        assert works.crons.get("steps").version == 1


def test_what_a_kind_does_not_take_is_not_set() -> None:
    works = Works()
    with pytest.raises(JobParametersInvalid):
        works.crons.set("steps", DAILY, {"most": 10_000})
    with pytest.raises(JobParametersInvalid):
        works.crons.set("steps", DAILY, retries=1000)
    for deed in (works.crons.get, works.crons.unset, lambda kind: works.crons.set(kind, DAILY)):
        with pytest.raises(JobKindUnknown):
            deed("nothing")
    assert works.crons.get("steps").version == 0


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        " ",
        "* * * * *",
        "0 0 0 * * * *",
        "0 0 25 * * *",
        "60 0 0 * * *",
        "0 60 0 * * *",
        "0 0 0 0 * *",
        "0 0 0 32 * *",
        "0 0 0 * 13 *",
        "0 0 0 * * 9",
        "0 0 0 30 2 *",
        "0 0 0 31 4,6,9,11 *",
        "0 0 0 30 2 */7 *",
        "0 0 0 * * MON#6",
        "0 0 0 * * MON#1/2",
        "0 0 0 * * 1L/2",
        "0 */0 * * * *",
        "0 5-1 * * * *",
        "0 -1 * * * *",
        "0 1.5 * * * *",
        "\u0660 0 * * * *",
        "0 0\u2028* * * *",
        "0 0\u00a0* * * *",
        "0 \u00b2 * * * *",
        "\ud800 0 * * * *",
        "0 0 0 * * \u00b2L",
        "@Daily",
        "@reboot",
        "@yearly",
        "0 " + ",".join(["1"] * 200) + " * * * *",
        "0 0 " + "9" * 10_000 + " * * *",
        "0 0 * * * *; rm",
        "* * * * * *",
        "*/5 0 3 * * *",
        "0,30 * * * * *",
        "0,59 0 0 1 1 *",
    ],
)
def test_what_is_no_schedule_never_comes_or_comes_too_often_is_refused(schedule: str) -> None:
    works = Works()
    with pytest.raises(ScheduleInvalid):
        works.crons.set("steps", schedule)
    assert works.crons.get("steps").version == 0


def test_a_schedule_is_kept_with_one_space_between_its_fields() -> None:
    works = Works()
    works.crons.set("steps", "  0 0\t3  * * *\n")
    assert works.crons.get("steps").schedule == "0 0 3 * * *"


@pytest.mark.parametrize(
    ("schedule", "first"),
    [
        ("@hourly", at(2026, 1, 1, 1)),
        ("@daily", at(2026, 1, 2)),
        ("@weekly", at(2026, 1, 4)),
        ("@monthly", at(2026, 2, 1)),
        ("0 * * * * *", at(2026, 1, 1, 0, 1)),
        ("59 59 23 31 12 *", at(2026, 12, 31, 23, 59, 59)),
        ("0 0 0 29 2 *", at(2028, 2, 29)),
        ("0 0 0 L * *", at(2026, 1, 31)),
        ("0 30 3 * * MON-FRI", at(2026, 1, 1, 3, 30)),
        ("  0   0 12 */2 * * ", at(2026, 1, 1, 12)),
    ],
)
def test_a_schedule_s_first_time(schedule: str, first: int) -> None:
    assert Works().crons.set("steps", schedule).next_at == first


FIELDS = [
    st.integers(lowest, highest).map(str) | st.just("*") | st.integers(1, 12).map(lambda step: f"*/{step}")
    for lowest, highest in [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]
]


@given(st.tuples(*FIELDS).map(" ".join), st.datetimes(datetime(2020, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_whatever_is_taken_comes_later_and_never_twice_a_minute(schedule: str, moment: datetime) -> None:
    works = Works(clock=FrozenClock(moment))
    try:
        first = works.crons.set("steps", schedule).next_at
    except ScheduleInvalid:
        return
    assert first is not None
    assert first > moment.timestamp()
    times = CronTimes()
    found = datetime.fromtimestamp(first, UTC)
    for _ in range(4):
        later = times.after(schedule, found)
        assert later is not None
        assert (later - found).total_seconds() >= SHORTEST
        found = later


@given(st.text(max_size=30) | st.lists(st.text("0123456789*/-,LW#@MON ", max_size=6), min_size=6, max_size=6).map(" ".join))
def test_any_text_is_a_schedule_or_is_refused(schedule: str) -> None:
    try:
        assert Works().crons.set("steps", schedule).schedule == schedule
    except ScheduleInvalid:
        assert schedule not in SHORTHANDS


def test_a_table_that_conflicts_is_asked_again() -> None:
    table = ConflictingTable(MemoryTable(), random.Random(3), 0.4)
    works = Works(table, schedule=DAILY)
    for _ in range(20):
        works.tick()
        works.clock.advance(86_400)
    works.crons.unset("steps")
    assert table.conflicts
    assert made(works) == 19
