"""The SQLite table keeps the contract, and what it was given: through a reopening, a killed process and a full disk."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from chalicelib.local import sqlite_table
from chalicelib.local.sqlite_table import SCHEMA, NewerSchema, SqliteTable, successor
from chalicelib.registry.ports import (
    EXPIRES,
    Absent,
    All,
    Attributes,
    Below,
    Check,
    Condition,
    ConditionFailed,
    Delete,
    Either,
    Equals,
    Exists,
    Key,
    Lacks,
    Put,
    StoreFull,
    Table,
    Update,
    Write,
)
from tests.contracts.table import ATTRIBUTES, BOUNDS, SORTS, TableContract, everything, exact, together
from tests.memory_table import MemoryTable

ROOT = Path(__file__).resolve().parents[2]
KEY = Key("partition", "sort")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.db"


class TestSqliteTable(TableContract):
    @pytest.fixture
    def table(self, path: Path) -> Iterator[Table]:
        table = SqliteTable(path)
        yield table
        table.close()


# ------------------------------------------------------------------------------------------------------------ durability

WRITER = """
import sys
from chalicelib.local.sqlite_table import SqliteTable
from chalicelib.registry.ports import Key, Put, Update
table = SqliteTable(sys.argv[1])
number = 0
while True:
    table.transact([Put(Key("written", f"{number:06}"), {"content": bytes(500)}), Update(Key("count", "n"), add={"n": 1})])
    print(number, flush=True)
    number += 1
"""


def test_a_killed_process_loses_nothing_it_was_told_is_written(path: Path) -> None:
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            for _ in range(150):
                child.stdout.readline()
            child.send_signal(signal.SIGKILL)
            acknowledged = 150 + len(child.stdout.read().splitlines())
        with closing(SqliteTable(path)) as table:
            written = table.query("written")
            # The last one may have been written and not told; nothing else.
            assert len(written) in {acknowledged, acknowledged + 1}
            assert [item.key.sort for item in written] == [f"{number:06}" for number in range(len(written))]
            assert table.get(Key("count", "n")) == {"n": len(written)}
            for item in everything(table):
                table.write(Delete(item.key))


def test_commits_are_synced_to_a_write_ahead_log(path: Path) -> None:
    with closing(SqliteTable(path)) as table:
        writer = table._writer
        assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert writer.execute("PRAGMA synchronous").fetchone() == (2,)


def test_all_is_there_after_reopening(path: Path) -> None:
    attributes: Attributes = {"content": bytes(range(256)) * 1000, "$": {"$": None}, "n": 10**37}
    with closing(SqliteTable(path)) as table:
        table.write(Put(KEY, attributes))
    assert [each.name for each in path.parent.iterdir()] == [path.name], "closing leaves one file, the log written back"
    with closing(SqliteTable(path)) as table:
        assert table.get(KEY) == attributes


def test_a_closed_table_answers_nobody(path: Path) -> None:
    table = SqliteTable(path)
    table.get(KEY)
    table.close()
    table.close()
    with pytest.raises(sqlite3.ProgrammingError):
        table.get(KEY)
    with pytest.raises(sqlite3.ProgrammingError):
        table.write(Put(KEY, {}))


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_file_of_a_later_release_is_refused_and_left_alone(path: Path, mode: str) -> None:
    SqliteTable(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    before = path.read_bytes()
    with pytest.raises(NewerSchema, match=f"schema {SCHEMA + 1} and this release knows {SCHEMA}"):
        SqliteTable(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        SqliteTable(path)
    assert path.read_bytes() == b"no database at all" * 1000


def filled(table: Table) -> int:
    """How many items went in before the table was full."""
    for number in range(1_000):
        try:
            table.write(Put(Key("fill", f"{number:04}"), {"content": bytes(5_000)}))
        except StoreFull:
            return number
    raise AssertionError("it is never full")


def test_a_full_disk_is_told_and_what_was_written_stays(path: Path) -> None:
    with closing(SqliteTable(path, max_bytes=200_000)) as table:
        table.write(Put(KEY, {"n": 1}))
        written = filled(table)
        assert 5 < written < 60
        with pytest.raises(StoreFull):
            table.transact([Update(KEY, add={"n": 1}), Put(Key("fill", "more"), {"content": bytes(50_000)})])
        assert table.get(KEY) == {"n": 1}
        assert len(table.query("fill")) == written
        for item in table.query("fill"):
            table.write(Delete(item.key))
        table.write(Put(Key("fill", "again"), {"content": bytes(50_000)}))
        table.write(Update(KEY, add={"n": 1}))
    with closing(SqliteTable(path)) as table:
        assert table.get(KEY) == {"n": 2}
        assert len(table.query("fill")) == 1


def test_a_failure_that_is_no_full_disk_passes(path: Path) -> None:
    with closing(SqliteTable(path)) as table, closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE items")
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            table.write(Put(KEY, {}))


# ---------------------------------------------------------------------------------------------------------------- backup


def test_a_backup_is_a_whole_table_taken_in_use(path: Path) -> None:
    copy = path.with_name("copy.db")
    copy.write_bytes(b"an earlier one")
    stop = threading.Event()
    with closing(SqliteTable(path)) as table:
        pair = [Key("pair", "a"), Key("pair", "b")]

        def write() -> None:
            while not stop.is_set():
                table.transact([Update(key, {"content": bytes(20_000)}, {"n": 1}) for key in pair])

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(5):
                table.backup(copy)
                with closing(SqliteTable(copy)) as restored:
                    counts = {item.attributes["n"] for item in restored.query("pair")}
                    assert len(counts) <= 1, "half a transaction"
        finally:
            stop.set()
            thread.join()
        table.backup(copy)
        with closing(SqliteTable(copy)) as restored:
            assert everything(restored) == everything(table)
    assert sorted(each.name for each in path.parent.iterdir()) == ["copy.db", "table.db"]


# ----------------------------------------------------------------------------------------------------------- concurrency


def test_readers_and_writers_never_find_the_file_busy(path: Path) -> None:
    """Other processes too: here another SqliteTable on the same file."""
    with closing(SqliteTable(path)) as table, closing(SqliteTable(path)) as other:
        table.write(Put(KEY, {"n": 0}))

        def work(number: int) -> None:
            for _ in range(20):
                if number % 4 == 0:
                    (table, other)[number // 4 % 2].write(Update(KEY, {"content": bytes(3_000)}, {"n": 1}))
                else:
                    assert table.get(KEY)
                    assert other.query(KEY.partition)

        together(40, work)
        found = table.get(KEY)
        assert found is not None
        assert found["n"] == 200


def test_no_more_connections_than_threads_at_once(path: Path) -> None:
    with closing(SqliteTable(path)) as table:
        for _ in range(5):
            together(4, lambda number: [table.get(Key("p", str(number))) for _ in range(20)])
        assert len(table._opened) <= 5, "the writer's, and one for each thread that read at the same time"


# --------------------------------------------------------------------------------------------------------------- queries


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", ""),
        ("a", "b"),
        ("a/", "a0"),
        ("\x7f", "\x80"),
        ("\ud7ff", "\ue000"),
        ("\uffff", "\U00010000"),
        ("a\U0010ffff", "b"),
        ("a\U0010ffff\U0010ffff", "b"),
        ("\U0010ffff", ""),
    ],
)
def test_successor(prefix: str, expected: str) -> None:
    assert successor(prefix) == expected


@pytest.mark.parametrize("backward", [False, True])
def test_a_query_reads_its_range_of_the_index_and_no_more(path: Path, backward: bool) -> None:
    """Steps of SQLite's machine, counted: 20 of 20,000 items must not cost what all cost."""
    with closing(SqliteTable(path)) as table:
        for start in range(0, 20_000, 100):
            table.transact([Put(Key("p", f"{number:05}"), {}) for number in range(start, start + 100)])
        table.query("p", limit=1)
        (reader,) = table._idle
        steps = []
        reader.set_progress_handler(lambda: steps.append(1), 1)
        assert len(table.query("p", prefix="1000", backward=backward)) == 10
        assert len(table.query("p", prefix="1", after="15000", backward=backward, limit=10)) == 10
        assert len(steps) < 1_000


# ------------------------------------------------------------------------------------------------- against the model

CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    st.sampled_from(
        [Exists(), Absent(), Lacks("n"), Below("n", 2), Equals("n", 1), Equals("n", True), Equals("b", b""), Lacks("$")]
    ),
    lambda inner: st.lists(inner, max_size=3).map(tuple).flatmap(lambda each: st.sampled_from([All(each), Either(each)])),
    max_leaves=4,
)
MAYBE = st.none() | CONDITIONS
KEYS = st.builds(Key, st.sampled_from(["p", "q", "\U0010ffff"]), SORTS)
COUNTED: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {}, optional={"n": st.integers(-3, 3), "b": st.just(b""), "$": st.just({"$": 1})}
)
CONTENTS = COUNTED | ATTRIBUTES
ADDED = st.dictionaries(st.sampled_from(["n", "m"]), st.integers(-3, 3), max_size=2)
REMOVED = st.lists(st.sampled_from(["n", "b", "$"]), max_size=2).map(tuple)


class SqliteAgainstMemory(RuleBasedStateMachine):
    """The file and the dict are told the same and must say the same, refusals included."""

    keys: Bundle[Key] = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name) / "table.db"
        self.sqlite = SqliteTable(self.path)
        self.memory = MemoryTable()

    def teardown(self) -> None:
        self.sqlite.close()
        self.folder.cleanup()

    @rule(target=keys, key=KEYS)
    def name(self, key: Key) -> Key:
        return key

    @rule(key=keys, attributes=CONTENTS, condition=MAYBE)
    def put(self, key: Key, attributes: Attributes, condition: Condition | None) -> None:
        self.both([Put(key, attributes, condition)])

    @rule(key=keys, set_=COUNTED, add=ADDED, remove=REMOVED, condition=MAYBE)
    def update(
        self, key: Key, set_: dict[str, int], add: dict[str, int], remove: tuple[str, ...], condition: Condition | None
    ) -> None:
        self.both([Update(key, set_, add, remove, condition)])

    @rule(key=keys, condition=MAYBE)
    def delete(self, key: Key, condition: Condition | None) -> None:
        self.both([Delete(key, condition)])

    @rule(data=st.data(), chosen=st.lists(keys, max_size=5))
    def transact(self, data: st.DataObject, chosen: list[Key]) -> None:
        writes = st.sampled_from([Put, Update, Delete, Check])
        made: list[Write] = []
        for key in chosen:
            kind = data.draw(writes)
            if kind is Put:
                made.append(Put(key, data.draw(COUNTED), data.draw(MAYBE)))
            elif kind is Update:
                made.append(Update(key, {"t": 1}, data.draw(ADDED), condition=data.draw(MAYBE)))
            elif kind is Delete:
                made.append(Delete(key, data.draw(MAYBE)))
            else:
                made.append(Check(key, data.draw(CONDITIONS)))
        self.both(made, transaction=True)

    @rule(
        partition=st.sampled_from(["p", "q"]),
        prefix=BOUNDS,
        after=BOUNDS,
        limit=st.none() | st.integers(0, 4),
        backward=st.booleans(),
    )
    def query(self, partition: str, prefix: str, after: str, limit: int | None, backward: bool) -> None:
        found, expected = (
            table.query(partition, prefix=prefix, after=after, limit=limit, backward=backward)
            for table in (self.sqlite, self.memory)
        )
        assert [(item.key, exact(item.attributes)) for item in found] == [
            (item.key, exact(item.attributes)) for item in expected
        ]

    @rule()
    def reopen(self) -> None:
        self.sqlite.close()
        self.sqlite = SqliteTable(self.path)

    @invariant()
    def same(self) -> None:
        found, expected = everything(self.sqlite, 3), everything(self.memory, 3)
        assert [(item.key, exact(item.attributes)) for item in found] == [
            (item.key, exact(item.attributes)) for item in expected
        ]

    def both(self, writes: list[Write], *, transaction: bool = False) -> None:
        assert said(self.sqlite, writes, transaction) == said(self.memory, writes, transaction)


def said(table: Table, writes: list[Write], transaction: bool) -> object:
    """How a table answers: None, or what it refuses and why."""
    try:
        if transaction or isinstance(writes[0], Check):
            table.transact(writes)
        else:
            table.write(writes[0])
    except ConditionFailed as error:
        return error.failed
    except ValueError as error:
        return str(error)
    return None


TestSqliteAgainstMemory = SqliteAgainstMemory.TestCase
TestSqliteAgainstMemory.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_what_has_expired_is_dropped_the_oldest_first(tmp_path: Path) -> None:
    table = SqliteTable(tmp_path / "table.sqlite")
    for number in range(10):
        table.write(Put(Key("p", f"expires {number}"), {EXPIRES: 100 + number}))
    for name, value in (("text", "99"), ("none", None), ("huge", 10**30), ("flag", True)):
        table.write(Put(Key("p", name), {EXPIRES: value}))
    table.write(Put(Key("p", "without"), {"a": 1}))
    assert table.drop_expired(100) == 0
    assert table.drop_expired(105, limit=2) == 2
    assert table.get(Key("p", "expires 1")) is None
    assert table.drop_expired(105) == 3
    left = [item.key.sort for item in table.query("p")]
    assert left == sorted(["text", "none", "huge", "flag", "without", *(f"expires {number}" for number in range(5, 10))])


def test_dropping_what_has_expired_reads_its_index_only(tmp_path: Path) -> None:
    path = tmp_path / "table.sqlite"
    SqliteTable(path).close()
    with closing(sqlite3.connect(path)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {sqlite_table._DROP_EXPIRED}", (1, 1)).fetchall()
    assert any("USING INDEX expiring" in str(step) or "USING COVERING INDEX expiring" in str(step) for step in plan), plan
