"""A full disk refuses what is new and nothing else, and once there is space again all goes on by itself.

The disks are small file systems in memory, mounted for the test: that takes root, as CI has it. The blobs' and the tables' lie
apart, so that each can be full alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.endurance.client import CONFIG, Answer, Client, image, with_digest
from tests.endurance.content import Content, digest_of
from tests.endurance.server import Server, running_server

REPOSITORY = "admin/full"
DISK = 64 * 1024 * 1024
LAYER = Content(seed=1, size=6_000_003)
SMALL = Content(seed=2, size=50_000)
TOO_LARGE = Content(seed=3, size=2 * DISK)


class Disks(NamedTuple):
    """Where the two file systems are mounted; the tables' holds the whole data folder, the blobs' lies within."""

    tables: Path
    blobs: Path


@pytest.fixture
def disks(folder: Path) -> Iterator[Disks]:
    found = Disks(folder / "data", folder / "data" / "blobs")
    with _mounted(found.tables), _mounted(found.blobs):
        yield found


@pytest.fixture
def server(folder: Path, disks: Disks) -> Iterator[Server]:
    """A registry on the small disks; it may complain of them in its log, so nobody looks there."""
    with running_server(folder) as running:
        yield running


@contextmanager
def _mounted(folder: Path) -> Iterator[None]:
    assert os.geteuid() == 0, "this test mounts small file systems and has to run as root, as CI does"
    folder.mkdir(mode=0o700)
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "tmpfs", str(folder)]
    done = subprocess.run(mounting, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"cannot mount a small file system, which this test needs: {done.stderr}"
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def _full(disk: Path) -> Iterator[None]:
    """No byte left on this disk, by a file that goes away at the end."""
    filler = disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            _write_until_full(file.write, 1 << 20)
            _write_until_full(file.write, 1)
        assert shutil.disk_usage(disk).free == 0
        yield
    finally:
        filler.unlink()


def _write_until_full(write: Callable[[bytes], int | None], size: int) -> None:
    try:
        while write(bytes(size)):
            pass
    except OSError:
        return


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_layer_larger_than_the_disk_is_refused_and_cancelling_it_frees_the_disk(
    server: Server, client: Client, disks: Disks, framing: str
) -> None:
    manifest = _push_image(client, "before")
    length = TOO_LARGE.size if framing == "length" else None
    for method in ("PATCH", "PUT"):
        location = client.begin(REPOSITORY)
        target = location if method == "PATCH" else with_digest(location, TOO_LARGE.digest())
        _refused_for_space(client.request(method, REPOSITORY, target, TOO_LARGE.blocks(), length=length))
        print(f"\n{method}: {shutil.disk_usage(disks.blobs).free} bytes of {DISK} are free", end="")
        assert client.hash_blob(REPOSITORY, TOO_LARGE.digest()) is None
        _check_pulls(server, manifest)
        client.request("DELETE", REPOSITORY, location).expect(204)
        client.check_image(REPOSITORY, "after", _push_image(client, "after"))


def test_when_the_blobs_disk_is_full_pulls_go_on_and_pushes_do_once_there_is_space(
    server: Server, client: Client, disks: Disks
) -> None:
    manifest = _push_image(client, "before")
    location = client.begin(REPOSITORY)
    with _full(disks.blobs):
        _refused_for_space(client.request("PATCH", REPOSITORY, location, LAYER.blocks()))
        _refused_for_space(client.request("PATCH", REPOSITORY, location, SMALL.whole()))
        _refused_for_space(_post(client, Content(seed=4, size=50_000).whole()))
        _check_pulls(server, manifest)
    arrived = client.arrived(REPOSITORY, location)
    client.finish(REPOSITORY, location, LAYER.digest(), LAYER.blocks(arrived), LAYER.size - arrived).expect(201)
    client.check_image(REPOSITORY, "after", _push_image(client, "after"))
    assert client.hash_blob(REPOSITORY, LAYER.digest()) == (LAYER.digest(), LAYER.size)


def test_when_the_tables_disk_is_full_pulls_go_on_and_pushes_do_once_there_is_space(
    server: Server, client: Client, disks: Disks
) -> None:
    manifest = _push_image(client, "before")
    unwritten = image([(LAYER.digest(), LAYER.size)], "unwritten" + "." * 200_000)
    location, large = client.begin(REPOSITORY), Content(seed=6, size=LAYER.size)
    with _full(disks.tables):
        refused = [_post(client, Content(seed=5, size=1_000 + turn).whole()) for turn in range(3)]
        refused.append(client.push_manifest(REPOSITORY, "unwritten", unwritten))
        client.begin(REPOSITORY)  # of which nothing is written down
        refused.append(client.request("PATCH", REPOSITORY, location, large.blocks()))
        for answer in refused:
            _refused_for_space(answer)
        client.pull_manifest(REPOSITORY, "unwritten").expect(404)
        _check_pulls(server, manifest)
    client.finish(REPOSITORY, location, large.digest(), large.blocks(), large.size).expect(201)
    assert client.hash_blob(REPOSITORY, large.digest()) == (large.digest(), large.size)
    client.push_manifest(REPOSITORY, "unwritten", unwritten).expect(201)
    client.check_image(REPOSITORY, "unwritten", unwritten)
    client.check_image(REPOSITORY, "after", _push_image(client, "after"))


def test_a_registry_starts_and_serves_pulls_on_full_disks(server: Server, client: Client, disks: Disks) -> None:
    manifest = _push_image(client, "before")
    with _full(disks.tables), _full(disks.blobs):
        server.kill()
        server.start()
        client.close()
        _check_pulls(server, manifest)
    client.check_image(REPOSITORY, "after", _push_image(client, "after"))


def _push_image(client: Client, tag: str) -> bytes:
    for blob in (LAYER.whole(), SMALL.whole(), CONFIG):
        location = client.begin(REPOSITORY)
        client.finish(REPOSITORY, location, digest_of(blob), blob).expect(201)
    manifest = image([(layer.digest(), layer.size) for layer in (LAYER, SMALL)], tag)
    client.push_manifest(REPOSITORY, tag, manifest).expect(201)
    return manifest


def _post(client: Client, content: bytes) -> Answer:
    return client.request("POST", REPOSITORY, f"blobs/uploads/?digest={digest_of(content)}", content)


def _check_pulls(server: Server, manifest: bytes) -> None:
    """A whole pull by somebody who has not been here before: token, manifest, blobs, tags."""
    with Client(server.address) as fresh:
        fresh.check_image(REPOSITORY, "before", manifest)
        assert "before" in fresh.tags(REPOSITORY)


def _refused_for_space(answer: Answer) -> None:
    assert answer.expect(507, 503).code == "UNAVAILABLE"
