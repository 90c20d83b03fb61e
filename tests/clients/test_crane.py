"""crane: go-containerregistry, which ko, kaniko and cosign are built on."""

from __future__ import annotations

import json

import pytest

from tests.clients.images import SourceImage
from tests.clients.sandbox import Sandbox
from tests.clients.wire import Wire


@pytest.fixture(scope="module", autouse=True)
def login(sandbox: Sandbox) -> None:
    account, words = sandbox.registry, ("crane", "auth", "login", sandbox.registry.host, "-u")
    sandbox.run(*words, account.user, "--password-stdin", stdin="not the password")  # stored, not yet tried
    sandbox.is_refused("crane", "ls", f"{account.host}/{sandbox.repository('debian')}")
    sandbox.run(*words, account.user, "--password-stdin", stdin=account.password)


@pytest.mark.parametrize("name", ["debian", "multi"])
def test_push_list_pull_delete(sandbox: Sandbox, wire: Wire, name: str, request: pytest.FixtureRequest) -> None:
    image: SourceImage = request.getfixturevalue(name)
    repository, remote = sandbox.repository(name), sandbox.reference(name, image.tag)
    bare = remote.rpartition(":")[0]

    sandbox.run("crane", "push", str(image.layout), remote)
    assert wire.digests(repository, image.tag) == image.digests()
    assert sandbox.run("crane", "digest", remote).strip() == image.digest
    assert sandbox.run("crane", "ls", bare).split() == [image.tag]
    assert json.loads(sandbox.run("crane", "manifest", remote)) == image.document(image.digest)

    sandbox.run("crane", "validate", "--remote", remote)
    back = sandbox.folder / f"pulled-{name}"
    sandbox.run("crane", "pull", "--format=oci", remote, str(back))
    assert SourceImage(back, image.tag, image.digest).content() == image.digests()

    sandbox.run("crane", "delete", f"{bare}@{image.digest}")
    assert wire.status(repository, image.digest) == 404


def test_copy_mounts_blobs_of_another_repository(sandbox: Sandbox, wire: Wire, multi: SourceImage) -> None:
    source, target = sandbox.reference("origin", multi.tag), sandbox.reference("copied", multi.tag)
    sandbox.run("crane", "push", str(multi.layout), source)
    sandbox.run("crane", "copy", source, target)
    assert wire.digests(sandbox.repository("copied"), multi.tag) == multi.digests()


def test_catalog_lists_the_repository(sandbox: Sandbox, multi: SourceImage) -> None:
    sandbox.run("crane", "push", str(multi.layout), sandbox.reference("catalogued", multi.tag))
    assert sandbox.repository("catalogued") in sandbox.run("crane", "catalog", sandbox.registry.host).split()
