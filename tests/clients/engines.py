"""The engines that need a server of their own: containerd, and docker's on top of it.

Each runs below its sandbox with its own socket, state and images, touches no network set-up, and ends with the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.clients.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class Containerd:
    sandbox: Sandbox
    socket: Path

    def ctr(self, *words: str) -> str:
        return self.sandbox.run("ctr", "--address", str(self.socket), "--namespace", "slipway", *words)


@dataclass(frozen=True, slots=True)
class Docker:
    sandbox: Sandbox
    socket: Path

    def words(self, *words: str) -> tuple[str, ...]:
        return ("docker", "--host", f"unix://{self.socket}", *words)

    def run(self, *words: str, stdin: str = "") -> str:
        return self.sandbox.run(*self.words(*words), stdin=stdin)


@contextmanager
def running_containerd(sandbox: Sandbox) -> Iterator[Containerd]:
    folder = sandbox.folder / "containerd"
    folder.mkdir()
    settings = folder / "config.toml"
    settings.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    client = Containerd(sandbox, folder / "containerd.sock")
    words = ("--config", settings, "--address", client.socket, "--root", folder / "root", "--state", folder / "state")
    with sandbox.daemon("containerd", *map(str, words), ready=lambda: client.ctr("version")):
        yield client


@contextmanager
def running_docker(sandbox: Sandbox) -> Iterator[Docker]:
    """dockerd without any networking: pushes and pulls need none of its own."""
    folder = sandbox.folder / "docker"
    folder.mkdir()
    client = Docker(sandbox, folder / "docker.sock")
    words = {
        "--host": f"unix://{client.socket}",
        "--data-root": folder / "data",
        "--exec-root": folder / "exec",
        "--pidfile": folder / "docker.pid",
        "--storage-driver": "vfs",
        "--bridge": "none",
        "--iptables": "false",
        "--ip6tables": "false",
        "--config-file": folder / "daemon.json",
    }
    (folder / "daemon.json").write_text("{}")
    with running_containerd(sandbox) as containerd:
        flags = [f"{name}={value}" for name, value in words.items()]
        with sandbox.daemon("dockerd", *flags, f"--containerd={containerd.socket}", ready=lambda: client.run("version")):
            yield client
