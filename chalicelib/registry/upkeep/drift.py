"""What is not as it should be, and how it is put right without hurting anybody who is at work.

Whoever examines a thing reads it afresh, decides, and has every repair be one transaction on the condition of what it was
decided upon: where a record is changed or judged, of its revision; where something is missing or too much, that it still is.
If that does not hold somebody has been there, and the thing is examined anew. What is condemned is not taken away: the
collector looks for itself whether anything needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chalicelib.registry.attempts import Changed
from chalicelib.registry.condemned import Listed, Thing, condemn, note_key
from chalicelib.registry.ports import Attributes, Clock, Key, Table, Write
from chalicelib.registry.records import CONDEMNED_AT, REVISION, number, revised, untagged_key
from chalicelib.registry.times import seconds

LOST = "lost"
"""Bytes that a record promises are gone: who pushes them again heals that."""
DAMAGED = "damaged"
ABSENT = "absent"
"""What a manifest names was never here, and this registry takes such manifests."""
REPAIRED = "repaired"


@dataclass(frozen=True, slots=True)
class Drift:
    """One thing, told in a line: ``what`` it is counted as, and the writes that put it right, if any do."""

    what: str
    line: str
    writes: Sequence[Write] = ()


def repair(line: str, *writes: Write) -> Drift:
    """A drift that is put right by these writes."""
    return Drift(REPAIRED, line, writes)


def unnoted(table: Table, clock: Clock, thing: Thing, record: Attributes) -> Iterator[Drift]:
    """A thing that was condemned, and that the collector will never look at. It is condemned anew, not noted as of then: where
    notes are missing those of what needs it may be, too, and by the time it is due they have been put."""
    at = number(record, CONDEMNED_AT)
    places = [note_key(at, thing)]
    if isinstance(thing, Listed):  # in the order in which the collector takes a note from the one to the other
        places.append(untagged_key(at, thing.repository, thing.digest))
    if all(table.get(place) is None for place in places):
        yield repair(f"{thing}: condemned and not noted", *condemn(thing, seconds(clock), revised(record)))


def still(table: Table, key: Key, record: Attributes) -> None:
    """Raises Changed unless the record is as it was read: what is only told is to be true."""
    current = table.get(key)
    if current is None or current.get(REVISION) != record.get(REVISION):
        raise Changed
