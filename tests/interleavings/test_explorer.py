"""The walker itself: it finds what is known to be wrong, counts what is known by hand, and leaves out nothing that ends
otherwise."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from chalicelib.registry.attempts import retried
from chalicelib.registry.ports import Absent, Attributes, ConditionFailed, Delete, Equals, Key, Lacks, Put, Table, Update
from tests.contracts.table import TableContract
from tests.interleavings.ports import Caller, LeanTable, SteppedTable
from tests.interleavings.scheduler import Explorer, Outcome, Reduction, Step, TraceHash, Unrepeatable, Walk, replay, wander

A, B, C = Key("p", "a"), Key("p", "b"), Key("q", "c")

Program = Callable[[Table], object]


class Toy:
    """A Run of some programs on one table."""

    def __init__(self, programs: Sequence[Program], *, loose: bool = False, dies_at: int = 0) -> None:
        self.table = LeanTable({})
        self.callers: list[Caller] = []
        for number, program in enumerate(programs):
            self.callers.append(self._caller(program, loose, dies_at if number == 0 else 0))
        for caller in self.callers:
            caller.go()
        self.steps: list[Step | None] = [caller.next for caller in self.callers]
        self.trace = TraceHash()

    def _caller(self, program: Program, loose: bool, dies_at: int) -> Caller:
        def run() -> object:
            return program(SteppedTable(self.table, caller.meet, loose=loose))

        caller = Caller(run, dies_at=dies_at, afterwards=run)
        return caller

    def step(self, actor: int) -> None:
        step = self.steps[actor]
        assert step is not None
        self.trace.add(actor, step)
        self.callers[actor].go()
        self.steps[actor] = self.callers[actor].next

    def stop(self) -> None:
        for caller in self.callers:
            caller.stop()

    @property
    def state(self) -> str:
        return str(sorted(self.table.items.items()))


def walks(*programs: Program, reduction: Reduction = Reduction.SOURCE, loose: bool = False) -> list[Walk[Toy]]:
    return list(Explorer(lambda: Toy(programs, loose=loose), reduction).walks())


def put(key: Key, value: int = 0) -> Program:
    return lambda table: table.write(Put(key, {"value": value}))


def read(*keys: Key) -> Program:
    return lambda table: [table.get(key) for key in keys]


def careless(table: Table) -> None:
    """Counts up without a condition."""
    found = table.get(A) or {"n": 0}
    table.write(Put(A, {"n": int(str(found["n"])) + 1}))


def careful(table: Table) -> None:
    def count() -> None:
        found = table.get(A)
        if found is None:
            table.write(Put(A, {"n": 1}, Absent()))
        else:
            table.write(Put(A, {"n": int(str(found["n"])) + 1}, Equals("n", int(str(found["n"])))))

    retried(count)


def test_a_lost_update_is_found_and_can_be_replayed() -> None:
    ends = {walk.run.state: walk for walk in walks(careless, careless)}
    assert len(ends) == 2
    lost = next(walk for walk in ends.values() if walk.run.table.items[A] == {"n": 1})
    assert replay(Toy([careless, careless]), lost.choices).run.state == lost.run.state


@pytest.mark.parametrize("number", [2, 3])
def test_no_update_is_lost_with_a_condition(number: int) -> None:
    assert {walk.run.state for walk in walks(*[careful] * number)} == {str([(A, {"n": number})])}


@pytest.mark.parametrize(
    ("programs", "traces"),
    [
        ([put(A)], 1),
        ([put(A), put(B)], 1),
        ([put(A), put(B), put(C)], 1),
        ([put(A), put(A)], 2),
        ([put(A), put(A), put(A)], 6),
        ([read(A), read(A)], 1),
        ([read(A), put(A)], 2),
        ([read(A, A), put(A)], 3),
        ([read(A), read(A), put(A)], 4),
        ([read(A, B), put(A), put(B)], 4),
        ([lambda table: table.query("p"), put(A)], 2),
        ([lambda table: table.query("p", prefix="b"), put(A)], 1),
        ([lambda table: table.query("p", after="a"), put(A)], 1),
        ([lambda table: table.query("q"), put(A)], 1),
        ([careless, careless], 4),
    ],
)
def test_traces_known_by_hand(programs: list[Program], traces: int) -> None:
    """A writer may come before, between and after the reads of one other; independent steps have no order."""
    assert len(walks(*programs)) == traces


@pytest.mark.parametrize(
    ("loose", "seen"),
    [(False, {(False, False), (True, True)}), (True, {(False, False), (False, True), (True, True)})],
)
def test_reads_of_several_items_come_apart_where_that_is_asked_for(loose: bool, seen: set[tuple[bool, bool]]) -> None:
    """Two items written at once: who reads both, one after the other, may see the second one alone."""

    def both(table: Table) -> None:
        table.transact([Put(A, {}), Put(B, {})])

    found: dict[str, set[tuple[bool, bool]]] = {"batch": set(), "query": set()}

    def batch(table: Table) -> None:
        got = table.batch_get([A, B])
        found["batch"].add((A in got, B in got))

    def query(table: Table) -> None:
        got = [item.key for item in table.query("p")]
        found["query"].add((A in got, B in got))

    assert walks(both, batch, loose=loose)
    assert walks(both, query, loose=loose)
    assert found["batch"] == seen
    assert found["query"] == {(False, False), (True, True)}, "a query goes on from what it has read"


def test_a_query_may_miss_what_comes_behind_its_back() -> None:
    found: set[str] = set()

    def query(table: Table) -> None:
        found.add("".join(item.key.sort for item in table.query("p")))

    def move(table: Table) -> None:
        table.transact([Put(A, {}), Delete(B)])

    def make() -> Toy:
        toy = Toy([query, move], loose=True)
        toy.table.items.update({B: {}, Key("p", "aa"): {}})
        return toy

    assert len(list(Explorer(make).walks())) > 1
    assert found == {"aab", "aaa", "aa"}


def chance_program(chance: random.Random) -> Program:
    """Some reads and conditional writes of a few keys."""
    deeds = [(chance.randrange(6), chance.choice((A, B, C))) for _ in range(chance.randint(1, 3))]

    def program(table: Table) -> None:
        seen: Attributes | None = None
        for deed, key in deeds:
            try:
                if deed == 0:
                    seen = table.get(key)
                elif deed == 1:
                    table.write(Put(key, {"from": str(seen)}))
                elif deed == 2:
                    table.write(Update(key, add={"n": 1}, condition=Lacks("from")))
                elif deed == 3:
                    table.write(Delete(key))
                elif deed == 4:
                    seen = {"listed": str(table.query("p", limit=1))}
                else:
                    table.transact([Put(A, {"both": True}, Absent()), Update(C, add={"n": 1})])
            except ConditionFailed:
                seen = {"refused": True}

    return program


@pytest.mark.parametrize("seed", range(60))
def test_what_is_left_out_ends_as_what_is_not(seed: int) -> None:
    """Against every order there is: the same final states, the same traces, and none of them twice."""
    chance = random.Random(seed)
    programs = [chance_program(chance) for _ in range(3)]
    every = walks(*programs, reduction=Reduction.NONE)
    states, traces = {walk.run.state for walk in every}, {walk.run.trace.value for walk in every}
    for reduction in (Reduction.SLEEP, Reduction.SOURCE):
        some = walks(*programs, reduction=reduction)
        assert {walk.run.state for walk in some} == states
        found = [walk.run.trace.value for walk in some]
        assert len(found) == len(set(found))
        assert set(found) == traces
        if reduction is Reduction.SOURCE:
            assert [walk.trace for walk in some] == found


def test_the_reduction_begins_little_in_vain() -> None:
    explorers = [Explorer(lambda: Toy([careful, careful, careful]), each) for each in (Reduction.SLEEP, Reduction.SOURCE)]
    counts = [len(list(explorer.walks())) for explorer in explorers]
    assert counts[0] == counts[1]
    assert explorers[1].redundant <= explorers[0].redundant


def test_orders_drawn_at_random_are_other_traces_each() -> None:
    drawn = list(wander(lambda: Toy([careful, careful]), random.Random(1), 400))
    assert len(drawn) == len(walks(careful, careful))


def test_who_dies_makes_no_call_any_more_and_comes_again() -> None:
    def both(table: Table) -> None:
        table.write(Update(A, add={"n": 1}))
        table.write(Update(B, add={"n": 1}))

    toy = Toy([both], dies_at=2)
    walk = replay(toy, ())
    assert walk.outcome is Outcome.COMPLETE
    assert toy.callers[0].has_died
    assert toy.table.items == {A: {"n": 2}, B: {"n": 1}}


def test_what_is_not_the_same_again_is_noticed() -> None:
    started = iter(range(1000))
    with pytest.raises(Unrepeatable):
        list(Explorer(lambda: Toy([read() if next(started) else careless, careless])).walks())


class TestLeanTable(TableContract):
    threads = 1
    """Callers of the explorer take turns; a table without locks is what makes millions of steps cheap."""

    @pytest.fixture
    def table(self) -> Table:
        return LeanTable({}, validates=True)
