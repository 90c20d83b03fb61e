"""Accounts: passwords, what ends with them, and what a stranger learns by trying (nothing)."""

from __future__ import annotations

import random

import pytest

from chalicelib.registry import access
from chalicelib.registry.accounts import MAX_PASSWORD, Account, Accounts
from chalicelib.registry.ports import Attributes, Key, Table, Update
from tests.frozen_clock import FrozenClock
from tests.memory_table import ConflictingTable, MemoryTable
from tests.plain_hasher import PlainHasher


class House:
    """One registry's accounts, seen from as many instances as wanted."""

    def __init__(self, table: Table | None = None) -> None:
        self.table = table or MemoryTable()
        self.clock = FrozenClock()
        self.hasher = PlainHasher()
        self.accounts = self.instance()

    def instance(self) -> Accounts:
        return Accounts(self.table, self.hasher, self.clock)

    def deactivate(self, name: str) -> None:
        self.table.write(Update(Key(f"account/{name}", "account"), set={"is_active": False}))

    def work(self, name: str, password: str) -> int:
        before = len(self.hasher.verified)
        self.accounts.authenticate(name, password)
        return len(self.hasher.verified) - before


@pytest.fixture
def house() -> House:
    house = House()
    assert house.accounts.ensure_admin("right")
    return house


def test_admin_is_made_once_and_keeps_its_password(house: House) -> None:
    assert not house.accounts.ensure_admin("another")
    assert house.accounts.authenticate("admin", "another") is None
    account = house.accounts.authenticate("admin", "right")
    assert account is not None
    assert account.identity == access.Account("admin", is_admin=True, id=account.id)
    assert account.created_at == int(house.clock.now().timestamp())


def test_admin_that_was_deleted_does_not_come_back_with_its_first_password(house: House) -> None:
    house.accounts.create_user("alice", "hers", is_admin=True)
    house.accounts.begin_deletion("admin")
    gone = house.accounts.read("admin")
    assert gone is not None
    house.accounts.end_deletion(gone)
    assert not house.accounts.ensure_admin("right")
    assert house.accounts.authenticate("admin", "right") is None


@pytest.mark.parametrize("name", ["Admin", "ADMIN"])
def test_names_are_folded(house: House, name: str) -> None:
    folded = house.accounts.authenticate(name, "right")
    assert folded is not None
    assert folded.name == "admin"


def test_admin_made_by_two_instances_at_once_is_made_by_one() -> None:
    class Racing(MemoryTable):
        """Whoever reads finds nothing before the first write, as two instances do that start together."""

        blind = True

        def get(self, key: Key) -> Attributes | None:
            return None if self.blind else super().get(key)

    table = Racing()
    house = House(table)
    made = [house.instance().ensure_admin("one"), house.instance().ensure_admin("two")]
    table.blind = False
    assert made == [True, False]
    assert house.accounts.authenticate("admin", "one") is not None
    assert house.accounts.authenticate("admin", "two") is None


def test_a_store_that_conflicts_is_asked_again() -> None:
    table = ConflictingTable(MemoryTable(), random.Random(7), 0.5)
    house = House(table)
    assert house.accounts.ensure_admin("first")
    for round_ in range(10):
        assert house.accounts.set_password("admin", f"password {round_}")
    assert table.conflicts
    assert house.accounts.authenticate("admin", "password 9") is not None


@pytest.mark.parametrize("password", ["", "x" * (MAX_PASSWORD + 1), "é" * MAX_PASSWORD])
def test_no_account_has_an_empty_or_endless_password(password: str) -> None:
    accounts = House().accounts
    with pytest.raises(ValueError, match="password"):
        accounts.ensure_admin(password)
    assert accounts.find("admin") is None


@pytest.mark.parametrize(
    "name",
    ["admin ", " admin", "admin/x", "admin\0", "", "..", "\u0430dmin", "a" * 300, "\ud800", "x/../admin"],
)
def test_a_name_that_no_account_can_have_is_a_wrong_one(house: House, name: str) -> None:
    assert house.accounts.authenticate(name, "right") is None
    assert house.accounts.find(name) is None
    assert not house.accounts.set_password(name, "new")


def test_unknown_inactive_and_wrong_cost_the_same_work(house: House) -> None:
    works = {house.work("nobody", "right"), house.work("NO NAME", "right"), house.work("admin", "wrong")}
    house.deactivate("admin")
    works |= {house.work("admin", "right"), house.work("admin", "wrong")}
    assert works == {1}


def test_an_inactive_account_signs_in_no_more_even_if_it_just_did(house: House) -> None:
    assert house.accounts.authenticate("admin", "right") is not None
    house.deactivate("admin")
    assert house.accounts.authenticate("admin", "right") is None
    found = house.accounts.find("admin")
    assert found is not None
    assert not found.is_active


def test_a_right_password_is_hashed_once_in_five_minutes(house: House) -> None:
    assert [house.work("admin", "right") for _ in range(3)] == [1, 0, 0]
    house.clock.advance(299)
    assert house.work("admin", "right") == 0
    house.clock.advance(1)
    assert house.work("admin", "right") == 1


def test_a_wrong_password_is_hashed_every_time(house: House) -> None:
    house.accounts.authenticate("admin", "right")
    assert [house.work("admin", "wrong") for _ in range(3)] == [1, 1, 1]


def test_a_clock_set_back_does_not_stretch_what_is_remembered(house: House) -> None:
    house.accounts.authenticate("admin", "right")
    house.clock.advance(-3600)
    assert house.work("admin", "right") == 1


def test_a_changed_password_counts_at_once_on_every_instance(house: House) -> None:
    other = house.instance()
    assert house.accounts.authenticate("admin", "right") is not None
    assert other.set_password("admin", "new")
    assert house.accounts.authenticate("admin", "right") is None
    assert house.accounts.authenticate("admin", "new") is not None


def test_every_password_brings_new_credentials_even_the_same_again(house: House) -> None:
    def credentials() -> str:
        account = house.accounts.read("admin")
        assert account is not None
        return account.credentials

    seen = {credentials()}
    for password in ("new", "new", "right"):
        assert house.accounts.set_password("admin", password)
        seen.add(credentials())
    assert len(seen) == 4


def test_an_account_that_is_not_there_gets_no_password(house: House) -> None:
    assert not house.accounts.set_password("nobody", "new")
    assert house.accounts.find("nobody") is None


def test_a_hash_is_not_shown_where_an_account_is_printed(house: House) -> None:
    account = house.accounts.read("admin")
    assert isinstance(account, Account)
    assert account.password_hash not in repr(account)
