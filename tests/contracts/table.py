"""What every ``Table`` does. An adapter's test inherits ``TableContract`` and gives it a fixture ``table``: an empty one, new
for each test.

    class TestMemoryTable(TableContract):
        @pytest.fixture
        def table(self) -> Table: ...
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.registry.ports import (
    MAX_ITEM,
    MAX_TRANSACTION,
    Absent,
    All,
    Attributes,
    Below,
    Check,
    Condition,
    ConditionFailed,
    Conflict,
    Delete,
    Either,
    Equals,
    Exists,
    Item,
    Key,
    Lacks,
    Put,
    Table,
    Update,
    Value,
    Write,
)

T = TypeVar("T")

KEY = Key("partition", "sort")
OTHER = Key("partition", "other")

CONDITIONS: Sequence[tuple[Condition, Attributes | None, bool]] = (
    (Exists(), None, False),
    (Exists(), {}, True),
    (Absent(), None, True),
    (Absent(), {}, False),
    (Equals("a", "x"), None, False),
    (Equals("a", "x"), {}, False),
    (Equals("a", "x"), {"a": "x"}, True),
    (Equals("a", "x"), {"a": "y"}, False),
    (Equals("a", "x"), {"a": b"x"}, False),
    (Equals("a", "x"), {"b": "x"}, False),
    (Equals("a", "x"), {"a": ["x"]}, False),
    (Equals("a", ""), {"a": ""}, True),
    (Equals("a", ""), {"a": None}, False),
    (Equals("a", ""), {}, False),
    (Equals("a", b"x"), {"a": b"x"}, True),
    (Equals("a", b"x"), {"a": b"y"}, False),
    (Equals("a", b""), {"a": b""}, True),
    (Equals("a", 1), {"a": 1}, True),
    (Equals("a", 1), {"a": 2}, False),
    (Equals("a", 1), {"a": True}, False),
    (Equals("a", 1), {"a": "1"}, False),
    (Equals("a", 10**37), {"a": 10**37}, True),
    (Equals("a", 10**37 + 1), {"a": 10**37}, False),
    (Equals("a", True), {"a": True}, True),
    (Equals("a", True), {"a": 1}, False),
    (Equals("a", False), {"a": False}, True),
    (Equals("a", False), {"a": 0}, False),
    (Equals("a", False), {"a": None}, False),
    (Equals("a", False), {}, False),
    (Lacks("a"), None, True),
    (Lacks("a"), {}, True),
    (Lacks("a"), {"b": 1}, True),
    (Lacks("a"), {"a": 1}, False),
    (Lacks("a"), {"a": None}, False),
    (Lacks("a"), {"a": ""}, False),
    (Below("a", 5), None, False),
    (Below("a", 5), {}, False),
    (Below("a", 5), {"a": 4}, True),
    (Below("a", 5), {"a": 5}, False),
    (Below("a", 5), {"a": 10}, False),
    (Below("a", 5), {"a": -1}, True),
    (Below("a", 5), {"a": True}, False),
    (Below("a", 5), {"a": "4"}, False),
    (Below("a", 5), {"a": None}, False),
    (Below("a", 10**37 + 1), {"a": 10**37}, True),
    (All(()), None, True),
    (All(()), {}, True),
    (All((Exists(),)), None, False),
    (All((Equals("a", 1), Lacks("b"))), {"a": 1}, True),
    (All((Equals("a", 1), Lacks("b"))), {"a": 1, "b": 1}, False),
    (All((Equals("a", 1), Lacks("b"))), {}, False),
    (Either(()), None, False),
    (Either(()), {}, False),
    (Either((Absent(),)), None, True),
    (Either((Absent(), Below("a", 5))), {"a": 4}, True),
    (Either((Absent(), Below("a", 5))), {"a": 6}, False),
    (Either((Absent(), Below("a", 5))), None, True),
    (Either((All((Exists(), Lacks("a"))), Equals("a", 1))), {"a": 1}, True),
    (Either((All((Exists(), Lacks("a"))), Equals("a", 1))), {"b": 1}, True),
    (Either((All((Exists(), Lacks("a"))), Equals("a", 1))), {"a": 2}, False),
    (All((Either((Absent(), Equals("a", 1))), Either((Lacks("b"), Equals("b", 2))))), {"a": 1, "b": 3}, False),
    (All((Either((Absent(), Equals("a", 1))), Either((Lacks("b"), Equals("b", 2))))), {"a": 1, "b": 2}, True),
)
"""A condition, the item it meets, and whether it holds."""

HOSTILE_NAMES = (
    "partition",
    "sort",
    "$",
    "$$",
    "$partition",
    "a[0]",
    "a.b",
    "#0",
    ":0",
    "size",
    "attribute_exists(a) OR a",
    "a = :0",
    "x y",
    "{0}",
    "é🙂",
    '"',
    "'",
    "\\",
)
"""Attribute names that mean something to a store, or to what builds its expressions."""

CHARACTERS = st.characters(codec="utf-8")
TEXTS = st.text(CHARACTERS, max_size=20)
NAMES = st.text(CHARACTERS, min_size=1, max_size=10) | st.sampled_from(HOSTILE_NAMES)
INTEGERS = st.integers(-(10**38) + 1, 10**38 - 1)
VALUES: st.SearchStrategy[Value] = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXTS | st.binary(max_size=50),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
TYPE_TAGS = frozenset({"S", "N", "B", "M", "L", "BOOL", "NULL", "SS", "NS", "BS"})
"""The emulator's UpdateItem takes a whole item for one value when an attribute is called like a type; DynamoDB does not."""

ATTRIBUTES = st.dictionaries(NAMES.filter(lambda name: name not in TYPE_TAGS), VALUES, max_size=5)

SORTS = st.text(st.sampled_from("ab/\x00\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"), min_size=1, max_size=4)
BOUNDS = st.just("") | SORTS

shared_table = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
"""For properties that clean up after an example, or do not care what earlier ones left; each adapter's class runs them."""


def exact(value: Any) -> Any:  # noqa: ANN401 (any value, or none)
    """The value with the types written out, since in Python True equals 1 and a list may stand for a tuple."""
    if isinstance(value, Mapping):
        return {name: exact(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [exact(each) for each in value]
    return (type(value).__name__, value)


def sorts(items: Sequence[Item]) -> list[str]:
    return [item.key.sort for item in items]


def insisting(act: Callable[[], T]) -> T:
    """What a caller does on Conflict, but at once: the others go on meanwhile."""
    for _ in range(2_000):
        try:
            return act()
        except Conflict:
            continue
    raise AssertionError("nothing but conflicts")


def together(count: int, act: Callable[[int], T]) -> list[T]:
    """What ``act`` returns in each of ``count`` threads that set out at the same moment."""
    start = threading.Barrier(count)

    def run(number: int) -> T:
        start.wait(30)
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def at_least(amount: int) -> Condition:
    """Holds for a balance of ``amount`` to 20: the port has no "not below", so all of them are named."""
    return Either(tuple(Equals("n", balance) for balance in range(amount, 21)))


def everything(table: Table, limit: int = 100) -> list[Item]:
    items: list[Item] = []
    walked = table.walk(limit=limit)
    items += walked.items
    while walked.cursor is not None:
        walked = table.walk(walked.cursor, limit)
        assert len(walked.items) <= limit
        items += walked.items
    return items


class TableContract:
    """The suite. Failure first."""

    threads = 12
    rounds = 10

    # ------------------------------------------------------------------------------------------------------ conditions

    @pytest.mark.parametrize(("condition", "attributes", "expected"), CONDITIONS)
    def test_condition(self, table: Table, condition: Condition, attributes: Attributes | None, expected: bool) -> None:
        writes: tuple[Callable[[Key], Write], ...] = (
            lambda key: Put(key, {"new": 1}, condition),
            lambda key: Update(key, {"new": 1}, condition=condition),
            lambda key: Update(key, add={"new": 1}, condition=condition),
            lambda key: Delete(key, condition),
            lambda key: Check(key, condition),
        )
        results: tuple[Attributes | None, ...] = (
            {"new": 1},
            {**(attributes or {}), "new": 1},
            {**(attributes or {}), "new": 1},
            None,
            attributes,
        )
        for number, (make, after) in enumerate(zip(writes, results, strict=True)):
            key = Key("conditions", str(number))
            if attributes is not None:
                table.write(Put(key, attributes))
            write = make(key)
            if expected:
                table.transact([write]) if isinstance(write, Check) else table.write(write)
                assert exact(table.get(key)) == exact(after)
            else:
                with pytest.raises(ConditionFailed) as caught:
                    table.transact([write]) if isinstance(write, Check) else table.write(write)
                assert caught.value.failed == (0,)
                assert exact(table.get(key)) == exact(attributes)

    @pytest.mark.parametrize("name", HOSTILE_NAMES)
    def test_names_are_never_read_as_expressions(self, table: Table, name: str) -> None:
        decoy: Attributes = {"a": ["x"], "b": {"c": 1}}
        with pytest.raises(ConditionFailed):
            table.write(Put(KEY, decoy, Equals(name, "x")))
        table.write(Put(KEY, {**decoy, name: 1}, Lacks(name)))
        with pytest.raises(ConditionFailed):
            table.write(Update(KEY, add={name: 1}, condition=Lacks(name)))
        table.write(Update(KEY, add={name: 1}, condition=All((Equals(name, 1), Below(name, 2)))))
        table.write(Update(KEY, {name: {name: [name]}}, condition=Equals(name, 2)))
        assert table.get(KEY) == {**decoy, name: {name: [name]}}
        assert table.query(KEY.partition) == [Item(KEY, {**decoy, name: {name: [name]}})]
        table.write(Update(KEY, remove=(name,)))
        assert table.get(KEY) == decoy

    # --------------------------------------------------------------------------------------------------- single writes

    def test_nothing_is_there_at_first(self, table: Table) -> None:
        assert table.get(KEY) is None
        assert table.batch_get([KEY, OTHER]) == {}
        assert table.query("partition") == []
        assert everything(table) == []

    def test_put_replaces_the_whole_item(self, table: Table) -> None:
        table.write(Put(KEY, {"a": 1, "b": 2}))
        table.write(Put(KEY, {"b": 3}))
        assert table.get(KEY) == {"b": 3}

    def test_partition_and_sort_are_apart(self, table: Table) -> None:
        table.write(Put(Key("ab", "c"), {"a": 1}))
        assert table.get(Key("a", "bc")) is None
        assert table.get(Key("ab", "C")) is None
        assert table.query("a") == []

    def test_delete_of_nothing_is_nothing(self, table: Table) -> None:
        table.write(Delete(KEY))
        table.write(Put(KEY, {}))
        table.write(Delete(KEY))
        table.write(Delete(KEY))
        assert table.get(KEY) is None
        assert table.query(KEY.partition) == []

    def test_what_a_caller_does_to_its_mapping_afterwards_changes_nothing(self, table: Table) -> None:
        inner: list[Value] = [1]
        attributes: dict[str, Value] = {"list": inner}
        table.write(Put(KEY, attributes))
        inner.append(2)
        attributes["more"] = 1
        read = table.get(KEY)
        assert read == {"list": [1]}
        read["list"].append(3)  # type: ignore[union-attr]  # what a type checker forbids
        assert table.get(KEY) == {"list": [1]}

    @pytest.mark.parametrize(
        ("update", "before", "after"),
        [
            (Update(KEY), None, {}),
            (Update(KEY), {"a": 1}, {"a": 1}),
            (Update(KEY, remove=("a",)), None, {}),
            (Update(KEY, remove=("a",)), {"a": 1, "b": 2}, {"b": 2}),
            (Update(KEY, {"a": 2}), None, {"a": 2}),
            (Update(KEY, {"a": None}), {"a": 1, "b": 2}, {"a": None, "b": 2}),
            (Update(KEY, add={"n": 3}), None, {"n": 3}),
            (Update(KEY, add={"n": -5}), {"n": 3, "b": 2}, {"n": -2, "b": 2}),
            (Update(KEY, add={"n": 0}), None, {"n": 0}),
            # DynamoDB adds with 38 digits; its emulator only with 28.
            (Update(KEY, add={"n": 1}), {"n": 10**26}, {"n": 10**26 + 1}),
            (Update(KEY, {"a": [1], "c": {"d": b"e"}}, {"n": 1, "m": 2}, ("x", "y")), {"x": 1, "n": 1}, None),
        ],
    )
    def test_update(self, table: Table, update: Update, before: Attributes | None, after: Attributes | None) -> None:
        if before is not None:
            table.write(Put(KEY, before))
        expected = after if after is not None else {"a": [1], "c": {"d": b"e"}, "n": 2, "m": 2}
        table.write(update)
        assert exact(table.get(KEY)) == exact(expected)
        table.transact([Update(KEY, add={"again": 1}), Update(OTHER, update.set, update.add, update.remove)])
        assert table.get(KEY) == {**expected, "again": 1}
        assert table.get(OTHER) is not None

    @pytest.mark.parametrize(
        "update",
        [
            Update(KEY, {"a": 1}, {"a": 1}),
            Update(KEY, {"a": 1}, remove=("a",)),
            Update(KEY, add={"a": 1}, remove=("a",)),
            Update(KEY, remove=("b", "b")),
            Update(KEY, add={"text": 1}),
            Update(KEY, add={"nothing": 1}),
            Update(KEY, add={"flag": 1}),
            Update(KEY, {"a": 1.5}),  # type: ignore[dict-item]  # what a type checker forbids
        ],
    )
    def test_an_update_without_sense_is_refused(self, table: Table, update: Update) -> None:
        before: Attributes = {"text": "x", "nothing": None, "flag": True, "b": 1}
        table.write(Put(KEY, before))
        with pytest.raises(ValueError, match=r"."):
            table.write(update)
        with pytest.raises(ValueError, match=r"."):
            table.transact([Put(OTHER, {}), update])
        assert exact(table.get(KEY)) == exact(before)
        assert table.get(OTHER) is None

    # ---------------------------------------------------------------------------------------------------- transactions

    @pytest.mark.parametrize("count", [0, MAX_TRANSACTION + 1])
    def test_too_few_or_many_writes_are_refused(self, table: Table, count: int) -> None:
        with pytest.raises(ValueError, match="transaction"):
            table.transact([Put(Key("many", f"{number:03}"), {}) for number in range(count)])
        assert table.query("many") == []

    def test_as_many_writes_as_allowed_are_made(self, table: Table) -> None:
        table.transact([Put(Key("many", f"{number:03}"), {"n": number}) for number in range(MAX_TRANSACTION)])
        assert [item.attributes["n"] for item in table.query("many")] == list(range(MAX_TRANSACTION))

    @pytest.mark.parametrize("second", [Put(KEY, {"b": 1}), Update(KEY), Delete(KEY), Check(KEY, Absent())])
    def test_one_key_twice_is_refused(self, table: Table, second: Write) -> None:
        with pytest.raises(ValueError, match="twice"):
            table.transact([Put(KEY, {"a": 1}), second])
        assert table.get(KEY) is None

    @pytest.mark.parametrize("failing", [(0,), (3,), (7,), (1, 2, 6), tuple(range(8))])
    def test_nothing_is_written_when_a_condition_fails_and_it_is_named(self, table: Table, failing: tuple[int, ...]) -> None:
        makers: tuple[Callable[[Key, Condition], Write], ...] = (
            lambda key, condition: Put(key, {"n": 2}, condition),
            lambda key, condition: Update(key, {"m": 2}, {"n": 1}, condition=condition),
            Delete,
            Check,
        )
        keys = [Key("transaction", str(number)) for number in range(8)]
        for key in keys:
            table.write(Put(key, {"n": 1}))
        writes = [makers[number % 4](key, Equals("n", 5 if number in failing else 1)) for number, key in enumerate(keys)]
        with pytest.raises(ConditionFailed) as caught:
            table.transact([*writes, Put(OTHER, {})])
        assert caught.value.failed == failing
        assert table.batch_get(keys) == {key: {"n": 1} for key in keys}
        assert table.get(OTHER) is None

    def test_all_kinds_of_write_in_one_transaction(self, table: Table) -> None:
        keys = [Key(f"p{number}", "s") for number in range(5)]
        table.transact([Put(keys[1], {"n": 1}), Put(keys[2], {"n": 2}), Put(keys[3], {"n": 3})])
        table.transact(
            [
                Put(keys[0], {"n": 0}, Absent()),
                Update(keys[1], {"m": 1}, {"n": 10}),
                Delete(keys[2], Exists()),
                Check(keys[3], Equals("n", 3)),
                Check(keys[4], Absent()),
            ]
        )
        assert table.batch_get(keys) == {keys[0]: {"n": 0}, keys[1]: {"n": 11, "m": 1}, keys[3]: {"n": 3}}

    def test_a_write_that_no_item_can_hold_spoils_the_transaction(self, table: Table) -> None:
        with pytest.raises(ValueError, match=r"."):
            table.transact([Put(OTHER, {}), Put(KEY, {"a": bytes(MAX_ITEM + 20_000)})])
        assert table.get(OTHER) is None

    # ----------------------------------------------------------------------------------------------- sizes and values

    def test_an_item_of_nearly_the_greatest_size(self, table: Table) -> None:
        attributes: Attributes = {"content": bytes(range(256)) * 1_500, "text": "é" * 7_000}
        table.write(Put(KEY, attributes))
        assert table.get(KEY) == attributes
        assert table.query(KEY.partition) == [Item(KEY, attributes)]

    def test_an_item_too_large_is_refused(self, table: Table) -> None:
        with pytest.raises(ValueError, match=r"."):
            table.write(Put(KEY, {"a": bytes(MAX_ITEM + 20_000)}))
        assert table.get(KEY) is None
        table.write(Put(KEY, {"a": bytes(MAX_ITEM // 2)}))
        with pytest.raises(ValueError, match=r"."):
            table.write(Update(KEY, {"b": "x" * (MAX_ITEM // 2 + 20_000)}))
        assert table.get(KEY) == {"a": bytes(MAX_ITEM // 2)}

    @pytest.mark.parametrize("key", [Key("", "s"), Key("p", ""), Key("p" * 2_049, "s"), Key("p", "é" * 513)])
    def test_a_key_that_no_item_can_have_is_refused(self, table: Table, key: Key) -> None:
        writes: tuple[Put | Update | Delete, ...] = (Put(key, {}), Update(key, {"a": 1}), Delete(key))
        for write in writes:
            with pytest.raises(ValueError, match=r"."):
                table.write(write)
        with pytest.raises(ValueError, match=r"."):
            table.transact([Put(OTHER, {}), Put(key, {})])
        with pytest.raises(ValueError, match=r"."):
            table.get(key)
        with pytest.raises(ValueError, match=r"."):
            table.batch_get([OTHER, key])
        assert everything(table) == []

    def test_the_longest_key(self, table: Table) -> None:
        key = Key("p" * 2_048, "é" * 512)
        table.write(Put(key, {"a": 1}))
        assert table.get(key) == {"a": 1}
        assert everything(table) == [Item(key, {"a": 1})]

    @pytest.mark.parametrize("value", [1.0, {1, 2}, object(), 10**38 + 1, -(10**38) - 1, "\ud800", [[1.0]], {"a": {"b": 1.0}}])
    def test_what_is_no_value_is_refused(self, table: Table, value: Value) -> None:
        with pytest.raises(ValueError, match=r"."):
            table.write(Put(KEY, {"a": value}))
        with pytest.raises(ValueError, match=r"."):
            table.write(Update(KEY, {"a": value}))
        assert table.get(KEY) is None

    @shared_table
    @given(attributes=ATTRIBUTES)
    def test_values_come_back_exactly(self, table: Table, attributes: dict[str, Value]) -> None:
        table.write(Put(KEY, attributes))
        assert exact(table.get(KEY)) == exact(attributes)
        table.write(Put(OTHER, {"kept": 1}))
        table.write(Update(OTHER, attributes))
        assert exact(table.batch_get([OTHER])[OTHER]) == exact({"kept": 1, **attributes})

    @pytest.mark.parametrize(
        "value",
        [
            {"$": [0, 1]},
            {"$": None},
            {"$$": {"$": [0, 1]}},
            {"$": b"x", "a": b"yz"},
            [b"one", {"two": b"two"}, b"", b"three" * 100],
            {"B": "eA=="},
            {"S": "x"},
            {"NULL": True},
            (1, (2, ())),
        ],
    )
    def test_values_that_look_like_a_stores_own_marks(self, table: Table, value: Value) -> None:
        table.write(Put(KEY, {"a": value, "$": b"q"}))
        assert exact(table.get(KEY)) == exact({"a": value, "$": b"q"})

    # ----------------------------------------------------------------------------------------------------------- reads

    def test_batch_get_of_many_with_some_missing_and_some_twice(self, table: Table) -> None:
        there = [Key(f"p{number % 7}", f"{number:03}") for number in range(0, 260, 2)]
        for start in range(0, len(there), 100):
            table.transact([Put(key, {"sort": key.sort}) for key in there[start : start + 100]])
        asked = [Key(f"p{number % 7}", f"{number:03}") for number in range(260)]
        assert table.batch_get([*asked, *asked[:10]]) == {key: {"sort": key.sort} for key in there}
        assert table.batch_get([]) == {}

    def test_sort_keys_are_ordered_by_their_bytes(self, table: Table) -> None:
        keys = [
            "\x00",
            "\x01",
            " ",
            "A",
            "B",
            "a",
            "a\x00",
            "aa",
            "b",
            "\x7f",
            "é",
            "\u07ff",
            "\ud7ff",
            "\uffff",
            "\U00010000",
            "🙂",
        ]
        table.transact([Put(Key("p", sort), {}) for sort in reversed(keys)])
        assert sorts(table.query("p")) == sorted(keys, key=str.encode)
        assert sorts(table.query("p", backward=True)) == sorted(keys, key=str.encode, reverse=True)

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ({}, ["a", "b/1", "b/2", "b/3", "b0", "c"]),
            ({"after": "b/2"}, ["b/3", "b0", "c"]),
            ({"after": "b/"}, ["b/1", "b/2", "b/3", "b0", "c"]),
            ({"after": "c"}, []),
            ({"after": "zzz"}, []),
            ({"prefix": "b/"}, ["b/1", "b/2", "b/3"]),
            ({"prefix": "b"}, ["b/1", "b/2", "b/3", "b0"]),
            ({"prefix": "b/1"}, ["b/1"]),
            ({"prefix": "b/10"}, []),
            ({"prefix": "d"}, []),
            ({"prefix": "b/", "after": "b/1"}, ["b/2", "b/3"]),
            ({"prefix": "b/", "after": "b/"}, ["b/1", "b/2", "b/3"]),
            ({"prefix": "b/", "after": "b/1x"}, ["b/2", "b/3"]),
            ({"prefix": "b/", "after": "b/3"}, []),
            ({"prefix": "b/1", "after": "b/1"}, []),
            ({"prefix": "b/", "after": "b"}, ["b/1", "b/2", "b/3"]),
            ({"prefix": "b/", "after": "a"}, ["b/1", "b/2", "b/3"]),
            ({"prefix": "b/", "after": "c"}, []),
            ({"limit": 0}, []),
            ({"limit": 2}, ["a", "b/1"]),
            ({"limit": 6}, ["a", "b/1", "b/2", "b/3", "b0", "c"]),
            ({"limit": 7}, ["a", "b/1", "b/2", "b/3", "b0", "c"]),
            ({"prefix": "b/", "limit": 2}, ["b/1", "b/2"]),
            ({"prefix": "b/", "after": "b/1", "limit": 1}, ["b/2"]),
            ({"backward": True}, ["c", "b0", "b/3", "b/2", "b/1", "a"]),
            ({"backward": True, "limit": 2}, ["c", "b0"]),
            ({"backward": True, "after": "b/3"}, ["b/2", "b/1", "a"]),
            ({"backward": True, "after": "b/3", "limit": 1}, ["b/2"]),
            ({"backward": True, "after": "a"}, []),
            ({"backward": True, "prefix": "b/"}, ["b/3", "b/2", "b/1"]),
            ({"backward": True, "prefix": "b/", "limit": 2}, ["b/3", "b/2"]),
            ({"backward": True, "prefix": "b/", "after": "b/3"}, ["b/2", "b/1"]),
            ({"backward": True, "prefix": "b/", "after": "b/2x", "limit": 1}, ["b/2"]),
            ({"backward": True, "prefix": "b/", "after": "b/"}, []),
            ({"backward": True, "prefix": "b/1", "after": "b/1"}, []),
            ({"backward": True, "prefix": "b/", "after": "b"}, []),
            ({"backward": True, "prefix": "b/", "after": "a"}, []),
            ({"backward": True, "prefix": "b/", "after": "c"}, ["b/3", "b/2", "b/1"]),
        ],
    )
    def test_query(self, table: Table, arguments: dict[str, Any], expected: list[str]) -> None:
        table.transact([Put(Key("p", sort), {"s": sort}) for sort in ("a", "b/1", "b/2", "b/3", "b0", "c")])
        table.transact([Put(Key(partition, "b/1"), {}) for partition in ("o", "q", "P")])
        assert table.query("p", **arguments) == [Item(Key("p", sort), {"s": sort}) for sort in expected]

    def test_a_query_of_no_partition_is_refused(self, table: Table) -> None:
        with pytest.raises(ValueError, match=r"."):
            table.query("")

    def test_a_negative_limit_is_refused(self, table: Table) -> None:
        with pytest.raises(ValueError, match=r"-1"):
            table.query("p", limit=-1)
        with pytest.raises(ValueError, match=r"0"):
            table.walk(limit=0)

    @shared_table
    @given(
        keys=st.sets(SORTS, max_size=12),
        prefix=BOUNDS,
        after=BOUNDS,
        backward=st.booleans(),
        limit=st.none() | st.integers(0, 5),
    )
    def test_query_is_a_range_of_the_sorted_keys(  # noqa: PLR0917 (given by name)
        self, table: Table, keys: set[str], prefix: str, after: str, backward: bool, limit: int | None
    ) -> None:
        for item in table.query("range"):
            table.write(Delete(item.key))
        if keys:
            table.transact([Put(Key("range", sort), {}) for sort in keys])
        beyond = [
            sort
            for sort in sorted(keys, key=str.encode, reverse=backward)
            if sort.startswith(prefix) and (not after or (sort < after if backward else sort > after))
        ]
        assert sorts(table.query("range", prefix=prefix, after=after, backward=backward, limit=limit)) == beyond[:limit]

    def test_a_query_of_more_than_a_page_brings_all(self, table: Table) -> None:
        """DynamoDB ends a page after 1 MB."""
        for number in range(7):
            table.write(Put(Key("p", str(number)), {"content": bytes([number]) * 200_000}))
        assert sorts(table.query("p")) == list("0123456")
        assert sorts(table.query("p", limit=6)) == list("012345")
        assert sorts(table.query("p", backward=True, limit=6)) == list("654321")
        assert len(table.batch_get([Key("p", str(number)) for number in range(7)])) == 7

    @pytest.mark.parametrize("limit", [1, 3, 10, 11, 100])
    def test_walk_brings_everything_once(self, table: Table, limit: int) -> None:
        keys = {Key(partition, sort) for partition in ("p", "q", "é\x00") for sort in ("1", "2", '"', "é")}
        table.transact([Put(key, {"s": key.sort}) for key in keys])
        walked = everything(table, limit)
        assert len(walked) == len(keys)
        assert {item.key for item in walked} == keys
        assert all(item.attributes == {"s": item.key.sort} for item in walked)

    def test_a_walk_goes_on_after_what_it_showed_is_deleted(self, table: Table) -> None:
        keys = {Key(partition, sort) for partition in ("p", "q") for sort in ("1", "2", "3")}
        table.transact([Put(key, {}) for key in keys])
        seen: set[Key] = set()
        cursor: str | None = None
        while True:
            walked = table.walk(cursor, 2)
            seen |= {item.key for item in walked.items}
            for item in walked.items:
                table.write(Delete(item.key))
            if walked.cursor is None:
                break
            cursor = walked.cursor
        assert seen == keys
        assert everything(table) == []

    # ----------------------------------------------------------------------------------------------------- concurrency

    def test_of_many_conditional_writes_exactly_one_wins(self, table: Table) -> None:
        def claim(number: int) -> bool:
            try:
                insisting(lambda: table.write(Put(KEY, {"winner": number}, Absent())))
            except ConditionFailed:
                return False
            return True

        won = together(self.threads, claim)
        assert sum(won) == 1
        assert table.get(KEY) == {"winner": won.index(True)}

    def test_counts_add_up(self, table: Table) -> None:
        def count(number: int) -> None:
            for _ in range(self.rounds):
                insisting(lambda: table.write(Update(KEY, add={"n": number + 1})))

        together(self.threads, count)
        assert table.get(KEY) == {"n": self.rounds * sum(range(1, self.threads + 1))}

    def test_transfers_keep_the_sum_and_no_account_goes_below_zero(self, table: Table) -> None:
        accounts = [Key("accounts", str(number)) for number in range(4)]
        table.transact([Put(account, {"n": 5}) for account in accounts])

        def transfer(number: int) -> None:
            for step in range(self.rounds):
                source, target = accounts[(number + step) % 4], accounts[(number + step * step + 1) % 4]
                if source == target:
                    continue
                amount = 1 + step % 3
                writes = [
                    Update(source, add={"n": -amount}, condition=at_least(amount)),
                    Update(target, add={"n": amount}),
                ]
                with suppress(ConditionFailed):  # too little to give
                    insisting(partial(table.transact, writes))
                balances = [item.attributes["n"] for item in table.query("accounts")]
                assert all(isinstance(balance, int) and balance >= 0 for balance in balances)

        together(self.threads, transfer)
        balances = table.batch_get(accounts)
        assert sum(each["n"] for each in balances.values()) == 20  # type: ignore[misc]  # integers

    def test_a_read_sees_every_write_answered_before(self, table: Table) -> None:
        def follow(number: int) -> None:
            key = Key("read", str(number))
            for step in range(self.rounds):
                table.write(Put(key, {"n": step}))
                assert table.get(key) == {"n": step}
                assert table.query("read", prefix=key.sort, limit=1)[0].attributes == {"n": step}
                assert table.batch_get([key]) == {key: {"n": step}}

        together(self.threads, follow)
