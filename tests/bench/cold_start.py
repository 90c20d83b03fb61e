"""Cold start: import of the application plus its first manifest, in fresh processes, beside the same behind naive imports.

The store is that of the server that has just been pushed to, which stays up: it is read only, and SQLite lets others read.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from statistics import median
from typing import Any

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


def cold_starts(slipway: Registry, image: SourceImage, repository: str, tag: str, processes: int) -> dict[str, Start]:
    """Both kinds in turns, after one of each that fills caches of files and bytecode. Raises RequestFailed."""
    event = json.dumps(_event(slipway, repository, tag))
    told: dict[str, list[dict[str, Any]]] = {"slipway": [], NAIVE: []}
    for number in range(processes + 1):
        for kind, runs in told.items():
            run = _run(slipway, event, *([NAIVE] if kind == NAIVE else []))
            if run["status"] != 200 or sha256(base64.b64decode(run["body"])) != image.digest:
                raise RequestFailed(f"a fresh process answered {run['status']}: {run['body'][:500]}")
            if number:
                runs.append(run)
    return {kind: _median(runs) for kind, runs in told.items()}


def _run(slipway: Registry, event: str, *arguments: str) -> dict[str, Any]:
    environment = os.environ | {
        "SLIPWAY_DATA": str(slipway.data),
        "SLIPWAY_PUBLIC_URL": f"http://{slipway.host}",
        # The tracing library asks where it runs as soon as it is imported.
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    words = [sys.executable, "-m", "tests.bench.first_request", *arguments]
    done = subprocess.run(words, cwd=REPOSITORY_ROOT, env=environment, input=event, capture_output=True, text=True, check=False)
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
