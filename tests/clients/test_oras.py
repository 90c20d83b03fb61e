"""oras: oras-go, which refuses an upload Location on another host and accepts 201 only; and artifacts with a subject."""

from __future__ import annotations

import json

import pytest

from tests.clients.images import SourceImage, opened
from tests.clients.sandbox import Sandbox
from tests.clients.wire import Wire

SBOM = "application/vnd.example.sbom.v1+json"


@pytest.fixture(scope="module", autouse=True)
def login(sandbox: Sandbox) -> None:
    account = sandbox.registry
    words = ("oras", "login", "--plain-http", "-u", account.user, "--password-stdin", account.host)
    sandbox.is_refused(*words, stdin="not the password")
    sandbox.run(*words, stdin=account.password)


@pytest.mark.parametrize("name", ["debian", "multi"])
def test_push_list_pull_delete(sandbox: Sandbox, wire: Wire, name: str, request: pytest.FixtureRequest) -> None:
    image: SourceImage = request.getfixturevalue(name)
    repository, remote = sandbox.repository(name), sandbox.reference(name, image.tag)
    bare = remote.rpartition(":")[0]

    sandbox.run("oras", "cp", "--no-tty", "--from-oci-layout", image.reference, "--to-plain-http", remote)
    assert wire.digests(repository, image.tag) == image.digests()
    assert sandbox.run("oras", "repo", "tags", "--plain-http", bare).split() == [image.tag]
    assert sandbox.run("oras", "resolve", "--plain-http", remote).strip() == image.digest

    back = sandbox.folder / f"pulled-{name}"
    sandbox.run("oras", "cp", "--no-tty", "--from-plain-http", remote, "--to-oci-layout", f"{back}:{image.tag}")
    assert opened(back).content() == image.digests()

    sandbox.run("oras", "manifest", "delete", "--force", "--plain-http", f"{bare}@{image.digest}")
    assert wire.status(repository, image.digest) == 404


def test_attached_artifact_is_found_by_its_subject(sandbox: Sandbox, wire: Wire, multi: SourceImage) -> None:
    repository, remote = sandbox.repository("attached"), sandbox.reference("attached", multi.tag)
    sandbox.run("oras", "cp", "--no-tty", "--from-oci-layout", multi.reference, "--to-plain-http", remote)
    (sandbox.folder / "sbom.json").write_text('{"packages":[]}')
    sandbox.run("oras", "attach", "--no-tty", "--plain-http", "--artifact-type", SBOM, remote, "sbom.json")

    (referrer,) = wire.referrers(repository, multi.digest)
    assert referrer["artifactType"] == SBOM
    assert wire.manifest(repository, referrer["digest"])[1]["subject"]["digest"] == multi.digest
    assert wire.tags(repository) == [multi.tag]  # no fallback tag beside a registry that has the referrers API
    found = json.loads(sandbox.run("oras", "discover", "--plain-http", "--format", "json", remote))
    assert [one["digest"] for one in found["referrers"]] == [referrer["digest"]]


def test_pushed_files_come_back(sandbox: Sandbox) -> None:
    remote, content = sandbox.reference("files", "v1"), "a file as artifact\n" * 1000
    (sandbox.folder / "note.txt").write_text(content)
    sandbox.run("oras", "push", "--no-tty", "--plain-http", "--artifact-type", SBOM, remote, "note.txt:text/plain")
    back = sandbox.folder / "files-back"
    sandbox.run("oras", "pull", "--no-tty", "--plain-http", "-o", str(back), remote)
    assert (back / "note.txt").read_text() == content
