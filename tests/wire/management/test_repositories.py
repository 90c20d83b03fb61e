"""A repository's settings: who may see and change them, and what is refused."""

from __future__ import annotations

import base64
import json

import pytest

from chalicelib.wire.http import Response
from tests.surface import PASSWORD, Surface, code

NAME = "admin/team/app"
URL = f"/api/v0/repositories/{NAME}"


@pytest.fixture
def surface() -> Surface:
    surface = Surface()
    surface.push_image(NAME, "latest", b"layer")
    surface.accounts.create_user("bob", PASSWORD)
    return surface


def ask(surface: Surface, method: str, url: str = URL, body: object = None, credentials: str = f"admin:{PASSWORD}") -> Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    return surface.send(method, url, content, authorization=f"Basic {base64.b64encode(credentials.encode()).decode()}")


def test_made_public_and_private_again(surface: Surface) -> None:
    anonymous = Surface(table=surface.table, blobs=surface.store, clock=surface.clock, credentials="")
    assert anonymous.status("GET", f"/v2/{NAME}/manifests/latest") == 403
    changed = ask(surface, "PATCH", body={"visibility": "public"})
    assert changed.status == 200
    shown = json.loads(changed.body)
    assert (shown["namespace"], shown["name"], shown["visibility"]) == ("admin", "team/app", "public")
    assert anonymous.status("GET", f"/v2/{NAME}/manifests/latest") == 200
    assert ask(surface, "PATCH", body={"visibility": "private"}).status == 200
    assert anonymous.status("GET", f"/v2/{NAME}/manifests/latest") == 403


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        {},
        {"visibility": "secret"},
        {"visibility": 1},
        {"visibility": []},
        {"visibility": {}},
        b"[" * 200_000,
        {"visibility": "public", "id": "x"},
        {"name": "y"},
    ],
)
def test_other_changes_are_refused(surface: Surface, body: object) -> None:
    refused = ask(surface, "PATCH", body=body)
    assert (refused.status, code(refused)) == (400, "INVALID_JSON")
    assert json.loads(ask(surface, "GET").body)["visibility"] == "private"


@pytest.mark.parametrize("credentials", ["admin:wrong", "nobody:x", ":", "", f"admin+x:{PASSWORD}"])
def test_wrong_credentials(surface: Surface, credentials: str) -> None:
    for method in ("GET", "PATCH"):
        refused = ask(surface, method, body={"visibility": "public"}, credentials=credentials)
        assert (refused.status, code(refused)) == (401, "NOT_AUTHENTICATED")
        assert refused.headers["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize("authorization", ["", "Bearer x", "Basic !!!", "Basic /////w==", "Basic", "Basic \u00e9"])
def test_malformed_credentials(surface: Surface, authorization: str) -> None:
    assert surface.send("GET", URL, authorization=authorization).status == 401


def test_what_is_private_looks_like_what_is_not_there(surface: Surface) -> None:
    bob = f"bob:{PASSWORD}"
    private, absent = (ask(surface, "GET", url, credentials=bob) for url in (URL, "/api/v0/repositories/admin/none"))
    assert private.status == absent.status == 404
    assert code(private) == code(absent) == "NO_SUCH_REPOSITORY"
    for url in (URL, "/api/v0/repositories/admin/none"):
        assert ask(surface, "PATCH", url, {"visibility": "public"}, bob).status == 403
    ask(surface, "PATCH", body={"visibility": "public"})
    assert ask(surface, "GET", credentials=bob).status == 200
    assert ask(surface, "PATCH", body={"visibility": "private"}, credentials=bob).status == 403


def test_unknown_paths_names_and_methods(surface: Surface) -> None:
    assert code(ask(surface, "GET", "/api/v0/elsewhere")) == "NO_SUCH_ENDPOINT"
    assert code(ask(surface, "GET", "/api/v0/repositories/A")) == "INVALID_REPOSITORY_NAME"
    assert code(ask(surface, "PATCH", "/api/v0/repositories/admin/none", {"visibility": "public"})) == "NO_SUCH_REPOSITORY"
    refused = ask(surface, "DELETE")
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, PATCH")
