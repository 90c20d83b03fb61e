"""What clients change, and what they try to, is on record: for the registry and for the repository."""

from __future__ import annotations

from chalicelib.registry.access import Level
from chalicelib.registry.events import Event
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.repositories import Description
from tests.surface import PASSWORD, Surface

NAME = "admin/app"


def of(surface: Surface, name: str = NAME) -> list[Event]:
    """The repository's events, oldest first."""
    repository = surface.registry.repositories.get(RepositoryName(name))
    return list(surface.registry.events.of_repository(repository.id, "", 100))[::-1]


def test_a_push_and_what_takes_it_away() -> None:
    surface = Surface()
    alone = surface.push_blob(NAME, b"alone")
    surface.clock.advance(1)
    image = surface.push_image(NAME, "v1", b"layer")
    for path in ("manifests/v1", f"manifests/{image}", f"blobs/{alone}"):
        surface.clock.advance(1)
        assert surface.status("DELETE", f"/v2/{NAME}/{path}") == 202
    told = [(event.type, event.object, event.actor.name, event.result) for event in of(surface)]
    assert told == [
        ("REPOSITORY_CREATE", NAME, "admin", "done"),
        ("MANIFEST_PUSH", NAME, "admin", "done"),
        ("TAG_DELETE", f"{NAME}:v1", "admin", "done"),
        ("MANIFEST_DELETE", NAME, "admin", "done"),
        ("BLOB_DELETE", NAME, "admin", "done"),
    ]
    assert of(surface)[1].detail == {"digest": str(image), "tags": "v1"}
    assert {event.type for event in surface.registry.events.page("", 100)} == {kind for kind, *_ in told}


def test_a_pull_is_no_change() -> None:
    surface = Surface()
    image = surface.push_image(NAME, "v1", b"layer")
    before = len(of(surface))
    assert surface.status("GET", f"/v2/{NAME}/manifests/{image}") == 200
    assert len(of(surface)) == before


def test_a_denied_push_with_its_reason() -> None:
    surface = Surface()
    surface.push_image(NAME, "v1", b"layer")
    surface.accounts.create_user("bob", PASSWORD)
    surface.credentials = f"bob:{PASSWORD}"
    surface.clock.advance(1)
    assert surface.status("PUT", f"/v2/{NAME}/manifests/v2") == 403
    last = of(surface)[-1]
    assert (last.type, last.actor.name, last.result) == ("REPOSITORY_CHANGE", "bob", "denied")
    assert last.detail == {"action": "pull", "reason": "no team of the account has been granted access to this repository"}


def test_the_anonymous_leave_nothing() -> None:
    surface = Surface()
    surface.push_image(NAME, "v1", b"layer")
    before = len(of(surface))
    surface.credentials = ""
    assert surface.status("PUT", f"/v2/{NAME}/manifests/v2") == 403
    assert len(of(surface)) == before


def test_a_repository_that_may_not_be_made_any_more() -> None:
    """By a token that was good for pushes, while there was the repository."""
    surface = Surface()
    surface.accounts.create_user("bob", PASSWORD)
    org = surface.accounts.create_organization("acme")
    surface.organizations.add(org, "bob")
    team = surface.teams.create(org, "dev")
    surface.teams.add(org, team, "bob")
    surface.teams.grant_namespace(org, team, Level.READ_WRITE)
    name = RepositoryName("acme/app")
    surface.registry.repositories.create(name, Description())
    surface.credentials = f"bob:{PASSWORD}"
    token = surface.token("repository:acme/app:pull,push")
    surface.registry.repositories.delete(name)
    surface.clock.advance(1)
    refused = surface.send("POST", "/v2/acme/app/blobs/uploads/", authorization=f"Bearer {token}")
    assert refused.status == 403
    last = surface.registry.events.page("", 1)[0]
    assert (last.object, last.actor.name, last.result) == ("acme/app", "bob", "denied")
