"""The ``Table`` of one machine: an SQLite file in WAL mode, every answered write on the disk.

One table holds all items, clustered by key, so that a query is one range of its B-tree; SQLite compares text by its UTF-8
bytes, which is the order the port asks for. An item is one JSON object in one column; the bytes within it lie end to
end in a second column, and in the JSON a mark says which of them: ``{"$": [start, end]}``. A name that begins with "$"
is stored with one more, so no item of ours is taken for a mark.

Reads take a connection out of a pool and need no lock: a reader sees the last commit and never waits for the writer. Writes
pass one lock and one connection, so no two of this process meet at the file. Other processes may read it (a backup).

    table = SqliteTable("registry.db")
    table.write(Put(Key("repository", "alpine"), {"tags": 3}, Absent()))
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from chalicelib.local.conditions import check_item, check_key, check_partition, check_transaction, check_write, holds, updated
from chalicelib.registry.ports import (
    EXPIRES,
    Attributes,
    Check,
    ConditionFailed,
    Delete,
    Item,
    Key,
    Put,
    StoreFull,
    Update,
    Value,
    Walked,
    Write,
)

SCHEMA = 1
"""Version of the file's layout, kept in its user_version. Count up with every change, and migrate in ``_migrate``."""

BUSY_SECONDS = 10.0
BATCH = 400
"""Keys in one statement of ``batch_get``: two parameters each, far from SQLite's limit."""

_CREATE = """
CREATE TABLE IF NOT EXISTS items (
    partition TEXT NOT NULL,
    sort TEXT NOT NULL,
    attributes TEXT NOT NULL,
    content BLOB,
    PRIMARY KEY (partition, sort)
) WITHOUT ROWID, STRICT
"""
_EXPIRY = f"json_extract(attributes, '$.{EXPIRES}')"
_EXPIRING = f"json_type(attributes, '$.{EXPIRES}') = 'integer'"
_CREATE_EXPIRY = f"CREATE INDEX IF NOT EXISTS expiring ON items ({_EXPIRY}) WHERE {_EXPIRING}"
_DROP_EXPIRED = f"""
DELETE FROM items WHERE (partition, sort) IN (
    SELECT partition, sort FROM items WHERE {_EXPIRING} AND {_EXPIRY} < ? ORDER BY {_EXPIRY} LIMIT ?
)
"""  # noqa: S608 - made of constants
_GET = "SELECT attributes, content FROM items WHERE partition = ? AND sort = ?"
_PUT = "INSERT OR REPLACE INTO items (partition, sort, attributes, content) VALUES (?, ?, ?, ?)"
_DELETE = "DELETE FROM items WHERE partition = ? AND sort = ?"
_ITEMS = "SELECT partition, sort, attributes, content FROM items"
_WALK = f"{_ITEMS} WHERE (partition, sort) > (?, ?) ORDER BY partition, sort LIMIT ?"

_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode
_decode = json.JSONDecoder().raw_decode


class NewerSchema(Exception):
    """The file was written by a later release."""


class SqliteTable:
    """A ``Table`` in the file at ``path``, made if it is not there; its folder must be. Threads may share it.

    ``max_bytes`` bounds the file; what does not fit is StoreFull, as on a full disk. Raises NewerSchema."""

    def __init__(self, path: str | os.PathLike[str], *, max_bytes: int | None = None) -> None:
        self._path = os.fspath(path)
        self._idle: deque[sqlite3.Connection] = deque()
        self._opened: list[sqlite3.Connection] = []
        self._opening = threading.Lock()
        self._writing = threading.Lock()
        self._closed = False
        self._writer = self._open()
        self._prepare(max_bytes)

    def get(self, key: Key) -> Attributes | None:
        """See ``Table.get``."""
        # ``_reading`` written out: this is the hottest call there is, and a generator would cost a fifth of it.
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._open()
        try:
            row = connection.execute(_GET, key).fetchone()
        finally:
            self._idle.append(connection)
        if row is None:
            check_key(key)  # what DynamoDB refuses is refused here, at no cost to what is found
            return None
        return _attributes(*row)

    def batch_get(self, keys: Sequence[Key]) -> Mapping[Key, Attributes]:
        """See ``Table.batch_get``."""
        wanted = list(dict.fromkeys(keys))
        for key in wanted:
            check_key(key)
        found: dict[Key, Attributes] = {}
        for start in range(0, len(wanted), BATCH):
            batch = wanted[start : start + BATCH]
            marks = ",".join(["(?,?)"] * len(batch))
            statement = f"{_ITEMS} WHERE (partition, sort) IN (VALUES {marks})"
            for item in self._items(statement, [part for key in batch for part in key]):
                found[item.key] = item.attributes
        return found

    def write(self, write: Put | Update | Delete) -> None:
        """See ``Table.write``."""
        self._apply((write,))

    def transact(self, writes: Sequence[Write]) -> None:
        """See ``Table.transact``."""
        check_transaction(writes)
        self._apply(writes)

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
        bounds, parameters = _range(prefix, after, backward=backward)
        order = " ORDER BY sort DESC" if backward else " ORDER BY sort"
        statement = f"{_ITEMS} WHERE partition = ?{bounds}{order} LIMIT ?"
        items = self._items(statement, [partition, *parameters, -1 if limit is None else _natural(limit)])
        if not items:
            check_partition(partition)
        return items

    def walk(self, cursor: str | None = None, limit: int = 100) -> Walked:
        """See ``Table.walk``. The cursor is the last key, as a JSON list."""
        partition, sort = ("", "") if cursor is None else json.loads(cursor)
        if limit < 1:
            raise ValueError(f"a stretch of {limit} items")
        # One more than asked for tells whether there is more.
        items = self._items(_WALK, [partition, sort, limit + 1])
        if len(items) <= limit:
            return Walked(tuple(items), None)
        return Walked(tuple(items[:limit]), json.dumps(items[limit - 1].key))

    def drop_expired(self, now: int, limit: int = 1_000) -> int:
        """Drop up to ``limit`` items whose EXPIRES lies before ``now`` (seconds since the epoch), the longest expired first,
        as DynamoDB does by itself; how many there were."""
        with self._writing, _full_is_store_full(), _transaction(self._writer) as connection:
            return connection.execute(_DROP_EXPIRED, (now, limit)).rowcount

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the table as it is now to a new file at ``path``, over any earlier one, while it is in use. The file appears
        whole and on the disk, or not at all. Raises StoreFull."""
        target = Path(path)
        partial = target.with_name(target.name + ".partial")
        partial.unlink(missing_ok=True)
        try:
            with _full_is_store_full(), self._reading() as connection, closing(sqlite3.connect(partial)) as copy:
                connection.backup(copy)
            for ending in ("-wal", "-shm"):  # of an earlier file; SQLite would take them for the new one's
                target.with_name(target.name + ending).unlink(missing_ok=True)
            _sync(target.parent)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        _sync(target.parent)

    def close(self) -> None:
        """Close every connection; nobody may be using the table. Harmless when repeated."""
        with self._writing, self._opening:
            self._closed = True
            self._idle.clear()
            for connection in self._opened:
                connection.close()
            self._opened.clear()

    def _open(self) -> sqlite3.Connection:
        """A connection in autocommit mode. The pool hands it from thread to thread, to one at a time."""
        with self._opening:
            if self._closed:
                raise sqlite3.ProgrammingError("the table is closed")
            connection = sqlite3.connect(
                self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            self._opened.append(connection)
        return connection

    def _prepare(self, max_bytes: int | None) -> None:
        """Bring the file to this release's layout, and the writer to what the promises need."""
        try:
            _schema(self._writer)  # before anything is changed
            _enter_wal(self._writer)
            with _transaction(self._writer) as connection:
                _migrate(connection)
            if max_bytes is not None:
                page = connection.execute("PRAGMA page_size").fetchone()[0]
                connection.execute(f"PRAGMA max_page_count = {max(1, max_bytes // page)}")
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._open()
        try:
            yield connection
        finally:
            self._idle.append(connection)

    def _items(self, statement: str, parameters: Sequence[str | int]) -> list[Item]:
        with self._reading() as connection:
            rows = connection.execute(statement, parameters).fetchall()
        return [Item(Key(partition, sort), _attributes(attributes, content)) for partition, sort, attributes, content in rows]

    def _apply(self, writes: Sequence[Write]) -> None:
        """All of the writes or none, judged inside the transaction that makes them."""
        # What needs no look at the table is done before the others are made to wait.
        for write in writes:
            check_write(write)
        ready = [_row(write.key, write.attributes) if isinstance(write, Put) else None for write in writes]
        with self._writing, _full_is_store_full(), _transaction(self._writer) as connection:
            before = [self._before(write) for write in writes]
            failed = tuple(
                index
                for index, write in enumerate(writes)
                if write.condition is not None and not holds(write.condition, before[index])
            )
            if failed:
                raise ConditionFailed(failed)
            for write, attributes, row in zip(writes, before, ready, strict=True):
                match write:
                    case Put():
                        connection.execute(_PUT, row or ())
                    case Update():
                        after = updated(write, attributes)
                        check_item(write.key, after)
                        connection.execute(_PUT, _row(write.key, after))
                    case Delete():
                        connection.execute(_DELETE, write.key)
                    case Check():
                        pass

    def _before(self, write: Write) -> Attributes | None:
        """The item as the write finds it; not looked up where nothing asks."""
        if write.condition is None and not isinstance(write, Update):
            return None
        row = self._writer.execute(_GET, write.key).fetchone()
        return None if row is None else _attributes(*row)


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to WAL, if it is not, and make the connection's commits durable."""
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise sqlite3.OperationalError(f"the file cannot have a write-ahead log; its journal mode stays {mode}")
    # FULL: a commit is answered when the log is on the disk. NORMAL would lose the last ones with the power.
    connection.execute("PRAGMA synchronous = FULL")


def _schema(connection: sqlite3.Connection) -> int:
    """The version of the file's layout, 0 if it is new. Raises NewerSchema."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA:
        raise NewerSchema(f"the file has schema {version} and this release knows {SCHEMA} at most: use a newer release")
    return version


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring the file's layout to this release's. Raises NewerSchema."""
    if _schema(connection) < SCHEMA:
        connection.execute(_CREATE)
        connection.execute(_CREATE_EXPIRY)
        connection.execute(f"PRAGMA user_version = {SCHEMA}")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """A write transaction: committed at the end of the block, or undone if anything is raised."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some failures, a full disk among them, have undone it already
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _full_is_store_full() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        code: int = getattr(error, "sqlite_errorcode", 0)  # errors of Python's own module have none
        if code & 0xFF == sqlite3.SQLITE_FULL:
            raise StoreFull(str(error)) from error
        raise


def _range(prefix: str, after: str, *, backward: bool) -> tuple[str, list[str]]:
    """Conditions on the sort key, one at most on each side, so that both bound the range of the index; and their values."""
    bounds: list[tuple[str, str]] = []
    end = successor(prefix)
    if backward:
        upper = min((bound for bound in (end, after) if bound), default="")
        bounds = [(" AND sort >= ?", prefix), (" AND sort < ?", upper)]
    else:
        lower = (" AND sort > ?", after) if after >= prefix else (" AND sort >= ?", prefix)
        bounds = [lower, (" AND sort < ?", end)]
    bounds = [bound for bound in bounds if bound[1]]
    return "".join(text for text, _ in bounds), [value for _, value in bounds]


def successor(prefix: str) -> str:
    """The least text beyond all that begin with ``prefix``, in the order of UTF-8 bytes, which is that of code points; "" if
    nothing lies beyond."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return ""
    last = ord(stem[-1]) + 1
    # Surrogates are no characters: UTF-8 has no bytes for them.
    return stem[:-1] + chr(0xE000 if last == 0xD800 else last)


def _row(key: Key, attributes: Attributes) -> tuple[str, str, str, bytes | None]:
    """The columns of an item that was checked."""
    pieces: list[bytes] = []
    text = _encode(_marked(attributes, pieces))
    return key.partition, key.sort, text, b"".join(pieces) if pieces else None


def _marked(value: Value, pieces: list[bytes]) -> Any:  # noqa: ANN401 (JSON)
    """The value as JSON has it: bytes moved to ``pieces`` and marked, names beginning with "$" given one more."""
    match value:
        case bytes():
            start = sum(map(len, pieces))
            pieces.append(value)
            return {"$": (start, start + len(value))}
        case Mapping():
            return {"$" + name if name.startswith("$") else name: _marked(each, pieces) for name, each in value.items()}
        case list() | tuple():
            return [_marked(each, pieces) for each in value]
        case _:
            return value


def _attributes(text: str, content: bytes | None) -> dict[str, Value]:
    """The attributes of a row."""
    # Most items hold neither bytes nor such a name: plain JSON, decoded without a call back into Python.
    if '"$' not in text:
        plain: dict[str, Value] = _decode(text)[0]
        return plain
    unmarked: dict[str, Value] = json.JSONDecoder(object_hook=_unmarking(content or b"")).raw_decode(text)[0]
    return unmarked


def _unmarking(content: bytes) -> Callable[[dict[str, Any]], Any]:
    def unmark(found: dict[str, Any]) -> Any:  # noqa: ANN401 (JSON)
        span = found.get("$")
        if span is not None:
            return content[span[0] : span[1]]
        return {name[1:] if name.startswith("$") else name: value for name, value in found.items()}

    return unmark


def _natural(limit: int) -> int:
    if limit < 0:
        raise ValueError(f"a limit of {limit}")
    return limit


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
