"""A layer of 5 GB goes up and comes down, and the server's memory stays small."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.endurance.client import Client, push_by_chunked_patch, push_by_put
from tests.endurance.content import Content
from tests.endurance.memory import MemoryWatch
from tests.endurance.server import Server

LARGE = 5 * 10**9
LESS_LARGE = 3 * 10**8
MOST_MEMORY = 200 * 10**6
REPOSITORY = "admin/large"
WAYS = {"docker": push_by_chunked_patch, "containerd": push_by_put}


@pytest.mark.parametrize("way", WAYS)
def test_5_gb_go_up_and_come_down_in_little_memory(server: Server, client: Client, way: str) -> None:
    content = Content(seed=len(way), size=LARGE)
    _need_disk(server, LARGE)
    digest = content.digest()
    with _watched(server, f"{way}'s way"):
        with _timed(f"push by {way}'s way", LARGE):
            WAYS[way](client, REPOSITORY, content)
        with _timed("pull", LARGE):
            assert client.hash_blob(REPOSITORY, digest) == (digest, LARGE)
    assert server.stored_bytes() == LARGE, "something besides the layer is left in the data folder"


def test_sha512(server: Server, client: Client) -> None:
    """Nothing hashes this one on its way in: it is read again, and not into memory either."""
    content = Content(seed=512, size=LESS_LARGE)
    _need_disk(server, LESS_LARGE)
    digest = content.digest("sha512")
    with _watched(server, "sha512"):
        with _timed("push with sha512", LESS_LARGE):
            location = client.request("POST", REPOSITORY, "blobs/uploads/?digest-algorithm=sha512").expect(202).location
            answer = client.request("PATCH", REPOSITORY, location, content.blocks()).expect(202)
            client.finish(REPOSITORY, answer.location, digest).expect(201)
        with _timed("pull", LESS_LARGE):
            assert client.hash_blob(REPOSITORY, digest) == (digest, LESS_LARGE)


def _need_disk(server: Server, size: int) -> None:
    free = shutil.disk_usage(server.data).free
    assert free > size + 10**9, f"{server.data} has {free / 1e9:.1f} GB free, too little for a layer of {size / 1e9:.1f} GB"


@contextmanager
def _watched(server: Server, what: str) -> Iterator[None]:
    with MemoryWatch(server) as memory:
        yield
    print(
        f"\n{what}: {memory.peak / 1e6:.0f} MB at the most in {memory.samples} samples of all processes, "
        f"{memory.highest / 1e6:.0f} MB by the kernel's record of the server's"
    )
    assert memory.samples > 10, "the watch saw too little"
    assert 0 < memory.peak < MOST_MEMORY
    assert 0 < memory.highest < MOST_MEMORY


@contextmanager
def _timed(what: str, size: int) -> Iterator[None]:
    begun = time.monotonic()
    yield
    seconds = time.monotonic() - begun
    print(f"\n{what}: {size / 1e9:.1f} GB in {seconds:.1f} s, {size / 1e6 / seconds:.0f} MB/s")
