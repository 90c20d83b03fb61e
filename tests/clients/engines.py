"""The engines that need a server of their own: containerd, and docker's on top of it.

Each runs below its sandbox with its own socket, state and images, touches no network set-up, and ends with the test.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.clients.images import SourceImage, archived_layers
from tests.clients.sandbox import ClientFailed, Sandbox, located

LOST = "failed to copy: rpc error: code = Internal desc = unexpected EOF"
"""ctr reads what it pushes from containerd over gRPC, where Debian's 1.6 loses an answer now and then: on a busy machine in one
push of some hundreds, to docker-registry no less than to Slipway (containerd/containerd#5734 has the same words)."""

ATTEMPTS = 3

PUSHED = re.compile(r"digest: (sha256:[0-9a-f]{64}) size:")


@dataclass(frozen=True, slots=True)
class Containerd:
    sandbox: Sandbox
    socket: Path

    def ctr(self, *words: str) -> str:
        return self.sandbox.run("ctr", "--address", str(self.socket), "--namespace", "slipway", *words)

    @property
    def account(self) -> str:
        return f"{self.sandbox.registry.user}:{self.sandbox.registry.password}"

    def load(self, image: SourceImage, remote: str) -> None:
        archive = self.sandbox.folder / "layout.tar"
        with tarfile.open(archive, "w") as sink:
            sink.add(image.layout, arcname=".")
        bare = remote.rpartition(":")[0]
        self.ctr("images", "import", "--no-unpack", "--all-platforms", "--base-name", bare, str(archive))
        archive.unlink()

    def push(self, remote: str) -> None:
        """Begins anew if ctr and containerd lost each other, and only then."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self.ctr("images", "push", "--plain-http", "--user", self.account, remote)
            except ClientFailed as failure:
                if LOST not in str(failure) or attempt == ATTEMPTS:
                    raise
            else:
                return

    def pull(self, remote: str) -> None:
        """All platforms."""
        words = ("images", "pull", "--plain-http", "--all-platforms", "--snapshotter", "native", "--user")
        self.ctr(*words, self.account, remote)

    def content(self, digest: str) -> str:
        """The hash of what the content store holds under a digest; raises ClientFailed when it holds nothing."""
        words = [located("ctr"), "--address", str(self.socket), "--namespace", "slipway", "content", "get", digest]
        done = subprocess.run(words, env=self.sandbox.environment, capture_output=True, check=False)
        if done.returncode != 0:
            raise ClientFailed(done.stderr.decode())
        return f"sha256:{hashlib.sha256(done.stdout).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Docker:
    sandbox: Sandbox
    socket: Path

    def words(self, *words: str) -> tuple[str, ...]:
        return ("docker", "--host", f"unix://{self.socket}", *words)

    def run(self, *words: str, stdin: str = "") -> str:
        return self.sandbox.run(*self.words(*words), stdin=stdin)

    def load(self, image: SourceImage, architecture: str, remote: str) -> None:
        """Brings an image into the engine, which reads no OCI layouts, as an archive in docker's own format."""
        archive = self.sandbox.folder / "archive.tar"
        words = ("skopeo", "--override-arch", architecture, "copy", f"oci:{image.reference}")
        self.sandbox.run(*words, f"docker-archive:{archive}:{remote}")
        self.run("load", "--input", str(archive))
        archive.unlink()

    def push(self, remote: str) -> str:
        """The digest that it says it pushed."""
        found = PUSHED.search(self.run("push", remote))
        assert found is not None
        return found.group(1)

    def layers(self, reference: str) -> list[str]:
        """The hashes of an image's layers, as the engine has them in mind."""
        layers: list[str] = json.loads(self.run("image", "inspect", "--format", "{{json .RootFS.Layers}}", reference))
        return layers

    def saved_layers(self, reference: str) -> list[str]:
        """The hashes of an image's layers as the engine writes them out again."""
        archive = self.sandbox.folder / "saved.tar"
        self.run("save", "--output", str(archive), reference)
        return archived_layers(archive)


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
