"""What a server may answer before it reads a body: the door's own words, and only what the body cannot change."""

from __future__ import annotations

import pytest

from chalicelib.entry.distribution import distribution_door, distribution_gate
from chalicelib.wire.http import Request
from tests.surface import SERVICE, URL, Surface

NAME = "admin/app"


def request(surface: Surface, method: str, path: str, *scopes: str, token: str = "") -> Request:
    text = token or (surface.token(*scopes) if scopes else "")
    headers = {"authorization": f"Bearer {text}"} if text else {}
    return Request(method, path, {}, headers, raw_path=path, request_id="r1")


@pytest.mark.parametrize(
    ("method", "path", "scopes", "token"),
    [
        ("PUT", f"/v2/{NAME}/manifests/x", (), ""),
        ("PUT", f"/v2/{NAME}/manifests/x", (), "e30.e30.c2ln"),
        ("PUT", f"/v2/{NAME}/manifests/x", (f"repository:{NAME}:pull",), ""),
        ("POST", f"/v2/{NAME}/blobs/uploads/", (f"repository:{NAME}x:pull,push",), ""),
        ("PUT", "/v2/NO/manifests/x", (f"repository:{NAME}:pull,push",), ""),
        ("POST", f"/v2/{NAME}/manifests/x", (f"repository:{NAME}:pull,push",), ""),
        ("PUT", "/v2/nothing", (), ""),
    ],
)
def test_a_refusal_is_what_the_door_says(method: str, path: str, scopes: tuple[str, ...], token: str) -> None:
    surface = Surface()
    gate = distribution_gate(surface.registry, surface.tokens, f"{URL}/auth/token", SERVICE)
    asked = request(surface, method, path, *scopes, token=token)
    told = gate(asked)
    assert told is not None
    assert told.status >= 400
    assert told == distribution_door(surface.registry, surface.tokens, f"{URL}/auth/token", SERVICE)(asked)


def test_who_may_send_is_not_answered_yet() -> None:
    surface = Surface()
    gate = distribution_gate(surface.registry, surface.tokens, f"{URL}/auth/token", SERVICE)
    scope = f"repository:{NAME}:pull,push"
    assert gate(request(surface, "PUT", f"/v2/{NAME}/manifests/x", scope)) is None
    assert gate(request(surface, "PATCH", f"/v2/{NAME}/blobs/uploads/u", scope)) is None
