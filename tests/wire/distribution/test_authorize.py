"""Who gets in: every route against every kind of caller, and tokens that are none."""

from __future__ import annotations

import json
import re

import pytest

from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.repositories import Description
from chalicelib.wire.distribution.routes import ROUTES, Access
from tests.surface import PASSWORD, Surface, code, descriptor, image

PRIVATE, PUBLIC = "admin/private", "admin/public"
BLOB = Digest.of(b"layer")
MANIFEST = Digest.of(image(b"layer"))

CALLS = [
    ("GET", "/v2/", Access.ANY_TOKEN),
    ("HEAD", "/v2/", Access.ANY_TOKEN),
    ("GET", "/v2/_catalog", Access.CATALOG),
    ("POST", "/v2/<name>/blobs/uploads/", Access.PUSH),
    ("PATCH", "/v2/<name>/blobs/uploads/x", Access.PUSH),
    ("PUT", f"/v2/<name>/blobs/uploads/x?digest={BLOB}", Access.PUSH),
    ("GET", "/v2/<name>/blobs/uploads/x", Access.PUSH),
    ("DELETE", "/v2/<name>/blobs/uploads/x", Access.PUSH),
    ("GET", f"/v2/<name>/blobs/{BLOB}", Access.PULL),
    ("HEAD", f"/v2/<name>/blobs/{BLOB}", Access.PULL),
    ("DELETE", f"/v2/<name>/blobs/{BLOB}", Access.DELETE),
    ("GET", "/v2/<name>/manifests/latest", Access.PULL),
    ("HEAD", f"/v2/<name>/manifests/{MANIFEST}", Access.PULL),
    ("PUT", "/v2/<name>/manifests/other", Access.PUSH),
    ("DELETE", "/v2/<name>/manifests/latest", Access.DELETE),
    ("GET", "/v2/<name>/tags/list", Access.PULL),
    ("GET", f"/v2/<name>/referrers/{MANIFEST}", Access.PULL),
    ("POST", "/_relay/v2/<name>/blobs/uploads/x/open", Access.PUSH),
]


@pytest.fixture
def admin() -> Surface:
    surface = Surface()
    for name in (PRIVATE, PUBLIC):
        surface.push_image(name, "latest", b"layer")
    surface.registry.repositories.change(RepositoryName.parse(PUBLIC), Description(visibility="public"))
    return surface


def as_caller(admin: Surface, credentials: str) -> Surface:
    return Surface(table=admin.table, blobs=admin.store, clock=admin.clock, credentials=credentials)


def test_every_route_is_in_the_table_of_calls() -> None:
    tried = {(method, access) for method, _, access in CALLS}
    for route in ROUTES:
        for method in route.methods:
            assert (method, route.access) in tried or route.access is Access.WRITER


@pytest.mark.parametrize(("method", "path", "access"), CALLS)
@pytest.mark.parametrize("name", [PRIVATE, PUBLIC, "admin/none", "bob/none"])
def test_without_a_token_every_call_is_challenged(admin: Surface, method: str, path: str, access: Access, name: str) -> None:
    """And the answer is the same whether the repository exists or not."""
    refused = admin.send(method, path.replace("<name>", name))
    assert (refused.status, code(refused)) == (401, "UNAUTHORIZED")
    challenge = refused.headers["WWW-Authenticate"]
    assert 'realm="http://registry.test:5000/auth/token"' in challenge
    scope = re.search(r'scope="([^"]*)"', challenge)
    actions = ",".join(access.value)
    kind = "registry:catalog" if access is Access.CATALOG else f"repository:{name}"
    assert (scope[1] if scope else "") == (f"{kind}:{actions}" if actions else "")


@pytest.mark.parametrize(("method", "path", "access"), CALLS)
@pytest.mark.parametrize("name", [PRIVATE, "admin/none"])
def test_an_anonymous_token_opens_nothing_private(admin: Surface, method: str, path: str, access: Access, name: str) -> None:
    answer = as_caller(admin, "").call(method, path.replace("<name>", name))
    if access is Access.ANY_TOKEN:
        assert answer.status == 200
    else:
        assert (answer.status, code(answer)) == (403, "DENIED")


@pytest.mark.parametrize(("method", "path", "access"), CALLS)
def test_an_anonymous_token_pulls_what_is_public(admin: Surface, method: str, path: str, access: Access) -> None:
    answer = as_caller(admin, "").call(method, path.replace("<name>", PUBLIC))
    allowed = access in {Access.ANY_TOKEN, Access.PULL}
    assert (answer.status in {200, 307}) is allowed
    assert allowed or answer.status == 403


@pytest.mark.parametrize(("method", "path", "access"), CALLS)
def test_a_user_s_rights_end_at_the_own_namespace(admin: Surface, method: str, path: str, access: Access) -> None:
    bob = as_caller(admin, f"bob:{PASSWORD}")
    bob.accounts.create_user("bob", PASSWORD)
    answer = bob.call(method, path.replace("<name>", PRIVATE))
    assert answer.status == (200 if access is Access.ANY_TOKEN else 403)
    if access is not Access.CATALOG:
        assert bob.call(method, path.replace("<name>", "bob/own")).status != 403


@pytest.mark.parametrize(
    ("credentials", "told"),
    [
        ("", "log in first: without logging in only public repositories can be pulled"),
        (
            f"bob:{PASSWORD}",
            "access to the resource is denied: no team of the account has been granted access to this repository",
        ),
    ],
)
def test_who_is_denied_reads_why_in_the_sentence_that_docker_shows(admin: Surface, credentials: str, told: str) -> None:
    admin.accounts.create_user("bob", PASSWORD)
    refused = as_caller(admin, credentials).call("GET", f"/v2/{PRIVATE}/manifests/latest")
    assert (refused.status, json.loads(refused.body)["errors"][0]["message"]) == (403, told)


def test_a_token_that_never_asked_is_sent_back_for_more(admin: Surface) -> None:
    """401 insufficient_scope, so that containerd and the conformance program come back with another token."""
    token = admin.token(f"repository:{PRIVATE}:pull")
    refused = admin.send("DELETE", f"/v2/{PRIVATE}/manifests/latest", authorization=f"Bearer {token}")
    assert refused.status == 401
    assert 'error="insufficient_scope"' in refused.headers["WWW-Authenticate"]
    assert f'scope="repository:{PRIVATE}:delete"' in refused.headers["WWW-Authenticate"]


def test_a_token_is_for_the_repository_it_names(admin: Surface) -> None:
    token = admin.token(f"repository:{PUBLIC}:pull,push,delete,*")
    for method, path, access in CALLS:
        if access is not Access.ANY_TOKEN:
            answer = admin.send(method, path.replace("<name>", PRIVATE), authorization=f"Bearer {token}")
            assert answer.status == 401, (method, path)


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Bearer x", "Basic YWRtaW46cHc=", "bearer a.b.c", "\x00"])
def test_what_is_no_token_is_challenged(admin: Surface, authorization: str) -> None:
    assert admin.send("GET", "/v2/", authorization=authorization).status == 401


def test_an_expired_token_says_so(admin: Surface) -> None:
    token = admin.token(f"repository:{PRIVATE}:pull")
    url = f"/v2/{PRIVATE}/manifests/latest"
    assert admin.send("GET", url, authorization=f"Bearer {token}").status == 200
    admin.clock.advance(3600)
    refused = admin.send("GET", url, authorization=f"Bearer {token}")
    assert refused.status == 401
    assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]


def test_user_agent_changes_no_decision(admin: Surface) -> None:
    for agent in ("docker/20.10", "Trivy", "Slipway-Internal", ""):
        assert admin.send("GET", f"/v2/{PRIVATE}/manifests/latest", user_agent=agent).status == 401


def test_access_goes_by_the_repository_s_own_link(admin: Surface) -> None:
    """Deleted here, still there: the blob is no longer readable here."""
    digest = admin.push_blob("admin/a", b"twice")
    admin.push_blob("admin/b", b"twice")
    assert admin.status("DELETE", f"/v2/admin/a/blobs/{digest}") == 202
    assert admin.status("GET", f"/v2/admin/a/blobs/{digest}") == 404
    assert admin.status("GET", f"/v2/admin/b/blobs/{digest}") == 307
    manifest = admin.push_image("admin/b", "t", b"twice")
    assert admin.status("GET", f"/v2/admin/a/manifests/{manifest}") == 404


def test_a_repository_made_private_is_closed_within_a_token_s_life(admin: Surface) -> None:
    anonymous = as_caller(admin, "")
    token = anonymous.token(f"repository:{PUBLIC}:pull")
    url = f"/v2/{PUBLIC}/manifests/latest"
    admin.registry.repositories.change(RepositoryName.parse(PUBLIC), Description(visibility="private"))
    admin.clock.advance(300 + 30)
    assert anonymous.send("GET", url, authorization=f"Bearer {token}").status == 401
    assert anonymous.status("GET", url) == 403


def test_foreign_layer_addresses_are_data(admin: Surface) -> None:
    """They are never fetched, nor shown anywhere but in the manifest's own bytes."""
    foreign = {
        **descriptor(b"elsewhere", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
        "urls": ["http://169.254.169.254/"],
    }
    manifest = json.dumps({**json.loads(image()), "layers": [foreign]}).encode()
    digest = admin.put_manifest(PRIVATE, "foreign", manifest)
    assert admin.call("GET", f"/v2/{PRIVATE}/manifests/{digest}").body == manifest
    assert admin.status("GET", f"/v2/{PRIVATE}/blobs/{Digest.of(b'elsewhere')}") == 404
