"""Clients that meet: on one upload, and on one base layer as a build farm's do."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

import pytest

from tests.endurance.client import CONFIG, WAYS, Answer, Client, image
from tests.endurance.content import Content, digest_of
from tests.endurance.server import SECONDS, Address, Server

REPOSITORY = "admin/farm"
RELAYED = 6_000_003
"""Bytes of a layer that goes beside the application whatever the way."""
TURNS = 15
PUSHERS = 20
BASE = (Content(seed=1, size=RELAYED), Content(seed=2, size=300_000), Content(seed=3, size=100))


@pytest.mark.parametrize("same", [False, True], ids=["different", "same"])
def test_two_patches_of_one_upload_never_make_wrong_content_visible(server: Server, client: Client, *, same: bool) -> None:
    """Each of the two may be told that it won; the digest decides, and what is visible is what its digest says."""
    stored = 0
    for turn in range(TURNS):
        first = Content(seed=1_000 + turn, size=RELAYED + turn)
        second = first if same else Content(seed=2_000 + turn, size=RELAYED // 2)
        location = client.begin(REPOSITORY)
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(partial(_patch, server.address, location), (first, second)))
        for answer in answers:
            answer.expect(202, 404, 416)  # 404: the upload is another writer's by now
        for content in (first, second):
            status = client.finish(REPOSITORY, location, content.digest()).expect(201, 400, 404).status
            right = (content.digest(), content.size)
            assert client.hash_blob(REPOSITORY, content.digest()) in ({right} if status == 201 else {right, None})
            stored += status == 201
    print(f"\ntwo at once: {stored} of {2 * TURNS} PUTs stored")
    assert not same or stored, "not one upload of two equal requests came to a good end"


def _patch(address: Address, location: str, content: Content) -> Answer:
    with Client(address) as client:
        return client.request("PATCH", REPOSITORY, location, content.blocks())


def test_twenty_pushes_at_once_on_one_base_layer_all_succeed(server: Server, client: Client) -> None:
    """Nobody has the base at the beginning: all twenty bring it. Then all manifests go up in the same moment, twice."""
    together, begun = Barrier(PUSHERS, timeout=4 * SECONDS), time.monotonic()
    with ThreadPoolExecutor(PUSHERS) as pool:
        pushed = list(pool.map(partial(_push_images, server.address, together), range(PUSHERS)))
    images = {tag: manifest for each in pushed for tag, manifest in each.items()}
    print(f"\n{len(images)} images by {PUSHERS} pushers at once in {time.monotonic() - begun:.1f} s")
    assert client.tags(REPOSITORY) == set(images)
    for tag, manifest in images.items():
        client.check_image(REPOSITORY, tag, manifest)


def _push_images(address: Address, together: Barrier, number: int) -> dict[str, bytes]:
    """Two images by one of the pushers, by their tags. A pusher that fails lets none of the others wait for it."""
    own, pushed = Content(seed=100 + number, size=10_000 * number + 9), {}
    try:
        with Client(address) as client:
            for layer in (*BASE, own):
                WAYS[number % len(WAYS)](client, REPOSITORY, layer)
            client.request("POST", REPOSITORY, f"blobs/uploads/?digest={digest_of(CONFIG)}", CONFIG).expect(201)
            for turn in ("first", "second"):
                manifest = image([(layer.digest(), layer.size) for layer in (*BASE, own)], turn)
                together.wait()
                client.push_manifest(REPOSITORY, f"{turn}-{number}", manifest).expect(201)
                pushed[f"{turn}-{number}"] = manifest
    except BaseException:
        together.abort()
        raise
    return pushed
