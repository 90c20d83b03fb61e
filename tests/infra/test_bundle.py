"""The zip: the same bytes from the same input, small, and whole: it runs where nothing else is installed."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from infra import bundle as bundling
from infra.bundle import (
    ARCHITECTURES,
    KINDS,
    LIMIT,
    LOCAL_ONLY,
    ROOT,
    ROTATION,
    ROTATION_SERVICES,
    SERVICES,
    Kind,
    bundle,
)
from infra.package import STAND_IN
from tests.infra import ARCHITECTURE

ALONE = """
import os, sys
sys.path.insert(0, sys.argv[1])
import app
early = sorted({"boto3", "s3transfer", "aws_xray_sdk", "cronsim"} & set(sys.modules))
assert not early, early
import boto3
for service in sys.argv[2:]:
    boto3.client(service)
boto3.client("s3").get_paginator("list_objects_v2")
from chalicelib import wiring
wiring.accounts().ensure_admin
wiring.runner()
assert "cronsim" in sys.modules
import chalicelib.aws.kms_signer, chalicelib.aws.secrets_manager
os.environ["LAMBDA_TASK_ROOT"] = sys.argv[1]  # as on Lambda, where the tracing library makes no client
from chalicelib.aws.tracing import traced
traced(wiring.table(), "Table")
assert "aws_xray_sdk" in sys.modules
outside = [name for name, module in sys.modules.items() if "site-packages" in (getattr(module, "__file__", "") or "")]
assert not outside, outside
"""


ROTATING = """
import sys
sys.path.insert(0, sys.argv[1])
from infra.rotation.rotate import handler
from infra.rotation.store import store_client
assert "boto3" not in sys.modules
from boto3.session import Session
store_client(Session())
Session().client("secretsmanager")
import awscrt.auth
from botocore.compat import HAS_CRT
assert HAS_CRT
outside = [name for name, module in sys.modules.items() if "site-packages" in (getattr(module, "__file__", "") or "")]
assert not outside, outside
"""


@pytest.fixture(scope="module")
def content() -> bytes:
    return bundle(ARCHITECTURE)


@pytest.fixture(scope="module")
def rotation() -> bytes:
    return bundle(ARCHITECTURE, ROTATION)


@pytest.fixture(scope="module")
def names(content: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.namelist()


def test_the_same_input_gives_the_same_bytes(content: bytes) -> None:
    assert bundle(ARCHITECTURE) == content


def test_the_rotation_s_too(rotation: bytes) -> None:
    assert bundle(ARCHITECTURE, ROTATION) == rotation


def test_no_time_and_no_mode_of_this_machine(content: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.external_attr >> 16 for entry in entries} == {0o100644}


def test_they_are_small(content: bytes, rotation: bytes) -> None:
    assert max(len(content), len(rotation)) < LIMIT


def test_it_runs_where_nothing_is_installed(content: bytes, tmp_path: Path) -> None:
    """The interpreter that Lambda has, the standard library and the zip; nothing that a cold start can do without is loaded."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(tmp_path)
    command = [sys.executable, "-I", "-S", "-c", ALONE, str(tmp_path), *SERVICES]
    run = subprocess.run(command, env=STAND_IN, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_the_rotation_runs_where_nothing_is_installed(rotation: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(rotation)) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path)
    command = [sys.executable, "-I", "-S", "-c", ROTATING, str(tmp_path)]
    run = subprocess.run(command, env=STAND_IN, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    ours = {name for name in names if name.startswith("infra/") and name.endswith(".py")}
    assert ours == {"infra/__init__.py", *(f"infra/rotation/{name}.py" for name in ("__init__", "rotate", "store"))}
    models = {name.split("/")[2] for name in names if name.startswith("botocore/data/") and name.count("/") > 2}
    assert models == set(ROTATION_SERVICES)


def test_compiled_code_is_taken_as_it_is(content: bytes, names: list[str]) -> None:
    """Bit 0 of the flags: compared by hash, not by time; bit 1 unset: not compared at all."""
    compiled = [name for name in names if name.endswith(".pyc")]
    assert len(compiled) > 300
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {archive.read(name)[4:8] for name in compiled} == {b"\x01\x00\x00\x00"}


def test_every_module_is_there_compiled(names: list[str]) -> None:
    tag = sys.implementation.cache_tag
    for name in names:
        if name.endswith(".py"):
            path = Path(name)
            assert (path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc").as_posix() in names
            assert name == "app.py" or name.startswith("chalicelib/")


def test_only_what_runs_there(names: list[str]) -> None:
    assert not [name for name in names if name.startswith(("tests/", "infra/", "docs/")) or ".dist-info/" in name]
    assert not [name for name in names if name in {f"chalicelib/local/{module}.py" for module in LOCAL_ONLY}]
    assert "chalicelib/local/system_clock.py" in names
    models = {name.split("/")[2] for name in names if name.startswith("botocore/data/") and name.count("/") > 2}
    assert models == set(SERVICES)


def pins(path: Path) -> dict[str, str]:
    lines = [line.partition("==") for line in path.read_text().splitlines() if "==" in line]
    return {name.lower().replace("-", "_"): version for name, _, version in lines}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_shipped_is_what_is_pinned(kind: Kind) -> None:
    assert pins(kind.requirements).keys() == kind.shipped.keys()


def test_what_is_shipped_is_what_is_tested() -> None:
    tested = pins(ROOT / "requirements.txt") | pins(ROOT / "requirements-deploy.txt")
    for kind in KINDS:
        shipped = pins(kind.requirements)
        assert {name: tested[name] for name in tested.keys() & shipped.keys()}.items() <= shipped.items()
    assert pins(ROOT / "requirements.txt").items() <= pins(KINDS[0].requirements).items()


def test_an_architecture_that_lambda_does_not_have() -> None:
    with pytest.raises(ValueError, match="arm64 or x86_64, not 'sparc'"):
        bundle("sparc")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kind", KINDS)
def test_wheels_are_for_the_architecture(architecture: str, kind: Kind) -> None:
    machines = {wheel.stem.rpartition("_")[2] for wheel in bundling.wheels(architecture, kind) if "manylinux" in wheel.name}
    assert machines == {ARCHITECTURES[architecture].rpartition("_")[2]}
