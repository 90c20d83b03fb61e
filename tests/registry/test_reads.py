"""What a pull costs the table, counted: one read by digest, two by tag, one per blob, and less for what is remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from chalicelib.registry.names import Digest
from chalicelib.registry.ports import Attributes, Item, Key
from tests.memory_table import MemoryTable
from tests.surface import Surface

NAME = "admin/app"


class CountingTable(MemoryTable):
    """Counts its reads; a batch is one."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def get(self, key: Key) -> Attributes | None:
        self.reads += 1
        return super().get(key)

    def batch_get(self, keys: Sequence[Key]) -> Mapping[Key, Attributes]:
        self.reads += 1
        return super().batch_get(keys)

    def query(
        self, partition: str, *, prefix: str = "", after: str = "", limit: int | None = None, backward: bool = False
    ) -> Sequence[Item]:
        self.reads += 1
        return super().query(partition, prefix=prefix, after=after, limit=limit, backward=backward)


@pytest.fixture
def surface() -> Surface:
    surface = Surface(table=CountingTable())
    surface.push_image(NAME, "latest", b"layer")
    return surface


def reads(surface: Surface, method: str, url: str, *, remembering: bool) -> int:
    """The reads of one pull by an instance that knows the repository's name, and maybe has just pulled the same."""
    instance = Surface(table=surface.table, blobs=surface.store, clock=surface.clock)
    token = instance.token(f"repository:{NAME}:pull")
    authorization = f"Bearer {token}"
    instance.send("GET", f"/v2/{NAME}/tags/list", authorization=authorization)
    if remembering:
        instance.send("GET", url, authorization=authorization)
    assert isinstance(surface.table, CountingTable)
    before = surface.table.reads
    assert instance.send(method, url, authorization=authorization).status in {200, 307}
    return surface.table.reads - before


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reads_of_a_pull(surface: Surface, method: str) -> None:
    digest = surface.call("HEAD", f"/v2/{NAME}/manifests/latest").headers["Docker-Content-Digest"]
    by_tag, by_digest = f"/v2/{NAME}/manifests/latest", f"/v2/{NAME}/manifests/{digest}"
    blob = f"/v2/{NAME}/blobs/{Digest.of(b'layer')}"
    assert reads(surface, method, by_tag, remembering=False) == (2 if method == "GET" else 1)
    assert reads(surface, method, by_digest, remembering=False) == 1
    assert reads(surface, method, blob, remembering=False) == 1
    for url in (by_tag, by_digest, blob):
        assert reads(surface, method, url, remembering=True) == 1
