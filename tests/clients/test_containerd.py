"""containerd's ctr: one PUT per blob, straight from the content store, as nerdctl and newer docker do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.engines import Containerd, running_containerd
from tests.clients.images import SourceImage
from tests.clients.sandbox import ClientFailed, Sandbox
from tests.clients.wire import Wire


@pytest.fixture(scope="module")
def containerd(sandbox: Sandbox) -> Iterator[Containerd]:
    with running_containerd(sandbox) as running:
        yield running


@pytest.mark.parametrize("name", ["debian", "multi"])
def test_push_pull(containerd: Containerd, wire: Wire, name: str, request: pytest.FixtureRequest) -> None:
    image: SourceImage = request.getfixturevalue(name)
    sandbox = containerd.sandbox
    remote = sandbox.reference(name, image.tag)
    containerd.load(image, remote)
    sandbox.is_refused(
        "ctr", "--address", str(containerd.socket), "--namespace", "slipway",
        "images", "push", "--plain-http", "--user", f"{sandbox.registry.user}:wrong", remote,
    )  # fmt: skip
    containerd.push(remote)
    assert wire.digests(sandbox.repository(name), image.tag) == image.digests()

    containerd.ctr("images", "rm", "--sync", remote)
    with pytest.raises(ClientFailed):
        containerd.content(image.digest)
    containerd.pull(remote)
    assert {containerd.content(digest) for digest in image.digests()} == image.digests()
