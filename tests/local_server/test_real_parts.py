"""The server with the registry's own parts, as ``make run`` starts it: data that it cannot serve."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.conformance.registry_process import free_port


def start(data: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")}
    return subprocess.run(
        [sys.executable, "-m", "infra.local"],
        cwd=Path(__file__).parents[2],
        env={**inherited, "DATA": str(data), "PORT": str(free_port()), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_data_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "metadata.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 99")
    refused = start(tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("slipway: the file has schema 99"), refused.stderr
    assert "Traceback" not in refused.stderr


def test_records_that_are_none_are_told(tmp_path: Path) -> None:
    (tmp_path / "metadata.sqlite").write_bytes(b"something else" * 1000)
    refused = start(tmp_path)
    assert refused.returncode == 1
    assert refused.stderr == "slipway: file is not a database\n"


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    refused = start(tmp_path, SLIPWAY_SPARSE_MANIFESTS="some")
    assert refused.returncode == 1
    assert refused.stderr.startswith("slipway: SLIPWAY_SPARSE_MANIFESTS must be")


def test_a_root_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root-key.pem").write_text("whatever")
    (tmp_path / "root-key.pem").chmod(0o644)
    refused = start(tmp_path)
    assert refused.returncode == 1
    assert "chmod 600" in refused.stderr
