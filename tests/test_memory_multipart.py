"""The in-memory Multipart keeps to the contract, so that what is tested with it holds for S3."""

from __future__ import annotations

from typing import cast

import pytest

from chalicelib.registry.ports import BlobStore, Multipart, PartsInvalid
from tests.contracts.blob_store import KEY
from tests.contracts.multipart import MultipartContract, Sent
from tests.frozen_clock import FrozenClock
from tests.memory_blobs import MemoryBlobs
from tests.memory_multipart import MemoryMultipart


class TestMemoryMultipart(MultipartContract):
    @pytest.fixture
    def blobs(self, clock: FrozenClock) -> MemoryBlobs:
        return MemoryBlobs(clock)

    @pytest.fixture
    def store(self, clock: FrozenClock, blobs: BlobStore) -> MemoryMultipart:
        return MemoryMultipart(blobs, clock)

    def send(self, store: Multipart, url: str, content: bytes, md5: bytes | None = None) -> Sent:
        return cast(MemoryMultipart, store).send(url, content, md5)


def test_parts_may_be_made_small() -> None:
    blobs = MemoryBlobs(FrozenClock())
    store = MemoryMultipart(blobs, FrozenClock(), smallest=2)
    upload = store.begin(KEY)
    for url, content in zip(store.part_urls(KEY, upload, 1, 3), (b"1", b"23", b"4"), strict=True):
        store.send(url, content)
    with pytest.raises(PartsInvalid):
        store.complete(KEY, upload, store.parts(KEY, upload))
    store.complete(KEY, upload, store.parts(KEY, upload)[1:])
    assert blobs.stat(KEY).size == 3  # type: ignore[union-attr]
