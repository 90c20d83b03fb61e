"""Collection on the deployed stage: by the function, with its role, as jobs that an administrator asks for.

The time of the functions cannot be moved. So that hours have passed is told to the table instead: what was condemned or removed
is written back as of so much earlier (``Cloud.pass_time``).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.aws.whole import named_in
from tests.clients.images import MANIFEST
from tests.cloud.client import CONFIGURATION, Client, Refused, digest_of, expected
from tests.cloud.stage import Cloud, until
from tests.conformance.management import SETTINGS, Administrator

NAME, OTHER = "admin/collected/app", "admin/collected/other"
HOURS = 3
"""More than a grace of one hour, and the hour for those who were told that something is there."""

COLLECT = "collect-garbage"


@dataclass(frozen=True)
class Image:
    """What a client pushed: by ``digest`` the first two layers and one that is somebody else's too."""

    digest: str
    layers: tuple[bytes, ...]
    large: bytes
    """A manifest that is too large for the table, of the last one of the layers."""

    @property
    def own(self) -> list[str]:
        return [digest_of(layer) for layer in self.layers]


@pytest.fixture(scope="module", autouse=True)
def hasty(cloud: Cloud) -> Iterator[None]:
    """Nothing is kept for longer than it must be, and only asked for is collected."""
    admin = Administrator(cloud.registry)
    before = {name: cloud.defaults[name] for name in ("graceHours", "restorableDays")}
    with cloud.without_schedules():
        admin.ask("PATCH", SETTINGS, {"graceHours": 1, "restorableDays": 0})
        try:
            yield
        finally:
            admin.ask("PATCH", SETTINGS, before)


@pytest.fixture(scope="module")
def shared() -> bytes:
    return random.Random(40).randbytes(300_000)


@pytest.fixture(scope="module")
def image(cloud: Cloud, shared: bytes) -> Image:
    """A layer comes by each lane, the last one from a repository that goes on."""
    layers = tuple(random.Random(seed).randbytes(size) for seed, size in ((41, 200_000), (42, 6_000_000)))
    Client(cloud.registry, OTHER).push_image("v1", shared)
    client = Client(cloud.registry, NAME)
    digest = client.push_image("v1", *layers, shared)
    location = client.append(client.begin(), layer := random.Random(43).randbytes(5_000_000))
    expected(client.finish(location, digest_of(layer)), 201)
    described = {"mediaType": "application/x", "size": len(layer), "digest": digest_of(layer)}
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described,
        "layers": [],
        "annotations": {"x": "x" * 300_000},
    }
    large = json.dumps(document).encode()
    expected(client.send("PUT", "manifests/large", large, Content_Type=MANIFEST), 201)
    return Image(digest, (*layers, layer), large)


def collected(cloud: Cloud) -> dict[str, int]:
    """What a job takes away some hours later."""
    cloud.pass_time(HOURS)
    counts: dict[str, int] = cloud.run_job(COLLECT)["counts"]
    return counts


def astray(cloud: Cloud) -> set[str]:
    """Keys of objects that no record names. Raises AssertionError if a record names what is not there."""
    there, named = set(cloud.objects()), set(named_in(cloud.records()))
    assert named <= there
    return there - named


def test_what_is_pushed_and_used_stays(cloud: Cloud, image: Image) -> None:
    for _ in range(3):  # and what other tests left goes
        collected(cloud)
    assert collected(cloud) == {}
    assert Client(cloud.registry, NAME).pull_image("v1") == image.digest
    assert Client(cloud.registry, NAME).send("GET", "manifests/large").body == image.large


def test_what_was_removed_is_restored(cloud: Cloud, image: Image) -> None:
    """Over the API, with its tag; also a manifest whose bytes are in the bucket."""
    admin, client = Administrator(cloud.registry), Client(cloud.registry, NAME)
    for digest, tag in ((image.digest, "v1"), (digest_of(image.large), "large")):
        expected(client.send("DELETE", f"manifests/{digest}"), 202)
        assert client.send("GET", f"manifests/{tag}").status == 404
        assert digest in {each["digest"] for each in admin.ask("GET", f"/api/v0/repositories/{NAME}/removed")["removed"]}
        assert admin.ask("POST", f"/api/v0/repositories/{NAME}/restore", {"reference": digest})["tags"] == [tag]
    assert collected(cloud).keys() <= {"objects"}  # the bytes of the large one, if they were stored once more
    assert client.pull_image("v1") == image.digest
    assert client.send("GET", "manifests/large").body == image.large


def test_what_was_removed_goes_and_what_another_image_shares_stays(cloud: Cloud, image: Image, shared: bytes) -> None:
    before, client = astray(cloud), Client(cloud.registry, NAME)
    stored = {*cloud.objects("data/"), *cloud.objects("direct/"), *cloud.objects("manifests/")}
    for digest in (image.digest, digest_of(image.large)):
        expected(client.send("DELETE", f"manifests/{digest}"), 202)
        with pytest.raises(Refused, match="404"):
            client.pull_image(digest)
    assert cloud.run_job(COLLECT)["counts"] == {"expired": 2, "objects": 1}  # the large manifest's
    blobs = {*image.own, digest_of(shared), digest_of(CONFIGURATION)}
    assert collected(cloud) == {"links": len(blobs)}
    assert all(client.send("HEAD", f"blobs/{digest}").status == 404 for digest in blobs)
    assert collected(cloud) == {"objects": len(image.own)}
    gone = stored - set(cloud.objects())
    assert sorted(key.partition("/")[0] for key in gone) == ["data", "data", "direct", "manifests"]
    assert astray(cloud) == before
    assert cloud.items("condemned") == cloud.items("restorable") == cloud.items("retired") == []
    other = Client(cloud.registry, OTHER)
    assert other.pull_image("v1")
    assert other.send("GET", f"blobs/{digest_of(shared)}").body == shared


def test_it_is_pushed_again(cloud: Cloud, image: Image, shared: bytes) -> None:
    client = Client(cloud.registry, NAME)
    assert client.push_image("v1", *image.layers[:2], shared) == image.digest
    client.push_blob(image.layers[2])
    expected(client.send("PUT", "manifests/large", image.large, Content_Type=MANIFEST), 201)
    until(lambda: client.pull_image("v1") == image.digest, "it is not there")
    assert collected(cloud) == {}
    assert client.pull_image("v1") == image.digest


def test_a_tag_that_was_moved_leaves_a_manifest_which_goes_if_so_chosen(cloud: Cloud, image: Image) -> None:
    admin, client = Administrator(cloud.registry), Client(cloud.registry, NAME)
    moved = client.push_image("v1", b"another layer")
    admin.ask("PATCH", SETTINGS, {"untaggedDays": 1})
    try:
        assert "manifests" not in collected(cloud)
        assert client.pull_image(image.digest) == image.digest
        cloud.pass_time(24)
        assert cloud.run_job(COLLECT)["counts"] == {"manifests": 1}
    finally:
        admin.ask("PATCH", SETTINGS, {"untaggedDays": 0})
    assert client.send("GET", f"manifests/{image.digest}").status == 404
    assert collected(cloud)["expired"] == 1
    assert client.pull_image("v1") == moved


def test_every_kind_of_job_is_done_at_the_first_attempt(cloud: Cloud, image: Image) -> None:
    for cron in Administrator(cloud.registry).ask("GET", "/api/v0/crons")["crons"]:
        told = cloud.run_job(cron["action"])
        print(f"\n{cron['action']}: {told['counts']} {cloud.log_of(told['id'])}")
        assert told["attempts"] == 1
    assert Client(cloud.registry, NAME).send("GET", "manifests/large").body == image.large
