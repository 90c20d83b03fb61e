"""The settings: what holds until somebody chooses, and two who choose at once."""

from __future__ import annotations

import pytest

from chalicelib.registry.configuration import KEY, LONGEST_RETENTION, Choices, Configuration
from chalicelib.registry.errors import RequestInvalid, VersionMismatch
from chalicelib.registry.ports import Put
from tests.company import Company, watched
from tests.watched_table import interleaved


def test_until_somebody_chooses_the_default_holds() -> None:
    company = Company()
    for default in (True, False):
        configuration = Configuration(company.store, company.clock, Choices(default, 30))
        assert configuration.known() == configuration.read() == configuration.recent() == Choices(default, 30)
    company.store.write(Put(KEY, {"event_retention_days": 7, "version": 1}))
    assert configuration.read() == Choices(create_repository_on_push=False, event_retention_days=7, version=1)


@pytest.mark.parametrize("days", [0, -1, LONGEST_RETENTION + 1, 10**9])
def test_events_are_kept_for_a_day_to_ten_years(days: int) -> None:
    company = Company()
    with pytest.raises(RequestInvalid):
        company.configuration.change(event_retention_days=days)
    assert company.stored() == {}
    for each in (1, LONGEST_RETENTION):
        assert company.configuration.change(event_retention_days=each).event_retention_days == each


def test_a_choice_counts_at_once_here_and_in_seconds_elsewhere() -> None:
    company = Company()
    other = company.another()
    assert other.configuration.recent().create_repository_on_push
    chosen = company.configuration.change(create_repository_on_push=False)
    assert company.configuration.recent() == company.configuration.known() == chosen
    assert not other.configuration.read().create_repository_on_push
    company.configuration.change(create_repository_on_push=True)
    company.clock.advance(4)
    assert not other.configuration.recent().create_repository_on_push
    company.clock.advance(1)
    assert other.configuration.recent().create_repository_on_push
    company.clock.advance(-3600)
    company.configuration.change(create_repository_on_push=False)
    assert not other.configuration.recent().create_repository_on_push, "a clock set back does not stretch it"


def test_a_version_that_was_overtaken() -> None:
    company = Company()
    assert company.configuration.change(event_retention_days=1, version=0).version == 1
    with pytest.raises(VersionMismatch):
        company.configuration.change(event_retention_days=2, version=0)
    assert company.configuration.change(event_retention_days=2, version=1) == Choices(
        create_repository_on_push=True, event_retention_days=2, version=2
    )


def test_two_who_choose_different_things_at_once_both_do() -> None:
    def switch(world: Company) -> None:
        world.configuration.change(create_repository_on_push=False)

    def keep(world: Company) -> None:
        world.another().configuration.change(event_retention_days=5)

    for world, *refused in interleaved(Company, watched, switch, keep):
        assert refused == ["", ""]
        assert world.configuration.read() == Choices(create_repository_on_push=False, event_retention_days=5, version=2)


def test_two_who_choose_at_one_version_are_one_too_many() -> None:
    def choose(world: Company) -> None:
        world.configuration.change(event_retention_days=5, version=0)

    for _, *refused in interleaved(Company, watched, choose, lambda world: choose(world.another())):
        assert sorted(refused) == ["", "VersionMismatch"]
