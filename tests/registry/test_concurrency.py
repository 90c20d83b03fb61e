"""Many at once on the same things, with conflicts injected: every answer is kept, and nothing hangs half."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chalicelib.local.sqlite_table import SqliteTable
from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.ports import Table
from chalicelib.registry.records import contents
from tests.memory_table import ConflictingTable, MemoryTable
from tests.surface import CONFIG, Surface, image, index

NAME = "admin/app"
BASE = b"the one base layer"


@pytest.fixture(params=["memory", "sqlite"])
def make_table(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Table]:
    if request.param == "memory":
        return MemoryTable
    return lambda: SqliteTable(tmp_path / "table.sqlite")


@pytest.fixture
def surface(make_table: Callable[[], Table]) -> Surface:
    return Surface(table=ConflictingTable(make_table(), random.Random(7), 0.2))


def at_once(*calls: Callable[[], object]) -> list[object]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def test_twenty_pushes_on_one_base_layer(surface: Surface) -> None:
    def push(number: int) -> Callable[[], Digest]:
        return lambda: surface.push_image(NAME, f"t{number}", BASE, f"own {number}".encode())

    digests = at_once(*[push(number) for number in range(20)])
    listed = json.loads(surface.call("GET", f"/v2/{NAME}/tags/list").body)["tags"]
    assert sorted(listed) == sorted(f"t{number}" for number in range(20))
    for number, digest in enumerate(digests):
        manifest = surface.call("GET", f"/v2/{NAME}/manifests/t{number}")
        assert manifest.headers["Docker-Content-Digest"] == str(digest)
        for layer in (CONFIG, BASE, f"own {number}".encode()):
            assert surface.status("GET", f"/v2/{NAME}/blobs/{Digest.of(layer)}") == 307
    assert len(list(surface.store.list(""))) == 22


def test_twenty_pushes_of_one_tag_leave_one_of_them(surface: Surface) -> None:
    surface.push_image(NAME, "base", BASE)
    manifests = [image(BASE, annotations={"n": str(number)}) for number in range(20)]
    at_once(*[lambda content=content: surface.put_manifest(NAME, "latest", content) for content in manifests])
    pulled = surface.call("GET", f"/v2/{NAME}/manifests/latest").body
    assert pulled in manifests
    tagged = [item for item in surface.table.query(_contents(surface), prefix="tagged/") if item.key.sort.endswith("/latest")]
    assert [item.key.sort for item in tagged] == [f"tagged/{Digest.of(pulled)}/latest"]


def _contents(surface: Surface) -> str:
    return contents(surface.registry.repositories.get(RepositoryName.parse(NAME)).id)


@pytest.mark.parametrize("seed", range(10))
def test_a_push_against_the_deletion_of_its_layer(seed: int) -> None:
    """Either the manifest is refused, or its layer stays: never a manifest without its layer."""
    surface = Surface(table=ConflictingTable(MemoryTable(), random.Random(seed), 0.3))
    layers = [f"layer {number}".encode() for number in range(70)]
    for content in (CONFIG, *layers):
        surface.push_blob(NAME, content)
    manifest = image(*layers)

    def delete_layers() -> list[int]:
        return [surface.status("DELETE", f"/v2/{NAME}/blobs/{Digest.of(layer)}") for layer in layers[::7]]

    answer, _ = at_once(lambda: surface.put(NAME, "t", manifest).status, delete_layers)
    assert answer in {201, 404}
    if answer == 201:
        for layer in layers:
            assert surface.status("GET", f"/v2/{NAME}/blobs/{Digest.of(layer)}") == 307
    else:
        assert surface.status("GET", f"/v2/{NAME}/manifests/t") == 404


@pytest.mark.parametrize("seed", range(10))
def test_a_push_against_the_deletion_of_the_same_manifest(seed: int) -> None:
    surface = Surface(table=ConflictingTable(MemoryTable(), random.Random(seed), 0.3))
    layers = [f"layer {number}".encode() for number in range(60)]
    digest = surface.push_image(NAME, "t", *layers)
    manifest = image(*layers)

    def push() -> int:
        return surface.put(NAME, "again", manifest).status

    def delete() -> int:
        return surface.status("DELETE", f"/v2/{NAME}/manifests/{digest}")

    at_once(push, delete, push, delete)
    listed = json.loads(surface.call("GET", f"/v2/{NAME}/tags/list").body)["tags"]
    there = surface.status("GET", f"/v2/{NAME}/manifests/{digest}") == 200
    assert there == bool(listed), "a tag never outlives its manifest, and a manifest just tagged is there"
    for layer in layers:
        refused = surface.status("DELETE", f"/v2/{NAME}/blobs/{Digest.of(layer)}")
        assert refused == (405 if there else 202)


@pytest.mark.parametrize("seed", range(10))
def test_an_index_against_the_deletion_of_its_child(seed: int) -> None:
    surface = Surface(table=ConflictingTable(MemoryTable(), random.Random(seed), 0.3))
    children = [image(annotations={"n": str(number)}) for number in range(3)]
    surface.push_blob(NAME, CONFIG)
    for child in children:
        surface.put_manifest(NAME, "", child)
    parent = index(*children)
    pushed, deleted = at_once(
        lambda: surface.put(NAME, "index", parent).status,
        lambda: surface.status("DELETE", f"/v2/{NAME}/manifests/{Digest.of(children[1])}"),
    )
    assert (pushed, deleted) in {(201, 405), (404, 202)}
    assert surface.status("GET", f"/v2/{NAME}/manifests/{Digest.of(children[1])}") == (200 if pushed == 201 else 404)


def test_finishing_one_upload_many_times_at_once(surface: Surface) -> None:
    location = surface.call("POST", f"/v2/{NAME}/blobs/uploads/").headers["Location"]
    surface.call("PATCH", location, b"content")
    url = f"{location}&digest={Digest.of(b'content')}"
    answers = at_once(*[lambda: surface.call("PUT", url).status for _ in range(8)])
    assert set(answers) == {201}
    assert len(list(surface.store.list(""))) == 1


def test_finishing_against_cancelling(surface: Surface) -> None:
    for number in range(10):
        content = f"content {number}".encode()
        location = surface.call("POST", f"/v2/{NAME}/blobs/uploads/").headers["Location"]
        surface.call("PATCH", location, content)
        url = f"{location}&digest={Digest.of(content)}"
        finished, cancelled = at_once(
            lambda url=url: surface.call("PUT", url).status,  # type: ignore[misc]
            lambda location=location: surface.call("DELETE", location).status,  # type: ignore[misc]
        )
        assert (finished, cancelled) in {(201, 404), (404, 204)}
        there = surface.status("GET", f"/v2/{NAME}/blobs/{Digest.of(content)}") == 307
        assert there == (finished == 201)


def test_mounting_against_the_deletion_of_the_source(surface: Surface) -> None:
    for number in range(10):
        digest = surface.push_blob("admin/source", f"shared {number}".encode())
        url = f"/v2/{NAME}/blobs/uploads/?mount={digest}&from=admin/source"
        mounted, deleted = at_once(
            lambda url=url: surface.call("POST", url).status,  # type: ignore[misc]
            lambda digest=digest: surface.status("DELETE", f"/v2/admin/source/blobs/{digest}"),  # type: ignore[misc]
        )
        assert deleted == 202
        assert surface.status("GET", f"/v2/{NAME}/blobs/{digest}") == (307 if mounted == 201 else 404)
