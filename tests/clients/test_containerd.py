"""containerd's ctr: one PUT per blob, straight from the content store, as nerdctl and newer docker do."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from collections.abc import Iterator

import pytest

from tests.clients.engines import Containerd, running_containerd
from tests.clients.images import SourceImage
from tests.clients.sandbox import ClientFailed, Sandbox, located
from tests.clients.wire import Wire

LOST = "failed to copy: rpc error: code = Internal desc = unexpected EOF"
"""ctr reads what it pushes from containerd over gRPC, where Debian's 1.6 loses an answer now and then: on a busy machine in one
push of some hundreds, to docker-registry no less than to Slipway (containerd/containerd#5734 has the same words)."""

ATTEMPTS = 3


@pytest.fixture(scope="module")
def containerd(sandbox: Sandbox) -> Iterator[Containerd]:
    with running_containerd(sandbox) as running:
        yield running


def account(sandbox: Sandbox) -> str:
    return f"{sandbox.registry.user}:{sandbox.registry.password}"


def content_digest(containerd: Containerd, digest: str) -> str:
    """The hash of what the content store holds under a digest; raises ClientFailed when it holds nothing."""
    words = [located("ctr"), "--address", str(containerd.socket), "--namespace", "slipway", "content", "get", digest]
    done = subprocess.run(words, env=containerd.sandbox.environment, capture_output=True, check=False)
    if done.returncode != 0:
        raise ClientFailed(done.stderr.decode())
    return f"sha256:{hashlib.sha256(done.stdout).hexdigest()}"


def imported(containerd: Containerd, image: SourceImage, remote: str) -> None:
    archive = containerd.sandbox.folder / "layout.tar"
    with tarfile.open(archive, "w") as sink:
        sink.add(image.layout, arcname=".")
    bare = remote.rpartition(":")[0]
    containerd.ctr("images", "import", "--no-unpack", "--all-platforms", "--base-name", bare, str(archive))
    archive.unlink()


def push(containerd: Containerd, remote: str) -> None:
    """Begins anew if ctr and containerd lost each other, and only then."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            containerd.ctr("images", "push", "--plain-http", "--user", account(containerd.sandbox), remote)
        except ClientFailed as failure:
            if LOST not in str(failure) or attempt == ATTEMPTS:
                raise
        else:
            return


@pytest.mark.parametrize("name", ["debian", "multi"])
def test_push_pull(containerd: Containerd, wire: Wire, name: str, request: pytest.FixtureRequest) -> None:
    image: SourceImage = request.getfixturevalue(name)
    sandbox = containerd.sandbox
    remote = sandbox.reference(name, image.tag)
    imported(containerd, image, remote)
    sandbox.is_refused(
        "ctr", "--address", str(containerd.socket), "--namespace", "slipway",
        "images", "push", "--plain-http", "--user", f"{sandbox.registry.user}:wrong", remote,
    )  # fmt: skip
    push(containerd, remote)
    assert wire.digests(sandbox.repository(name), image.tag) == image.digests()

    containerd.ctr("images", "rm", "--sync", remote)
    with pytest.raises(ClientFailed):
        content_digest(containerd, image.digest)
    words = ("images", "pull", "--plain-http", "--all-platforms", "--snapshotter", "native", "--user")
    containerd.ctr(*words, account(sandbox), remote)
    assert {content_digest(containerd, digest) for digest in image.digests()} == image.digests()
