"""Cold start: import of the application plus its first manifest, in fresh processes, beside the same behind naive imports.

The store is that of the server that has just been pushed to, which stays up: it is read only, and SQLite lets others read.
Of what is packaged for Lambda it is the emulated DynamoDB, and the interpreter has nothing but the standard library and the
unpacked zip: that is what Lambda has, a stranger's processor apart.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.deployed import Deployed
from tests.bench.registries import Registry, RequestFailed
from tests.clients.images import SourceImage, sha256
from tests.conformance.registry_process import REPOSITORY_ROOT

NAIVE = "naive"


@dataclass(frozen=True, slots=True)
class Start:
    """Medians in seconds: the import, and import plus answer; the third-party packages and our own that the import loaded,
    and those of the standard library."""

    imported: float
    total: float
    loaded: tuple[str, ...]
    standard: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Programs:
    """The command of each kind, and where and with which environment both run."""

    commands: Mapping[str, Sequence[str]]
    environment: Mapping[str, str]
    folder: Path


def cold_starts(slipway: Registry, image: SourceImage, repository: str, tag: str, processes: int) -> dict[str, Start]:
    """Both kinds in turns, after one of each that fills caches of files and bytecode. Raises RequestFailed."""
    environment = os.environ | {
        "SLIPWAY_DATA": str(slipway.data),
        "SLIPWAY_PUBLIC_URL": f"http://{slipway.host}",
        # The tracing library asks where it runs as soon as it is imported.
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    words = [sys.executable, "-m", "tests.bench.first_request"]
    commands = {"slipway": words, NAIVE: [*words, NAIVE]}
    programs = _Programs(commands, environment, REPOSITORY_ROOT)
    return _starts(programs, _event(slipway, repository, tag), image.digest, processes)


def packaged_starts(cloud: Deployed, image: SourceImage, repository: str, tag: str, processes: int) -> dict[str, Start]:
    """The same of the deployed zip, with the environment of the deployed function. Raises RequestFailed."""
    with tempfile.TemporaryDirectory(prefix="slipway-zip-") as folder:
        with zipfile.ZipFile(cloud.zip) as archive:
            archive.extractall(folder)
        words = [sys.executable, "-I", "-S", str(Path(__file__).with_name("first_request.py"))]
        # What the zip lacks of the libraries to be imported naively comes from here, behind all that it has.
        further = sysconfig.get_path("purelib")
        commands = {"slipway": [*words, folder], NAIVE: [*words, NAIVE, folder, further]}
        environment = {**cloud.environment, "LAMBDA_TASK_ROOT": folder, "AWS_LAMBDA_FUNCTION_NAME": "slipway"}
        event = _event(cloud.registry, repository, tag)
        return _starts(_Programs(commands, environment, Path(folder)), event, image.digest, processes)


def _starts(programs: _Programs, event: Mapping[str, Any], digest: str, processes: int) -> dict[str, Start]:
    told: dict[str, list[dict[str, Any]]] = {kind: [] for kind in programs.commands}
    for number in range(processes + 1):
        for kind, runs in told.items():
            run = _run(programs, kind, event)
            if run["status"] != 200 or sha256(base64.b64decode(run["body"])) != digest:
                raise RequestFailed(f"a fresh process answered {run['status']}: {run['body'][:500]}")
            if number:
                runs.append(run)
    return {kind: _median(runs) for kind, runs in told.items()}


def _run(programs: _Programs, kind: str, event: Mapping[str, Any]) -> dict[str, Any]:
    words, given = programs.commands[kind], json.dumps(event)
    done = subprocess.run(
        words, cwd=programs.folder, env=programs.environment, input=given, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RequestFailed(f"{' '.join(words)} ended with {done.returncode}\n{done.stderr}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _event(slipway: Registry, repository: str, tag: str) -> dict[str, Any]:
    """What API Gateway's HTTP API sends (payload format 2.0)."""
    path = f"/v2/{repository}/manifests/{tag}"
    headers = {name.lower(): value for name, value in slipway.headers(repository).items()}
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {**headers, "host": slipway.host},
        "requestContext": {"http": {"method": "GET", "path": path, "sourceIp": "127.0.0.1"}, "requestId": "cold"},
        "isBase64Encoded": False,
    }


def _median(runs: list[dict[str, Any]]) -> Start:
    return Start(
        imported=median(run["import"] for run in runs),
        total=median(run["total"] for run in runs),
        loaded=tuple(runs[0]["loaded"]),
        standard=tuple(runs[0]["standard"]),
    )
