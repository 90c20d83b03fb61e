"""Who makes a repository by pushing, and that it is one transaction with its event."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.registry.access import Account, Level, Limits
from chalicelib.registry.creations import CREATED
from chalicelib.registry.errors import Denied, NameUnknown, RepositoryExists
from chalicelib.registry.events import Actor
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.repositories import PUBLIC, Description
from tests.company import Company, watched
from tests.watched_table import interleaved, refusal

APP = RepositoryName.parse("acme/app")
ACTOR = Actor("ann", "192.0.2.1")


def small() -> Company:
    company = Company()
    company.accounts.ensure_admin("right")
    acme = company.organization("acme", "ann")
    company.members(acme, "bob", "cat")
    for name, level in (("writers", Level.READ_WRITE), ("admins", Level.ADMIN)):
        company.teams.grant_namespace(acme, company.team(acme, name), level)
    company.teams.add(acme, company.teams.get(acme, "writers"), "bob")
    company.accounts.create_robot(acme, "ci")
    company.teams.add(acme, company.teams.get(acme, "admins"), "acme+ci")
    return company


def push(company: Company, name: str, repository: str = "acme/app", limits: Limits | None = None) -> str:
    account: Account | None = company.accounts.find(name) if name else None
    if account is not None and limits is not None:
        account = replace(account, limits=limits)
    return refusal(lambda: company.creations.ensure(RepositoryName.parse(repository), account, Actor(name)))


@pytest.mark.parametrize(
    ("name", "repository", "refused"),
    [
        ("ann", "acme/app", ""),
        ("ann", "acme/x/y", ""),
        ("ann", "acme", ""),
        ("ann", "ann/app", ""),
        ("admin", "acme/app", ""),
        ("admin", "nobody/app", ""),
        ("acme+ci", "acme/app", ""),
        ("bob", "acme/app", "Denied"),
        ("cat", "acme/app", "Denied"),
        ("", "acme/app", "Denied"),
        ("ann", "bob/app", "Denied"),
        ("ann", "nobody/app", "Denied"),
        ("acme+ci", "ann/app", "Denied"),
    ],
)
def test_who_makes_a_repository_by_pushing(name: str, repository: str, refused: str) -> None:
    company = small()
    assert push(company, name, repository) == refused
    made = company.another().repositories.find(RepositoryName.parse(repository))
    assert (made is not None) == (refused == "")
    events = company.events.page("", 10)
    assert [(event.type, event.object, event.actor.name) for event in events] == ([(CREATED, repository, name)] if made else [])
    assert push(company.another(), name, repository) == refused, "again"


@pytest.mark.parametrize(
    ("limits", "refused"),
    [
        (Limits(("acme/*",), frozenset({"pull", "push"})), ""),
        (Limits(("acme/app",), frozenset({"push"})), ""),
        (Limits(("acme/*",), frozenset({"pull", "delete"})), "Denied"),
        (Limits(("acme/other",), frozenset({"push"})), "Denied"),
        (Limits((), frozenset({"push"})), "Denied"),
    ],
)
def test_a_narrowed_token_makes_what_it_may_push(limits: Limits, refused: str) -> None:
    for name in ("ann", "admin"):
        assert push(small(), name, limits=limits) == refused


def test_a_refusal_says_why_and_nothing_of_who_is_there() -> None:
    company = small()
    reasons = []
    for repository in ("acme/app", "nobody/app", "bob/app"):
        with pytest.raises(Denied) as caught:
            company.creations.ensure(RepositoryName.parse(repository), company.accounts.find("cat"), Actor("cat"))
        reasons.append(caught.value.detail["reason"])
    assert len(set(reasons)) == 1


def test_pushes_make_nothing_where_that_is_off_not_even_if_it_was_just_switched_off() -> None:
    company = small()
    company.configuration.recent()
    company.another().configuration.change(create_repository_on_push=False)
    assert push(company, "ann") == "NameUnknown"
    assert push(company, "admin") == "NameUnknown"
    assert company.repositories.find(APP) is None
    assert company.events.page("", 10) == []
    company.creations.create(APP, Description(PUBLIC), ACTOR)
    assert push(company, "ann") == ""


def test_a_repository_made_beforehand_has_its_event_and_needs_an_account() -> None:
    company = small()
    made = company.creations.create(APP, Description(PUBLIC, "short"), ACTOR)
    assert made.is_public
    assert [(event.type, event.actor) for event in company.events.of_repository(made.id, "", 10)] == [(CREATED, ACTOR)]
    with pytest.raises(RepositoryExists):
        company.creations.create(APP, Description(), ACTOR)
    for name in ("nobody/app", "nobody"):
        with pytest.raises(NameUnknown):
            company.creations.create(RepositoryName.parse(name), Description(), ACTOR)
    assert len(company.events.page("", 10)) == 1


def test_two_first_pushes_at_once_make_one() -> None:
    for world, *refused in interleaved(
        small, watched, lambda world: push(world, "ann"), lambda world: push(world.another(), "acme+ci")
    ):
        assert refused == ["", ""]
        assert len(world.events.page("", 10)) == 1
        assert len([key for key in world.stored() if key.sort == "repository" and key.partition.startswith("repository/")]) == 1
