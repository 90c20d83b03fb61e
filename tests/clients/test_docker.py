"""docker 20.10: the legacy engine, which streams each layer in one PATCH without a length."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.clients.engines import Docker, running_docker
from tests.clients.images import PLATFORMS, SourceImage, archived_layers
from tests.clients.sandbox import Sandbox
from tests.clients.wire import Wire

PUSHED = re.compile(r"digest: (sha256:[0-9a-f]{64}) size:")


@pytest.fixture(scope="module")
def docker(sandbox: Sandbox) -> Iterator[Docker]:
    account = sandbox.registry
    with running_docker(sandbox) as running:
        words = ("login", "-u", account.user, "--password-stdin", account.host)
        sandbox.is_refused(*running.words(*words), stdin="not the password")
        running.run(*words, stdin=account.password)
        yield running


def loaded(docker: Docker, image: SourceImage, architecture: str, remote: str) -> None:
    """Brings an image into the engine, which reads no OCI layouts, as an archive in docker's own format."""
    archive = docker.sandbox.folder / "archive.tar"
    words = ("skopeo", "--override-arch", architecture, "copy", f"oci:{image.reference}")
    docker.sandbox.run(*words, f"docker-archive:{archive}:{remote}")
    docker.run("load", "--input", str(archive))
    archive.unlink()


def pushed(docker: Docker, remote: str) -> str:
    found = PUSHED.search(docker.run("push", remote))
    assert found is not None
    return found.group(1)


def inspected_layers(docker: Docker, reference: str) -> list[str]:
    layers: list[str] = json.loads(docker.run("image", "inspect", "--format", "{{json .RootFS.Layers}}", reference))
    return layers


def saved_layers(docker: Docker, reference: str) -> list[str]:
    """The hashes of an image's layers as the engine writes them out again."""
    archive = docker.sandbox.folder / "saved.tar"
    docker.run("save", "--output", str(archive), reference)
    return archived_layers(archive)


def test_image(docker: Docker, wire: Wire, debian: SourceImage) -> None:
    sandbox = docker.sandbox
    repository, remote = sandbox.repository("debian"), sandbox.reference("debian", debian.tag)
    loaded(docker, debian, PLATFORMS[0], remote)
    digest = pushed(docker, remote)
    assert wire.manifest(repository, debian.tag)[0] == digest
    wire.digests(repository, debian.tag)

    docker.run("image", "rm", "--force", remote)
    by_digest = f"{remote.rpartition(':')[0]}@{digest}"
    docker.run("pull", by_digest)
    assert inspected_layers(docker, by_digest) == debian.diff_ids()
    assert saved_layers(docker, by_digest) == debian.diff_ids()
    docker.run("image", "rm", "--force", by_digest)


def test_layers_are_mounted_in_another_repository(docker: Docker, wire: Wire, multi: SourceImage) -> None:
    sandbox = docker.sandbox
    first, second = sandbox.reference("origin", multi.tag), sandbox.reference("mounted", multi.tag)
    loaded(docker, multi, PLATFORMS[0], first)
    pushed(docker, first)
    docker.run("tag", first, second)
    assert "Mounted from" in docker.run("push", second)
    wire.digests(sandbox.repository("mounted"), multi.tag)
    docker.run("image", "rm", "--force", first, second)


def test_index(docker: Docker, wire: Wire, multi: SourceImage) -> None:
    sandbox = docker.sandbox
    repository, remote = sandbox.repository("multi"), sandbox.reference("multi", multi.tag)
    parts = {architecture: sandbox.reference("multi", architecture) for architecture in PLATFORMS}
    for architecture, part in parts.items():
        loaded(docker, multi, architecture, part)
        pushed(docker, part)
    docker.run("manifest", "create", "--insecure", remote, *parts.values())
    digest = docker.run("manifest", "push", "--insecure", remote).split()[-1]

    assert wire.manifest(repository, multi.tag)[0] == digest
    wire.digests(repository, multi.tag)
    docker.run("image", "rm", "--force", *parts.values())
    for architecture in PLATFORMS:
        docker.run("pull", "--platform", f"linux/{architecture}", remote)
        assert inspected_layers(docker, remote) == multi.diff_ids(architecture)
        docker.run("image", "rm", "--force", remote)
