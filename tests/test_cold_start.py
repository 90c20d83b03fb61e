"""What importing the program loads: a cold start pays for each package, so the list is written down and nothing slips in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

LIST = """
import json, sys
import app
print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names))))
"""

ALLOWED = {
    "chalice",  # the application's base
    "cryptography",  # tokens are verified on every call
    "jwt",
    "app",
    "chalicelib",
    "typing_extensions",  # chalice's and jwt's
    "_cffi_backend",  # cryptography's
    "_openssl",
    "_distutils_hack",  # what setuptools leaves in a virtual environment
}


def loaded(**environment: str) -> set[str]:
    """The packages outside the standard library that a fresh process has loaded after ``import app``."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLIPWAY_", "AWS_"))}
    run = subprocess.run(
        [sys.executable, "-c", LIST],
        cwd=ROOT,
        env={**inherited, "SLIPWAY_PUBLIC_URL": "http://127.0.0.1:5000", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    names: list[str] = json.loads(run.stdout)
    return {name for name in names if not name.startswith("__")}


def test_one_machine_loads_no_cloud(tmp_path: Path) -> None:
    assert loaded(SLIPWAY_DATA=str(tmp_path)) <= ALLOWED


def test_tracing_is_loaded_where_it_is_on_and_can_be() -> None:
    settings = {
        "SLIPWAY_TABLE": "table",
        "SLIPWAY_BUCKET": "bucket",
        "SLIPWAY_SIGNING_KEY": "key",
        "SLIPWAY_WRAPPING_KEY": "key",
    }
    settings |= {"AWS_DEFAULT_REGION": "eu-west-1", "LAMBDA_TASK_ROOT": "/var/task"}
    assert "aws_xray_sdk" in loaded(**settings, SLIPWAY_TRACING="yes")
    assert "aws_xray_sdk" not in loaded(**settings, SLIPWAY_TRACING="no")


def test_lambda_loads_no_tracing_and_no_unused_cloud() -> None:
    """With the cloud's adapters named, nothing that only some requests need is loaded before the first one: no SDK, since the
    first read needs none."""
    names = loaded(
        SLIPWAY_TABLE="table",
        SLIPWAY_BUCKET="bucket",
        SLIPWAY_SIGNING_KEY="key",
        SLIPWAY_WRAPPING_KEY="key",
        AWS_DEFAULT_REGION="eu-west-1",
    )
    assert names <= ALLOWED
