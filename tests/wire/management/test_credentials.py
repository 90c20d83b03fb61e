"""Who calls the management API: by password, by access token in its place or as Bearer, and not too often wrongly."""

from __future__ import annotations

import base64
import json

import pytest

from chalicelib.registry.access import Limits
from chalicelib.registry.accounts import Changes
from chalicelib.wire.http import Response
from tests.surface import PASSWORD, Surface, code

URL = "/api/v0/repositories/bob/app"


@pytest.fixture
def surface() -> Surface:
    surface = Surface()
    surface.accounts.create_user("bob", PASSWORD)
    surface.credentials = f"bob:{PASSWORD}"
    surface.push_image("bob/app", "latest", b"layer")
    return surface


def basic(name: str, secret: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{secret}'.encode()).decode()}"


def token(surface: Surface, limits: Limits | None = None) -> str:
    return surface.access_tokens.create(surface.accounts.get("bob"), "x", limits=limits)[1]


def see(surface: Surface, authorization: str) -> Response:
    return surface.send("GET", URL, authorization=authorization)


def test_a_password_or_an_access_token_in_either_form(surface: Surface) -> None:
    secret = token(surface)
    for authorization in (basic("bob", PASSWORD), basic("BOB", secret), f"Bearer {secret}", f"bearer  {secret} "):
        assert see(surface, authorization).status == 200


def test_a_refresh_token_which_is_all_that_docker_keeps(surface: Surface) -> None:
    signed_in = surface.credentials_of.authenticate("bob", PASSWORD, "")
    assert signed_in is not None
    refresh = surface.refresh_tokens.issue(signed_in, "docker")
    assert see(surface, f"Bearer {refresh}").status == 200
    surface.accounts.set_password("bob", "another")
    assert see(surface, f"Bearer {refresh}").status == 401


def test_a_token_of_another_s_name_of_nobody_or_of_the_registry_is_none(surface: Surface) -> None:
    secret = token(surface)
    jwt = surface.token("repository:bob/app:pull")
    for authorization in (
        basic("admin", secret),
        "Bearer slt_",
        f"Bearer {secret}x",
        f"Bearer {jwt}",
        f"Bearer {PASSWORD}",
        "Bearer",
    ):
        refused = see(surface, authorization)
        assert (refused.status, code(refused)) == (401, "NOT_AUTHENTICATED")


def test_a_narrowed_token_sees_what_it_names_and_changes_nothing(surface: Surface) -> None:
    surface.push_image("bob/other", "latest", b"layer")
    secret = token(surface, Limits(("bob/app",), frozenset({"pull", "push", "delete"})))
    assert see(surface, f"Bearer {secret}").status == 200
    assert surface.send("GET", "/api/v0/repositories/bob/other", authorization=f"Bearer {secret}").status == 404
    refused = surface.send("PATCH", URL, b'{"visibility":"public"}', authorization=f"Bearer {secret}")
    assert (refused.status, code(refused)) == (403, "NOT_AUTHORIZED")


def test_a_token_of_a_locked_account_is_none(surface: Surface) -> None:
    secret = token(surface)
    surface.accounts.change("bob", Changes(is_active=False))
    assert see(surface, f"Bearer {secret}").status == see(surface, basic("bob", secret)).status == 401


def test_too_many_wrong_passwords_wait_at_every_door(surface: Surface) -> None:
    wrong = basic("bob", "wrong")
    assert [see(surface, wrong).status for _ in range(5)] == [401] * 5
    refused = see(surface, basic("bob", PASSWORD))
    assert (refused.status, code(refused), refused.headers["Retry-After"]) == (429, "TOO_MANY_REQUESTS", "1")
    assert json.loads(refused.body)["errors"][0]["detail"] == {"retry_after": 1}
    assert surface.send("GET", "/auth/token", authorization=basic("bob", PASSWORD)).status == 429
    assert see(surface, f"Bearer {token(surface)}").status == 200


def test_credentials_of_any_length_are_read_or_refused(surface: Surface) -> None:
    for authorization in (basic("bob", "x" * 1_000_000), "Bearer slt_" + "x" * 1_000_000, "Digest " + "x" * 100):
        assert see(surface, authorization).status == 401
