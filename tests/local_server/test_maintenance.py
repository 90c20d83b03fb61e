"""Backups of a data folder in use, and another password."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chalicelib.local.disk_blobs import DiskBlobs
from chalicelib.local.sqlite_table import SqliteTable
from chalicelib.registry.names import Digest
from infra.local.maintenance import backup
from infra.local.settings import CannotStart
from tests.frozen_clock import FrozenClock
from tests.surface import Surface, image

NAME = "admin/app"
LARGE = {"fill": "x" * 300_000}


def on_folder(folder: Path) -> Surface:
    folder.mkdir(exist_ok=True)
    (folder / "root-key.pem").touch(0o600)
    clock = FrozenClock()
    return Surface(table=SqliteTable(folder / "metadata.sqlite"), blobs=DiskBlobs(folder / "blobs", b"s", clock), clock=clock)


def content(surface: Surface, digest: Digest) -> bytes:
    location = surface.call("GET", f"/v2/{NAME}/blobs/{digest}").headers["Location"]
    assert isinstance(surface.store, DiskBlobs)
    path, _, query = location.partition("?")
    linked = surface.store.linked("GET", path, query)
    assert linked is not None
    with surface.store.open(linked.key) as stream:
        return stream.read()


def test_a_backup_is_a_data_folder(tmp_path: Path) -> None:
    surface = on_folder(tmp_path / "data")
    surface.push_image(NAME, "one", b"layer")
    surface.put_manifest(NAME, "large", image(b"layer", annotations=LARGE))
    surface.call("POST", f"/v2/{NAME}/blobs/uploads/")
    assert backup(tmp_path / "data", tmp_path / "copy") == 3

    restored = on_folder(tmp_path / "copy")
    assert restored.call("GET", f"/v2/{NAME}/manifests/one").body == image(b"layer")
    assert restored.call("GET", f"/v2/{NAME}/manifests/large").body == image(b"layer", annotations=LARGE)
    assert content(restored, Digest.of(b"layer")) == b"layer"
    restored.push_image(NAME, "two", b"another layer")


def test_a_second_backup_copies_what_is_new(tmp_path: Path) -> None:
    surface = on_folder(tmp_path / "data")
    surface.push_image(NAME, "one", b"layer")
    assert backup(tmp_path / "data", tmp_path / "copy") == 2
    surface.push_image(NAME, "two", b"layer", b"a new layer")
    assert backup(tmp_path / "data", tmp_path / "copy") == 1
    assert content(on_folder(tmp_path / "copy"), Digest.of(b"a new layer")) == b"a new layer"


def test_a_backup_is_its_owner_s_alone(tmp_path: Path) -> None:
    on_folder(tmp_path / "data").push_image(NAME, "one", b"layer")
    backup(tmp_path / "data", tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_mode & 0o077 == 0
    assert not list((tmp_path / "copy").rglob("*partial*"))


def test_there_must_be_something_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="DATA names"):
        backup(tmp_path / "nothing", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.local.maintenance", *arguments],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_another_password(tmp_path: Path) -> None:
    data = tmp_path / "data"
    on_folder(data)
    changed = run("password", DATA=str(data), SLIPWAY_ADMIN_PASSWORD="new password")
    assert (changed.returncode, changed.stdout) == (0, "slipway: the password of admin is changed\n")
    made_up = run("password", DATA=str(data))
    assert made_up.stdout.startswith("slipway: the password of admin is now ")
    refused = run("password", DATA=str(tmp_path / "none"), SLIPWAY_ADMIN_PASSWORD="x")
    assert (refused.returncode, refused.stderr[:18]) == (1, "slipway: DATA name")


def test_the_commands_say_what_they_want(tmp_path: Path) -> None:
    assert run().returncode == 2
    assert "backup" in run("--help").stdout
    refused = run("backup", str(tmp_path / "copy"), DATA=str(tmp_path / "none"))
    assert (refused.returncode, "no registry has its data" in refused.stderr) == (1, True)
