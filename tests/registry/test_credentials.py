"""Signing in: by password or access token, throttled or not, and what a stranger learns by trying (nothing)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import suppress

import pytest

from chalicelib.registry.access import Limits
from chalicelib.registry.accounts import Account, Changes
from chalicelib.registry.credentials import SignedIn
from chalicelib.registry.errors import TooManyAttempts
from chalicelib.registry.organizations import Organizations
from chalicelib.registry.ports import Attributes, Delete, Key, Put, Table, Update, Write
from tests.issuing import Instance
from tests.memory_table import ConflictingTable, MemoryTable

HOME, AWAY = "192.0.2.1", "192.0.2.2"


class House:
    """A registry with the user bob, whose password is ``right``."""

    def __init__(self, table: Table | None = None) -> None:
        self.instance = Instance(table or MemoryTable())
        self.bob = self.instance.accounts.create_user("bob", "right")

    def try_(self, name: str, secret: str, source: str = HOME) -> SignedIn | None:
        return self.instance.credentials.authenticate(name, secret, source)

    def told(self, name: str, tried: str = "wrong", source: str = HOME) -> int | None:
        """What a stranger learns: whether it is let in (0), refused (None), or how long to wait."""
        try:
            return None if self.try_(name, tried, source) is None else 0
        except TooManyAttempts as many:
            return many.retry_after

    def token(self, account: Account | None = None, limits: Limits | None = None) -> str:
        return self.instance.access_tokens.create(account or self.bob, "x", limits=limits)[1]


def test_a_password_brings_the_account_whole() -> None:
    house = House()
    found = house.try_("BOB", "right")
    assert found is not None
    assert (found.account, found.limits, found.by, found.access_token) == (house.bob, None, "password", "")
    assert found.identity == house.bob.identity


def test_an_access_token_brings_it_as_narrow_as_it_is() -> None:
    house, limits = House(), Limits(("bob/a",), frozenset({"pull"}))
    secret = house.token(limits=limits)
    for found in (house.try_("bob", secret), house.try_("Bob", secret), house.instance.credentials.by_token(secret)):
        assert found is not None
        assert (found.account, found.limits, found.by) == (house.bob, limits, "token")
        assert found.identity.limits == limits
        assert found.access_token


def test_a_robot_signs_in_by_token_alone() -> None:
    house = House()
    acme = house.instance.accounts.create_organization("acme")
    secret = house.token(house.instance.accounts.create_robot(acme, "ci"))
    assert house.try_("acme+ci", secret) is not None
    assert house.try_("ACME+CI", secret) is not None
    for name, wrong in [("acme", secret), ("ci", secret), ("bob", secret), ("acme+ci", ""), ("acme+ci", "x"), ("acme", "")]:
        assert house.try_(name, wrong) is None


@pytest.mark.parametrize("secret", ["", "right", "slr_x", "slt_", "slt_right", "Bearer", "slt_\ud800", " slt_x"])
def test_what_is_no_token_is_nobody_s(secret: str) -> None:
    house = House()
    house.token()
    assert house.instance.credentials.by_token(secret) is None


def test_a_password_is_no_token_and_a_hash_is_neither() -> None:
    house = House()
    found = house.try_("bob", house.token())
    assert found is not None
    for secret in (found.access_token, f"slt_{found.access_token}", house.bob.password_hash, house.bob.credentials):
        assert house.try_("bob", secret, AWAY) is None


def test_a_locked_or_deleted_account_is_nobody_by_either() -> None:
    house = House()
    secret = house.token()
    house.instance.accounts.change("bob", Changes(is_active=False))
    assert house.try_("bob", "right") is None
    assert house.try_("bob", secret) is None
    assert house.instance.credentials.by_token(secret) is None
    Organizations(house.instance.table, house.instance.accounts).delete_account("bob")
    house.instance.accounts.create_user("bob", "another")
    assert house.try_("bob", "right") is None
    assert house.try_("bob", secret) is None
    assert house.instance.credentials.by_token(secret) is None


# ------------------------------------------------------------------------------------------------------- what tries learn


def test_unknown_locked_without_a_password_and_wrong_are_told_the_same_and_cost_the_same() -> None:
    class Counting(MemoryTable):
        calls = 0

        def get(self, key: Key) -> Attributes | None:
            self.calls += 1
            return super().get(key)

        def batch_get(self, keys: Sequence[Key]) -> Mapping[Key, Attributes]:
            self.calls += 1
            return super().batch_get(keys)

        def write(self, write: Put | Update | Delete) -> None:
            self.calls += 1
            super().write(write)

        def transact(self, writes: Sequence[Write]) -> None:
            self.calls += 1
            super().transact(writes)

    told = []
    for name, secret in [
        ("bob", "wrong"),
        ("locked", "right"),
        ("bare", "x"),
        ("acme", "x"),
        ("nobody", "x"),
        ("N0 name!", "x"),
    ]:
        table = Counting()
        house = House(table)
        house.instance.accounts.create_user("locked", "right", is_active=False)
        house.instance.accounts.create_user("bare", "")
        house.instance.accounts.create_organization("acme")
        seen = []
        for _ in range(30):
            table.calls, before = 0, len(house.instance.hasher.verified)
            answer = house.told(name, secret)
            seen.append((answer, table.calls, len(house.instance.hasher.verified) - before))
            house.instance.clock.advance(answer or 0)
        told.append(seen)
    for seen in told:
        assert seen == told[0]
    assert (None, 4, 1) in told[0]
    assert (1, 1, 0) in told[0]


def test_no_password_is_looked_at_during_a_pause_not_even_the_right_one() -> None:
    house = House()
    for _ in range(5):
        assert house.told("bob") is None
    before = len(house.instance.hasher.verified)
    assert house.told("bob", "right") == house.told("bob", "wrong") == 1
    assert len(house.instance.hasher.verified) == before
    house.instance.clock.advance(1)
    assert house.told("bob", "right") == 0


def test_a_pause_holds_on_every_instance_and_also_for_a_password_just_found_right() -> None:
    house = House()
    assert house.told("bob", "right") == 0
    for _ in range(5):
        house.told("bob")
    assert house.told("bob", "right") == 1
    with pytest.raises(TooManyAttempts):
        house.instance.another().credentials.authenticate("bob", "right", HOME)


def test_tokens_are_never_throttled_and_never_count() -> None:
    house = House()
    secret = house.token()
    for number in range(300):
        assert house.try_("bob", f"slt_{number}") is None
    assert house.told("bob", "right") == 0
    for _ in range(300):
        house.told("bob")
    assert house.try_("bob", secret) is not None
    assert house.told("bob", "right") != 0


def test_somebody_under_attack_from_everywhere_still_signs_in_where_known() -> None:
    house = House()
    assert house.told("bob", "right") == 0
    for number in range(300):
        house.told("bob", source=f"10.0.{number >> 8}.{number & 255}")
    assert house.told("bob", "right") == 0
    assert house.told("bob", "right", AWAY) in range(1, 11)


def test_two_instances_at_once_on_a_store_that_conflicts_bound_the_guesses_and_let_the_right_ones_in() -> None:
    table = ConflictingTable(MemoryTable(), random.Random(9), 0.3)
    house = House(table)
    instances = [house.instance, house.instance.another()]
    secret, hashed = house.token(), len(house.instance.hasher.verified)
    for number in range(400):
        source = f"10.0.{number >> 8}.{number & 255}"
        with suppress(TooManyAttempts):
            assert instances[number % 2].credentials.authenticate("bob", f"guess {number}", source) is None
        assert instances[number % 2].credentials.authenticate("bob", secret, source) is not None
    assert table.conflicts
    assert len(house.instance.hasher.verified) - hashed <= 60


def test_signing_in_again_costs_one_call() -> None:
    class Counting(MemoryTable):
        calls = 0

        def batch_get(self, keys: Sequence[Key]) -> Mapping[Key, Attributes]:
            self.calls += 1
            return super().batch_get(keys)

        def get(self, key: Key) -> Attributes | None:
            raise AssertionError("a read of its own")

    table = Counting()
    house = House(table)
    assert house.told("bob", "right") == 0
    secret, calls = "right", table.calls
    assert house.told("bob", secret) == 0
    assert table.calls - calls == 1
