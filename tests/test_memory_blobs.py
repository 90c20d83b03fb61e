"""The fake BlobStore honours the ports like any adapter."""

from __future__ import annotations

import pytest

from chalicelib.registry.names import Digest
from chalicelib.registry.ports import BlobStore, Piece, StoreFull
from tests.contracts.blob_store import KEY, BlobStoreContract, Fetched, content_of
from tests.contracts.staging import StagingContract
from tests.frozen_clock import FrozenClock
from tests.memory_blobs import MemoryBlobs


class TestMemoryBlobs(BlobStoreContract, StagingContract):
    @pytest.fixture
    def store(self, clock: FrozenClock) -> MemoryBlobs:
        return MemoryBlobs(clock)

    def fetch(self, store: BlobStore, url: str, method: str, byte_range: str = "") -> Fetched:
        assert isinstance(store, MemoryBlobs)
        linked = store.linked(method, url)
        if linked is None:
            return Fetched(403)
        first, last = byte_range.removeprefix("bytes=").split("-") if byte_range else ("0", "99")
        body = content_of(store, linked.key, int(first), int(last) + 1) if method == "GET" else b""
        return Fetched(206 if byte_range else 200, body, linked.shown.media_type)


def test_a_full_store_keeps_what_it_has() -> None:
    store = MemoryBlobs(FrozenClock())
    store.put(KEY, b"kept")
    store.append(KEY + "2", 0, b"kept")
    store.full = True
    with pytest.raises(StoreFull):
        store.put(KEY + "3", b"more")
    with pytest.raises(StoreFull):
        store.assemble([Piece(KEY, 4)], KEY + "3", Digest.of(b"kept"))
    with pytest.raises(StoreFull):
        store.append(KEY + "2", 4, b"more")
    with pytest.raises(StoreFull):
        store.seal(KEY + "2")
    assert content_of(store, KEY) == b"kept"
    assert store.staged == {KEY + "2": b"kept"}
