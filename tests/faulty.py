"""A table and a store whose calls fail as those of AWS do: before anything was done, or after it, the answer being lost.

What an adapter makes of that: DynamoDB's refusal to go on so fast, or while another transaction is under way, is a Conflict;
every other failure passes as it is, and so does all that S3 says but that an object is missing or a disk full. The SDK repeats
a transaction whose answer was lost under the same token, and may then be told that it is still under way: a Conflict, though
the writes come to pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import IO, TypeVar

from chalicelib.registry.names import Digest
from chalicelib.registry.ports import (
    Attributes,
    Clock,
    Conflict,
    Delete,
    Item,
    Key,
    Piece,
    Put,
    Stored,
    Update,
    Walked,
    Write,
)
from tests.memory_blobs import MemoryBlobs
from tests.memory_table import MemoryTable

Answer = TypeVar("Answer")


class Failed(Exception):
    """What no adapter translates: a connection that broke, a 500, S3's SlowDown."""


class Fault(Enum):
    """What becomes of a call."""

    THROTTLED = "throttled"
    """Nothing was done, and the service says so."""
    BROKEN = "broken"
    """Nothing was done, and nothing is said but that it failed."""
    UNANSWERED = "unanswered"
    """It was done, and nobody says so."""
    UNDER_WAY = "under way"
    """It was done, and the service says that it is still under way."""


@dataclass
class Faults:
    """Which of the calls of a table and a store fail: from the one that is number ``nth`` from now on, ``times`` in a row.
    ``calls`` are those since ``arm``, and ``log`` what they were."""

    kind: Fault = Fault.BROKEN
    nth: int = 0
    times: int = 0
    calls: int = 0
    log: list[str] = field(default_factory=list)
    _inside: bool = False

    def arm(self, kind: Fault, nth: int, times: int = 1) -> None:
        """Fail these calls, counted from now on."""
        self.kind, self.nth, self.times, self.calls, self.log = kind, nth, times, 0, []

    def rest(self) -> bool:
        """Fail nothing any more; whether anything had failed."""
        self.times, hit = 0, self.times > 0 and self.calls >= self.nth
        return hit

    def call(self, name: str, deed: Callable[[], Answer], refusal: type[Exception]) -> Answer:
        """Do it, or fail; ``refusal`` is what the adapter raises if the service asks to slow down."""
        if self._inside:
            return deed()  # how the memory does it, not a call
        self.calls += 1
        self.log.append(name)
        if not self.nth <= self.calls < self.nth + self.times:
            return self._done(deed)
        if self.kind in {Fault.UNANSWERED, Fault.UNDER_WAY}:
            self._done(deed)
        raise (refusal if self.kind in {Fault.THROTTLED, Fault.UNDER_WAY} else Failed)(name)

    def _done(self, deed: Callable[[], Answer]) -> Answer:
        self._inside = True
        try:
            return deed()
        finally:
            self._inside = False


class FaultyTable(MemoryTable):
    """A table in memory, some calls of which fail."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self._faults = faults

    def get(self, key: Key) -> Attributes | None:
        """See ``Table.get``."""
        return self._faults.call(f"get {key}", lambda: super(FaultyTable, self).get(key), Conflict)

    def batch_get(self, keys: Sequence[Key]) -> Mapping[Key, Attributes]:
        """See ``Table.batch_get``."""
        return self._faults.call(f"batch_get {len(keys)}", lambda: super(FaultyTable, self).batch_get(keys), Conflict)

    def write(self, write: Put | Update | Delete) -> None:
        """See ``Table.write``."""
        self._faults.call(f"write {write.key}", lambda: super(FaultyTable, self).write(write), Conflict)

    def transact(self, writes: Sequence[Write]) -> None:
        """See ``Table.transact``."""
        keys = [f"{type(write).__name__} {write.key.sort}" for write in writes[:8]]
        self._faults.call(f"transact {keys}", lambda: super(FaultyTable, self).transact(writes), Conflict)

    def query(
        self,
        partition: str,
        *,
        prefix: str = "",
        after: str = "",
        limit: int | None = None,
        backward: bool = False,
    ) -> Sequence[Item]:
        """See ``Table.query``."""

        def asked() -> Sequence[Item]:
            return super(FaultyTable, self).query(partition, prefix=prefix, after=after, limit=limit, backward=backward)

        return self._faults.call(f"query {partition} {prefix}", asked, Conflict)

    def walk(self, cursor: str | None = None, limit: int = 100) -> Walked:
        """See ``Table.walk``."""
        return self._faults.call("walk", lambda: super(FaultyTable, self).walk(cursor, limit), Conflict)


class FaultyBlobs(MemoryBlobs):
    """A store in memory, some calls of which fail. What is only signed, and asks nobody, does not."""

    def __init__(self, faults: Faults, clock: Clock) -> None:
        super().__init__(clock)
        self._faults = faults

    def put(self, key: str, content: bytes) -> None:
        """See ``BlobStore.put``."""
        self._faults.call(f"put {key}", lambda: super(FaultyBlobs, self).put(key, content), Failed)

    def check(self, key: str, digest: Digest, *, limit: int | None = None) -> int | None:
        """See ``BlobStore.check``."""
        return self._faults.call(f"check {key}", lambda: super(FaultyBlobs, self).check(key, digest, limit=limit), Failed)

    def assemble(self, pieces: Sequence[Piece], key: str, digest: Digest) -> int | None:
        """See ``BlobStore.assemble``."""
        return self._faults.call(f"assemble {key}", lambda: super(FaultyBlobs, self).assemble(pieces, key, digest), Failed)

    def stat(self, key: str) -> Stored | None:
        """See ``BlobStore.stat``."""
        return self._faults.call(f"stat {key}", lambda: super(FaultyBlobs, self).stat(key), Failed)

    def open(self, key: str, start: int = 0, end: int | None = None) -> IO[bytes]:
        """See ``BlobStore.open``."""
        return self._faults.call(f"open {key}", lambda: super(FaultyBlobs, self).open(key, start, end), Failed)

    def list(self, prefix: str, after: str = "") -> Iterator[Stored]:
        """See ``BlobStore.list``."""
        found = self._faults.call(f"list {prefix}", lambda: [*self._stored(prefix, after)], Failed)
        return iter(found)

    def _stored(self, prefix: str, after: str) -> Iterator[Stored]:
        yield from super().list(prefix, after)

    def delete(self, key: str) -> None:
        """See ``BlobStore.delete``."""
        self._faults.call(f"delete {key}", lambda: super(FaultyBlobs, self).delete(key), Failed)
