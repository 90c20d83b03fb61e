"""Where a soak runs: one machine, or an emulated AWS."""

from __future__ import annotations

import base64
import json
import os
import random
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boto3.session import Session

from tests.conformance.registry_process import REPOSITORY_ROOT
from tests.emulator import TABLE, Emulator, start
from tests.endurance.server import Address, Server
from tests.soak.slots import Child, Slot, Slots, Worker

COLLECTORS = 2
WORKERS = 3
REST = 3.0
"""Seconds: an emulator that is kept busy by clients alone answers no collector."""
AUDIT_SECONDS = 600


class _Machine:
    """A ``Slot``: the registry as an operator starts it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._runs = False

    def start(self) -> Address:
        self._server.start()
        self._runs = True
        return self._server.address

    def kill(self) -> None:
        if self._runs:
            self._runs = False
            self._server.kill()


@dataclass(frozen=True, slots=True)
class Place:
    """The processes of a registry, and how to begin others beside them. ``logs`` are files that hold no failure, ``pauses`` the
    least and the most seconds between two kills, ``rest`` the most between two steps of a client."""

    name: str
    slots: Slots
    collectors: Sequence[Child]
    environment: Mapping[str, str]
    folder: Path
    logs: Sequence[Path]
    pauses: tuple[float, float]
    rest: float

    def prepare(self) -> None:
        """Choose the soak's settings."""
        self._run("tests.soak.prepare")

    def audit(self) -> dict[str, Any]:
        """See ``tests.soak.audit``. Nobody else may use the registry."""
        told: dict[str, Any] = json.loads(self._run("tests.soak.audit"))
        return told

    def complaints(self) -> list[str]:
        """What the logs hold of failures."""
        lines = [line for log in self.logs if log.exists() for line in log.read_text(errors="replace").splitlines()]
        return [line for line in lines if "ERROR" in line or "Traceback" in line or "Error" in line]

    def _run(self, module: str) -> bytes:
        words = [sys.executable, "-m", module]
        done = subprocess.run(
            words, cwd=REPOSITORY_ROOT, env=self.environment, capture_output=True, timeout=AUDIT_SECONDS, check=False
        )
        assert done.returncode == 0, f"{module}: {done.stderr.decode(errors='replace')[-4000:]}"
        return done.stdout


def _collectors(environment: Mapping[str, str], folder: Path, seed: int) -> list[Child]:
    return [
        Child("tests.soak.collector", environment, folder / f"collector-{number}.log", random.Random(seed * 100 + number))
        for number in range(COLLECTORS)
    ]


@contextmanager
def machine(folder: Path, seed: int) -> Iterator[Place]:
    """One process on SQLite and a folder, and collectors of their own beside it."""
    server = Server(folder, secrets.token_urlsafe(18))
    slots: Sequence[Slot] = [_Machine(server)]
    environment = {
        **os.environ, "SLIPWAY_DATA": str(server.data), "SLIPWAY_PUBLIC_URL": "http://127.0.0.1", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    collectors = _collectors(environment, folder, seed)
    with Slots(slots).all() as serving:
        logs = [folder / "log", *(each.log for each in collectors)]
        yield Place("one machine", serving, collectors, environment, folder, logs, (0.5, 4.0), 0.0)


@contextmanager
def cloud(folder: Path, seed: int) -> Iterator[Place]:
    """Workers and collectors on an emulated DynamoDB, S3 and KMS."""
    password = secrets.token_urlsafe(18)
    with start(folder) as emulator, ExitStack() as stack:
        resources = _resources(emulator, stack)
        environment = {
            "PATH": os.environ["PATH"],
            **emulator.environment(),
            **resources,
            "SLIPWAY_PUBLIC_URL": "http://soak.slipway.test",
            "SLIPWAY_UPLOAD_KEYS": f"1:{base64.b64encode(secrets.token_bytes(32)).decode()}",
            "SOAK_PASSWORD": password,
        }
        logs = [folder / f"worker-{number}.log" for number in range(WORKERS)]
        slots = Slots([Worker(environment, log, password) for log in logs])
        collectors = _collectors(environment, folder, seed)
        logs += [each.log for each in collectors]
        place = Place("emulated AWS", slots, collectors, environment, folder, logs, (1.0, 8.0), REST)
        with slots.all():
            yield place


def _resources(emulator: Emulator, stack: ExitStack) -> dict[str, str]:
    """A table, a bucket and keys; the settings that name them."""
    name = "soak"
    session = Session()
    dynamodb, s3 = (
        stack.enter_context(closing(session.client(service, **emulator.client_arguments()))) for service in ("dynamodb", "s3")
    )
    dynamodb.create_table(TableName=name, **TABLE)
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": emulator.region})
    signing, wrapping = emulator.keys()
    return {
        "SLIPWAY_TABLE": name,
        "SLIPWAY_BUCKET": name,
        "SLIPWAY_SIGNING_KEY": signing,
        "SLIPWAY_WRAPPING_KEY": wrapping,
    }
