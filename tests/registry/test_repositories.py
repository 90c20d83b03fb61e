"""Repositories: their lists never lag, a name passes nothing on, and what was in one is cleared away."""

from __future__ import annotations

import pytest

from chalicelib.registry.access import Level
from chalicelib.registry.errors import NameUnknown, RepositoryExists, VersionMismatch
from chalicelib.registry.events import Event
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.ports import Put
from chalicelib.registry.records import catalog_key, contents, public_key, repository_key
from chalicelib.registry.repositories import PRIVATE, PUBLIC, Description
from tests.company import Company, small, watched
from tests.watched_table import interleaved, refusal

APP = RepositoryName.parse("acme/app")


@pytest.fixture
def company() -> Company:
    return small()


def test_a_repository_says_what_it_was_given_and_keeps_the_rest(company: Company) -> None:
    made = company.repositories.create(RepositoryName.parse("acme/new"), Description(PUBLIC, "short", "long"))
    assert (made.visibility, made.short_description, made.long_description, made.version) == (PUBLIC, "short", "long", 1)
    changed = company.repositories.change(made.name, Description(short_description=""))
    assert (changed.visibility, changed.short_description, changed.long_description, changed.version) == (PUBLIC, "", "long", 2)
    assert company.another().repositories.get(made.name) == changed
    with pytest.raises(RepositoryExists):
        company.repositories.create(made.name, Description())
    for deed in (
        company.repositories.get,
        company.repositories.delete,
        lambda name: company.repositories.change(name, Description()),
    ):
        with pytest.raises(NameUnknown):
            deed(RepositoryName.parse("acme/none"))


def lists(company: Company, name: RepositoryName) -> tuple[bool, bool]:
    """Is it in the list of all repositories, and in that of the public ones?"""
    stored = company.stored()
    return catalog_key(name) in stored, public_key(name) in stored


def test_the_lists_are_what_the_record_says_whoever_changes_it_at_once() -> None:
    """One makes it public while another only describes it, makes it private or deletes it."""

    def publish(world: Company) -> None:
        world.repositories.change(APP, Description(visibility=PUBLIC))

    def describe(world: Company) -> None:
        world.repositories.change(APP, Description(short_description="described"))

    def hide(world: Company) -> None:
        world.repositories.change(APP, Description(visibility=PRIVATE))

    def delete(world: Company) -> None:
        world.repositories.delete(APP)

    deeds = (publish, describe, hide, delete)
    for outer in deeds:
        for inner in deeds:
            for world, *refused in interleaved(small, watched, outer, lambda world, inner=inner: inner(world.another())):  # type: ignore[misc]
                found = world.another().repositories.find(APP)
                assert lists(world, APP) == (found is not None, found is not None and found.is_public)
                assert set(refused) <= {"", "NameUnknown"}
                if {outer, inner} == {publish, describe}:
                    assert found is not None
                    assert (found.is_public, found.short_description) == (True, "described")


def test_a_version_that_was_overtaken_is_refused(company: Company) -> None:
    company.repositories.change(APP, Description(short_description="1"), 1)
    with pytest.raises(VersionMismatch):
        company.repositories.change(APP, Description(short_description="2"), 1)
    with pytest.raises(VersionMismatch):
        company.repositories.delete(APP, 1)
    company.repositories.delete(APP, 2)


def test_a_version_that_is_overtaken_meanwhile_is_refused() -> None:
    def overtake(world: Company) -> None:
        world.another().repositories.change(APP, Description(long_description="first"), 1)

    def change(world: Company) -> None:
        world.repositories.change(APP, Description(long_description="late"), 1)

    def delete(world: Company) -> None:
        world.repositories.delete(APP, 1)

    for late in (change, delete):
        for world, *refused in interleaved(small, watched, late, overtake):
            assert refused in (["VersionMismatch", ""], ["", "VersionMismatch"], ["", "NameUnknown"])
            found = world.another().repositories.find(APP)
            assert refused[0] == "" or (found is not None and found.long_description == "first")


def test_what_is_meant_for_a_repository_never_hits_another_of_its_name() -> None:
    for what in ("change", "delete"):
        world = small()
        other = world.another()

        def again(other: Company = other) -> None:
            other.repositories.delete(APP)
            other.repositories.create(APP, Description())

        read = world.repositories.get(APP)
        world.table.before(2, again)
        if what == "change":
            world.repositories.change(APP, Description(PUBLIC))  # looked up again, since it was to be whichever has the name
        else:
            assert refusal(lambda world=world: world.repositories.delete(APP)) == ""  # type: ignore[misc]
        found = world.another().repositories.find(APP)
        assert found is None or found.id != read.id
        assert lists(world, APP) == (found is not None, found is not None and found.is_public)


def test_a_repository_of_the_same_name_inherits_nothing(company: Company) -> None:
    old = company.repositories.get(APP)
    company.events.record(Event("MANIFEST_PUSH", "acme/app:1.0"), old.id)
    company.repositories.change(APP, Description(PUBLIC, "short"))
    company.repositories.delete(APP)
    assert company.level("bob", "acme/app") is Level.NONE
    new = company.repositories.create(APP, Description())
    assert (new.visibility, new.short_description, new.version) == (PRIVATE, "", 1)
    assert company.level("bob", "acme/app") is Level.NONE
    assert company.level("", "acme/app") is Level.NONE
    assert company.visible("bob") == company.visible("") == []
    assert company.events.of_repository(new.id, "", 10) == []
    assert company.teams.on_repository(new) == []
    assert company.repositories.name_of(old.id) is None


# -------------------------------------------------------------------------------------------------------- clearing away


def test_a_repository_of_an_earlier_release_is_changed_and_deleted(company: Company) -> None:
    """It has neither a version nor descriptions."""
    key = repository_key(APP)
    old = {name: value for name, value in company.stored()[key].items() if name in {"id", "visibility", "created_at"}}
    company.store.write(Put(key, old))
    assert company.repositories.get(APP).version == 0
    assert company.repositories.change(APP, Description(PUBLIC), 0).version == 1
    company.store.write(Put(key, old))
    company.repositories.delete(APP, 0)
    assert lists(company, APP) == (False, False)
    assert contents(str(old["id"])) in {key.partition for key in company.stored()}, "until it is cleared away"
