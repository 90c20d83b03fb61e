"""Paths: names that are none, tricks with encodings, methods that are not there."""

from __future__ import annotations

import re
import string
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.registry.errors import EndpointUnknown, NameInvalid, Unsupported
from chalicelib.wire.distribution.routes import match_route
from tests.surface import Surface, code

BAD_NAMES = [
    "", "/", "..", "../..", "a/../b", "a//b", "/a", "a/", "A", "a b", "a\x00b", "a\nb", "\u00fc", "a/\u202e", "-a", "a-", "_a",
    ".a", "a..b", "a___b", "a/./b", "a:b", "a@b", "a?b", "a" * 256, "a/" * 128, "%2e%2e", "..%2f..",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("ending", ["manifests/latest", "tags/list", "blobs/sha256:x", "blobs/uploads/", "referrers/x"])
def test_a_bad_name_is_refused_whoever_asks(name: str, ending: str) -> None:
    method = "POST" if ending.endswith("/") else "GET"
    with pytest.raises(NameInvalid):
        match_route(method, f"/v2/{name}/{ending}")


@pytest.mark.parametrize("raw", ["/v2/admin%2Fapp/tags/list", "/v2/admin%2f..%2fapp/tags/list", "/v2/a/..%2Fb/tags/list"])
def test_an_encoded_slash_is_refused(raw: str) -> None:
    with pytest.raises(NameInvalid):
        match_route("GET", unquote(raw), raw)


def test_over_the_surface_it_is_the_specification_s_error() -> None:
    refused = Surface().send("GET", "/v2/a//b/manifests/latest")
    assert (refused.status, code(refused)) == (400, "NAME_INVALID")


@given(st.text(alphabet=string.printable + "\u00fc\u202e\x00", max_size=40))
def test_no_path_is_taken_for_another(text: str) -> None:
    """Whatever stands between /v2/ and the ending is either refused or the very name that was sent."""
    path = f"/v2/{text}/manifests/latest"
    try:
        match = match_route("GET", path, quote(path))
    except (NameInvalid, EndpointUnknown):
        return
    assert match.name is not None
    grammar = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
    assert re.fullmatch(f"{grammar}(?:/{grammar})*", str(match.name))
    assert path.startswith(f"/v2/{match.name}/")


@pytest.mark.parametrize(
    ("path", "name", "reference"),
    [
        ("/v2/a/manifests/b", "a", "b"),
        ("/v2/manifests/manifests/manifests", "manifests", "manifests"),
        ("/v2/a/blobs/uploads/manifests/latest", "a/blobs/uploads", "latest"),
        ("/v2/a/tags/list/manifests/t", "a/tags/list", "t"),
        ("/v2/a/manifests/b/manifests/c", "a/manifests/b", "c"),
        ("/v2/v2/tags/list", "v2", ""),
    ],
)
def test_names_may_look_like_endpoints(path: str, name: str, reference: str) -> None:
    match = match_route("GET", path)
    assert (str(match.name), match.reference) == (name, reference)


@pytest.mark.parametrize("path", ["/v2x", "/v2/x", "/v2/a/b", "/v3/", "/", "/v2/a/manifests", "/v2/a/tags/lists"])
def test_an_unknown_path(path: str) -> None:
    with pytest.raises(EndpointUnknown):
        match_route("GET", path)


def test_an_unknown_method_is_told_the_known_ones() -> None:
    with pytest.raises(Unsupported) as refused:
        match_route("POST", "/v2/a/manifests/b")
    assert refused.value.allowed == ("GET", "HEAD", "PUT", "DELETE")
    answer = Surface().send("POST", "/v2/a/manifests/b")
    assert (answer.status, answer.headers["Allow"], code(answer)) == (405, "GET, HEAD, PUT, DELETE", "UNSUPPORTED")
