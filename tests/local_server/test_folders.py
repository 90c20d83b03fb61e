"""Which folders the one-machine server takes for its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from chalicelib.local.disk_blobs import DiskBlobs
from chalicelib.local.secret_file import kept
from infra.local.folders import NotOurs, take
from tests.frozen_clock import FrozenClock

SECRETS = ["root-key.pem", "link-secret", "upload-keys", "admin-password"]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_first_start_that_was_killed_while_it_wrote_a_secret_is_taken_up(tmp_path: Path, secret: str) -> None:
    kept(tmp_path / secret, lambda: b"secret")
    (tmp_path / secret).rename(tmp_path / f"{secret}.47d1462489359686")  # as secret_file names what it has not finished
    take(tmp_path)


def test_a_backup_that_was_cut_off_at_its_beginning_is_taken_up(tmp_path: Path) -> None:
    (tmp_path / "root-key.pem.partial").touch()
    take(tmp_path)


@pytest.mark.parametrize(
    "name", ["thesis.partial", "upload-keys.old", "upload-keys.47d14624893596860", "47d1462489359686", "lock "]
)
def test_what_only_looks_like_it_is_somebody_s(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(NotOurs):
        take(tmp_path)


def test_content_without_its_records_is_left_alone(tmp_path: Path) -> None:
    """A registry that began there anew would take it for nobody's, and delete it."""
    blobs = DiskBlobs(tmp_path / "blobs", b"secret", FrozenClock())
    take(tmp_path)
    blobs.put("data/one", b"one")
    with pytest.raises(NotOurs, match=r"metadata\.sqlite"):
        take(tmp_path)
    (tmp_path / "metadata.sqlite").touch()
    take(tmp_path)
