"""AWS around the program in one process: edge, gateway, relay, events, and a strict S3 that fails on order, all over sockets.

    with whole(emulator) as aws:
        aws.s3.faults.append(Fault(Kind.RESET, nth=2))
        Client(aws.registry, "admin/app").push_blob(content)
        aws.swept()  # raises if anything but what records name is left

Only S3 is another process; the table is in memory. Bodies of more than SMALL bytes take the large lanes, so that tests of
these need no large ones; parts keep their real size.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.config import Config

from chalicelib.aws.s3_blobs import PART, S3Blobs
from chalicelib.aws.s3_bucket import S3Bucket
from chalicelib.aws.s3_multipart import S3Multipart
from chalicelib.registry.adoption import Adoption
from chalicelib.registry.keys import DIRECT
from chalicelib.registry.names import Digest
from chalicelib.registry.ports import BlobStore, Multipart, Table
from chalicelib.registry.pushes import Sparse
from chalicelib.registry.upkeep.leftovers import Leftovers
from infra.local.edge import store_of
from infra.local.edge_front import ApiOrigin, EdgeFront, Origins, StorageOrigin
from infra.local.front import Exchange, serving
from infra.local.gateway import MAPPINGS, REQUEST, TOO_LARGE, HttpApi
from infra.local.signing import Signer
from infra.relay.settings import Pace
from tests.cloud.client import Client
from tests.cloud.s3_front import S3Front
from tests.conformance.registry_process import RunningRegistry
from tests.counts import Counts
from tests.emulator import Emulator
from tests.frozen_clock import FrozenClock
from tests.memory_table import MemoryTable
from tests.relay.running import Running, relay
from tests.surface import PASSWORD, RELAY_KEY, SERVICE, UPLOAD_KEYS, Surface, registry_on

SMALL = 65_536
PACE = Pace(inline=SMALL, unbuffered=1000, prefix=0.5, backoff=0.01, stall=5.0, settle_pause=0.05, finish=0.2)
TRIES = 3
"""How often Lambda calls a function for an event that it fails."""


class RunningClock(FrozenClock):
    """A clock that goes, ``shift`` off."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def advance(self, seconds: float) -> None:
        self.shift += timedelta(seconds=seconds)


@dataclass
class Watched:
    """A front, and how many requests it has in hand."""

    front: Callable[[Exchange], None]
    busy: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, exchange: Exchange) -> None:
        with self._lock:
            self.busy += 1
        try:
            self.front(exchange)
        finally:
            with self._lock:
                self.busy -= 1


@dataclass(frozen=True)
class Gateway:
    """The HTTP API before the program."""

    api: HttpApi

    def __call__(self, exchange: Exchange) -> None:
        content = exchange.body.whole(REQUEST)
        exchange.answer(TOO_LARGE if content is None else self.api.call(exchange.head, content))


class Left(AssertionError):
    """Something is there that should not be, or is not what it should be."""


@dataclass
class Whole:
    """``registry`` is the edge, ``api`` the gateway's own address. ``adopts``: whether events of storage arrive.
    ``signing`` is the clock of signed URLs, ``origins`` are the edge's."""

    emulator: Emulator
    s3: S3Front
    surface: Surface
    bucket: str
    signing: RunningClock
    client: Any
    registry: RunningRegistry = field(init=False)
    api: RunningRegistry = field(init=False)
    origins: Origins = field(init=False)
    relay: Running = field(init=False)
    adopts: bool = True
    fronts: list[Watched] = field(default_factory=list)
    _right: dict[str, tuple[str, datetime]] = field(default_factory=dict)

    @property
    def table(self) -> Table:
        return self.surface.table

    def user(self, name: str, registry: RunningRegistry | None = None) -> Client:
        """A client of one repository, with a token."""
        return Client(registry or self.registry, name, self.surface.token(f"repository:{name}:pull,push,delete"))

    # -------------------------------------------------------------------------------------------------------- storage

    def stored(self, _bucket: str, key: str) -> None:
        """What storage tells of an object, and the adoption function does, asked again as Lambda asks."""
        if not self.adopts or not key.startswith(DIRECT):
            return
        for _ in range(TRIES):
            with suppress(Exception):  # whatever fails a function
                self.adoption().adopt(key)
                return

    def adoption(self) -> Adoption:
        registry = self.surface.registry
        return Adoption(self.surface.store, registry.blobs, registry.repositories, self.surface.clock)

    def idle(self) -> None:
        """Returns when nothing is under way any more: no request, no event, no call that is done late."""
        self.s3.catch_up()
        deadline = time.monotonic() + 60
        quiet = 0
        while quiet < 3:
            events = any(isinstance(thread, threading.Timer) for thread in threading.enumerate())
            busy = events or self.relay.server.server_state.tasks or any(front.busy for front in self.fronts)
            quiet = 0 if busy else quiet + 1
            if time.monotonic() > deadline:
                raise Left("something goes on for ever")
            time.sleep(0.01)  # the poll's interval

    def objects(self) -> Mapping[str, datetime]:
        """What lies in the bucket, past all fronts."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return {found["Key"]: found["LastModified"] for page in pages for found in page.get("Contents", ())}

    def named(self) -> Mapping[str, str]:
        """See ``named_in``."""
        return named_in(self.table)

    def right(self) -> None:
        """All that can be read is what it should be: raises Left if a record names bytes that are not there, or others."""
        there = self.objects()
        for key, digest in self.named().items():
            if key not in there:
                raise Left(f"{digest} names {key}, which is not there")
            if self._right.get(key) == (digest, there[key]):
                continue
            algorithm, _, expected = digest.partition(":")
            with closing(self.client.get_object(Bucket=self.bucket, Key=key)["Body"]) as body:
                if hashlib.new(algorithm, body.read()).hexdigest() != expected:
                    raise Left(f"{digest} names {key}, which has other bytes")
            self._right[key] = (digest, there[key])

    def swept(self) -> None:
        """Two days later, the sweeps having run: raises Left unless just what records name is there, and right."""
        self.idle()
        self.s3.faults.clear()
        self.sweep()
        self.right()
        there, named = set(self.objects()), set(self.named())
        if there != named:
            raise Left(f"left over: {sorted(there - named)}; missing: {sorted(named - there)}")
        if parts := self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads"):
            raise Left(f"left over: {parts}")

    def sweep(self) -> None:
        """See ``sweep``."""
        sweep(self.table, self.surface.store, self.surface.multipart)


def named_in(table: Table) -> Mapping[str, str]:
    """The keys that records name: of blobs with their digests, of large manifests likewise, removed ones among them."""
    named: dict[str, str] = {}
    cursor: str | None = None
    while True:
        walked = table.walk(cursor)
        for item in walked.items:
            kind, _, rest = item.key.sort.partition("/")
            if kind == "blob" or (kind in {"content", "removed"} and "key" in item.attributes):
                named[str(item.attributes["key"])] = rest.removeprefix("manifest/") or item.key.partition.partition("/")[2]
        if (cursor := walked.cursor) is None:
            return named


def sweep(table: Table, store: BlobStore, multipart: Multipart | None) -> None:
    """What the schedules do, two days later."""
    later = RunningClock()
    later.shift = timedelta(days=2)
    registry = registry_on(table, store, later, multipart=multipart)
    registry.uploads.sweep(1000)
    registry.pushes.sweep(1000)
    Leftovers(table, store, later, multipart).sweep(Counts())


@contextmanager
def whole(emulator: Emulator, *, attempts: int = 1, relay_key: str = RELAY_KEY, part: int = PART) -> Iterator[Whole]:
    """With a bucket and a table of its own. ``attempts`` are the SDK's: with 1 each fault of S3 reaches the program. ``part``
    is what S3Blobs takes for large."""
    bucket = f"whole-{uuid.uuid4()}"
    with ExitStack() as stack:
        client = stack.enter_context(closing(boto3.client("s3", **emulator.client_arguments())))
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": emulator.region})
        signer = Signer(emulator.region, emulator.access_key, emulator.secret_key)
        s3 = S3Front(emulator.url, signer)
        stack.callback(s3.closing.set)
        fronts = [Watched(s3)]
        s3.url = stack.enter_context(serving(fronts[0]))
        clock, signing = RunningClock(), RunningClock()
        at_front = {**emulator.environment(), "AWS_ENDPOINT_URL": s3.url}
        own = boto3.client(
            "s3",
            **{**emulator.client_arguments(), "endpoint_url": s3.url},
            config=Config(
                s3={"addressing_style": "path"},
                retries={"mode": "standard", "total_max_attempts": attempts},
                read_timeout=20.0,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        stack.enter_context(closing(own))
        place = S3Bucket(bucket, signing, environment=at_front, client=own)
        surface = Surface(
            table=MemoryTable(), clock=clock, blobs=S3Blobs(place, part=part), multipart=S3Multipart(place), sparse=Sparse.NONE
        )
        aws = Whole(emulator, s3, surface, bucket, signing, client, fronts=fronts)
        s3.on_stored = aws.stored
        fronts.append(Watched(Gateway(HttpApi(surface.app, MAPPINGS))))
        api = stack.enter_context(serving(fronts[1]))
        aws.relay = stack.enter_context(relay(api, PACE, key=relay_key))
        store = store_of(f"{api}/auth/token", SERVICE, UPLOAD_KEYS, direct=True, relay=True)
        settings = json.loads(store["settings"])
        store["settings"] = json.dumps({**settings, "limits": {**settings["limits"], "inline": SMALL}})
        origins = Origins(ApiOrigin(api), f"http://127.0.0.1:{aws.relay.port}", StorageOrigin(s3.url, bucket, signer))
        aws.origins = origins
        fronts.append(Watched(EdgeFront(store, origins)))
        url = stack.enter_context(serving(fronts[2]))
        aws.registry = RunningRegistry(url.removeprefix("http://"), "admin", PASSWORD)
        aws.api = RunningRegistry(api.removeprefix("http://"), "admin", PASSWORD)
        yield aws


def named(content: bytes, algorithm: str = "sha256") -> str:
    """Its digest as text."""
    return str(Digest.of(content, algorithm))
