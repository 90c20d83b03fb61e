"""A push that dies at any of its writes: nothing half is visible, nothing stays for ever, and the next push ends well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.ports import Attributes, Delete, Item, Key, Put, Table, Update, Walked, Write
from chalicelib.registry.pushes import PENDING_LIFETIME
from chalicelib.registry.repositories import Description
from tests.memory_table import MemoryTable
from tests.surface import CONFIG, Surface, image

NAME = "admin/app"
LAYERS = [f"layer {number}".encode() for number in range(120)]
MANIFEST = image(*LAYERS)
PULL = f"/v2/{NAME}/manifests/{Digest.of(MANIFEST)}"


class Died(BaseException):
    """The process is gone: no handler runs."""


class DyingTable:
    """A table that dies before the write that is number ``writes`` from now on; -1 never."""

    def __init__(self, inner: Table) -> None:
        self.inner = inner
        self.writes = -1

    def get(self, key: Key) -> Attributes | None:
        return self.inner.get(key)

    def batch_get(self, keys: Sequence[Key]) -> Mapping[Key, Attributes]:
        return self.inner.batch_get(keys)

    def write(self, write: Put | Update | Delete) -> None:
        self._live()
        self.inner.write(write)

    def transact(self, writes: Sequence[Write]) -> None:
        self._live()
        self.inner.transact(writes)

    def query(
        self, partition: str, *, prefix: str = "", after: str = "", limit: int | None = None, backward: bool = False
    ) -> Sequence[Item]:
        return self.inner.query(partition, prefix=prefix, after=after, limit=limit, backward=backward)

    def walk(self, cursor: str | None = None, limit: int = 100) -> Walked:
        return self.inner.walk(cursor, limit)

    def _live(self) -> None:
        self.writes -= 1
        if self.writes == 0:
            raise Died


@pytest.fixture
def surface() -> Surface:
    surface = Surface(table=DyingTable(MemoryTable()))
    for content in (CONFIG, *LAYERS):
        surface.push_blob(NAME, content)
    surface.registry.repositories.change(RepositoryName.parse(NAME), Description(visibility="public"))
    return surface


def die(surface: Surface, write: int) -> bool:
    """Push, and die before that write; was there such a write?"""
    assert isinstance(surface.table, DyingTable)
    surface.table.writes = write
    try:
        surface.put(NAME, "t", MANIFEST)
    except Died:
        return True
    finally:
        surface.table.writes = -1
    return False


def anonymous(surface: Surface) -> Surface:
    return Surface(table=surface.table, blobs=surface.store, clock=surface.clock, credentials="")


def blob(layer: bytes) -> str:
    return f"/v2/{NAME}/blobs/{Digest.of(layer)}"


@pytest.mark.parametrize("write", range(1, 6))
def test_a_push_that_died_shows_nothing_and_can_be_pushed_again(surface: Surface, write: int) -> None:
    assert die(surface, write) == (write < 6)
    assert surface.status("GET", PULL) == 404
    assert surface.status("GET", f"/v2/{NAME}/manifests/t") == 404
    stranger = anonymous(surface)
    assert {stranger.status("GET", blob(layer)) for layer in LAYERS} == {404}, "no image names them yet"
    surface.put_manifest(NAME, "t", MANIFEST)
    assert surface.call("GET", PULL).body == MANIFEST
    assert {stranger.status("GET", blob(layer)) for layer in LAYERS} == {307}


@pytest.mark.parametrize("write", range(2, 6))
def test_what_died_can_be_taken_away(surface: Surface, write: int) -> None:
    assert die(surface, write)
    assert surface.status("DELETE", PULL) == 202
    assert {surface.status("DELETE", blob(layer)) for layer in LAYERS} == {202}


@pytest.mark.parametrize("write", range(2, 6))
def test_what_died_is_swept(surface: Surface, write: int) -> None:
    assert die(surface, write)
    assert surface.registry.pushes.sweep(10) == 0, "it may still be under way"
    surface.clock.advance(PENDING_LIFETIME + 1)
    assert surface.registry.pushes.sweep(10) == 1
    assert surface.registry.pushes.sweep(10) == 0
    assert {surface.status("DELETE", blob(layer)) for layer in LAYERS} == {202}


def test_a_push_that_ended_is_not_swept(surface: Surface) -> None:
    surface.put_manifest(NAME, "t", MANIFEST)
    surface.clock.advance(PENDING_LIFETIME + 1)
    assert surface.registry.pushes.sweep(10) == 0
    assert surface.status("GET", PULL) == 200


def test_a_refused_push_takes_back_what_it_wrote(surface: Surface) -> None:
    """A layer goes while the push is between two of its batches."""

    class Deleting(DyingTable):
        def transact(self, writes: Sequence[Write]) -> None:
            super().transact(writes)
            self.batches += 1
            if self.batches == 2:
                Surface(table=self.inner, blobs=surface.store).call("DELETE", blob(LAYERS[-1]))

        batches = 0

    assert isinstance(surface.table, DyingTable)
    racing = Surface(table=Deleting(surface.table.inner), blobs=surface.store)
    assert racing.put(NAME, "t", MANIFEST).status == 404
    assert surface.status("GET", PULL) == 404
    assert {surface.status("DELETE", blob(layer)) for layer in LAYERS[:-1]} == {202}


def test_lost_bytes_of_a_large_manifest_come_back_with_the_next_push(surface: Surface) -> None:
    large = image(LAYERS[0], annotations={"fill": "x" * 300_000})
    digest = surface.put_manifest(NAME, "large", large)
    for stored in list(surface.store.list("manifests/")):
        surface.store.delete(stored.key)
    fresh = Surface(table=surface.table, blobs=surface.store, clock=surface.clock)
    assert fresh.status("GET", f"/v2/{NAME}/manifests/large") == 404
    fresh.put_manifest(NAME, "large", large)
    assert fresh.call("GET", f"/v2/{NAME}/manifests/{digest}").body == large
    for stored in list(surface.store.list("manifests/")):
        surface.store.delete(stored.key)
    again = Surface(table=surface.table, blobs=surface.store, clock=surface.clock)
    assert again.status("DELETE", f"/v2/{NAME}/manifests/{digest}") == 202
    assert again.status("HEAD", f"/v2/{NAME}/manifests/{digest}") == 404
