"""The table and the store that the walks run on: plain dicts that are copied in microseconds, and what stops a caller before
each call of them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import Context, copy_context
from copy import deepcopy
from datetime import datetime
from typing import IO, NamedTuple, cast

from greenlet import getcurrent, greenlet

from chalicelib.local.conditions import check_item, check_key, check_partition, check_transaction, check_write, holds, outcome
from chalicelib.registry.attempts import PAUSE
from chalicelib.registry.names import Digest
from chalicelib.registry.ports import (
    Attributes,
    BlobMissing,
    Check,
    Clock,
    ConditionFailed,
    Delete,
    Item,
    Key,
    Piece,
    ProofLong,
    Put,
    Shown,
    Stored,
    Update,
    Walked,
    Write,
)
from tests.interleavings.scheduler import NOTHING, Range, Step

OBJECTS = "objects in the store"
"""The partition that the store's keys count as in footprints."""


def object_key(key: str) -> Key:
    return Key(OBJECTS, key)


class LeanTable:
    """A ``Table`` on a dict that somebody else may copy. ``validates``: refuse what no table takes, and keep copies of what is
    put, as the other adapters do. The program's other tests cover that, so walks go without: nobody changes attributes."""

    def __init__(self, items: dict[Key, Attributes], *, validates: bool = False) -> None:
        self.items = items
        self._validates = validates

    def get(self, key: Key) -> Attributes | None:
        if self._validates:
            check_key(key)
        return deepcopy(self.items.get(key)) if self._validates else self.items.get(key)

    def batch_get(self, keys: Sequence[Key]) -> Mapping[Key, Attributes]:
        if self._validates:
            for key in keys:
                check_key(key)
        items = self.items
        return {key: items[key] for key in keys if key in items}

    def write(self, write: Put | Update | Delete) -> None:
        self.apply((write,))

    def transact(self, writes: Sequence[Write]) -> None:
        if self._validates:
            check_transaction(writes)
        self.apply(writes)

    def query(
        self, partition: str, *, prefix: str = "", after: str = "", limit: int | None = None, backward: bool = False
    ) -> Sequence[Item]:
        if self._validates:
            check_partition(partition)
        if limit is not None and limit < 0:
            raise ValueError(f"a limit of {limit}")
        keys = [key for key in self.items if key[0] == partition and key[1].startswith(prefix)]
        if after:
            keys = [key for key in keys if (key[1] < after if backward else key[1] > after)]
        keys.sort(reverse=backward)
        return [Item(key, self.items[key]) for key in keys[:limit]]

    def walk(self, cursor: str | None = None, limit: int = 100) -> Walked:
        """The cursor is the last key, as a JSON list."""
        if limit < 1:
            raise ValueError(f"a stretch of {limit} items")
        last = Key("", "") if cursor is None else Key(*json.loads(cursor))
        keys = sorted(key for key in self.items if key > last)
        items = tuple(Item(key, self.items[key]) for key in keys[:limit])
        return Walked(items, json.dumps(items[-1].key) if len(keys) > limit else None)

    def apply(self, writes: Sequence[Write]) -> None:
        items = self.items
        if self._validates:
            for write in writes:
                check_write(write)
        failed = tuple(
            index
            for index, write in enumerate(writes)
            if write.condition is not None and not holds(write.condition, items.get(write.key))
        )
        if failed:
            raise ConditionFailed(failed)
        if self._validates:
            after = [(write.key, outcome(write, items.get(write.key))) for write in writes if type(write) is not Check]
            for key, attributes in after:
                if attributes is not None:
                    check_item(key, attributes)
            after = deepcopy(after)
        else:
            after = [(write.key, _outcome(write, items.get(write.key))) for write in writes if type(write) is not Check]
        for key, attributes in after:
            if attributes is None:
                items.pop(key, None)
            else:
                items[key] = attributes


def _outcome(write: Put | Update | Delete | Check, found: Attributes | None) -> Attributes | None:
    """What lies there afterwards; see ``conditions.outcome``, which looks whether the write makes sense."""
    if type(write) is Put:
        return write.attributes
    if type(write) is not Update:
        return None
    result = {**found, **write.set} if found else dict(write.set)
    for name, amount in write.add.items():
        result[name] = cast("int", result.get(name, 0)) + amount
    for name in write.remove:
        result.pop(name, None)
    return result


class Kept(NamedTuple):
    """An object, and when it was written."""

    content: bytes
    modified: datetime


class LeanBlobs:
    """A ``BlobStore`` on a dict that somebody else may copy."""

    def __init__(self, objects: dict[str, Kept], clock: Clock) -> None:
        self.objects = objects
        self._clock = clock

    def put(self, key: str, content: bytes) -> None:
        self.objects[key] = Kept(content, self._clock.now())

    def check(self, key: str, digest: Digest, *, limit: int | None = None) -> int | None:
        content = self._get(key)
        if limit is not None and len(content) > limit:
            raise ProofLong
        return len(content) if Digest.of(content, digest.algorithm) == digest else None

    def assemble(self, pieces: Sequence[Piece], key: str, digest: Digest) -> int | None:
        whole = b"".join(self._get(piece.key) for piece in pieces)
        if Digest.of(whole, digest.algorithm) != digest:
            return None
        self.put(key, whole)
        return len(whole)

    def stat(self, key: str) -> Stored | None:
        found = self.objects.get(key)
        return None if found is None else Stored(key, len(found.content), found.modified)

    def open(self, key: str, start: int = 0, end: int | None = None) -> IO[bytes]:
        return io.BytesIO(self._get(key)[start:end])

    def list(self, prefix: str, after: str = "") -> Iterator[Stored]:
        """What is there when the first one is asked for: a page of a list is read at once."""
        objects = self.objects
        # Last segments are drawn at random: objects that differ in them alone are listed as they came, the same each time.
        keys = sorted(
            (key for key in objects if key.startswith(prefix) and key > after), key=lambda key: key.rpartition("/")[0]
        )
        yield from [Stored(key, len(objects[key].content), objects[key].modified) for key in keys]

    def link(self, key: str, method: str, shown: Shown) -> str:
        return f"https://blobs.test/{key}?{method}"

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def _get(self, key: str) -> bytes:
        found = self.objects.get(key)
        if found is None:
            raise BlobMissing(key)
        return found.content


# -------------------------------------------------------------------------------------------------------------- callers


class Died(BaseException):
    """The process is gone: no handler runs."""


class Caller:
    """One who acts, on a stack of its own: ``program`` runs up to before its first call, and from call to call by ``go``. It
    dies before its call number ``dies_at`` (from 1), and runs ``afterwards`` then, as a new process.

    ``next``: the call that it is about to make; None once it has ended. ``failure``: what it was ended by, if by an error.
    """

    def __init__(
        self, program: Callable[[], object], *, dies_at: int = 0, afterwards: Callable[[], object] | None = None
    ) -> None:
        self.next: Step | None = None
        self.failure: BaseException | None = None
        self.has_died = False
        self.is_stopped = False
        self._program = program
        self._afterwards = afterwards
        self._calls_left = dies_at
        self._walker = getcurrent()
        self._stack = greenlet(self._live)
        self._stack.gr_context = _IMPATIENT

    def go(self) -> None:
        """Make the next call (the first time none), and go on to before the one after it."""
        self.next = None
        self._walker = getcurrent()
        self._stack.switch()

    def stop(self) -> None:
        """It does not go on."""
        self.is_stopped = True
        if not self._stack.dead:
            self._stack.throw()

    def meet(self, step: Step) -> None:
        """Called by the ports, on the caller's stack: wait for one's turn to make this call."""
        if self.is_stopped:
            raise Died
        if self._calls_left:
            self._calls_left -= 1
            if not self._calls_left:
                raise Died
        self.next = step
        self._walker.switch()

    def _live(self) -> None:
        try:
            self._program()
        except Died:
            if not self.is_stopped:
                self.has_died = True
                self._live_on()
        except Exception as failure:  # noqa: BLE001 (whoever checks the walk says whether that may be)
            self.failure = failure

    def _live_on(self) -> None:
        if self._afterwards is None:
            return
        try:
            self._afterwards()
        except Died:
            pass
        except Exception as failure:  # noqa: BLE001 (the same)
            self.failure = failure


def _impatient() -> Context:
    PAUSE.set(lambda _seconds: None)
    return copy_context()


_IMPATIENT = copy_context().run(_impatient)
"""Nobody waits between tries: whoever disturbed one goes on in some of the orders, and not in others."""


class SteppedTable:
    """A caller's ``Table``: each call is a step. ``loose``: reads of several items read one at a time, as DynamoDB does; a
    query then reads the next item beyond the last one it has."""

    def __init__(self, inner: LeanTable, caller: Callable[[Step], None], *, loose: bool = False) -> None:
        self._inner = inner
        self._meet = caller
        self._loose = loose

    def get(self, key: Key) -> Attributes | None:
        self._meet(Step("get", frozenset((key,))))
        return self._inner.items.get(key)

    def batch_get(self, keys: Sequence[Key]) -> Mapping[Key, Attributes]:
        if not keys:
            return {}
        if not self._loose:
            self._meet(Step("batch_get", frozenset(keys)))
            return self._inner.batch_get(keys)
        found = {key: self.get(key) for key in keys}
        return {key: attributes for key, attributes in found.items() if attributes is not None}

    def write(self, write: Put | Update | Delete) -> None:
        touched = frozenset((write.key,))
        self._meet(Step(type(write).__name__.lower(), touched, touched))
        self._inner.apply((write,))

    def transact(self, writes: Sequence[Write]) -> None:
        touched = frozenset(write.key for write in writes)
        written = frozenset(write.key for write in writes if type(write) is not Check)
        self._meet(Step("transact", touched, written))
        self._inner.apply(writes)

    def query(
        self, partition: str, *, prefix: str = "", after: str = "", limit: int | None = None, backward: bool = False
    ) -> Sequence[Item]:
        bounds = Range(partition, prefix, "" if backward else after)
        if not self._loose or backward:
            self._meet(Step("query", NOTHING, NOTHING, (bounds,)))
            return self._inner.query(partition, prefix=prefix, after=after, limit=limit, backward=backward)
        items: list[Item] = []
        while limit is None or len(items) < limit:
            last = items[-1].key.sort if items else after
            self._meet(Step("query", NOTHING, NOTHING, (Range(partition, prefix, last),)))
            read = self._inner.query(partition, prefix=prefix, after=last, limit=1)
            if not read:
                break
            items += read
        return items

    def walk(self, cursor: str | None = None, limit: int = 100) -> Walked:
        raise NotImplementedError("a walk over everything depends on everything; scenarios do without")


class SteppedBlobs:
    """A caller's ``BlobStore``: each call is a step; making a link looks at nothing and is none."""

    def __init__(self, inner: LeanBlobs, caller: Callable[[Step], None]) -> None:
        self._inner = inner
        self._meet = caller

    def _read(self, call: str, *keys: str) -> None:
        self._meet(Step(call, frozenset(map(object_key, keys))))

    def _write(self, call: str, key: str, *read: str) -> None:
        written = frozenset((object_key(key),))
        self._meet(Step(call, written | frozenset(map(object_key, read)) if read else written, written))

    def put(self, key: str, content: bytes) -> None:
        self._write("put object", key)
        self._inner.put(key, content)

    def check(self, key: str, digest: Digest, *, limit: int | None = None) -> int | None:
        self._read("check object", key)
        return self._inner.check(key, digest, limit=limit)

    def assemble(self, pieces: Sequence[Piece], key: str, digest: Digest) -> int | None:
        self._write("assemble object", key, *(piece.key for piece in pieces))
        return self._inner.assemble(pieces, key, digest)

    def stat(self, key: str) -> Stored | None:
        self._read("stat object", key)
        return self._inner.stat(key)

    def open(self, key: str, start: int = 0, end: int | None = None) -> IO[bytes]:
        self._read("open object", key)
        return self._inner.open(key, start, end)

    def list(self, prefix: str, after: str = "") -> Iterator[Stored]:
        self._meet(Step("list objects", NOTHING, NOTHING, (Range(OBJECTS, prefix, after),)))
        yield from self._inner.list(prefix, after)

    def link(self, key: str, method: str, shown: Shown) -> str:
        return self._inner.link(key, method, shown)

    def delete(self, key: str) -> None:
        self._write("delete object", key)
        self._inner.delete(key)
