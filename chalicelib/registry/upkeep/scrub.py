"""The scrub: reads stored blobs again, a budget of bytes at a time, and says which are not what they were when they came.

It hashes for itself; what the store says of its own bytes proves nothing about them. Nothing is deleted: a damaged blob is
noted for people, in its record (``damaged_at``), in the job's log and as an event. How far it came is kept in a record, so
that each run goes on from the last one, and after the last blob begins again with the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from chalicelib.registry.attempts import settled
from chalicelib.registry.events import Event, Events
from chalicelib.registry.names import Digest
from chalicelib.registry.ports import (
    Attributes,
    BlobMissing,
    BlobStore,
    Clock,
    ConditionFailed,
    Equals,
    Item,
    Key,
    Put,
    Table,
    Update,
    Write,
)
from chalicelib.registry.records import Malformed, blob_key, number, number_or, text, text_or
from chalicelib.registry.times import seconds
from chalicelib.registry.upkeep.hashing import hashed
from chalicelib.registry.upkeep.pace import Chosen

POSITION = Key("scrub", "position")

DAMAGED_AT = "damaged_at"
BUDGET = "gigabytes"
_GIGABYTE = 10**9

_STRETCH = 100
_LARGE = 1 << 30
"""Bytes from which on it is noted that a blob is being read: it may be more than one process has time for."""
_TRIES = 3


@dataclass(frozen=True, slots=True)
class _Position:
    """The walk's cursor, the last blob that was read in that stretch, and a large one that was begun, how often."""

    cursor: str = ""
    digest: str = ""
    trying: str = ""
    tries: int = 0

    def attributes(self) -> Attributes:
        return {"cursor": self.cursor, "digest": self.digest, "trying": self.trying, "tries": self.tries}


class Scrub:
    """Scrubs."""

    def __init__(self, table: Table, store: BlobStore, clock: Clock, events: Events, *, large: int = _LARGE) -> None:
        self._table = table
        self._store = store
        self._clock = clock
        self._events = events
        self._large = large

    def work(self, run: Chosen) -> None:
        """A job's work: as many ``gigabytes`` as it was given. Raises what ``run`` raises."""
        self.run(run, run.parameters[BUDGET] * _GIGABYTE)

    def run(self, run: Chosen, budget: int) -> None:
        """Read blobs until so many bytes were read, or the last one was; what the same job read before counts too, and is its
        cursor. Raises Busy, and what ``run`` raises."""
        position, read = self._position(), int(run.cursor or 0)
        try:
            while True:
                walked = self._table.walk(position.cursor or None, limit=_STRETCH)
                for digest in _rest(walked.items, position.digest):
                    if read >= budget:
                        return
                    try:
                        position = self._begun(position, digest)
                        read += self._read(run, position, digest, partial(run.checkpoint, str(read)))
                    except Malformed as error:  # nobody here wrote that record: it keeps no other blob from being read
                        run.count("unreadable")
                        run.log(f"{digest}: its record is not readable: {error!r}")
                    position = _Position(position.cursor, str(digest))
                    run.checkpoint(str(read))
                position = _Position(walked.cursor or "")
                if walked.cursor is None:
                    run.log("the last blob was read; the next run begins with the first one")
                    return
                self._save(position)
        finally:
            self._save(position)

    def _position(self) -> _Position:
        stored = self._table.get(POSITION) or {}
        return _Position(
            text_or(stored, "cursor", ""),
            text_or(stored, "digest", ""),
            text_or(stored, "trying", ""),
            number_or(stored, "tries", 0),
        )

    def _save(self, position: _Position) -> None:
        settled(partial(self._table.write, Put(POSITION, position.attributes())))

    def _begun(self, position: _Position, digest: Digest) -> _Position:
        """The position at which a blob is about to be read; that of a large one is kept, whatever ends this process."""
        record = self._table.get(blob_key(digest))
        if record is None or number(record, "size") < self._large:
            return replace(position, trying="", tries=0)
        tries = position.tries + 1 if position.trying == str(digest) else 1
        position = replace(position, trying=str(digest), tries=tries)
        self._save(position)
        return position

    def _read(self, run: Chosen, position: _Position, digest: Digest, go_on: Callable[[], None]) -> int:
        """Read one blob, and tell if it is damaged; how many bytes that were."""
        record = self._table.get(blob_key(digest))
        if record is None:
            return 0
        if position.tries > _TRIES:
            run.count("skipped")
            run.log(f"{digest}: skipped, it was begun {_TRIES} times and never read to its end")
            return 0
        key = text(record, "key")
        try:
            found = hashed(self._store, key, [digest.algorithm], go_on)
        except BlobMissing:
            run.count("lost")
            run.log(f"{digest}: {key} is not there")
            return 0
        run.count("blobs")
        run.count("bytes", found.size)
        if found.size != number(record, "size") or digest not in found.digests:
            self._tell(run, digest, key, is_new=DAMAGED_AT not in record)
        elif DAMAGED_AT in record:
            self._note(Update(blob_key(digest), remove=(DAMAGED_AT,), condition=Equals("key", key)))
        return found.size

    def _tell(self, run: Chosen, digest: Digest, key: str, *, is_new: bool) -> None:
        run.count("damaged")
        run.log(f"{digest}: damaged, the bytes under {key} are others")
        if is_new:
            damaged: Attributes = {DAMAGED_AT: seconds(self._clock)}
            event = Event("BLOB_DAMAGED", str(digest), detail={"key": key})
            self._note(Update(blob_key(digest), set=damaged, condition=Equals("key", key)), *self._events.writes(event))

    def _note(self, *changes: Write) -> None:
        """Change what people are told of a blob, in one transaction with the event: a blob that is noted is not told of again.
        Nothing is decided by that, so its revision stays; nothing is changed if it has gone, or has other bytes by now."""
        with suppress(ConditionFailed):
            settled(partial(self._table.transact, changes))


def _rest(items: Iterable[Item], last: str) -> Sequence[Digest]:
    """The blobs among the items of a stretch, behind the one that was read last, if that is still among them."""
    found = [item.key.partition.removeprefix("blob/") for item in items if item.key.sort == "blob"]
    rest = found[found.index(last) + 1 :] if last in found else found
    return [Digest.parse(digest) for digest in rest]
