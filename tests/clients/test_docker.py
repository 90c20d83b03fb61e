"""docker 20.10: the legacy engine, which streams each layer in one PATCH without a length."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.engines import Docker, running_docker
from tests.clients.images import PLATFORMS, SourceImage
from tests.clients.sandbox import Sandbox
from tests.clients.wire import Wire


@pytest.fixture(scope="module")
def docker(sandbox: Sandbox) -> Iterator[Docker]:
    account = sandbox.registry
    with running_docker(sandbox) as running:
        words = ("login", "-u", account.user, "--password-stdin", account.host)
        sandbox.is_refused(*running.words(*words), stdin="not the password")
        running.run(*words, stdin=account.password)
        yield running


def test_image(docker: Docker, wire: Wire, debian: SourceImage) -> None:
    sandbox = docker.sandbox
    repository, remote = sandbox.repository("debian"), sandbox.reference("debian", debian.tag)
    docker.load(debian, PLATFORMS[0], remote)
    digest = docker.push(remote)
    assert wire.manifest(repository, debian.tag)[0] == digest
    wire.digests(repository, debian.tag)

    docker.run("image", "rm", "--force", remote)
    by_digest = f"{remote.rpartition(':')[0]}@{digest}"
    docker.run("pull", by_digest)
    assert docker.layers(by_digest) == debian.diff_ids()
    assert docker.saved_layers(by_digest) == debian.diff_ids()
    docker.run("image", "rm", "--force", by_digest)


def test_layers_are_mounted_in_another_repository(docker: Docker, wire: Wire, multi: SourceImage) -> None:
    sandbox = docker.sandbox
    first, second = sandbox.reference("origin", multi.tag), sandbox.reference("mounted", multi.tag)
    docker.load(multi, PLATFORMS[0], first)
    docker.push(first)
    docker.run("tag", first, second)
    assert "Mounted from" in docker.run("push", second)
    wire.digests(sandbox.repository("mounted"), multi.tag)
    docker.run("image", "rm", "--force", first, second)


def test_index(docker: Docker, wire: Wire, multi: SourceImage) -> None:
    sandbox = docker.sandbox
    repository, remote = sandbox.repository("multi"), sandbox.reference("multi", multi.tag)
    parts = {architecture: sandbox.reference("multi", architecture) for architecture in PLATFORMS}
    for architecture, part in parts.items():
        docker.load(multi, architecture, part)
        docker.push(part)
    docker.run("manifest", "create", "--insecure", remote, *parts.values())
    digest = docker.run("manifest", "push", "--insecure", remote).split()[-1]

    assert wire.manifest(repository, multi.tag)[0] == digest
    wire.digests(repository, multi.tag)
    docker.run("image", "rm", "--force", *parts.values())
    for architecture in PLATFORMS:
        docker.run("pull", "--platform", f"linux/{architecture}", remote)
        assert docker.layers(remote) == multi.diff_ids(architecture)
        docker.run("image", "rm", "--force", remote)
