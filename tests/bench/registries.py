"""The two registries, started on free loopback ports with empty folders, and what the bench asks of them by HTTP.

with started_both(tools) as (slipway, docker_registry):
    slipway.answer("GET", "/v2/admin/app/manifests/latest", 200)
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import secrets
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from tests.bench.processes import cpu_seconds, own_cpu_seconds
from tests.bench.tools import Tools
from tests.clients.images import INDEX, MANIFEST
from tests.conformance.registry_process import REPOSITORY_ROOT, free_port, stop, wait_until_ready

USER = "admin"
SLIPWAY, DOCKER_REGISTRY = "slipway", "docker-registry"

_ACCEPTED = {"Accept": f"{MANIFEST}, {INDEX}"}
"""docker-registry answers 404 to whoever does not ask for OCI's types."""


class RequestFailed(RuntimeError):
    """A registry did not answer as it must."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, and how many bytes its body has."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry that runs. ``password`` is "" for one that asks for none; ``data`` is where it keeps everything, if that is a
    folder. ``emulator`` is the process that emulates AWS for it, 0 for none; one whose functions run below the emulator has no
    ``process`` of its own, but 0."""

    name: str
    host: str
    process: int
    data: Path
    password: str = ""
    emulator: int = 0

    def cpu_seconds(self) -> float:
        """Processor time that the server has used so far, the emulator's own apart."""
        return cpu_seconds(self.process) if self.process else cpu_seconds(self.emulator) - own_cpu_seconds(self.emulator)

    def emulator_seconds(self) -> float:
        """Processor time that the emulator itself has used so far."""
        return own_cpu_seconds(self.emulator) if self.emulator else 0.0

    def repository(self, name: str) -> str:
        return f"{USER}/bench/{name}"

    def headers(self, repository: str) -> dict[str, str]:
        """What a client sends to pull: with a fresh token where one is needed, good for five minutes."""
        if not self.password:
            return dict(_ACCEPTED)
        account = base64.b64encode(f"{USER}:{self.password}".encode()).decode()
        scope = urlencode({"service": self.host, "scope": f"repository:{repository}:pull"})
        answer = self.answer("GET", f"/auth/token?{scope}", 200, {"Authorization": f"Basic {account}"})
        return {**_ACCEPTED, "Authorization": f"Bearer {json.loads(answer.body)['token']}"}

    def answer(self, method: str, path: str, status: int, headers: Mapping[str, str] | None = None) -> Answer:
        """One request, which must be answered with ``status``. Raises RequestFailed."""
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            connection.request(method, path, headers=dict(headers or {}))
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != status:
            raise RequestFailed(f"{self.name}: {method} {path}: {response.status}, not {status}\n{body[:500]!r}")
        return Answer(dict(response.getheaders()), body)


@contextmanager
def started_both(tools: Tools) -> Iterator[tuple[Registry, Registry]]:
    """Slipway and docker-registry; both are ended, and their folders removed, when the block is left."""
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder, ExitStack() as stack:
        slipway = stack.enter_context(started_slipway(Path(folder) / "slipway"))
        docker = stack.enter_context(started_docker_registry(tools.docker_registry, Path(folder) / "docker-registry"))
        yield slipway, docker


@contextmanager
def started_slipway(folder: Path) -> Iterator[Registry]:
    """The registry as an operator starts it."""
    port, password = free_port(), secrets.token_urlsafe(18)
    words = ["make", "--no-print-directory", "run", f"PORT={port}", f"DATA={folder / 'data'}"]
    with _started(words, folder, port, "/_ping", {"SLIPWAY_ADMIN_PASSWORD": password}) as process:
        yield Registry(SLIPWAY, f"127.0.0.1:{port}", process, folder / "data", password)


@contextmanager
def started_docker_registry(
    program: str, folder: Path, storage: Mapping[str, object] | None = None, emulator: int = 0
) -> Iterator[Registry]:
    """Debian's, with the storage settings of its package and without accounts. Neither registry logs each request. ``storage``
    names another driver than the file system's, with its parameters."""
    port = free_port()
    folder.mkdir(parents=True)
    settings = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {
            "cache": {"blobdescriptor": "inmemory"},
            **(storage or {"filesystem": {"rootdirectory": str(folder / "data")}}),
            "delete": {"enabled": True},
        },
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    written = folder / "config.yml"
    written.write_text(json.dumps(settings))  # JSON is YAML
    # its S3 driver's transport refuses to take a bundle of certificates, and needs none here
    with _started([program, "serve", str(written)], folder, port, "/v2/", {"AWS_CA_BUNDLE": ""}) as process:
        yield Registry(DOCKER_REGISTRY, f"127.0.0.1:{port}", process, folder / "data", emulator=emulator)


@contextmanager
def _started(words: list[str], folder: Path, port: int, ready: str, variables: Mapping[str, str]) -> Iterator[int]:
    """Yields the process id of a server that answers. Raises RegistryDidNotStart."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            words, cwd=REPOSITORY_ROOT, env=os.environ | variables, stdout=sink, stderr=sink, start_new_session=True
        )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}{ready}", process, log)
        yield process.pid
    finally:
        stop(process)
