"""Accounts: passwords, what ends with them, and what a stranger learns by trying (nothing)."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from chalicelib.registry import access
from chalicelib.registry.accounts import MAX_PASSWORD, Account, Accounts, Changes
from chalicelib.registry.errors import (
    AccountExists,
    AccountNameInvalid,
    AccountUnknown,
    NameReserved,
    RequestInvalid,
    VersionMismatch,
)
from chalicelib.registry.ports import Attributes, Delete, Key, Put, Table, Update
from tests.company import PASSWORD, Company, watched
from tests.frozen_clock import FrozenClock
from tests.memory_table import ConflictingTable, MemoryTable
from tests.plain_hasher import PlainHasher
from tests.watched_table import interleaved, refusal


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
        self.accounts.proven(self.accounts.read(name), password)
        return len(self.hasher.verified) - before


@pytest.fixture
def house() -> House:
    house = House()
    assert house.accounts.ensure_admin("right")
    return house


def test_admin_is_made_once_and_keeps_its_password(house: House) -> None:
    assert not house.accounts.ensure_admin("another")
    assert house.accounts.proven(house.accounts.read("admin"), "another") is None
    account = house.accounts.proven(house.accounts.read("admin"), "right")
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
    assert house.accounts.proven(house.accounts.read("admin"), "right") is None


@pytest.mark.parametrize("name", ["Admin", "ADMIN"])
def test_names_are_folded(house: House, name: str) -> None:
    folded = house.accounts.proven(house.accounts.read(name), "right")
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
    assert house.accounts.proven(house.accounts.read("admin"), "one") is not None
    assert house.accounts.proven(house.accounts.read("admin"), "two") is None


def test_a_store_that_conflicts_is_asked_again() -> None:
    table = ConflictingTable(MemoryTable(), random.Random(7), 0.5)
    house = House(table)
    assert house.accounts.ensure_admin("first")
    for round_ in range(10):
        assert house.accounts.set_password("admin", f"password {round_}")
    assert table.conflicts
    assert house.accounts.proven(house.accounts.read("admin"), "password 9") is not None


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
    assert house.accounts.proven(house.accounts.read(name), "right") is None
    assert house.accounts.find(name) is None
    assert not house.accounts.set_password(name, "new")


def test_unknown_inactive_and_wrong_cost_the_same_work(house: House) -> None:
    works = {house.work("nobody", "right"), house.work("NO NAME", "right"), house.work("admin", "wrong")}
    house.deactivate("admin")
    works |= {house.work("admin", "right"), house.work("admin", "wrong")}
    assert works == {1}


def test_an_inactive_account_signs_in_no_more_even_if_it_just_did(house: House) -> None:
    assert house.accounts.proven(house.accounts.read("admin"), "right") is not None
    house.deactivate("admin")
    assert house.accounts.proven(house.accounts.read("admin"), "right") is None
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
    house.accounts.proven(house.accounts.read("admin"), "right")
    assert [house.work("admin", "wrong") for _ in range(3)] == [1, 1, 1]


def test_a_clock_set_back_does_not_stretch_what_is_remembered(house: House) -> None:
    house.accounts.proven(house.accounts.read("admin"), "right")
    house.clock.advance(-3600)
    assert house.work("admin", "right") == 1


def test_a_changed_password_counts_at_once_on_every_instance(house: House) -> None:
    other = house.instance()
    assert house.accounts.proven(house.accounts.read("admin"), "right") is not None
    assert other.set_password("admin", "new")
    assert house.accounts.proven(house.accounts.read("admin"), "right") is None
    assert house.accounts.proven(house.accounts.read("admin"), "new") is not None


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


# ------------------------------------------------------------------------------------------------------- administrators


def two_admins() -> Company:
    company = Company()
    company.accounts.ensure_admin(PASSWORD)
    company.user("boss", is_admin=True)
    company.user("ann")
    return company


def demote(name: str) -> Callable[[Company], object]:
    return lambda world: world.accounts.change(name, Changes(is_admin=False))


def lock(name: str) -> Callable[[Company], object]:
    return lambda world: world.accounts.change(name, Changes(is_active=False))


def end(name: str) -> Callable[[Company], object]:
    return lambda world: world.organizations.delete_account(name)


@pytest.mark.parametrize("first", [demote("admin"), lock("admin"), end("admin")], ids=["demote", "lock", "delete"])
@pytest.mark.parametrize("second", [demote("boss"), lock("boss"), end("boss")], ids=["demote", "lock", "delete"])
def test_two_who_take_each_others_rights_at_once_leave_one(
    first: Callable[[Company], object], second: Callable[[Company], object]
) -> None:
    for world, *refused in interleaved(two_admins, watched, first, lambda world: second(world.another())):
        assert sorted(refused) == ["", "LastAdmin"]
        accounts = [world.another().accounts.find(name) for name in ("admin", "boss")]
        assert [account.is_active and account.is_admin for account in accounts if account].count(True) == 1


@pytest.mark.parametrize("deed", [demote("admin"), lock("admin"), end("admin")], ids=["demote", "lock", "delete"])
def test_the_last_administrator_stays(deed: Callable[[Company], object]) -> None:
    company = two_admins()
    lock("boss")(company)
    company.accounts.create_user("sleeper", "", is_admin=True, is_active=False)
    assert refusal(lambda: deed(company)) == "LastAdmin"
    assert company.accounts.change("boss", Changes(is_active=True)).is_admin
    assert refusal(lambda: deed(company)) == ""


def test_many_locked_administrators_hide_none_who_is_not() -> None:
    company = two_admins()
    for number in range(45):
        company.accounts.create_user(f"a{number}", "", is_admin=True, is_active=False)
    demote("admin")(company)
    assert refusal(lambda: demote("boss")(company)) == "LastAdmin"


def test_the_administrator_of_an_earlier_release_is_listed_and_counts() -> None:
    company = two_admins()
    key = Key("account/admin", "account")
    old = {name: value for name, value in company.stored()[key].items() if name not in {"id", "kind", "version", "full_name"}}
    company.store.write(Put(key, old))
    for partition in ("accounts", "admins"):
        company.store.write(Delete(Key(partition, "admin")))
    assert refusal(lambda: demote("boss")(company)) == "LastAdmin"
    assert not company.another().accounts.ensure_admin("another")
    assert [account.name for account in company.accounts.page("", 10)] == ["admin", "ann", "boss"]
    demote("boss")(company)
    assert refusal(lambda: demote("admin")(company)) == "LastAdmin"
    before = company.table.writes
    company.accounts.ensure_admin("another")
    assert company.table.writes == before


def test_robots_and_organizations_are_no_administrators() -> None:
    company = two_admins()
    acme = company.organization("acme")
    company.accounts.create_robot(acme, "ci")
    for name in ("acme", "acme+ci"):
        with pytest.raises(RequestInvalid):
            company.accounts.change(name, Changes(is_admin=True))
        assert not company.accounts.set_password(name, "new")
    with pytest.raises(RequestInvalid):
        company.accounts.change("acme", Changes(is_active=False))


# ---------------------------------------------------------------------------------------------------------- many, changed


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("admin", NameReserved),
        ("ANN", AccountExists),
        ("acme", AccountExists),
        ("a b", AccountNameInvalid),
        ("\u212a", AccountNameInvalid),
    ],
)
def test_users_and_organizations_share_their_names(name: str, error: type[Exception]) -> None:
    company = two_admins()
    company.organization("acme")
    with pytest.raises(error):
        company.accounts.create_user(name, PASSWORD)
    with pytest.raises(error):
        company.accounts.create_organization(name)


def test_a_version_that_was_overtaken_is_refused() -> None:
    company = two_admins()
    company.accounts.change("ann", Changes(full_name="Ann"), 1)
    for deed in (
        lambda: company.accounts.change("ann", Changes(is_admin=True), 1),
        lambda: company.organizations.delete_account("ann", 1),
    ):
        with pytest.raises(VersionMismatch):
            deed()
    assert not company.accounts.get("ann").is_admin


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_an_account_that_goes_leaves_no_page_short(limit: int) -> None:
    """Whoever lists takes a short page for the last."""
    company = Company()
    for number in range(8):
        company.user(f"u{number}")
        if number % 3:
            company.accounts.begin_deletion(f"u{number}")
    listed: list[str] = []
    while page := company.accounts.page(listed[-1] if listed else "", limit):
        listed += [account.name for account in page]
        assert len(page) == limit or not company.accounts.page(listed[-1], limit)
    assert listed == ["u0", "u3", "u6"]


@pytest.mark.parametrize("name", ["nobody", "no name", "", "\0", "\ud800"])
def test_what_is_no_account_is_unknown_whatever_is_to_be_done(name: str) -> None:
    company = two_admins()
    with pytest.raises(AccountUnknown):
        company.accounts.get(name)
    for deed in (demote(name), end(name)):
        with pytest.raises(AccountUnknown):
            deed(company)


# ---------------------------------------------------------------------------------------------------------- still active


def test_an_account_that_is_locked_or_gone_counts_at_once_here_and_in_five_seconds_elsewhere() -> None:
    for deed in (lock("ann"), end("ann")):
        company = two_admins()
        other, identity = company.another(), company.accounts.get("ann").id
        assert company.accounts.still_active("ann", identity)
        assert other.accounts.still_active("ann", identity)
        deed(company)
        assert not company.accounts.still_active("ann", identity)
        company.clock.advance(4.9)
        assert other.accounts.still_active("ann", identity), "for a read less each time"
        company.clock.advance(0.1)
        assert not other.accounts.still_active("ann", identity)


def test_an_account_whose_end_was_begun_is_not_active() -> None:
    company = two_admins()
    identity = company.accounts.get("ann").id
    company.accounts.begin_deletion("ann")
    assert not company.accounts.still_active("ann", identity)
    assert company.accounts.proven(company.accounts.read("ann"), PASSWORD) is None


def test_tokens_of_an_earlier_account_of_the_name_stay_ended() -> None:
    company = two_admins()
    earlier = company.accounts.get("ann").id
    end("ann")(company)
    company.user("ann")  # within the same second
    for instance in (company, company.another()):
        assert not instance.accounts.still_active("ann", earlier)
        assert instance.accounts.still_active("ann", instance.accounts.get("ann").id)
