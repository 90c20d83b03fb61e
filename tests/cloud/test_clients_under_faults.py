"""Real clients push through a deployed stage while S3 fails or the relay is killed: each says that it failed, or succeeds, and
what is there at the end is what records name. The same without clients: test_faults.py.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chalicelib.aws.s3_blobs import S3Blobs
from chalicelib.aws.s3_bucket import S3Bucket
from chalicelib.aws.s3_multipart import S3Multipart
from chalicelib.registry.relays import PART
from tests.aws.whole import RunningClock, named, named_in, sweep
from tests.clients.sandbox import ClientFailed, new_sandbox, short_folder
from tests.clients.wire import Wire
from tests.cloud.clients import client as real_client
from tests.cloud.clients import large_image
from tests.cloud.faults import Fault, Kind
from tests.cloud.stage import Cloud, deployed, until


@pytest.fixture(scope="module")
def stage() -> Iterator[Cloud]:
    """One of its own: others count the calls, and look for failed ones."""
    with tempfile.TemporaryDirectory(prefix="slipway-faults-") as folder, deployed(Path(folder)) as cloud:
        yield cloud


def swept(stage: Cloud) -> None:
    """Two days later just what records name is there, and right."""
    stage.services.faults.clear()
    table = stage.records()
    until(lambda: set(stage.objects("direct/")) <= set(named_in(table)), "an event was lost")
    place = S3Bucket(stage.deployment.bucket, RunningClock(), environment=stage.emulator.environment())
    store = S3Blobs(place)
    sweep(table, store, S3Multipart(place))
    there = named_in(table)
    assert set(stage.objects()) == set(there)
    assert stage.multipart_uploads() == []
    for key, digest in there.items():
        with store.open(key) as content:
            assert named(content.read(), digest.partition(":")[0]) == digest


@pytest.mark.parametrize("kind", [Kind.SLOW_DOWN, Kind.RESET, Kind.DONE_THEN_RESET], ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", ["docker", "crane", "oras"])
def test_a_client_pushes_while_every_call_fails_once(stage: Cloud, name: str, kind: Kind) -> None:
    """It succeeds, or says that it failed and succeeds when it is run again."""
    with short_folder() as folder:
        sandbox = new_sandbox(f"{name}-{kind.name.lower().replace('_', '-')}", folder, stage.registry)
        image = large_image(sandbox.folder, sandbox.name, (300_000, PART + 1_000_000))
        fault = Fault(kind, once_each=True)
        with real_client(name, sandbox) as program:
            stage.services.faults.append(fault)
            try:
                program.push(image, "large")
            except ClientFailed as failure:
                print(f"\n{sandbox.name} failed: {str(failure)[-300:]}")
                stage.services.faults.clear()
                program.push(image, "large")
            stage.services.faults.clear()
            print(f"\n{sandbox.name}: {fault.hits} calls failed")
            assert fault.hits
            program.pull(image, "large")
        Wire(stage.registry).digests(sandbox.repository("large"), image.tag)
    swept(stage)


@pytest.mark.parametrize("name", ["docker", "crane"])
def test_the_relay_is_killed_under_a_client(stage: Cloud, name: str) -> None:
    """A container service starts it again; the client says that it failed, unless it tries again by itself."""
    with short_folder() as folder, ThreadPoolExecutor(1) as thread:
        sandbox = new_sandbox(f"{name}-killed", folder, stage.registry)
        image = large_image(sandbox.folder, sandbox.name, (2 * PART + 1_000_000,))
        held = Fault(Kind.SLOW, "UploadPart", nth=2, seconds=600)
        with real_client(name, sandbox) as program:
            stage.services.faults.append(held)
            pushing = thread.submit(program.push, image, "large")
            until(lambda: held.hits > 0, "no part is sent")
            stage.relay.kill()
            held.over.set()
            stage.start_relay()
            try:
                pushing.result(300)
            except ClientFailed as failure:
                print(f"\n{sandbox.name} failed: {str(failure)[-300:]}")
                program.push(image, "large")
            program.pull(image, "large")
    swept(stage)
