"""What is taken back is gone: with the next token at once, and with a token that there is already when that ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from chalicelib.registry.access import Level
from chalicelib.registry.accounts import Accounts, Changes
from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.organizations import Organizations
from chalicelib.registry.teams import Team, Teams
from chalicelib.registry.tokens import LEEWAY, LIFETIME
from tests.plain_hasher import PlainHasher
from tests.surface import PASSWORD, Surface

NAME = "acme/app"
SCOPE = f"repository:{NAME}:pull,push"
BLOB = f"/v2/{NAME}/blobs/{Digest.of(b'layer')}"


@dataclass
class Office:
    """bob may pull and push by one grant, of the team devs; somebody administers on an instance of their own."""

    surface: Surface

    def __post_init__(self) -> None:
        table, clock = self.surface.table, self.surface.clock
        self.accounts = Accounts(table, PlainHasher(), clock)
        self.organizations = Organizations(table, self.accounts)
        self.teams = Teams(table, self.accounts, clock)
        self.acme = self.accounts.create_organization("acme")
        self.accounts.create_user("bob", "of bob")
        self.organizations.add(self.acme, "bob")
        self.devs()
        self.surface.push_image(NAME, "latest", b"layer")
        self.repository = self.surface.registry.repositories.get(RepositoryName.parse(NAME))
        self.teams.grant(self.acme, self.team, self.repository, Level.READ_WRITE)
        self.surface.credentials = "bob:of bob"

    def devs(self) -> None:
        self.team: Team = self.teams.create(self.acme, "devs")
        self.teams.add(self.acme, self.team, "bob")

    def devs_again(self) -> None:
        self.teams.delete(self.acme, "devs")
        self.devs()

    def status(self, token: str) -> int:
        return self.surface.send("GET", BLOB, authorization=f"Bearer {token}").status


@pytest.fixture
def office() -> Office:
    return Office(Surface())


TAKEN_BACK: dict[str, Callable[[Office], object]] = {
    "the grant": lambda office: office.teams.withdraw(office.team, office.repository),
    "the place in the team": lambda office: office.teams.remove(office.acme, office.team, "bob"),
    "the membership": lambda office: office.organizations.remove(office.acme, "bob"),
    "the team": lambda office: office.teams.delete(office.acme, "devs"),
    "the team, and made again": lambda office: office.devs_again(),
}


@pytest.mark.parametrize("deed", TAKEN_BACK.values(), ids=TAKEN_BACK.keys())
def test_without_the_last_grant_the_next_token_gives_nothing_and_the_last_one_ends(
    office: Office, deed: Callable[[Office], object]
) -> None:
    token = office.surface.token(SCOPE)
    assert office.status(token) == 307
    deed(office)
    assert office.status(office.surface.token(SCOPE)) == 403
    office.surface.clock.advance(LIFETIME + LEEWAY)
    assert office.status(token) == 401
    assert office.surface.status("GET", BLOB) == 403


def test_a_grant_that_is_left_stays(office: Office) -> None:
    office.teams.grant_namespace(office.acme, office.team, Level.READ_ONLY)
    office.teams.withdraw(office.team, office.repository)
    token = office.surface.token(SCOPE)
    assert office.status(token) == 307
    pushed = office.surface.send("POST", f"/v2/{NAME}/blobs/uploads/", authorization=f"Bearer {token}")
    assert pushed.status == 403


def test_a_locked_or_deleted_account_is_out_everywhere_in_five_seconds(office: Office) -> None:
    deeds: tuple[Callable[[], object], ...] = (
        lambda: office.accounts.change("bob", Changes(is_active=False)),
        lambda: office.organizations.delete_account("bob"),
    )
    token = office.surface.token(SCOPE)
    for deed in deeds:
        assert office.status(token) == 307
        deed()
        office.surface.clock.advance(5)
        assert office.status(token) == 401
        if deed is deeds[0]:
            office.accounts.change("bob", Changes(is_active=True))
            office.surface.clock.advance(5)


def test_an_account_made_again_revives_no_token(office: Office) -> None:
    token = office.surface.token(SCOPE)
    office.organizations.delete_account("bob")
    office.surface.clock.advance(1)
    office.accounts.create_user("bob", "of bob")
    office.surface.clock.advance(5)
    assert office.status(token) == 401
    assert office.status(office.surface.token(SCOPE)) == 403


def test_a_repository_made_again_under_the_name_is_not_opened_by_the_earlier_ones_grant(office: Office) -> None:
    repositories = office.surface.registry.repositories
    repositories.delete(office.repository.name)
    office.surface.credentials = f"admin:{PASSWORD}"
    office.surface.push_image(NAME, "latest", b"layer")
    office.surface.credentials = "bob:of bob"
    assert office.surface.status("GET", BLOB) == 403
