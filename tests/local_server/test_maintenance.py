"""Backups of a data folder in use, and another password."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from chalicelib.local.disk_blobs import DiskBlobs
from chalicelib.local.sqlite_table import SqliteTable
from chalicelib.registry.names import Digest
from infra.local.maintenance import backup
from infra.local.settings import CannotStart
from tests.counts import Counts
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


def test_a_backup_makes_an_open_folder_its_owner_s_alone(tmp_path: Path) -> None:
    on_folder(tmp_path / "data").push_image(NAME, "one", b"layer")
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o755)
    (copy / "root-key.pem.partial").touch(0o644)  # a crash left it
    assert run("backup", str(copy), DATA=str(tmp_path / "data")).returncode == 0
    assert stat.S_IMODE(copy.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in copy.rglob("*") if path.is_file()}
    assert {"metadata.sqlite", "root-key.pem"} <= set(modes)
    assert set(modes.values()) == {0o600}, modes


def test_a_key_is_never_open_while_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_folder(tmp_path / "data")
    modes: list[int] = []

    def copying(original: IO[bytes], copy: IO[bytes], _size: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(copy.fileno()).st_mode))

    monkeypatch.setattr(shutil, "copyfileobj", copying)
    before = os.umask(0)
    try:
        backup(tmp_path / "data", tmp_path / "copy")
    finally:
        os.umask(before)
    assert set(modes) == {0o600}
    assert stat.S_IMODE((tmp_path / "copy" / "metadata.sqlite").stat().st_mode) == 0o600


def test_a_backup_goes_into_no_folder_of_others(tmp_path: Path) -> None:
    on_folder(tmp_path / "data")
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    (shared / "somebody's").touch()
    with pytest.raises(CannotStart, match=r"shared, which holds other things: somebody's"):
        backup(tmp_path / "data", shared)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755


def meanwhile(monkeypatch: pytest.MonkeyPatch, *turns: Callable[[], object]) -> list[str]:
    """Do one of these each time the records were copied; the list tells how often they were."""
    original, copies, left = SqliteTable.backup, [], list(turns)

    def backed_up(table: SqliteTable, path: Path) -> None:
        original(table, path)
        copies.append(str(path))
        if left:
            left.pop(0)()

    monkeypatch.setattr(SqliteTable, "backup", backed_up)
    return copies


def test_a_manifest_deleted_while_it_is_backed_up_is_not_half_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    surface = on_folder(tmp_path / "data")
    surface.push_image(NAME, "one", b"layer")
    large = surface.put_manifest(NAME, "large", image(b"layer", annotations=LARGE))

    def remove() -> None:
        surface.call("DELETE", f"/v2/{NAME}/manifests/{large}")
        surface.clock.advance(8 * 24 * 3600)
        surface.garbage.collect(Counts())

    copies = meanwhile(monkeypatch, remove)
    backup(tmp_path / "data", tmp_path / "copy")
    restored = on_folder(tmp_path / "copy")
    assert restored.call("GET", f"/v2/{NAME}/manifests/large").status == 404
    assert restored.call("GET", f"/v2/{NAME}/manifests/one").body == image(b"layer")
    assert len(copies) == 2


def test_a_backup_without_all_its_bytes_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    surface = on_folder(tmp_path / "data")
    surface.push_image(NAME, "one", b"layer")
    next((tmp_path / "data" / "blobs").rglob("*~sealed")).unlink()
    copies = meanwhile(monkeypatch)
    with pytest.raises(CannotStart, match=r"is not complete: its records name bytes that .* does not have, data/"):
        backup(tmp_path / "data", tmp_path / "copy")
    assert 1 < len(copies) < 10


def test_a_folder_that_was_served_is_no_place_for_a_backup(tmp_path: Path) -> None:
    """What was pushed there would be lost, and its write-ahead log would be taken for the copy's."""
    on_folder(tmp_path / "data").push_image(NAME, "one", b"layer")
    backup(tmp_path / "data", tmp_path / "copy")
    on_folder(tmp_path / "copy").push_image(NAME, "two", b"pushed to the copy")
    (tmp_path / "copy" / "lock").touch()
    with pytest.raises(CannotStart, match="was served from it"):
        backup(tmp_path / "data", tmp_path / "copy")
    assert on_folder(tmp_path / "copy").status("GET", f"/v2/{NAME}/manifests/two") == 200


@pytest.mark.parametrize("target", ["data", "data/inside", "."])
def test_a_backup_lies_elsewhere(tmp_path: Path, target: str) -> None:
    on_folder(tmp_path / "data").push_image(NAME, "one", b"layer")
    with pytest.raises(CannotStart, match="the one is within the other"):
        backup(tmp_path / "data", tmp_path / target)
    assert on_folder(tmp_path / "data").status("GET", f"/v2/{NAME}/manifests/one") == 200


def test_another_registry_s_backup_is_not_overwritten(tmp_path: Path) -> None:
    for name in ("data", "other"):
        on_folder(tmp_path / name).push_image(NAME, "one", name.encode())
        (tmp_path / name / "root-key.pem").write_text(name)
    backup(tmp_path / "other", tmp_path / "copy")
    with pytest.raises(CannotStart, match="another registry"):
        backup(tmp_path / "data", tmp_path / "copy")


def test_a_stale_log_beside_the_copy_is_not_taken_for_its_own(tmp_path: Path) -> None:
    surface = on_folder(tmp_path / "data")
    surface.push_image(NAME, "one", b"layer")
    backup(tmp_path / "data", tmp_path / "copy")
    on_folder(tmp_path / "copy").push_image(NAME, "stale", b"only here")
    assert (tmp_path / "copy" / "metadata.sqlite-wal").stat().st_size > 0
    surface.push_image(NAME, "two", b"another layer")
    backup(tmp_path / "data", tmp_path / "copy")
    copy = on_folder(tmp_path / "copy")
    assert copy.status("GET", f"/v2/{NAME}/manifests/two") == 200
    assert copy.status("GET", f"/v2/{NAME}/manifests/stale") == 404


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
