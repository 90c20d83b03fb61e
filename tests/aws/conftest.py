"""Fixtures: a bucket of the emulator, a place of its own in it for each test, and a log of the requests that were made."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeAlias

import boto3
import pytest

from chalicelib.aws.s3_bucket import S3Bucket
from tests.aws.counted import CountedSurface, counted_surface
from tests.emulator import Emulator
from tests.frozen_clock import FrozenClock

BUCKET = "blobs-contract"
PREFIXES = itertools.count()
Client: TypeAlias = Any  # boto3's have no types to import


@pytest.fixture
def on_aws(emulator: Emulator) -> Iterator[CountedSurface]:
    """The whole program on the emulator's table, bucket and keys, its calls counted."""
    with counted_surface(emulator) as counted:
        yield counted


@pytest.fixture(scope="session")
def s3(emulator: Emulator) -> Iterator[Client]:
    """A client that makes the bucket and looks into it from outside."""
    client = boto3.client("s3", **emulator.client_arguments())
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": emulator.region})
    yield client
    client.close()


@pytest.fixture(scope="session")
def own_client(emulator: Emulator, s3: Client) -> Client:
    """The client that the adapters build for themselves, built once."""
    return S3Bucket(BUCKET, FrozenClock(), environment=emulator.environment()).client


@pytest.fixture
def corner(s3: Client) -> str:
    """A place of its own in the bucket for each test."""
    return f"{next(PREFIXES)}/"


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(datetime.now(UTC))


@pytest.fixture
def bucket(emulator: Emulator, own_client: Client, corner: str, clock: FrozenClock) -> S3Bucket:
    return S3Bucket(BUCKET, clock, prefix=corner, environment=emulator.environment(), client=own_client)


Hook: TypeAlias = Callable[..., object]


@pytest.fixture
def hooked(bucket: S3Bucket) -> Iterator[Callable[[str, Hook], None]]:
    """``hooked(event, hook)``: botocore calls the hook at its event until the test ends."""
    hooks: list[tuple[str, Hook]] = []
    events = bucket.client.meta.events

    def register(event: str, hook: Hook) -> None:
        events.register(event, hook)
        hooks.append((event, hook))

    yield register
    for event, hook in hooks:
        events.unregister(event, hook)


@pytest.fixture
def calls(hooked: Callable[[str, Hook], None]) -> list[str]:
    """The operations that were asked of S3, in order, one for each request."""
    seen: list[str] = []

    def note(event_name: str, **_: object) -> None:
        seen.append(event_name.rpartition(".")[2])

    hooked("before-send.s3", note)
    return seen
