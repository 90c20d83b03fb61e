"""regctl: regclient, which tries a mount without a source first and appends `digest` to the Location as it is."""

from __future__ import annotations

import secrets

import pytest

from tests.clients.images import SourceImage, opened
from tests.clients.sandbox import Sandbox
from tests.clients.wire import Wire

SIGNATURE = "application/vnd.example.signature.v1"


@pytest.fixture(scope="module", autouse=True)
def login(sandbox: Sandbox) -> None:
    account = sandbox.registry
    words = ("regctl", "registry", "login", account.host, "-u", account.user, "--pass-stdin")
    sandbox.run("regctl", "registry", "set", account.host, "--tls", "disabled", "--skip-check")
    sandbox.is_refused(*words, stdin="not the password")
    sandbox.run(*words, stdin=account.password)


@pytest.mark.parametrize("name", ["debian", "multi"])
def test_push_list_pull_delete(sandbox: Sandbox, wire: Wire, name: str, request: pytest.FixtureRequest) -> None:
    image: SourceImage = request.getfixturevalue(name)
    repository, remote = sandbox.repository(name), sandbox.reference(name, image.tag)
    bare = remote.rpartition(":")[0]

    sandbox.run("regctl", "image", "copy", f"ocidir://{image.reference}", remote)
    assert wire.digests(repository, image.tag) == image.digests()
    assert sandbox.run("regctl", "tag", "ls", bare).split() == [image.tag]
    assert sandbox.run("regctl", "image", "digest", remote).strip() == image.digest

    back = sandbox.folder / f"pulled-{name}"
    sandbox.run("regctl", "image", "copy", remote, f"ocidir://{back}:{image.tag}")
    assert opened(back).content() == image.digests()

    sandbox.run("regctl", "tag", "delete", remote)
    assert wire.status(repository, image.tag) == 404
    assert wire.status(repository, image.digest) == 200
    sandbox.run("regctl", "manifest", "delete", f"{bare}@{image.digest}")
    assert wire.status(repository, image.digest) == 404


def test_push_in_chunks(sandbox: Sandbox) -> None:
    """Blobs above the limit go in several PATCH requests with Content-Range; new content, or it would be mounted."""
    host, remote = sandbox.registry.host, sandbox.reference("chunked", "v1")
    sandbox.run("regctl", "registry", "set", host, "--blob-max", "1000", "--blob-chunk", "50000", "--skip-check")
    content = secrets.token_bytes(220_000)
    (sandbox.folder / "chunked.bin").write_bytes(content)
    words = ("artifact", "put", "--artifact-type", SIGNATURE, "--file", "chunked.bin", "--file-title", remote)
    sandbox.run("regctl", *words)
    back = sandbox.folder / "chunked-back"
    back.mkdir()
    sandbox.run("regctl", "artifact", "get", "--output", str(back), remote)
    assert (back / "chunked.bin").read_bytes() == content


def test_artifact_with_subject(sandbox: Sandbox, wire: Wire, multi: SourceImage) -> None:
    repository, remote = sandbox.repository("signed"), sandbox.reference("signed", multi.tag)
    sandbox.run("regctl", "image", "copy", f"ocidir://{multi.reference}", remote)
    sandbox.run("regctl", "artifact", "put", "--artifact-type", SIGNATURE, "--subject", remote, stdin="signed")
    (referrer,) = wire.referrers(repository, multi.digest)
    assert referrer["artifactType"] == SIGNATURE
    assert referrer["digest"] in sandbox.run("regctl", "artifact", "list", "--format", "{{json .}}", remote)
