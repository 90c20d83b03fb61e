"""Wrong passwords: how many guesses pass in a day, whoever makes them, and that nobody is kept out by others."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.registry.errors import TooManyAttempts
from chalicelib.registry.ports import EXPIRES, Conflict, Delete, Put, StoreFull, Table, Update, Write
from chalicelib.registry.throttle import ADDRESS, GOOD_SECONDS, NAME, PAIR, Attempt, Throttle, folded_address
from tests.frozen_clock import FrozenClock
from tests.memory_table import ConflictingTable, MemoryTable

DAY = 86_400
HOME, OFFICE = "192.0.2.1", "192.0.2.2"


class House:
    """A throttle as an instance sees it, and who tries passwords there."""

    def __init__(self, table: Table | None = None, clock: FrozenClock | None = None) -> None:
        self.table = table or MemoryTable()
        self.clock = clock or FrozenClock()
        self.throttle = Throttle(self.table, self.clock)

    def begin(self, name: str = "bob", source: str = HOME) -> Attempt:
        return self.throttle.begin(name, source, self.table.batch_get(self.throttle.keys(name, source)))

    def fail(self, name: str = "bob", source: str = HOME) -> int:
        """Try a wrong password: 0, or how many seconds to wait first."""
        try:
            attempt = self.begin(name, source)
        except TooManyAttempts as many:
            return many.retry_after
        self.throttle.failed(attempt)
        return 0

    def sign_in(self, name: str = "bob", source: str = HOME) -> int:
        """Try the right one."""
        try:
            attempt = self.begin(name, source)
        except TooManyAttempts as many:
            return many.retry_after
        self.throttle.succeeded(attempt)
        return 0

    def guesses(self, seconds: int, tries: Sequence[tuple[str, str]]) -> int:
        """How many guesses pass in so long for one who makes each as soon as it may be, going through ``tries``."""
        until, passed = self.clock.now().timestamp() + seconds, 0
        for name, source in cycle(tries):
            wait = self.fail(name, source)
            passed += not wait
            self.clock.advance(wait)
            if self.clock.now().timestamp() >= until:
                break
        return passed


def address(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


# ---------------------------------------------------------------------------------------------------------------- bounds


def test_the_first_five_are_free_and_then_pauses_double_up_to_five_minutes() -> None:
    house, waits = House(), list[int]()
    while len(waits) < 12:
        wait = house.fail()
        if wait:
            waits.append(wait)
            house.clock.advance(wait)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_a_day_of_guessing_from_one_address_at_one_account() -> None:
    assert House().guesses(DAY, [("bob", HOME)]) <= 302


def test_a_day_of_guessing_from_one_address_at_all_accounts() -> None:
    """The best that one address can do: a new name for each guess."""
    assert House().guesses(DAY, [(f"user{number}", HOME) for number in range(5_000)]) <= 2_920


def test_a_day_of_guessing_from_everywhere_at_one_account() -> None:
    """The best that everybody together can do: a new address for each guess."""
    assert House().guesses(DAY, [("bob", address(number)) for number in range(20_000)]) <= 8_700


def test_many_at_one_moment_pass_once_and_are_all_remembered() -> None:
    house = House()
    for attempt in [house.begin("bob", address(number)) for number in range(1_000)]:
        house.throttle.failed(attempt)
    others = [("bob", address(number)) for number in range(1_000, 20_000)]
    assert house.guesses(DAY // 12, others) <= DAY // 12 // 10 + 1  # none of them was free


def test_of_many_at_one_moment_one_takes_its_turn() -> None:
    house = House()
    while not house.fail("bob", OFFICE):
        pass
    for number in range(200):
        house.fail("bob", address(number))
    house.clock.advance(10)
    clock, passed = house.clock, 0
    read = [
        (name, source, house.table.batch_get(house.throttle.keys(name, source)))
        for name, source in [("bob", address(number)) for number in range(1_000, 1_050)] + [("bob", OFFICE)] * 10
    ]
    for name, source, found in read:
        try:
            Throttle(house.table, clock).begin(name, source, found)
        except TooManyAttempts:
            continue
        else:
            passed += 1
    assert passed == 1


def test_a_turn_that_was_not_used_is_gone_all_the_same() -> None:
    """Whoever breaks off after taking a turn gets no second one for it."""
    house = House()
    while not house.fail():
        pass
    house.clock.advance(300)
    house.begin()
    assert house.fail() >= 1


# ------------------------------------------------------------------------------------------------------ nobody locked out


TRIES = st.lists(
    st.tuples(
        st.sampled_from(["bob", "BOB", "alice", "nobody"]),
        st.sampled_from([OFFICE, "", "2001:db8::1", "x"]) | st.integers(0, 10_000).map(address),
        st.sampled_from([1, 6, 35]),
        st.sampled_from([0, 1, 10, 300]),
    ),
    max_size=15,
)


@given(TRIES)
@settings(deadline=None, max_examples=60)
def test_whatever_others_do_a_known_address_signs_in_at_once(tries: Sequence[tuple[str, str, int, int]]) -> None:
    house = House()
    assert house.sign_in() == 0
    for name, source, times, seconds in tries:
        for _ in range(times):
            house.fail(name, source)
        house.clock.advance(seconds)
        assert house.sign_in() == 0


@given(TRIES, st.integers(0, 40))
@settings(deadline=None, max_examples=60)
def test_whatever_anybody_does_nobody_waits_longer_than_the_cap(tries: Sequence[tuple[str, str, int, int]], own: int) -> None:
    """The longest is five minutes, where the address itself failed; ten seconds at an address that never did."""
    house = House()
    for name, source, times, seconds in tries:
        for _ in range(times):
            house.fail(name, source)
        house.clock.advance(seconds)
    for _ in range(own):
        house.clock.advance(house.fail("bob", OFFICE))
    waited = house.sign_in("bob", OFFICE)
    assert waited <= 300
    house.clock.advance(waited)
    assert house.sign_in("bob", OFFICE) == 0
    waited = house.sign_in("bob", "203.0.113.1")
    assert waited <= 10
    house.clock.advance(waited)
    assert house.sign_in("bob", "203.0.113.1") == 0


def test_an_account_under_attack_lets_strangers_wait_and_those_it_knows_pass() -> None:
    house = House()
    house.sign_in("bob", HOME)
    for number in range(500):
        house.fail("bob", address(number))
    assert house.sign_in("bob", OFFICE) >= 1
    assert house.sign_in("bob", HOME) == 0
    assert house.sign_in("alice", OFFICE) == 0


def test_an_address_is_known_for_thirty_days_and_to_one_account_only() -> None:
    house = House()
    house.sign_in("bob", HOME)

    def attacked() -> None:
        for number in range(500):
            for name in ("bob", "alice"):
                house.fail(name, address(number))

    house.clock.advance(GOOD_SECONDS - 1)
    attacked()
    assert house.sign_in("alice", HOME) >= 1
    house.clock.advance(1)
    attacked()
    assert house.sign_in("bob", HOME) >= 1


def test_a_neighbour_that_fails_keeps_out_nobody_whom_the_address_is_known_for() -> None:
    house = House()
    house.sign_in("bob", HOME)
    for number in range(200):
        house.fail(f"user{number}", HOME)
    assert house.fail("alice", HOME) >= 1
    assert house.sign_in("bob", HOME) == 0


def test_signing_in_ends_the_pause_but_gives_guesses_no_fresh_start() -> None:
    """Or whoever shares an address with the account would guess on after each time it signs in."""
    house, passed = House(), 0
    for _ in range(100):
        house.clock.advance(house.sign_in())
        assert house.sign_in() == 0
        while house.fail() == 0:
            passed += 1
        house.clock.advance(10)
    assert passed <= PAIR.free + 100


def test_everything_is_forgotten_in_time_whatever_was_tried() -> None:
    house = House()
    for number in range(3_000):
        house.throttle.failed(Attempt(*_counters(house, "bob", HOME if number % 2 else address(number))))
    house.clock.advance(3 * DAY)
    assert [house.fail() for _ in range(PAIR.free)] == [0] * PAIR.free
    assert [house.fail(f"user{number}") for number in range(ADDRESS.free - PAIR.free)] == [0] * (ADDRESS.free - PAIR.free)
    assert [house.fail("bob", address(number)) for number in range(NAME.free - PAIR.free)] == [0] * (NAME.free - PAIR.free)


def _counters(house: House, name: str, source: str) -> tuple:  # type: ignore[type-arg]
    """As if each try had been let through."""
    fresh = House(clock=house.clock).begin(name, source)
    return fresh.pair, fresh.others


@pytest.mark.parametrize("back", [60, DAY, 40 * DAY])
def test_a_clock_set_back_lets_nobody_wait_longer(back: int) -> None:
    house = House()
    for number in range(100):
        house.fail("bob", HOME)
        house.fail("bob", address(number))
    house.clock.advance(-back)
    assert house.sign_in("bob", HOME) <= 300
    house.clock.advance(360)
    assert house.sign_in("bob", HOME) == 0
    assert house.sign_in("bob", OFFICE) == 0


# ----------------------------------------------------------------------------------------------------- names, addresses


def test_a_name_in_any_case_is_one_name() -> None:
    house = House()
    for name in ("bob", "BOB", "Bob", "bOb", "boB"):
        assert house.fail(name) == 0
    assert house.fail("bOB") == 1


@pytest.mark.parametrize("name", ["nobody", "", "a b", "\ud800", "é", "x" * 100_000, "a+b", "/", "all", "from/x"])
def test_a_name_that_no_account_has_is_throttled_like_any(name: str) -> None:
    for source in (HOME, ""):
        house = House()
        assert [house.fail(name, source) for _ in range(7)] == [0, 0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("source", "folded"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::1", "::/64"),
        ("", ""),
        ("192.0.2.1:443", ""),
        ("192.0.2.1, 192.0.2.2", ""),
        ("192.0.2.01", ""),
        ("unix:", ""),
        ("\ud800", ""),
        ("x" * 10_000, ""),
    ],
)
def test_addresses_are_folded_to_what_one_subscriber_has(source: str, folded: str) -> None:
    assert folded_address(source) == folded


@given(st.text(max_size=30), st.text(max_size=30))
@settings(deadline=None)
def test_no_name_and_no_address_breaks_it(name: str, source: str) -> None:
    house = House()
    assert house.fail(name, source) == 0
    assert house.sign_in(name, source) == 0


# -------------------------------------------------------------------------------------------------------------- the store


class Watched(MemoryTable):
    """Counts writes; refuses them with ``failure``."""

    writes = 0
    failure: type[Exception] | None = None

    def write(self, write: Put | Update | Delete) -> None:
        self.writes += 1
        if self.failure:
            raise self.failure
        super().write(write)

    def transact(self, writes: Sequence[Write]) -> None:
        self.writes += 1
        if self.failure:
            raise self.failure
        super().transact(writes)


def test_signing_in_writes_only_what_is_new() -> None:
    table = Watched()
    house = House(table)
    counts = []
    for seconds, failures in [(0, 0), (0, 0), (3600, 0), (DAY, 0), (0, 3), (0, 4), (0, 0)]:
        house.clock.advance(seconds)
        for _ in range(failures):
            house.clock.advance(house.fail())
        house.clock.advance(300)
        before = table.writes
        assert house.sign_in() == 0
        counts.append(table.writes - before)
    assert counts == [
        1,
        0,
        0,
        1,
        0,
        2,
        2,
    ]  # known; nothing; again a day later; nothing; a turn, and the pause's end, until some are forgotten


def test_a_failure_is_a_write_for_each_counter() -> None:
    table = Watched()
    house = House(table)
    house.fail()
    assert table.writes == 3


@pytest.mark.parametrize("failure", [Conflict, StoreFull])
def test_a_store_without_time_or_room_breaks_nothing_and_lets_no_more_through(failure: type[Exception]) -> None:
    table = Watched()
    house = House(table)
    table.failure = failure
    assert house.fail() == 0
    assert house.sign_in() == 0
    table.failure = None
    while not house.fail():
        pass
    house.clock.advance(300)
    table.failure = failure
    assert house.sign_in() >= 1  # a turn that cannot be taken is not had


def test_two_instances_whose_failures_meet_count_both() -> None:
    house = House()
    other = House(house.table, house.clock)
    for _ in range(3):
        attempts = [house.begin(), other.begin()]
        for instance, attempt in zip((house, other), attempts, strict=True):
            instance.throttle.failed(attempt)
    assert house.fail() == other.fail() == 2  # six, and 5 are free


def test_a_failure_that_meets_a_right_password_is_not_undone_by_it() -> None:
    house = House()
    while not house.fail():
        pass
    house.clock.advance(300)
    right = house.begin()
    before = right.pair.until or 0
    house.throttle.failed(right)
    house.throttle.succeeded(right)
    assert (house.table.get(right.pair.key) or {})["until"] == before + PAIR.forgets


def test_a_store_that_conflicts_loses_few() -> None:
    table = ConflictingTable(MemoryTable(), random.Random(3), 0.3)
    house = House(table)
    passed = sum(house.fail("bob", address(number)) == 0 for number in range(200))
    assert table.conflicts
    assert passed <= NAME.free * 1.2


def test_what_is_written_expires_and_names_nobody() -> None:
    house = House()
    house.fail("a-secret-typed-as-a-name", HOME)
    house.sign_in("bob", HOME)
    items = house.table.walk(limit=100).items
    now = house.clock.now().timestamp()
    for item in items:
        until = item.attributes[EXPIRES]
        assert isinstance(until, int)
        assert now + DAY < until <= now + GOOD_SECONDS
    assert "a-secret" not in repr(items)
