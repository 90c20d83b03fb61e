"""Who is sent for a token at the edge: exactly who would be behind it, as far as a token can be read there."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.edge import API, Edge, Passed, store_of
from tests.edge.speaking import FAR, KEYS, REALM, bearer, challenge, claims, edge, head, refusal, state, token
from tests.surface import SERVICE, URL, Surface, code
from tests.wire.distribution.test_authorize import CALLS

SURFACE = Surface()
EDGE = Edge(store_of(f"{URL}/auth/token", SERVICE, KEYS, direct=True, relay=True), now=lambda: SURFACE.clock.now().timestamp())
SCOPES = (
    "repository:admin/app:pull",
    "repository:admin/app:pull,push",
    "repository:admin/app:push,delete",
    "repository:admin/app:*",
    "repository:a:pull,push,delete",
    "registry:catalog:*",
)


def anonymous_token() -> str:
    """One that asked for everything and was refused it."""
    query = urlencode([("scope", scope) for scope in SCOPES])
    return str(json.loads(SURFACE.send("GET", f"/auth/token?{query}").body)["token"])


TOKENS = [
    "",
    "Basic YWRtaW46cHc=",
    "Bearer",
    "Bearer ",
    "bearer x",
    "Bearer a.b.c",
    "Bearer a.b.c.d",
    f"BEARER {anonymous_token()}",
    f"Bearer {SURFACE.token()}",
    *(f"Bearer {SURFACE.token(scope)}" for scope in SCOPES),
]


def assert_no_less_than_the_program(method: str, path: str, authorization: str) -> None:
    """What the edge refuses the program refuses, by the same status, code and challenge."""
    behind = SURFACE.send(method, path, authorization=authorization)
    told = EDGE.request(head(method, path, authorization))
    if not isinstance(told, Passed):
        assert refusal(told) == (behind.status, code(behind)), path
        assert challenge(told) == behind.headers.get("WWW-Authenticate", ""), path
    elif "%" not in path:
        assert behind.status != 401, path


@pytest.mark.parametrize(("method", "path", "access"), CALLS)
@pytest.mark.parametrize("authorization", TOKENS)
@pytest.mark.parametrize("name", ["admin/app", "a"])
def test_each_call_is_challenged_as_by_the_program(
    method: str, path: str, access: object, authorization: str, name: str
) -> None:
    assert_no_less_than_the_program(method, path.replace("<name>", name), authorization)


@settings(max_examples=400, deadline=None)
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
    name=st.one_of(
        st.sampled_from(["admin/app", "a", "blobs/uploads", "tags/list", "a//b", "../a", "A", "a%2Fb", "a%2fb", "%61", "%ff"]),
        st.text("aB0._-/%", max_size=12),
    ),
    tail=st.sampled_from(
        [
            *("/blobs/uploads", "/blobs/uploads/", "/blobs/uploads/x", "/blobs/uploads/x/y", "/blobs", "/blobs/x"),
            *("/manifests/t", "/manifests/", "/manifests/%ff", "/manifests/a%2Fb", "/tags/list", "/referrers/x"),
            *("/_catalog", "/", ""),
        ]
    ),
    start=st.sampled_from(["/v2/", "/v2", "/_relay/v2/", "/%762/", "/v2//"]),
    authorization=st.sampled_from(TOKENS),
)
def test_any_path_is_challenged_as_by_the_program(method: str, name: str, tail: str, start: str, authorization: str) -> None:
    assert_no_less_than_the_program(method, start + name + tail, authorization)


def test_a_mount_asks_for_the_target_alone() -> None:
    told = edge().request(head("POST", "/v2/a/blobs/uploads/?mount=sha256:x&from=other/secret"))
    assert re.findall(r'scope="([^"]*)"', challenge(told)) == ["repository:a:pull,push"]


def test_a_refusal_has_the_specification_s_form() -> None:
    told = edge().request(head("GET", "/v2/"))
    assert not isinstance(told, Passed)
    assert (b"content-type", b"application/json") in told.headers
    assert (b"docker-distribution-api-version", b"registry/2.0") in told.headers
    assert told.length == len(told.body)
    assert 'realm="https://registry.test/auth/token",service="registry.test"' in challenge(told)


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (claims("a"), ""),
        (claims("a", exp=1), "invalid_token"),
        (claims("a", exp="4000000000"), "invalid_token"),
        (claims("a", exp=None), "invalid_token"),
        ([], "invalid_token"),
        (None, "invalid_token"),
        ("x", "invalid_token"),
        (claims("b"), "insufficient_scope"),
        (claims("a", access=None), "insufficient_scope"),
        (claims("a", access={"length": 1e9}), "insufficient_scope"),
        (claims("a", access=[None, 1, {"type": "repository", "name": "a", "actions": "pull"}]), "insufficient_scope"),
        (claims("a", access=[{"type": "registry", "name": "a", "actions": ["pull"]}]), "insufficient_scope"),
        (claims("a", access=[{"type": "repository", "name": "a", "actions": ["*"]}]), ""),
        (claims(refused=[{"type": "repository", "name": "a", "actions": ["pull"]}]), ""),
        (claims(refused=[{"type": "repository", "name": "b", "actions": ["pull"]}]), "insufficient_scope"),
    ],
)
def test_what_a_token_must_say(told: object, error: str) -> None:
    answer = edge().request(head("GET", "/v2/a/manifests/t", f"Bearer {token(told)}"))
    assert re.findall(r'error="([^"]*)"', challenge(answer)) == ([error] if error else [])
    assert isinstance(answer, Passed) is (not error)


def test_clocks_may_differ_by_half_a_minute() -> None:
    for exp, passes in ((FAR - 29, True), (FAR - 31, False)):
        later = Edge(store_of(REALM, SERVICE, KEYS, direct=True, relay=True), now=lambda: FAR)
        told = later.request(head("GET", "/v2/a/manifests/t", f"Bearer {token(claims('a', exp=exp))}"))
        assert isinstance(told, Passed) is passes


def test_a_repeated_token_is_none() -> None:
    twice = head("GET", "/v2/a/manifests/t", bearer("a"))._replace(repeated=(("authorization", (bearer("a"), bearer("a"))),))
    assert refusal(edge().request(twice)) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("path", ["/", "/auth/token", "/_blobs/x", "/api/v0/repositories", "/direct/x/y/z", "/v2x", "/v3/a"])
def test_on_other_paths_it_says_who_calls_and_nothing_else(path: str) -> None:
    for forged in ({}, {"x_slipway_viewer": "192.0.2.1"}):
        sent = head("GET", path, x_amz_acl="public-read", **forged)._replace(source="198.51.100.7")
        told = {**sent.headers, "x-slipway-viewer": "198.51.100.7"}
        assert edge().request(sent) == Passed(sent._replace(headers=told), API)


@pytest.mark.parametrize("path", ["/v2/../auth/token", "/v2/%2e%2e/auth/token"])
def test_where_it_does_not_say_so_nobody_signs_in(path: str) -> None:
    answer = Surface().send("GET", path, authorization=f"Basic {base64.b64encode(b'admin:correct horse').decode()}")
    assert answer.status in {400, 401, 404}


def test_without_settings_it_says_so_and_lets_nobody_through() -> None:
    for empty in (Edge({}), Edge({"settings": "{"})):
        for request in (head("GET", "/v2/"), head("GET", "/v2/a/manifests/t")):
            told = empty.request(request)
            assert refusal(told) == (503, "UNAVAILABLE")
            assert not isinstance(told, Passed)
            assert (b"retry-after", b"5") in told.headers
        upload = head("PATCH", f"/v2/a/blobs/uploads/u?_state={state()}", bearer("a"), content_length="1")
        assert refusal(empty.request(upload)) == (503, "UNAVAILABLE")
