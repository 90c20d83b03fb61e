"""Each client pushes an image of large layers, which is compared, and pulled by the same client into an emptied place.

with client("crane", sandbox) as crane:
    crane.push(image, "large")
    crane.pull(image, "large")
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.clients.engines import Containerd, Docker, running_containerd, running_docker
from tests.clients.images import PLATFORMS, SourceImage, new_layout, opened, small_archive, stored_image, tag_layout
from tests.clients.sandbox import Sandbox
from tests.clients.stores import PLAIN, StoreClient

DIRECT = ("ctr", "oras", "regctl")
"""Clients that send a layer as one PUT of known length and digest."""

RELAYED = ("docker", "podman", "skopeo", "buildah", "crane")
"""Clients that send it as one PATCH, whose digest nobody knows before the end."""


class Client(Protocol):
    """``name`` is the repository's below the sandbox's own. What fails raises ClientFailed."""

    def push(self, image: SourceImage, name: str) -> None:
        """Push it under its tag."""

    def pull(self, image: SourceImage, name: str) -> None:
        """Pull it, and compare: raises AssertionError for other bytes than those of the image."""


def large_image(folder: Path, seed: str, sizes: Sequence[int]) -> SourceImage:
    """Of layers of such sizes, which do not compress; another one for each seed, lest a registry knows it already."""
    numbers = random.Random(seed)
    archives = [small_archive(f"usr/layer-{number}", numbers.randbytes(size)) for number, size in enumerate(sizes)]
    with new_layout(folder / "layout") as layout:
        tag_layout(layout, "large", stored_image(layout, PLATFORMS[0], archives))
    return opened(folder / "layout")


@contextmanager
def client(name: str, sandbox: Sandbox) -> Iterator[Client]:
    """Logged in, its server running if it has one."""
    if name == "ctr":
        with running_containerd(sandbox) as containerd:
            yield _Ctr(containerd)
    elif name == "docker":
        with running_docker(sandbox) as docker:
            account = sandbox.registry
            docker.run("login", "-u", account.user, "--password-stdin", account.host, stdin=account.password)
            yield _Docker(docker)
    elif name in {"podman", "buildah"}:
        store = StoreClient(name, sandbox)
        store.login()
        yield _Store(store)
    else:
        copier = {"oras": _Oras, "regctl": _Regctl, "skopeo": _Skopeo, "crane": _Crane}[name](sandbox)
        copier.login()
        yield copier


@dataclass(frozen=True, slots=True)
class _Ctr:
    containerd: Containerd

    def push(self, image: SourceImage, name: str) -> None:
        remote = self.containerd.sandbox.reference(name, image.tag)
        self.containerd.load(image, remote)
        self.containerd.push(remote)

    def pull(self, image: SourceImage, name: str) -> None:
        remote = self.containerd.sandbox.reference(name, image.tag)
        self.containerd.ctr("images", "rm", "--sync", remote)
        self.containerd.pull(remote)
        assert {self.containerd.content(digest) for digest in image.digests()} == image.digests()


@dataclass(frozen=True, slots=True)
class _Docker:
    docker: Docker

    def push(self, image: SourceImage, name: str) -> None:
        remote = self.docker.sandbox.reference(name, image.tag)
        self.docker.load(image, PLATFORMS[0], remote)
        self.docker.push(remote)

    def pull(self, image: SourceImage, name: str) -> None:
        remote = self.docker.sandbox.reference(name, image.tag)
        self.docker.run("image", "rm", "--force", remote)
        self.docker.run("pull", remote)
        assert self.docker.saved_layers(remote) == image.diff_ids()


@dataclass(frozen=True, slots=True)
class _Store:
    store: StoreClient

    def push(self, image: SourceImage, name: str) -> None:
        remote = self.store.sandbox.reference(name, image.tag)
        self.store.run("push", PLAIN, self.store.load(image), f"docker://{remote}")

    def pull(self, image: SourceImage, name: str) -> None:
        self.store.run("rmi", "--all", "--force")
        self.store.run("pull", PLAIN, self.store.sandbox.reference(name, image.tag))
        assert self.store.saved_layers(image.config_digest()) == image.diff_ids()


@dataclass(frozen=True, slots=True)
class _Copier:
    """A client without a store, which copies layouts as they are."""

    sandbox: Sandbox

    @property
    def back(self) -> Path:
        shutil.rmtree(self.sandbox.folder / "back", ignore_errors=True)
        return self.sandbox.folder / "back"

    def run(self, *words: str, stdin: str = "") -> None:
        self.sandbox.run(*words, stdin=stdin)


class _Oras(_Copier):
    def login(self) -> None:
        account = self.sandbox.registry
        words = ("oras", "login", "--plain-http", "-u", account.user, "--password-stdin", account.host)
        self.run(*words, stdin=account.password)

    def push(self, image: SourceImage, name: str) -> None:
        remote = self.sandbox.reference(name, image.tag)
        self.run("oras", "cp", "--no-tty", "--from-oci-layout", image.reference, "--to-plain-http", remote)

    def pull(self, image: SourceImage, name: str) -> None:
        remote, back = self.sandbox.reference(name, image.tag), self.back
        self.run("oras", "cp", "--no-tty", "--from-plain-http", remote, "--to-oci-layout", f"{back}:{image.tag}")
        assert opened(back).content() == image.digests()


class _Regctl(_Copier):
    def login(self) -> None:
        account = self.sandbox.registry
        self.run("regctl", "registry", "set", account.host, "--tls", "disabled", "--skip-check")
        words = ("regctl", "registry", "login", account.host, "-u", account.user, "--pass-stdin")
        self.run(*words, stdin=account.password)

    def push(self, image: SourceImage, name: str) -> None:
        self.run("regctl", "image", "copy", f"ocidir://{image.reference}", self.sandbox.reference(name, image.tag))

    def pull(self, image: SourceImage, name: str) -> None:
        remote, back = self.sandbox.reference(name, image.tag), self.back
        self.run("regctl", "image", "copy", remote, f"ocidir://{back}:{image.tag}")
        assert opened(back).content() == image.digests()


class _Skopeo(_Copier):
    def login(self) -> None:
        account = self.sandbox.registry
        words = ("skopeo", "login", PLAIN, "-u", account.user, "--password-stdin", account.host)
        self.run(*words, stdin=account.password)

    def push(self, image: SourceImage, name: str) -> None:
        remote = f"docker://{self.sandbox.reference(name, image.tag)}"
        words = ("skopeo", "copy", "--all", "--preserve-digests", "--dest-tls-verify=false")
        self.run(*words, f"oci:{image.reference}", remote)

    def pull(self, image: SourceImage, name: str) -> None:
        remote, back = f"docker://{self.sandbox.reference(name, image.tag)}", self.back
        self.run("skopeo", "copy", "--all", "--preserve-digests", "--src-tls-verify=false", remote, f"oci:{back}:{image.tag}")
        assert opened(back).content() == image.digests()


class _Crane(_Copier):
    def login(self) -> None:
        account = self.sandbox.registry
        words = ("crane", "auth", "login", account.host, "-u", account.user, "--password-stdin")
        self.run(*words, stdin=account.password)

    def push(self, image: SourceImage, name: str) -> None:
        self.run("crane", "push", str(image.layout), self.sandbox.reference(name, image.tag))

    def pull(self, image: SourceImage, name: str) -> None:
        back = self.back
        self.run("crane", "pull", "--format=oci", self.sandbox.reference(name, image.tag), str(back))
        assert SourceImage(back, image.tag, image.digest).content() == image.digests()
