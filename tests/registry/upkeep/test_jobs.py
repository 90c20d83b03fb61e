"""Jobs as they are asked for, listed, and forgotten."""

from __future__ import annotations

import random

import pytest

from chalicelib.registry.errors import JobEnded, JobKindUnknown, JobParametersInvalid, JobUnderWay, JobUnknown
from chalicelib.registry.ports import Attributes, Put
from chalicelib.registry.records import job_key
from chalicelib.registry.upkeep.jobs import CANCELLED, DONE, WAITING, Run
from tests.memory_table import ConflictingTable, MemoryTable
from tests.registry.test_lost_answers import LosingTable
from tests.running_jobs import STEPS, Works
from tests.watched_table import die, interleaved


def test_one_that_was_asked_for_is_due_at_once_with_its_kind_s_defaults() -> None:
    works = Works(retries=2, deadline=100)
    job = works.create()
    now = int(works.clock.now().timestamp())
    assert (job.kind, job.status, job.created_by, job.parameters) == ("steps", WAITING, "bob", {"most": STEPS})
    assert (job.created_at, job.due_at, job.started_at, job.ended_at) == (now, now, None, None)
    assert (job.attempts, job.retries, job.deadline, job.counts, job.cursor, job.error) == (0, 2, 100, {}, "", "")
    assert works.jobs.get(job.id) == job
    works.clock.advance(5)
    other = works.create("other")
    assert (other.kind, other.parameters) == ("other", {})


def test_with_what_was_said_instead() -> None:
    works = Works()
    job = works.jobs.create("steps", {"most": 2}, "bob", retries=0, deadline=61)
    assert (job.parameters, job.retries, job.deadline) == ({"most": 2}, 0, 61)
    works.tick()
    assert works.done == [0, 1]


def test_no_two_of_a_kind_are_open() -> None:
    works = Works()
    job = works.create()
    with pytest.raises(JobUnderWay) as refused:
        works.create()
    assert refused.value.detail == {"kind": "steps", "job": job.id}
    works.create("other")
    works.tick()
    assert works.create().id != job.id


def test_of_two_that_ask_at_once_one_gets_it() -> None:
    for works, first, second in interleaved(Works, lambda works: works.table, Works.create, Works.create):
        assert sorted((first, second)) == ["", "JobUnderWay"]
        assert len(works.jobs.page("", 10)) == 1


@pytest.mark.parametrize(
    ("parameters", "limits", "named"),
    [
        ({"most": -1}, {}, "most"),
        ({"most": 1001}, {}, "most"),
        ({"most": True}, {}, "most"),
        ({"most": "3"}, {}, "most"),
        ({"most": 2.0}, {}, "most"),
        ({"most": 10**50}, {}, "most"),
        ({"least": 1}, {}, "least"),
        ({"": 1}, {}, ""),
        ({"x" * 9999: 1}, {}, "x" * 200),
        ({}, {"retries": -1}, "retries"),
        ({}, {"retries": 21}, "retries"),
        ({}, {"deadline": 0}, "deadline"),
        ({}, {"deadline": 7 * 86_400 + 1}, "deadline"),
    ],
)
def test_what_a_kind_does_not_take_is_refused_by_name(parameters: dict[str, int], limits: dict[str, int], named: str) -> None:
    works = Works()
    with pytest.raises(JobParametersInvalid) as refused:
        works.jobs.create("steps", parameters, "bob", **limits)
    assert refused.value.detail == {"parameter": named}
    assert not works.entries()


@pytest.mark.parametrize("kind", ["", "no", "steps/1", "\ud800", "x" * 9999])
def test_an_unknown_kind(kind: str) -> None:
    with pytest.raises(JobKindUnknown):
        Works().jobs.create(kind, {}, "bob")


@pytest.mark.parametrize("identifier", ["", "x", "0" * 23, "0" * 22 + "\n", "../..", "\ud800", "\0", "a" * 100_000])
def test_an_unknown_job(identifier: str) -> None:
    jobs = Works().jobs
    for deed in (jobs.get, jobs.cancel, jobs.delete, lambda each: jobs.log(each, 0, 1)):
        with pytest.raises(JobUnknown):
            deed(identifier)


def test_pages_are_newest_first_and_whole() -> None:
    works = Works(seconds=0)
    made = []
    for number in range(25):
        works.clock.advance(1)
        made.append(works.create("other" if number % 5 == 0 else "steps"))
        if number % 2:
            works.jobs.cancel(made[-1].id)
        else:
            works.tick()
    newest_first = [job.id for job in reversed(made)]

    def pages(limit: int, kind: str = "", status: str = "") -> list[str]:
        found: list[str] = []
        while page := works.jobs.page(found[-1] if found else "", limit, kind=kind, status=status):
            assert len(page) == limit or not works.jobs.page(page[-1].id, limit, kind=kind, status=status)
            found += [job.id for job in page]
        return found

    for limit in (1, 2, 7, 25, 100):
        assert pages(limit) == newest_first
        assert pages(limit, kind="other") == newest_first[4::5]
        assert pages(limit, status=CANCELLED) == newest_first[1::2]
        assert pages(limit, status=DONE) == newest_first[0::2]
        assert pages(limit, kind="other", status=CANCELLED) == [job for job in newest_first[1::2] if job in newest_first[4::5]]
        assert pages(limit, status=WAITING) == []
    assert not works.jobs.page("", 0)


@pytest.mark.parametrize("spoilt", [{}, {"status": 7}, {"parameters": "none"}])
def test_a_record_that_cannot_be_read_keeps_no_other_job_from_being_told_of(
    spoilt: Attributes, caplog: pytest.LogCaptureFixture
) -> None:
    works = Works(seconds=0)
    made = []
    for _ in range(3):
        works.clock.advance(1)
        made.append(works.create("steps"))
        works.tick()
    newest, middle, oldest = (job.id for job in reversed(made))
    record = works.table.get(job_key(middle)) or {}
    works.table.write(Put(job_key(middle), {**record, **spoilt} if spoilt else {}))
    assert [job.id for job in works.jobs.page("", 2)] == [newest, oldest]
    assert middle in caplog.text


def test_to_look_for_a_few_among_many_takes_few_calls() -> None:
    works = Works(seconds=0)
    for _ in range(300):
        works.create(most=1)
        works.tick()
    works.table.reads = 0
    assert works.jobs.page("", 10, status=CANCELLED) == []
    assert works.table.reads <= 2 * (3 + 1)


def test_one_that_has_ended_is_forgotten_with_its_log() -> None:
    works = Works(seconds=0)
    job = works.create(most=1)

    def talk(run: Run, _step: int) -> None:
        for number in range(7000):
            run.log(str(number))

    works.during = talk
    with pytest.raises(JobUnderWay):
        works.jobs.delete(job.id)
    works.tick()
    works.jobs.delete(job.id)
    with pytest.raises(JobUnknown):
        works.jobs.get(job.id)
    assert not works.jobs.page("", 10)
    kept = [item.key for item in works.table.inner.walk(limit=1000).items]
    assert [key for key in kept if job.id in key.partition + key.sort] == []


def test_a_deletion_that_was_interrupted_may_be_made_again() -> None:
    nth = 0
    while True:
        nth += 1
        works = Works()
        job = works.create()
        works.tick()
        works.table.before(nth, die)

        def delete(works: Works = works, identifier: str = job.id) -> None:
            works.jobs.delete(identifier)

        try:
            delete()
        except BaseException:  # noqa: BLE001 - it died
            assert works.jobs.page("", 10)
            delete()
        is_last = works.table.is_waiting
        works.table.rest()
        assert not works.jobs.page("", 10)
        if is_last:
            break
    assert nth > 3


def test_what_was_done_though_the_answer_was_lost_is_not_refused() -> None:
    table = LosingTable(1)
    works = Works(table)
    table.is_on = True
    job = works.create()
    assert works.only() == job
    table.left = 1
    assert works.jobs.cancel(job.id).status == CANCELLED
    job = works.create()
    works.during = lambda _run, _step: setattr(table, "left", 1) or works.jobs.cancel(job.id)  # type: ignore[func-returns-value]
    works.tick()
    assert works.jobs.get(job.id).status == CANCELLED
    table.left = 1
    works.jobs.delete(job.id)


def test_a_table_that_conflicts_is_asked_again() -> None:
    table = ConflictingTable(MemoryTable(), random.Random(5), 0.4)
    works = Works(table)
    for _ in range(10):
        job = works.create()
        works.tick()
        assert works.jobs.get(job.id).status == DONE
        job = works.create()
        works.jobs.cancel(job.id)
        with pytest.raises(JobEnded):
            works.jobs.cancel(job.id)
        works.jobs.delete(job.id)
    assert table.conflicts
    assert works.done == 10 * list(range(STEPS))
