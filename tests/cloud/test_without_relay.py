"""The client matrix on a stage that has no relay: small layers pass, a large one is refused at once and leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.sandbox import ClientFailed, Sandbox, new_sandbox
from tests.clients.wire import Wire
from tests.cloud.client import Client, digest_of
from tests.cloud.clients import DIRECT, RELAYED, client, large_image
from tests.cloud.relay import RelayProcess
from tests.cloud.stage import Cloud, until
from tests.conformance.registry_process import RunningRegistry

SMALL = (300_000, 1_000_000)
LARGE = (7_000_000,)


@pytest.fixture(scope="module", autouse=True)
def no_relay(cloud: Cloud) -> Iterator[None]:
    with cloud.without_relay():
        yield


@pytest.mark.parametrize("sandbox", [*DIRECT, *RELAYED], indirect=True)
def test_small_layers_pass_and_a_large_one_where_it_can(cloud: Cloud, sandbox: Sandbox, wire: Wire) -> None:
    small = large_image(sandbox.folder / "small", f"small {sandbox.name}", SMALL)
    large = large_image(sandbox.folder / "large", f"large {sandbox.name}", LARGE)
    with client(sandbox.name, sandbox) as program:
        program.push(small, "small")
        wire.digests(sandbox.repository("small"), small.tag)
        program.pull(small, "small")
        if sandbox.name in DIRECT:
            program.push(large, "large")
            program.pull(large, "large")
            return
        before = cloud.sizes()
        with pytest.raises(ClientFailed) as refusal:
            program.push(large, "refused")
    assert any(word in str(refusal.value) for word in ("413", "slipway relay", "Entity Too Large", "does not pass here")), (
        refusal
    )
    until(lambda: _nothing_unfinished(cloud), "an upload stays")
    assert max((size for key, size in cloud.sizes().items() if key not in before), default=0) < sum(SMALL)
    assert cloud.multipart_uploads() == []
    assert wire.status(sandbox.repository("refused"), large.tag) == 404


def _nothing_unfinished(cloud: Cloud) -> bool:
    """Once what expires has: such as a configuration, which the client was just sending as it gave up."""
    cloud.expire_uploads()
    return not cloud.unfinished()


@pytest.mark.parametrize("announced", [True, False])
def test_the_refusal(cloud: Cloud, announced: bool) -> None:
    """The edge's own names the ways out; of a body without a length nobody but the gateway knows how long it is."""
    registry = Client(cloud.registry, "admin/none/refused")
    content = b"x" * 11_000_000
    headers = {} if announced else {"Transfer_Encoding": "chunked"}
    body = content if announced else iter([content])
    answer = registry.send("PATCH", registry.begin(), body, Content_Type="application/octet-stream", **headers)
    assert answer.status == 413
    assert (b"slipway relay" in answer.body) is announced
    assert registry.send("HEAD", f"blobs/{digest_of(content)}").status == 404


@pytest.mark.parametrize("sandbox", ["skopeo"], indirect=True)
def test_a_relay_on_loopback_is_a_way_out(cloud: Cloud, sandbox: Sandbox, wire: Wire) -> None:
    """As the registry's host, in front of the edge, and with no key: S3 itself proves what came."""
    relay = RelayProcess(sandbox.folder, "")
    relay.start(cloud.registry.url)
    try:
        host = RunningRegistry(relay.url.removeprefix("http://"), cloud.registry.user, cloud.registry.password)
        inside = new_sandbox("skopeo-loopback", sandbox.folder / "inside", host)
        image = large_image(inside.folder, "loopback", LARGE)
        with client("skopeo", inside) as program:
            program.push(image, "large")
            program.pull(image, "large")
    finally:
        relay.stop()
    assert wire.digests(inside.repository("large"), image.tag) == image.digests()
