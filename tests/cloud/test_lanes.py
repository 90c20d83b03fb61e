"""Where a body's bytes go, by the functions' log and what S3 was sent; and adoption that comes late."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor

from chalicelib.registry.proofs import AT_ONCE
from tests.clients.sandbox import new_sandbox, short_folder
from tests.clients.wire import Wire
from tests.cloud.calls import EDGE, LINK
from tests.cloud.client import Client, digest_of, expected
from tests.cloud.clients import client, large_image
from tests.cloud.faults import Fault, Kind
from tests.cloud.stage import Cloud, carried

TEXT = 20_000
LATE = 60.0


def test_a_large_layer_of_known_hash_goes_to_s3_directly(cloud: Cloud) -> None:
    registry = Client(cloud.registry, "admin/lanes/direct")
    content = random.Random(20).randbytes(9_000_000)
    before = len(cloud.seen)
    pushed = registry.push_image("v1", content)
    assert registry.pull_image("v1") == pushed
    bytes_by = carried(cloud.seen[before:])
    assert bytes_by[EDGE] == len(content)
    assert bytes_by.get(LINK, 0) == 0
    lines = cloud.requests(registry.repository)
    assert len(lines) >= 6
    assert sum(each["received"] + each["bytes"] for each in lines) < TEXT


def test_a_large_chunk_goes_through_the_relay(cloud: Cloud) -> None:
    registry = Client(cloud.registry, "admin/lanes/relay")
    content = random.Random(21).randbytes(20_000_000)
    before = len(cloud.seen)
    location = registry.append(registry.begin(), content)
    expected(registry.finish(location, digest_of(content)), 201)
    assert registry.send("GET", f"blobs/{digest_of(content)}").body == content
    bytes_by = carried(cloud.seen[before:])
    assert bytes_by[LINK] == len(content)
    assert bytes_by.get(EDGE, 0) == 0
    lines = cloud.requests(registry.repository)
    assert len(lines) >= 5
    assert sum(each["received"] + each["bytes"] for each in lines) < TEXT


def test_events_that_are_late_do_not_matter(cloud: Cloud) -> None:
    """The manifest adopts by itself; what the registry has already is dropped."""
    content = random.Random(23).randbytes(6_000_000)
    with cloud.late_events(LATE):
        before = len(cloud.seen)
        for name in ("one", "other"):
            registry = Client(cloud.registry, f"admin/lanes/late-{name}")
            assert registry.push_image("v1", content) == registry.pull_image("v1")
        assert not any(seen.function == "adopt" for seen in cloud.seen[before:]), "an event came"


def test_adoption_a_minute_late(cloud: Cloud, wire: Wire) -> None:
    """Events come late, and S3 has kept no checksum of layers that are too large to be read while a request waits: the manifest
    is refused with 429 until the adoption function has proven them, and clients ask again."""
    slow = Fault(Kind.NO_CHECKSUM, "HeadObject", key="/direct/")
    cloud.services.faults.append(slow)
    try:
        with cloud.late_events(LATE), ThreadPoolExecutor(2) as both:
            for name, seconds, refused in both.map(lambda name: _pushed_late(cloud, wire, name), ("ctr", "oras")):
                print(f"\n{name}: pushed in {seconds:.0f} s, after {refused} times 429")
                assert seconds > LATE * 0.9
                assert refused
    finally:
        cloud.services.faults.remove(slow)


def _pushed_late(cloud: Cloud, wire: Wire, name: str) -> tuple[str, float, int]:
    with short_folder() as folder:
        sandbox = new_sandbox(f"late-{name}", folder, cloud.registry)
        image = large_image(sandbox.folder, f"late {name}", [AT_ONCE + 1_000_000])
        with client(name, sandbox) as program:
            begun = time.monotonic()
            program.push(image, "large")
            seconds = time.monotonic() - begun
        assert wire.digests(sandbox.repository("large"), image.tag) == image.digests()
    lines = cloud.requests(sandbox.repository("large"))
    return name, seconds, sum(each["status"] == 429 for each in lines)
