"""The whole program on the adapters for AWS, in the emulator, with each call to AWS counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from boto3.session import Session

from chalicelib.aws.dynamo_table import DynamoTable
from chalicelib.aws.environment import Environment
from chalicelib.aws.kms_signer import KmsSigner, kms_service
from chalicelib.aws.s3_blobs import S3Blobs
from chalicelib.aws.s3_bucket import S3Bucket
from chalicelib.aws.s3_multipart import S3Multipart
from tests.aws.counting import Counted, counting
from tests.emulator import Emulator
from tests.frozen_clock import FrozenClock
from tests.surface import Surface


@dataclass(frozen=True, slots=True)
class CountedSurface:
    """An instance of the program, and what all instances called so far."""

    surface: Surface
    counted: Counted
    make: Callable[[], Surface]

    def fresh(self) -> CountedSurface:
        """Another instance on the same resources, with nothing in memory yet; the counter begins anew."""
        made = replace(self, surface=self.make())
        self.counted.clear()
        return made


@contextmanager
def counted_surface(emulator: Emulator) -> Iterator[CountedSurface]:
    """An instance with an empty table and bucket, and keys in KMS. Its clock is frozen at the present: links are checked."""
    clock = FrozenClock(datetime.now(UTC))
    with ExitStack() as stack:
        name = stack.enter_context(emulator.table())  # the bucket's, too
        signing, wrapping = emulator.keys()
        s3 = stack.enter_context(closing(Session().client("s3", **emulator.client_arguments())))
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": emulator.region})
        counted = stack.enter_context(counting())
        credentials = (emulator.access_key, emulator.secret_key)

        def make() -> Surface:
            bucket = S3Bucket(name, clock, environment=emulator.environment())
            return Surface(
                table=DynamoTable(name, region=emulator.region, endpoint=emulator.url, credentials=credentials),
                clock=clock,
                blobs=S3Blobs(bucket),
                multipart=S3Multipart(bucket),
                signer=KmsSigner(signing, wrapping, kms_service(Environment(emulator.environment()))),
            )

        yield CountedSurface(make(), counted, make)
