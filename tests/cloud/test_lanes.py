"""Where a body's bytes go: the functions' log and S3's tallies say who carried them."""

from __future__ import annotations

import random

from tests.cloud.client import Client, digest_of, expected
from tests.cloud.stage import Cloud


def test_a_large_layer_of_known_hash_goes_to_s3_directly(cloud: Cloud) -> None:
    client = Client(cloud.registry, "admin/lanes/direct")
    content = random.Random(20).randbytes(9_000_000)
    pushed = client.push_image("v1", content)
    assert client.pull_image("v1") == pushed
    lines = cloud.requests(client.repository)
    print(lines)


def test_a_large_chunk_goes_through_the_relay(cloud: Cloud) -> None:
    client = Client(cloud.registry, "admin/lanes/relay")
    content = random.Random(21).randbytes(20_000_000)
    location = client.append(client.begin(), content)
    expected(client.finish(location, digest_of(content)), 201)
    assert client.send("GET", f"blobs/{digest_of(content)}").body == content
    lines = cloud.requests(client.repository)
    print(lines)


def test_without_relay(cloud: Cloud) -> None:
    with cloud.without_relay():
        client = Client(cloud.registry, "admin/lanes/none")
        content = random.Random(22).randbytes(6_000_000)
        answer = client.send("PATCH", client.begin(), content)
        print(answer)
        assert answer.status == 413
    test_a_large_chunk_goes_through_the_relay(cloud)
