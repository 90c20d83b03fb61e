"""The client matrix on a stage with all lanes: what each pushes and pulls, and who carried the bytes."""

from __future__ import annotations

import pytest

from tests.clients.sandbox import Sandbox
from tests.clients.wire import Wire
from tests.cloud.calls import EDGE, LINK
from tests.cloud.clients import DIRECT, RELAYED, client, large_image
from tests.cloud.stage import Cloud, carried

SIZES = (300_000, 6_000_000, 9_000_000, 12_000_000)
LARGE = sum(SIZES[1:])
TEXT = 20_000
"""Bytes of all that is no layer, in a push: manifests, configurations, the relay's questions."""


@pytest.mark.parametrize("sandbox", [*DIRECT, *RELAYED], indirect=True)
def test_push_and_pull(cloud: Cloud, sandbox: Sandbox, wire: Wire) -> None:
    name = sandbox.name
    image = large_image(sandbox.folder, name, SIZES)
    with client(name, sandbox) as program:
        before = len(cloud.seen)
        program.push(image, "large")
        bytes_by = carried(cloud.seen[before:])
        repository = sandbox.repository("large")
        if name in {"docker", "podman", "buildah"}:  # which compress anew
            assert wire.manifest(repository, image.tag)[1]["config"]["digest"] == image.config_digest()
            wire.digests(repository, image.tag)
        else:
            assert wire.digests(repository, image.tag) == image.digests()
        program.pull(image, "large")
    used, other = (EDGE, LINK) if name in DIRECT else (LINK, EDGE)
    assert bytes_by.get(used, 0) >= LARGE
    assert bytes_by.get(other, 0) == 0
    lines = cloud.requests(repository)
    assert sum(each["received"] + each["bytes"] for each in lines) < SIZES[0] + SIZES[0] // 100 + TEXT
    assert sum(each["received"] for each in lines) > SIZES[0]  # the small layer was seen: it is the log of this push
