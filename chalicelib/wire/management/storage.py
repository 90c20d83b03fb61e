"""How much is stored, and what for: ``/api/v0/meta/storage``."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from chalicelib.registry.upkeep.storage import Total, Use
from chalicelib.wire.management.call import Answer, Call
from chalicelib.wire.management.words import moment


class StoredBlobs(Struct, frozen=True, rename="camel"):
    """So many blobs, with so many bytes together."""

    bytes: int
    blobs: int


class Storage(Struct, frozen=True, rename="camel"):
    """What the last whole audit counted, each blob once: those that manifests need, those that only what was removed needs, and
    those that nothing needs any more. ``measuredAt`` null: there was none yet."""

    measured_at: datetime | None
    manifests: int
    live: StoredBlobs
    restorable: StoredBlobs
    garbage: StoredBlobs


def read_storage(call: Call) -> Answer:
    numbers = call.services.storage.read()
    return Answer(
        Storage(
            measured_at=None if numbers.measured_at is None else moment(numbers.measured_at),
            manifests=numbers.manifests,
            live=_shown(numbers.totals[Use.LIVE]),
            restorable=_shown(numbers.totals[Use.RESTORABLE]),
            garbage=_shown(numbers.totals[Use.GARBAGE]),
        )
    )


def _shown(total: Total) -> StoredBlobs:
    return StoredBlobs(total.bytes, total.blobs)
