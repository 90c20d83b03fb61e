"""What was removed from a repository: who may see it and bring it back, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.registry.names import Digest
from chalicelib.registry.pushes import Sparse
from tests.surface import Surface, image, index
from tests.wire.management.asking import House

NAME = "acme/team/app"
URL = f"/api/v0/repositories/{NAME}"
RESTORE = f"{URL}/restore"
LAYER = b"layer"
DENIED = (403, "NOT_AUTHORIZED")
MISSING = (404, "NO_SUCH_REPOSITORY")
NOTHING = (404, "NOT_RESTORABLE")


@pytest.fixture
def surface(house: House) -> Surface:
    house.surface.push_image(NAME, "1.0", LAYER)
    return house.surface


def deleted(surface: Surface, reference: object, name: str = NAME) -> None:
    assert surface.status("DELETE", f"/v2/{name}/manifests/{reference}") == 202


def listed(house: House, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = house.expect(200, "GET", f"{URL}/removed{query}")["removed"]
    return found


def test_a_tag_and_then_its_manifest(house: House, surface: Surface) -> None:
    digest, size = str(Digest.of(image(LAYER))), len(image(LAYER))
    deleted(surface, "1.0")
    [tag] = listed(house)
    assert tag == {
        "kind": "tag",
        "digest": digest,
        "tag": "1.0",
        "tags": [],
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "size": size,
        "removedAt": "2026-01-01T00:00:00Z",
        "removedBy": "admin",
        "restorableUntil": "2026-01-08T00:00:00Z",
        "reference": f"1.0@{digest}",
    }
    assert house.expect(200, "POST", RESTORE, {"reference": "1.0"}) == {"digest": digest, "tags": ["1.0"]}
    deleted(surface, digest)
    [manifest] = listed(house)
    assert (manifest["kind"], manifest["tag"], manifest["tags"], manifest["reference"]) == ("manifest", "", ["1.0"], digest)
    assert (manifest["size"], manifest["mediaType"]) == (size, tag["mediaType"])
    assert house.expect(200, "POST", RESTORE, {"reference": digest}) == {"digest": digest, "tags": ["1.0"]}
    assert listed(house) == []
    assert house.refused("POST", RESTORE, {"reference": digest}) == NOTHING


def test_everything_in_a_list_is_restored_by_its_reference(house: House, surface: Surface) -> None:
    for number in range(12):
        surface.put_manifest(NAME, f"t{number}", image(LAYER, annotations={"n": str(number)}))
        deleted(surface, f"t{number}" if number % 2 else Digest.of(image(LAYER, annotations={"n": str(number)})))
    seen, start = [], ""
    while True:
        answer = house.ask("GET", f"{URL}/removed?pageSize=5&pageStart={start}")
        seen += json.loads(answer.body)["removed"]
        start = answer.headers.get("X-Next-Page-Start", "")
        if not start:
            break
    assert seen == listed(house, "?pageSize=100")
    assert len(seen) == 12
    for each in seen:
        back = house.expect(200, "POST", RESTORE, {"reference": each["reference"]})
        assert back["digest"] == each["digest"]
        assert back["tags"] == (each["tags"] or [each["tag"]])
    assert listed(house) == []


def test_who_may_push_may_restore(house: House, surface: Surface) -> None:
    deleted(surface, "1.0")
    told = {"reference": "1.0"}
    for by, refused in (("", (401, "NOT_AUTHENTICATED")), ("bob", MISSING), ("mia", DENIED)):
        assert house.refused("GET", f"{URL}/removed", by=by) == refused
        assert house.refused("POST", RESTORE, told, by=by) == refused
    narrowed = house.narrowed("olga", "acme/*", actions=frozenset({"pull", "push", "delete"}))
    assert house.refused("POST", RESTORE, told, by=narrowed) == DENIED
    house.expect(200, "PUT", f"{URL}/teamAccess/devs", {"accessLevel": "read-write"}, by="olga")
    assert len(house.expect(200, "GET", f"{URL}/removed", by="mia")["removed"]) == 1
    house.expect(200, "POST", RESTORE, told, by="mia")
    for method, body in (("GET", None), ("POST", told)):
        path = "removed" if method == "GET" else "restore"
        assert house.refused(method, f"/api/v0/repositories/acme/none/{path}", body, by="olga") == MISSING


def test_a_name_that_was_taken(house: House, surface: Surface) -> None:
    deleted(surface, "1.0")
    surface.put_manifest(NAME, "1.0", index())
    assert house.refused("POST", RESTORE, {"reference": "1.0"}) == (409, "TAG_EXISTS")
    assert len(listed(house)) == 1


def test_what_it_needs_was_deleted_too(house: House, surface: Surface) -> None:
    digest, layer = Digest.of(image(LAYER)), Digest.of(LAYER)
    deleted(surface, digest)
    assert surface.status("DELETE", f"/v2/{NAME}/blobs/{layer}") == 202
    answer = house.ask("POST", RESTORE, {"reference": str(digest)})
    [error] = json.loads(answer.body)["errors"]
    assert (answer.status, error["code"]) == (409, "CONTENT_GONE")
    assert error["detail"] == {"digests": [str(layer)]}
    assert str(layer) in error["message"]


def test_what_it_needs_came_with_another_size() -> None:
    """An index that was taken before what it names was there is not held to the sizes that it says."""
    house = House(Surface(sparse=Sparse.INDEXES))
    child = image(LAYER)
    digest = house.surface.put_manifest(NAME, "", index(child).replace(b'"size": ', b'"size": 1'))
    house.surface.push_image(NAME, "1.0", LAYER)
    deleted(house.surface, digest)
    assert house.refused("POST", RESTORE, {"reference": str(digest)}) == (409, "MANIFEST_INVALID")


@pytest.mark.parametrize(
    "reference",
    [
        *("", "a b", "-x", "x" * 129, "a:b", "sha256:1", "sha999:" + "a" * 64, "\u00e9", "a\n", "a/b"),
        *("1.0@", "@", "1.0@1.0", "1.0@sha256:1", "a@b@c", "sha256:" + "a" * 64 + "@sha256:" + "a" * 64),
    ],
)
def test_references_that_nothing_has(house: House, surface: Surface, reference: str) -> None:
    assert house.refused("POST", RESTORE, {"reference": reference}) == (400, "INVALID_REFERENCE")


@pytest.mark.parametrize("body", [{}, {"reference": 1}, {"reference": None}, {"reference": "1.0", "tag": "x"}, b"", b"[]"])
def test_bodies_that_are_refused(house: House, surface: Surface, body: object) -> None:
    assert house.refused("POST", RESTORE, body) == (400, "INVALID_JSON")


def test_events(house: House, surface: Surface) -> None:
    digest = str(Digest.of(image(LAYER)))
    deleted(surface, "1.0")
    house.expect(200, "POST", RESTORE, {"reference": "1.0"}, by="olga")
    deleted(surface, digest)
    house.expect(200, "POST", RESTORE, {"reference": digest}, by="olga")
    house.refused("POST", RESTORE, {"reference": digest}, by="mia")
    [tag] = house.events("TAG_RESTORE")
    assert (tag["actor"], tag["object"], tag["result"]) == ("olga", f"{NAME}:1.0", "done")
    denied, manifest = sorted(house.events("MANIFEST_RESTORE"), key=lambda event: str(event["result"]))
    assert (manifest["actor"], manifest["object"], manifest["result"]) == ("olga", NAME, "done")
    for event in (tag, manifest):
        assert (event["detail"]["digest"], event["detail"]["tags"]) == (digest, "1.0")
    assert (denied["actor"], denied["result"]) == ("mia", "denied")
    assert len(house.events("MANIFEST_PUSH")) == 3, "the push that restoring is has its own"
    of_repository = house.expect(200, "GET", f"{URL}/events?pageSize=100", by="olga")["events"]
    assert {event["type"] for event in of_repository} >= {"TAG_RESTORE", "MANIFEST_RESTORE"}


def test_methods_and_repositories_of_these_names(house: House, surface: Surface) -> None:
    assert house.refused("POST", f"{URL}/removed", {}) == (405, "METHOD_NOT_ALLOWED")
    assert house.refused("GET", RESTORE) == (405, "METHOD_NOT_ALLOWED")
    for name in ("removed", "restore"):
        house.expect(201, "POST", "/api/v0/repositories/acme", {"name": name})
        assert house.expect(200, "GET", f"/api/v0/repositories/acme/{name}")["name"] == name
