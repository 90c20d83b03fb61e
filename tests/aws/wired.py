"""A registry on the adapters for AWS, of whose calls any may fail: a front before S3, one before DynamoDB, and one list of
faults for both, so that a fault counts all calls in the order in which the program makes them.

    with wires(emulator) as wired:
        site = wired.poured(world)  # what a world in memory holds, in a table and a bucket
        wired.faults.append(Fault(Kind.DONE_THEN_RESET, nth=3))
        site.push_blob("admin/one", b"layer")
        brought(site).seen()  # and in memory again, where it costs nothing to look at it, and days pass quickly
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import boto3
from botocore.config import Config

from chalicelib.aws.dynamo_table import DynamoTable
from chalicelib.aws.s3_blobs import S3Blobs
from chalicelib.aws.s3_bucket import S3Bucket
from chalicelib.aws.s3_multipart import S3Multipart
from chalicelib.registry.ports import MAX_TRANSACTION, Attributes, Delete, Item, Key, Put, Write
from infra.local.front import serving
from infra.local.signing import Signer
from tests.aws.whole import RunningClock
from tests.cloud.faults import Fault
from tests.cloud.json_front import JsonFront
from tests.cloud.s3_front import S3Front
from tests.emulator import Emulator
from tests.frozen_clock import FrozenClock
from tests.life_cycle.world import SIGNER, Site, World
from tests.surface import Surface

Client: TypeAlias = Any  # made by boto3 at run time; there are no types to import


@dataclass
class Wires:
    """``table`` and ``s3`` go by the fronts, ``beside`` and ``plain`` past them. Clients take longer to make than a flow to
    run, and most flows change little: one table and one bucket serve all sites, one after the other."""

    emulator: Emulator
    name: str
    url: str
    table: DynamoTable
    s3: Client
    beside: DynamoTable
    plain: Client
    faults: list[Fault] = field(default_factory=list)
    known: dict[str, bytes] = field(default_factory=dict)

    def poured(self, world: World) -> Wired:
        """Another instance, on just what a world holds; the site before it is no more."""
        self.faults.clear()
        with world.spared():
            self._pour_items({item.key: item.attributes for item in world.table.walk(None, 10_000).items})
            self._pour_objects({stored.key: world.store.open(stored.key).read() for stored in world.store.list("")})
        for key, upload in self.unfinished():
            self.plain.abort_multipart_upload(Bucket=self.name, Key=key, UploadId=upload)
        return Wired(self, world)

    def _pour_items(self, wanted: Mapping[Key, Attributes]) -> None:
        there = {item.key: item.attributes for item in self.items()}
        changed = {key: item for key, item in wanted.items() if there.get(key) != item}
        writes: list[Write] = [
            *(Put(key, item) for key, item in changed.items()),
            *(Delete(key) for key in there if key not in wanted),
        ]
        for start in range(0, len(writes), MAX_TRANSACTION):
            self.beside.transact(writes[start : start + MAX_TRANSACTION])

    def _pour_objects(self, wanted: Mapping[str, bytes]) -> None:
        there = dict(self.objects())
        for key in there.keys() - wanted.keys():
            self.plain.delete_object(Bucket=self.name, Key=key)
        for key, content in wanted.items():
            if there.get(key) != content:
                self.plain.put_object(Bucket=self.name, Key=key, Body=content)

    def place(self) -> S3Bucket:
        """The bucket, by its front. Links are signed by the true time: the emulator looks."""
        at_front = {**self.emulator.environment(), "AWS_ENDPOINT_URL": self.url}
        return S3Bucket(self.name, RunningClock(), environment=at_front, client=self.s3)

    def items(self) -> Iterator[Item]:
        """What lies in the table."""
        cursor: str | None = None
        while True:
            walked = self.beside.walk(cursor, 1000)
            yield from walked.items
            if (cursor := walked.cursor) is None:
                return

    def objects(self) -> Iterator[tuple[str, bytes]]:
        """What lies in the bucket."""
        for page in self.plain.get_paginator("list_objects_v2").paginate(Bucket=self.name):
            for found in page.get("Contents", ()):
                yield found["Key"], self._content(found["Key"], found["ETag"])

    def unfinished(self) -> Sequence[tuple[str, str]]:
        """Uploads to the bucket that are under way: their keys and names."""
        uploads = self.plain.list_multipart_uploads(Bucket=self.name).get("Uploads", ())
        return [(found["Key"], found["UploadId"]) for found in uploads]

    def _content(self, key: str, tag: str) -> bytes:
        """The bytes of an object; those that have its tag were mostly fetched before."""
        if tag not in self.known:
            with closing(self.plain.get_object(Bucket=self.name, Key=key)["Body"]) as body:
                self.known[tag] = body.read()
        return self.known[tag]


class Wired(Site):
    """A site on AWS. ``began``: when the objects were stored that were poured into it, which the bucket does not tell."""

    def __init__(self, wires: Wires, world: World) -> None:
        self.wires = wires
        place = wires.place()
        clock = FrozenClock(world.clock.moment)
        parts, blobs = S3Multipart(place), S3Blobs(place)
        self.began = {stored.key: stored.modified for stored in world.store.list("")}
        surface = Surface(table=wires.table, clock=clock, blobs=blobs, multipart=parts, signer=SIGNER)
        super().__init__(surface, world._token, world._token_until)

    @contextmanager
    def spared(self) -> Iterator[None]:
        """See ``Site.spared``."""
        faults = [*self.wires.faults]
        self.wires.faults.clear()
        try:
            yield
        finally:
            self.wires.faults[:] = faults


def brought(site: Wired) -> World:
    """What the site holds now, in a world in memory, at the same time. Objects are as old as they should be: a sweep looks at
    young ones only."""
    world = World(FrozenClock(site.clock.moment))
    with world.spared():
        for item in site.wires.items():
            world.table.write(Put(item.key, item.attributes))
        for key, content in site.wires.objects():
            world.clock.moment = site.began.get(key, site.clock.moment)
            world.store.put(key, content)
    world.clock.moment = site.clock.moment
    return world


@contextmanager
def wires(emulator: Emulator, *, repeats: int = 0) -> Iterator[Wires]:
    """``repeats`` are the adapters': with none each fault reaches the program."""
    faults: list[Fault] = []
    credentials = (emulator.access_key, emulator.secret_key)
    with ExitStack() as stack:
        name = stack.enter_context(emulator.table())  # the bucket's, too
        plain = stack.enter_context(closing(boto3.client("s3", **emulator.client_arguments())))
        plain.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": emulator.region})
        strict = S3Front(emulator.url, Signer(emulator.region, *credentials), faults=faults)
        stack.callback(strict.closing.set)
        at_s3 = stack.enter_context(serving(strict))
        at_table = stack.enter_context(serving(JsonFront(emulator.url, faults)))
        config = Config(
            s3={"addressing_style": "path"},
            retries={"mode": "standard", "total_max_attempts": 1 + repeats},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        s3 = boto3.client("s3", **{**emulator.client_arguments(), "endpoint_url": at_s3}, config=config)
        stack.enter_context(closing(s3))
        table, beside = (
            DynamoTable(name, region=emulator.region, endpoint=url, credentials=credentials, repeats=times)
            for url, times in ((at_table, repeats), (emulator.url, 3))
        )
        yield Wires(emulator, name, at_s3, table, s3, beside, plain, faults)
