"""A repository's settings: who may see and change them, and what is refused."""

from __future__ import annotations

import base64
import json

import pytest

from chalicelib.registry.records import contents
from chalicelib.wire.http import Response
from tests.agreement import collect
from tests.surface import PASSWORD, Surface, code
from tests.wire.management.asking import APP, House

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
    headers = {"content_type": "application/json"} if content else {}
    basic = f"Basic {base64.b64encode(credentials.encode()).decode()}"
    return surface.send(method, url, content, authorization=basic, **headers)


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
        for method in ("PATCH", "DELETE"):
            refused = ask(surface, method, url, {"visibility": "public"}, bob)
            assert (refused.status, code(refused)) == (404, "NO_SUCH_REPOSITORY")
    ask(surface, "PATCH", body={"visibility": "public"})
    assert ask(surface, "GET", credentials=bob).status == 200
    assert ask(surface, "PATCH", body={"visibility": "private"}, credentials=bob).status == 403


def test_unknown_paths_names_and_methods(surface: Surface) -> None:
    assert code(ask(surface, "GET", "/api/v0/elsewhere")) == "NO_SUCH_ENDPOINT"
    assert code(ask(surface, "GET", "/api/v0/repositories/A")) == "INVALID_REPOSITORY_NAME"
    assert code(ask(surface, "PATCH", "/api/v0/repositories/admin/none", {"visibility": "public"})) == "NO_SUCH_REPOSITORY"
    refused = ask(surface, "PUT")
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, PATCH, DELETE")
    for method, url in (("DELETE", f"{URL}/events"), ("POST", f"{URL}/teamAccess"), ("DELETE", f"{URL}/teamAccess")):
        assert ask(surface, method, url).status == 405  # what is beneath a repository is no repository of that name
    assert ask(surface, "GET").status == 200


# ---------------------------------------------------------------------------------------------------- the whole of them

REPOSITORIES = "/api/v0/repositories"
MISSING = (404, "NO_SUCH_REPOSITORY")
DENIED = (403, "NOT_AUTHORIZED")


def listed(house: House, by: str, query: str = "") -> list[str]:
    found = house.expect(200, "GET", f"{REPOSITORIES}{query}", by=by)["repositories"]
    return [f"{entry['namespace']}/{entry['name']}" for entry in found]


def test_lists_show_what_the_caller_may_view(house: House) -> None:
    house.expect(201, "POST", f"{REPOSITORIES}/bob", {"name": "own"}, by="bob")
    assert listed(house, "") == ["acme/open"]
    assert listed(house, "bob") == ["acme/open", "bob/own"]
    assert listed(house, "mia") == ["acme/open", "acme/team/app"]
    assert listed(house, "admin") == ["acme/open", "acme/team/app", "bob/own"]
    assert listed(house, "mia", "?prefix=acme/t") == ["acme/team/app"]
    assert listed(house, "bob", "/acme") == ["acme/open"]
    assert listed(house, "olga", "/bob") == listed(house, "olga", "/nobody") == []
    assert listed(house, house.narrowed("mia", "acme/team/*")) == ["acme/team/app"]


@pytest.mark.parametrize("prefix", ["A", "..%5c", "a%00", "a b", "x" * 256, "%C3%A9", "*"])
def test_prefixes_that_no_name_has(house: House, prefix: str) -> None:
    assert house.refused("GET", f"{REPOSITORIES}?prefix={prefix}") == (400, "INVALID_PARAMETER")


@pytest.mark.parametrize("name", ["", "A", "../x", "a//b", "/a", "a/", "x" * 255, "a b", "a\0", "\u212a", "teamAccess", "_"])
def test_names_that_no_repository_can_have(house: House, name: str) -> None:
    assert house.refused("POST", f"{REPOSITORIES}/acme", {"name": name}) == (400, "INVALID_REPOSITORY_NAME")


@pytest.mark.parametrize(
    "path", ["acme/..", "acme/a%2Fb", "acme%2fopen", "acme//open", "acme/open/", "acme/%00", "ACME/open", "acme/%2e%2e/x"]
)
def test_paths_that_are_no_names(house: House, path: str) -> None:
    for method in ("GET", "DELETE"):
        assert house.ask(method, f"{REPOSITORIES}/{path}").status == 400


def test_who_makes_repositories_where(house: House) -> None:
    for by, namespace in (("bob", "acme"), ("mia", "acme"), ("bob", "mia"), ("bob", "nobody"), (house.robot, "acme")):
        assert house.refused("POST", f"{REPOSITORIES}/{namespace}", {"name": "x"}, by=by) == DENIED
    assert house.refused("POST", f"{REPOSITORIES}/nobody", {"name": "x"}) == (404, "NO_SUCH_ACCOUNT")
    assert house.refused("POST", f"{REPOSITORIES}/acme", {"name": "x"}, by="") == (401, "NOT_AUTHENTICATED")
    house.expect(200, "PUT", "/api/v0/repositoryNamespaces/acme/teamAccess/devs", {"accessLevel": "admin"}, by="olga")
    made = house.expect(201, "POST", f"{REPOSITORIES}/acme", {"name": "x/y", "visibility": "public"}, by="mia")
    assert (made["namespace"], made["name"], made["visibility"]) == ("acme", "x/y", "public")
    assert house.refused("POST", f"{REPOSITORIES}/acme", {"name": "x/y"}, by="mia") == (409, "REPOSITORY_EXISTS")


def test_admin_of_one_repository_is_no_admin_of_the_namespace(house: House) -> None:
    house.expect(200, "PUT", f"{APP}/teamAccess/devs", {"accessLevel": "admin"}, by="olga")
    assert house.refused("POST", f"{REPOSITORIES}/acme", {"name": "x"}, by="mia") == DENIED
    house.expect(200, "PATCH", APP, {"visibility": "public"}, by="mia")


def test_readers_change_nothing_and_are_told_why(house: House) -> None:
    for method, url, body in (
        ("PATCH", APP, {"visibility": "public"}),
        ("PATCH", APP, {"shortDescription": "x"}),
        ("DELETE", APP, None),
        ("GET", f"{APP}/events", None),
        ("GET", f"{APP}/teamAccess", None),
        ("PUT", f"{APP}/teamAccess/devs", {"accessLevel": "admin"}),
        ("DELETE", f"{APP}/teamAccess/devs", None),
    ):
        assert house.refused(method, url, body, by="mia") == DENIED
        assert house.refused(method, url, body, by="bob") == MISSING
        assert house.refused(method, url, body, by="") == (401, "NOT_AUTHENTICATED")
        assert house.refused(method, url, body, by=house.narrowed("olga", "acme/*")) == DENIED
    reason = json.loads(house.ask("DELETE", APP, by="mia").body)["errors"][0]["detail"]["reason"]
    assert "read-only" in reason


def test_a_narrowed_token_views_what_it_is_for(house: House) -> None:
    token = house.narrowed("olga", "acme/team/*")
    assert house.expect(200, "GET", APP, by=token)["name"] == "team/app"
    assert house.refused("GET", "/api/v0/repositories/admin/x", by=token) == MISSING
    admins = house.narrowed("admin", "bob/*")
    assert house.refused("GET", APP, by=admins) == MISSING


def test_anonymous_callers_see_what_is_public(house: House) -> None:
    assert house.expect(200, "GET", f"{REPOSITORIES}/acme/open", by="")["visibility"] == "public"
    private, absent = (house.ask("GET", f"{REPOSITORIES}/acme/{name}", by="") for name in ("team/app", "none"))
    assert (private.status, private.body) == (absent.status, absent.body)
    assert private.status == 401


def test_changed_and_deleted_by_its_admins(house: House) -> None:
    body = {"shortDescription": "s", "longDescription": "l" * 25_000}
    changed = house.expect(200, "PATCH", APP, body, by="olga")
    assert (changed["shortDescription"], changed["longDescription"]) == ("s", "l" * 25_000)
    assert house.refused("PATCH", APP, {"longDescription": "l" * 25_001}, by="olga") == (400, "INVALID_JSON")
    house.expect(204, "DELETE", APP, by="olga")
    house.expect(204, "DELETE", APP, by="olga")
    assert house.refused("GET", APP, by="olga") == MISSING
    assert [(event["actor"], event["object"]) for event in house.events("REPOSITORY_DELETE")] == [("olga", "acme/team/app")]


def test_a_deletion_is_not_written_into_what_it_deleted(house: House) -> None:
    """A collector that came in between would leave it for good."""
    collect(house.surface)
    partition = contents(house.app.id)
    house.expect(204, "DELETE", APP, by="olga")
    told = [item.key.sort for item in house.surface.table.query(partition, prefix="event/")]
    assert len(told) == 1, "only that a team was granted something"
    collect(house.surface)
    assert not house.surface.table.query(partition)


# ---------------------------------------------------------------------------------------------------- what an account may


def test_what_an_account_may_and_why(house: House) -> None:
    url = "/api/v0/accounts/{}/repositoryAccess/acme/team/app"
    for by in ("mia", "olga", "admin"):
        told = house.expect(200, "GET", url.format("mia"), by=by)
        assert told["accessLevel"] == "read-only"
        assert told["operations"]["pull"]["allowed"]
        assert not told["operations"]["push"]["allowed"]
        assert "acme/devs" in told["reason"]
    assert house.expect(200, "GET", url.format("acme+ci"), by="olga")["accessLevel"] == "none"
    assert house.expect(200, "GET", url.format("bob"), by="bob")["accessLevel"] == "none"
    assert house.refused("GET", url.format("mia"), by="bob") == (404, "NO_SUCH_ACCOUNT")
    assert house.refused("GET", url.format("olga"), by="mia") == (404, "NO_SUCH_ACCOUNT")


def test_asking_after_rights_tells_nobody_who_there_is(house: House) -> None:
    house.expect(201, "POST", f"{REPOSITORIES}/bob", {"name": "own"}, by="bob")
    url = "/api/v0/accounts/{}/repositoryAccess/bob/own"
    assert house.ask("GET", url.format("mia"), by="bob").body == house.ask("GET", url.format("nobody"), by="bob").body
    own = "/api/v0/accounts/bob/repositoryAccess/{}"
    private, absent = (house.ask("GET", own.format(name), by="bob") for name in ("acme/team/app", "acme/none"))
    assert (private.status, private.body) == (absent.status, absent.body)
    assert house.ask("GET", "/api/v0/accounts/olga/repositoryAccess/acme/none", by="olga").status == 200, "she may make it"
