"""What deleted repositories leave is cleared away."""

from __future__ import annotations

from itertools import count

import pytest

from chalicelib.registry.access import Level
from chalicelib.registry.condemned import Bytes, note_key
from chalicelib.registry.names import Digest, RepositoryName, Tag
from chalicelib.registry.ports import Put
from chalicelib.registry.records import (
    blob_key,
    content_key,
    holder_key,
    link_key,
    removed_key,
    removed_manifest_key,
    tag_key,
)
from chalicelib.registry.repositories import Description
from chalicelib.registry.upkeep.remains import LINGERS
from tests.company import Company, small
from tests.frozen_clock import FrozenClock
from tests.watched_table import Died, die

APP = RepositoryName.parse("acme/app")
NOW = int(FrozenClock().moment.timestamp())


@pytest.fixture
def company() -> Company:
    return small()


def filled(company: Company, count: int) -> str:
    """A repository's id, with so many blobs and a grant, and the place that holds its bytes shared with another."""
    repository = company.repositories.get(APP).id
    for number in range(count):
        digest = Digest.of(str(number).encode())
        company.store.write(Put(link_key(repository, digest), {"key": "k"}))
        company.store.write(Put(holder_key(digest, repository), {"name": str(APP)}))
        company.store.write(Put(holder_key(digest, "another"), {"name": "other/app"}))
    return repository


def left_of(company: Company, repository: str) -> list[object]:
    return [key for key, item in company.stored().items() if repository in f"{key}" or item.get("id") == repository]


def test_what_a_deleted_repository_held_is_cleared_away(company: Company) -> None:
    repository = filled(company, 130)
    company.repositories.delete(APP)
    assert company.clear()["records"] > 130
    assert left_of(company, repository) == [removed_key(NOW, repository)]
    assert len([key for key in company.stored() if key.sort == "link/another"]) == 130
    assert company.clear() == {}


def test_it_is_looked_at_again_for_an_hour(company: Company) -> None:
    repository = filled(company, 1)
    company.repositories.delete(APP)
    company.clear()
    company.store.write(Put(tag_key(repository, Tag("late")), {}))
    company.clock.advance(LINGERS)
    assert company.clear() == {"records": 1}
    assert left_of(company, repository) == []


def test_a_collector_whose_clock_is_ahead_looks_again_too(company: Company) -> None:
    repository = filled(company, 1)
    company.repositories.delete(APP)
    company.clock.advance(30 * LINGERS)
    company.clear()
    company.store.write(Put(tag_key(repository, Tag("late")), {}))
    company.clock.advance(-30 * LINGERS)
    assert company.clear() == {"records": 1}
    company.clock.advance(LINGERS)
    company.clear()
    assert left_of(company, repository) == []


def test_its_blobs_are_condemned_and_large_manifests_retired(company: Company) -> None:
    repository = filled(company, 1)
    digest = Digest.of(b"0")
    company.store.write(Put(blob_key(digest), {"key": "k", "size": 1, "revision": 5}))
    company.store.write(Put(content_key(repository, digest), {"key": "manifests/x/y/z"}))
    company.store.write(Put(removed_manifest_key(repository, digest), {"key": "manifests/x/y/other"}))
    company.repositories.delete(APP)
    company.clear()
    assert company.stored()[blob_key(digest)]["condemned_at"] == NOW
    assert note_key(NOW, Bytes(digest)) in company.stored()
    assert {key.sort for key in company.stored() if key.partition == "retired"} == {"manifests/x/y/z", "manifests/x/y/other"}


def test_clearing_away_takes_nothing_from_a_repository_of_the_same_name(company: Company) -> None:
    repository = filled(company, 3)
    company.repositories.delete(APP)
    acme = company.organizations.get("acme")
    team = company.teams.get(acme, "devs")
    company.teams.grant(acme, team, company.repositories.create(APP, Description()), Level.ADMIN)
    company.clear()
    company.clock.advance(LINGERS)
    company.clear()
    assert left_of(company, repository) == []
    assert [granted.repository for granted in company.teams.repositories(team, "", 10)] == ["acme/app"]
    assert company.visible("bob") == ["acme/app"]


def test_clearing_away_goes_on_where_it_was_interrupted() -> None:
    for nth in count(1):
        world = small()
        repository = filled(world, 50)
        world.repositories.delete(APP)
        world.table.before(nth, die, only_writes=True)
        try:
            world.clear()
            world.clock.advance(LINGERS)
            world.clear()
        except Died:
            again = world.another()
            again.clear()
            again.clock.advance(LINGERS)
            again.clear()
            assert left_of(again, repository) == []
        else:
            assert nth > 2
            return
