"""Push and pull of a real image by a real client: wall time, and processor time of the server.

Every round pushes content that no registry has seen, into a repository that is new, so that nothing is saved by having it
already. Its layers are those of one image with an empty gzip member behind them: other bytes, the same files.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.registries import USER, Registry, RequestFailed
from tests.clients.images import LAYER, MANIFEST, SourceImage, new_layout, opened, stored, stored_json, tag_layout

_GIVE_UP_SECONDS = 300
_SETTLE_SECONDS = 0.2
"""After a transfer the server may still be busy with what it put off; that time is the transfer's too."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """One push or pull: seconds of wall time, and of processor time in the server and in the emulator of AWS behind it."""

    wall: float
    cpu: float
    emulator: float = 0.0


@dataclass(frozen=True, slots=True)
class Rounds:
    """A registry's transfers, in the order of the rounds."""

    pushes: list[Transfer]
    pulls: list[Transfer]


def transferred(crane: str, image: SourceImage, registries: Sequence[Registry], rounds: int) -> dict[str, Rounds]:
    """Push and pull in turns. The first round warms up and is left out. Raises RequestFailed."""
    results = {registry.name: Rounds([], []) for registry in registries}
    with tempfile.TemporaryDirectory(prefix="slipway-bench-client-") as name:
        folder = Path(name)
        client = _Client(crane, folder, registries)
        for number in range(rounds + 1):
            variant = _variant(image, folder / "image", number)
            # Who goes first takes turns as well: the second finds the image in the page cache, if anything.
            for registry in registries if number % 2 else reversed(registries):
                push, pull = client.push(registry, variant, number), client.pull(registry, number)
                if number:
                    results[registry.name].pushes.append(push)
                    results[registry.name].pulls.append(pull)
            shutil.rmtree(variant.layout)
    return results


def pushed(crane: str, image: SourceImage, registry: Registry, repository: str) -> None:
    """Push the image as it is, not measured. Raises RequestFailed."""
    with tempfile.TemporaryDirectory(prefix="slipway-bench-client-") as folder:
        client = _Client(crane, Path(folder), [registry])
        client.run("push", str(image.layout), f"{registry.host}/{repository}:{image.tag}")


class _Client:
    """crane, with the account of each registry in a configuration of its own."""

    def __init__(self, crane: str, folder: Path, registries: Sequence[Registry]) -> None:
        self._crane = crane
        self._pulled = folder / "pulled"
        accounts = {
            registry.host: {"auth": base64.b64encode(f"{USER}:{registry.password}".encode()).decode()}
            for registry in registries
            if registry.password
        }
        (folder / "config.json").write_text(json.dumps({"auths": accounts}))
        self._environment = os.environ | {"DOCKER_CONFIG": str(folder)}

    def push(self, registry: Registry, image: SourceImage, number: int) -> Transfer:
        return _measured(registry, lambda: self.run("push", str(image.layout), _reference(registry, number)))

    def pull(self, registry: Registry, number: int) -> Transfer:
        pulled = _measured(registry, lambda: self.run("pull", "--format=oci", _reference(registry, number), str(self._pulled)))
        shutil.rmtree(self._pulled)
        return pulled

    def run(self, verb: str, *words: str) -> None:
        command = [self._crane, verb, "--insecure", *words]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=_GIVE_UP_SECONDS, check=False
        )
        if done.returncode != 0:
            raise RequestFailed(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def _reference(registry: Registry, number: int) -> str:
    return f"{registry.host}/{registry.repository(f'round-{number}')}:bench"


def _measured(registry: Registry, transfer: Callable[[], None]) -> Transfer:
    cpu, emulator, start = registry.cpu_seconds(), registry.emulator_seconds(), time.perf_counter()
    transfer()
    wall = time.perf_counter() - start
    time.sleep(_SETTLE_SECONDS)
    return Transfer(wall, registry.cpu_seconds() - cpu, registry.emulator_seconds() - emulator)


def _variant(image: SourceImage, folder: Path, number: int) -> SourceImage:
    """The same image in other bytes."""
    mark = gzip.compress(b"", mtime=number + 1)
    manifest = image.manifest()
    with new_layout(folder) as layout:
        layers = [stored(layout, LAYER, image.blob(layer["digest"]).read_bytes() + mark) for layer in manifest["layers"]]
        config = manifest["config"]
        stored(layout, config["mediaType"], image.blob(config["digest"]).read_bytes())
        tag_layout(layout, "bench", stored_json(layout, MANIFEST, {**manifest, "layers": layers}))
    return opened(folder)
