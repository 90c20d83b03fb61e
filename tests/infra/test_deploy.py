"""What `make deploy` and `make destroy` say when they cannot: a sentence, and no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infra.bundle import ROOT

DEPLOY = ("deploy", "--stage", "dev", "--architecture", "arm64", "--package", "nowhere")
DESTROY = ("destroy", "--stage", "dev")
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example"}
REGION = {"AWS_REGION": "eu-central-1"}
NOBODY = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}


def told(tmp_path: Path, *words: str, **environment: str) -> tuple[int, str]:
    """The exit code and what was said, with nothing of this machine's AWS settings."""
    alone = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "none", **environment}
    command = [sys.executable, "-m", "infra.deploy", *words]
    run = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=False)
    return run.returncode, run.stdout + run.stderr


@pytest.mark.parametrize("words", [DEPLOY, DESTROY])
def test_without_a_region(tmp_path: Path, words: tuple[str, ...]) -> None:
    code, said = told(tmp_path, *words, **CREDENTIALS)
    assert code == 1
    assert "no region: set AWS_REGION" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("words", [DEPLOY, DESTROY])
def test_without_credentials(tmp_path: Path, words: tuple[str, ...]) -> None:
    code, said = told(tmp_path, *words, **REGION)
    assert code == 1
    assert "credentials" in said
    assert "Traceback" not in said


def test_where_nobody_answers(tmp_path: Path) -> None:
    code, said = told(tmp_path, *DEPLOY, **REGION, **CREDENTIALS, **NOBODY)
    assert code == 1
    assert "http://127.0.0.1:9" in said
    assert "Traceback" not in said


def test_a_parameter_that_is_none(tmp_path: Path) -> None:
    code, said = told(tmp_path, *DEPLOY, "--parameter", "SparseManifests", **REGION, **CREDENTIALS)
    assert code == 2
    assert "a parameter is NAME=VALUE, not 'SparseManifests'" in said
