"""Access tokens: what they let in, what ends them, how many there may be."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.registry.access import EVERY_ACTION, Limits
from chalicelib.registry.access_tokens import MAX_LABEL, MAX_PATTERNS, MOST, AccessTokens
from chalicelib.registry.accounts import Accounts, Changes
from chalicelib.registry.errors import (
    AccountUnknown,
    NameInvalid,
    RequestInvalid,
    TokenUnknown,
    TooMany,
    VersionMismatch,
)
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.organizations import Organizations
from chalicelib.registry.ports import Attributes, Conflict, Delete, Key, Put, StoreFull, Table, Update, Write
from tests.frozen_clock import FrozenClock
from tests.memory_table import ConflictingTable, MemoryTable
from tests.plain_hasher import PlainHasher


class House:
    """A registry with the user bob and the organization acme, whose robot is ci."""

    def __init__(self, table: Table | None = None) -> None:
        self.table = table or MemoryTable()
        self.clock = FrozenClock()
        self.accounts = Accounts(self.table, PlainHasher(), self.clock)
        self.organizations = Organizations(self.table, self.accounts)
        self.tokens = self.instance()
        self.bob = self.accounts.create_user("bob", "right")
        self.acme = self.accounts.create_organization("acme")
        self.robot = self.accounts.create_robot(self.acme, "ci")

    def instance(self) -> AccessTokens:
        return AccessTokens(self.table, Accounts(self.table, PlainHasher(), self.clock), self.clock)

    @property
    def now(self) -> int:
        return int(self.clock.now().timestamp())

    def lets_in(self, secret: str, name: str = "") -> bool:
        return self.tokens.authenticate(secret, name) is not None


class Meeting(MemoryTable):
    """Something happens right before the next write or transaction; ``written`` counts writes."""

    before: Callable[[], None] | None = None
    written = 0

    def write(self, write: Put | Update | Delete) -> None:
        self._meet()
        self.written += 1
        super().write(write)

    def transact(self, writes: Sequence[Write]) -> None:
        self._meet()
        super().transact(writes)

    def _meet(self) -> None:
        before, self.before = self.before, None
        if before is not None:
            before()


def nothing(_: object) -> None:
    """For who wants no answer."""


# ------------------------------------------------------------------------------------------------------------ signing in


def test_a_token_lets_its_account_in_with_or_without_the_name() -> None:
    house = House()
    limits = Limits(("bob/app", "bob/lib/*"), frozenset({"pull"}))
    token, secret = house.tokens.create(house.bob, "laptop", limits=limits)
    assert secret.startswith("slt_")
    assert len(secret) == 47
    for name in ("", "bob", "BOB"):
        assert house.instance().authenticate(secret, name) == (house.bob, limits)
    _, robots = house.tokens.create(house.robot, "first")
    assert house.tokens.authenticate(robots, "acme+ci") == (house.robot, None)
    assert token.limits == limits


@pytest.mark.parametrize("name", ["acme", "acme+ci", "admin", "nobody", "b\0b", "bob ", "\ud800", "x" * 10_000])
def test_a_token_under_another_name_lets_nobody_in(name: str) -> None:
    house = House()
    _, secret = house.tokens.create(house.bob, "laptop")
    assert not house.lets_in(secret, name)


@given(st.text(max_size=60) | st.text("A-Za-z0-9_-", max_size=43).map(lambda text: f"slt_{text}"))
@settings(max_examples=50, deadline=None)
def test_nothing_made_up_lets_anybody_in(secret: str) -> None:
    house = House()
    house.tokens.create(house.bob, "laptop")
    assert not house.lets_in(secret)
    assert not house.lets_in(secret, "bob")


def test_what_the_table_holds_lets_nobody_in() -> None:
    house = House()
    token, secret = house.tokens.create(house.bob, "laptop")
    stored = repr(house.table.walk(limit=1000).items)
    assert secret.removeprefix("slt_") not in stored
    for known in (token.hashed, f"slt_{token.hashed}", token.id, secret + " ", secret[:-1], secret.upper()):
        assert not house.lets_in(known)


def test_a_token_is_good_only_while_its_account_is() -> None:
    house = House()
    _, secret = house.tokens.create(house.bob, "laptop")
    house.accounts.change("bob", Changes(is_active=False))
    assert not house.lets_in(secret)
    house.accounts.change("bob", Changes(is_active=True))
    assert house.lets_in(secret)
    house.accounts.begin_deletion("bob")
    assert not house.lets_in(secret)


def test_whoever_gets_the_name_of_a_deleted_account_gets_none_of_its_tokens() -> None:
    house = House()
    made = [house.tokens.create(account, "x") for account in (house.bob, house.robot) for _ in range(25)]
    house.organizations.delete_account("bob")
    house.organizations.delete_account("acme")
    left = [item.key for item in house.table.walk(limit=1000).items if "token" in item.key.partition + item.key.sort]
    assert left == []
    again = house.accounts.create_user("bob", "right")
    assert house.tokens.page(again, "", 10) == []
    assert not any(house.lets_in(secret) for _, secret in made)


def test_a_record_left_behind_by_a_deleted_account_lets_nobody_in() -> None:
    house = House()
    token, secret = house.tokens.create(house.bob, "x")
    kept = house.table.get(Key(f"token/{token.hashed}", "token"))
    assert kept is not None
    house.organizations.delete_account("bob")
    house.table.write(Put(Key(f"token/{token.hashed}", "token"), kept))
    house.accounts.create_user("bob", "right")
    assert not house.lets_in(secret)
    assert not house.lets_in(secret, "bob")


def test_a_token_expires_to_the_second_and_is_gone_then_also_from_lists() -> None:
    house = House()
    token, secret = house.tokens.create(house.bob, "x", expires_at=house.now + 60)
    house.clock.advance(59)
    assert house.lets_in(secret)
    house.clock.advance(1)
    assert not house.lets_in(secret)
    assert house.tokens.page(house.bob, "", 10) == []
    for use in (house.tokens.get, house.tokens.change):
        with pytest.raises(TokenUnknown):
            use(house.bob, token.id)
    house.tokens.delete(house.bob, token.id)


def test_what_a_table_says_of_limits_that_cannot_be_read_is_not_taken_for_none() -> None:
    house = House()
    token, secret = house.tokens.create(house.bob, "x", limits=Limits(("bob/a",), frozenset({"pull"})))
    for broken in ("x", {"repositories": ["bob/a"]}, {"actions": ["pull"]}, None):
        house.table.write(Update(Key(f"token/{token.hashed}", "token"), set={"limits": broken}))
        with pytest.raises(Exception, match="limits"):
            house.tokens.authenticate(secret)


# -------------------------------------------------------------------------------------------------------------- last use


def test_the_last_use_is_written_once_a_minute_by_whichever_instance() -> None:
    table = Meeting()
    house = House(table)
    token, secret = house.tokens.create(house.bob, "x")
    others, before = [house.instance() for _ in range(3)], table.written
    for instance in others * 5:
        assert instance.authenticate(secret)
    assert table.written - before == 1
    assert house.tokens.get(house.bob, token.id).last_used == house.now
    house.clock.advance(59)
    house.tokens.authenticate(secret)
    assert table.written - before == 1
    house.clock.advance(1)
    house.tokens.authenticate(secret)
    assert table.written - before == 2
    assert house.tokens.get(house.bob, token.id) == replace(token, last_used=house.now)


def test_a_token_deleted_while_it_is_used_does_not_come_back() -> None:
    table = Meeting()
    house = House(table)
    token, secret = house.tokens.create(house.bob, "x")
    table.before = lambda: house.tokens.delete(house.bob, token.id)
    house.tokens.authenticate(secret)
    assert table.get(Key(f"token/{token.hashed}", "token")) is None
    assert not house.lets_in(secret)


@pytest.mark.parametrize("failure", [Conflict, StoreFull])
def test_a_store_without_time_or_room_keeps_nobody_out(failure: type[Exception]) -> None:
    class Refusing(MemoryTable):
        refuses = False

        def write(self, write: Put | Update | Delete) -> None:
            if self.refuses:
                raise failure
            super().write(write)

    table = Refusing()
    house = House(table)
    _, secret = house.tokens.create(house.bob, "x")
    table.refuses = True
    assert house.lets_in(secret)


# -------------------------------------------------------------------------------------------------------------- managing


def test_tokens_are_listed_in_the_order_of_their_making_a_page_at_a_time() -> None:
    house = House()
    made = []
    for number in range(7):
        made.append(house.tokens.create(house.bob, f"number {number}")[0])
        house.clock.advance(1)
    gone = house.tokens.create(house.bob, "soon over", expires_at=house.now + 1)[0]
    house.tokens.create(house.robot, "another's")
    house.clock.advance(1)
    pages, after = [], ""
    while page := house.tokens.page(house.bob, after, 3):
        pages.append([token.label for token in page])
        after = page[-1].id
    assert pages == [[f"number {n}" for n in span] for span in ((0, 1, 2), (3, 4, 5), (6,))]
    assert gone.id not in {token.id for token in house.tokens.page(house.bob, "", 100)}
    assert house.tokens.page(house.bob, "", 100) == made


def test_a_token_is_switched_off_and_on_and_renamed() -> None:
    house = House()
    token, secret = house.tokens.create(house.bob, "x")
    off = house.tokens.change(house.bob, token.id, is_active=False)
    assert (off.is_active, off.label, off.version) == (False, "x", token.version + 1)
    assert not house.lets_in(secret)
    on = house.tokens.change(house.bob, token.id, label="y", is_active=True, version=off.version)
    assert (on.is_active, on.label) == (True, "y")
    assert house.lets_in(secret)
    for stale in (token.version, off.version, 0):
        with pytest.raises(VersionMismatch):
            house.tokens.change(house.bob, token.id, label="z", version=stale)
        with pytest.raises(VersionMismatch):
            house.tokens.delete(house.bob, token.id, version=stale)
    house.tokens.delete(house.bob, token.id, version=on.version)
    house.tokens.delete(house.bob, token.id)
    assert not house.lets_in(secret)


def test_nobody_sees_or_changes_another_s() -> None:
    house = House()
    token, secret = house.tokens.create(house.bob, "x")
    for use in (house.tokens.get, house.tokens.change):
        with pytest.raises(TokenUnknown):
            use(house.robot, token.id)
    house.tokens.delete(house.robot, token.id)
    assert house.lets_in(secret)


@pytest.mark.parametrize("id_", ["", "x", "../x", "0" * 24, "\ud800", "\0", "a" * 5000, "0/1"])
def test_an_id_that_there_is_not_is_unknown(id_: str) -> None:
    house = House()
    for use in (house.tokens.get, house.tokens.change):
        with pytest.raises(TokenUnknown):
            use(house.bob, id_)
    house.tokens.delete(house.bob, id_)


def test_an_account_has_a_hundred_and_what_has_ended_makes_room() -> None:
    house = House()
    first, _ = house.tokens.create(house.bob, "first")
    house.tokens.create(house.bob, "soon over", expires_at=house.now + 60)
    for number in range(MOST - 2):
        house.tokens.create(house.bob, f"number {number}")
    for _ in range(2):
        with pytest.raises(TooMany):
            house.tokens.create(house.bob, "one more")
    house.tokens.create(house.robot, "another's")
    house.tokens.delete(house.bob, first.id)
    house.tokens.create(house.bob, "in its place")
    house.clock.advance(60)
    house.tokens.create(house.bob, "in that one's")
    with pytest.raises(TooMany):
        house.tokens.create(house.bob, "one more")


def test_two_instances_at_once_do_not_make_one_too_many() -> None:
    table = Meeting()
    house = House(table)
    for number in range(MOST - 1):
        house.tokens.create(house.bob, f"number {number}")
    table.before = lambda: nothing(house.instance().create(house.bob, "theirs"))
    with pytest.raises(TooMany):
        house.tokens.create(house.bob, "ours")
    assert len(house.tokens.page(house.bob, "", 200)) == MOST


def test_a_token_for_an_account_that_is_being_deleted_is_not_made() -> None:
    table = Meeting()
    house = House(table)
    table.before = lambda: nothing(house.accounts.begin_deletion("bob"))
    with pytest.raises(AccountUnknown):
        house.tokens.create(house.bob, "x")
    house.organizations.delete_account("bob")
    again = house.accounts.create_user("bob", "right")
    with pytest.raises(AccountUnknown):
        house.tokens.create(house.bob, "for the bob that was")
    assert house.tokens.page(again, "", 10) == []


def test_a_store_that_conflicts_is_asked_again() -> None:
    table = ConflictingTable(MemoryTable(), random.Random(5), 0.3)
    house = House(table)
    secrets = [house.tokens.create(house.bob, f"number {number}")[1] for number in range(20)]
    for token in house.tokens.page(house.bob, "", 10):
        house.tokens.change(house.bob, token.id, is_active=False)
    assert table.conflicts
    assert sum(map(house.lets_in, secrets)) == 10


@pytest.mark.parametrize("label", ["", "x" * (MAX_LABEL + 1), "a\nb", "\0", "\ud800"])
def test_labels_are_short_and_printable(label: str) -> None:
    house = House()
    with pytest.raises(RequestInvalid):
        house.tokens.create(house.bob, label)
    token, _ = house.tokens.create(house.bob, "é" * MAX_LABEL)
    with pytest.raises(RequestInvalid):
        house.tokens.change(house.bob, token.id, label=label)


@pytest.mark.parametrize(
    ("repositories", "actions"),
    [
        ((), {"pull"}),
        (("bob/a",), set()),
        (("bob/a",), {"pull", "*"}),
        (("bob/a",), {"admin"}),
        (("*",), {"pull"}),
        (("/*",), {"pull"}),
        (("bob/*/*",), {"pull"}),
        (("bob/a*",), {"pull"}),
        (("bob*",), {"pull"}),
        (("bob/",), {"pull"}),
        (("Bob/a",), {"pull"}),
        (("bob/../a",), {"pull"}),
        (("bob/a", ""), {"pull"}),
        (("\ud800",), {"pull"}),
        (tuple(f"bob/{n}" for n in range(MAX_PATTERNS + 1)), {"pull"}),
        (tuple(f"bob/{'x' * 240}{n}" for n in range(5)), {"pull"}),
    ],
)
def test_limits_that_mean_nothing_or_too_much_are_refused(repositories: tuple[str, ...], actions: set[str]) -> None:
    house = House()
    with pytest.raises(RequestInvalid):
        house.tokens.create(house.bob, "x", limits=Limits(repositories, frozenset(actions)))
    assert house.tokens.page(house.bob, "", 10) == []


@given(st.lists(st.text("ab*/.-", max_size=8), max_size=3), st.frozensets(st.sampled_from(["pull", "push", "delete", "*"])))
def test_limits_are_taken_exactly_if_each_pattern_is_a_name_or_a_namespace(
    patterns: list[str], actions: frozenset[str]
) -> None:
    def is_good(pattern: str) -> bool:
        try:
            return bool(RepositoryName.parse(pattern[:-2] if pattern.endswith("/*") else pattern))
        except NameInvalid:
            return False

    house = House()
    good = bool(patterns) and all(map(is_good, patterns)) and bool(actions) and actions <= EVERY_ACTION
    limits = Limits(tuple(patterns), actions)
    try:
        token, secret = house.tokens.create(house.bob, "x", limits=limits)
    except RequestInvalid:
        assert not good
    else:
        assert good
        assert house.tokens.authenticate(secret) == (house.bob, limits)
        assert house.tokens.get(house.bob, token.id).limits == limits


def test_who_cannot_sign_in_has_no_tokens_and_none_is_made_that_is_over() -> None:
    house = House()
    with pytest.raises(RequestInvalid):
        house.tokens.create(house.acme, "x")
    for expires_at in (house.now, house.now - 1, 0, -1):
        with pytest.raises(RequestInvalid):
            house.tokens.create(house.bob, "x", expires_at=expires_at)


def test_no_password_looks_like_a_token() -> None:
    house = House()
    with pytest.raises(ValueError, match="slt_"):
        house.accounts.create_user("carol", "slt_" + "x" * 43)
    with pytest.raises(ValueError, match="slt_"):
        house.accounts.set_password("bob", "slt_")


def test_a_token_costs_a_call_and_one_more_once_a_minute() -> None:
    class Counting(MemoryTable):
        calls = 0

        def get(self, key: Key) -> Attributes | None:
            self.calls += 1
            return super().get(key)

        def batch_get(self, keys: Sequence[Key]) -> dict[Key, Attributes]:
            self.calls += 1
            return dict(super().batch_get(keys))

        def write(self, write: Put | Update | Delete) -> None:
            self.calls += 1
            super().write(write)

    table = Counting()
    house = House(table)
    _, secret = house.tokens.create(house.bob, "x")
    counts = []
    for name in ("bob", "bob", "", "nobody"):
        table.calls = 0
        house.tokens.authenticate(secret, name)
        counts.append(table.calls)
    assert counts == [2, 1, 2, 1]
