"""Events: newest first over months and years, no longer than they are kept, and never more queries than months."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.registry.events import DENIED, Actor, Event, is_event_id
from tests.company import Company
from tests.frozen_clock import FrozenClock

MOMENTS = [
    datetime(2025, 11, 30, 23, 59, 59, 999_000, UTC),
    datetime(2025, 12, 1, tzinfo=UTC),
    datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC),
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2026, 1, 1, 0, 0, 0, 1_000, UTC),
    datetime(2026, 3, 31, 12, tzinfo=UTC),
    datetime(2026, 5, 29, tzinfo=UTC),
]
NOW = datetime(2026, 5, 31, tzinfo=UTC)


def recorded() -> Company:
    """Events over half a year, none in February and April, kept for a year; each says its place in ``MOMENTS``."""
    clock = FrozenClock(MOMENTS[0])
    company = Company(clock=clock)
    company.configuration.change(event_retention_days=365)
    for number, moment in enumerate(MOMENTS):
        clock.moment = moment
        company.events.record(Event("TAG_PUSH", str(number)), "r1" if number % 2 else "")
    clock.moment = NOW
    return company


def paged(company: Company, limit: int, repository: str = "") -> list[int]:
    found: list[Event] = []
    while True:
        after = found[-1].id if found else ""
        page = company.events.of_repository(repository, after, limit) if repository else company.events.page(after, limit)
        assert len(page) <= limit
        found += page
        if not page:
            return [int(event.object) for event in found]


@pytest.mark.parametrize("limit", range(1, 9))
def test_pages_over_months_and_years_newest_first(limit: int) -> None:
    company = recorded()
    assert paged(company, limit) == [6, 5, 4, 3, 2, 1, 0]
    assert paged(company, limit, "r1") == [5, 3, 1]
    company.clock.moment = NOW + timedelta(days=62)
    assert paged(company, limit) == [6, 5, 4, 3, 2, 1, 0], "from months that are empty"


def test_a_page_goes_on_from_an_event_that_is_gone_or_never_was() -> None:
    company = recorded()

    def objects(moment: datetime) -> list[int]:
        after = f"{int(moment.timestamp() * 1000):013d}/0"
        return [int(event.object) for event in company.events.page(after, 10)]

    assert objects(datetime(2026, 4, 15, tzinfo=UTC)) == [5, 4, 3, 2, 1, 0]
    assert objects(datetime(2026, 1, 1, tzinfo=UTC)) == [2, 1, 0]
    assert objects(datetime(2025, 11, 1, tzinfo=UTC)) == []


@pytest.mark.parametrize("after", ["9999999999999/a", "0000000000000/a"])
def test_a_time_that_somebody_made_up_costs_no_more_than_the_months_that_are_kept(after: str) -> None:
    company = recorded()
    assert is_event_id(after)
    before = company.table.reads
    page = company.events.page(after, 100)
    assert company.table.reads - before <= 14
    assert len(page) in {0, 7}


def test_what_is_kept_no_longer_is_not_shown_even_if_the_store_still_has_it() -> None:
    company = recorded()
    company.configuration.change(event_retention_days=150)
    assert paged(company, 3) == [6, 5, 4, 3]
    assert paged(company, 3, "r1") == [5, 3]
    company.configuration.change(event_retention_days=2)
    assert paged(company, 3) == [6]
    before = company.table.reads
    company.events.page("", 100)
    assert company.table.reads - before == 1
    company.clock.advance(86_400)
    assert paged(company, 3) == []


def test_an_event_expires_by_the_setting_that_this_instance_knows() -> None:
    company = Company()
    company.configuration.change(event_retention_days=2)
    company.events.record(Event("TAG_PUSH", "acme/app:1"), "r1")
    expires = {item["expires_at"] for key, item in company.stored().items() if key.partition != "configuration"}
    assert expires == {int(company.clock.now().timestamp()) + 2 * 86_400}


def test_an_event_comes_back_as_it_was_with_its_texts_cut() -> None:
    company = Company()
    event = Event("TAG_PUSH", "o" * 600, Actor("ann", "s" * 600), DENIED, {"reason": "r" * 600, "digest": "d"})
    company.events.record(event, "r1")
    (found,) = company.events.page("", 10)
    assert (found.type, found.actor.name, found.result) == ("TAG_PUSH", "ann", DENIED)
    assert [len(text) for text in (found.object, found.actor.source, found.detail["reason"])] == [512] * 3
    assert found.time == int(company.clock.now().timestamp() * 1000)
    assert is_event_id(found.id)
    assert list(company.events.of_repository("r1", "", 10)) == [found]
    assert company.events.of_repository("r2", "", 10) == []
    assert company.events.page(found.id, 10) == []


@pytest.mark.parametrize(
    "text", ["", "/", "1", "1767225600000", "1767225600000/", "1767225600000/a b", "176722560000/a", "-767225600000/a", "x/y"]
)
def test_what_is_no_event(text: str) -> None:
    assert not is_event_id(text)
