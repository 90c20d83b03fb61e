"""Refresh tokens: what they stand for, what ends them, and what happens when two hold one."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chalicelib.registry.access import Account, Limits
from chalicelib.registry.accounts import Changes
from chalicelib.registry.credentials import SignedIn
from chalicelib.registry.organizations import Organizations
from chalicelib.registry.ports import Put, StoreFull, Table, Write
from chalicelib.registry.refresh_tokens import GRACE, REFRESH_LIFETIME
from chalicelib.registry.tokens import Decision
from tests.issuing import Instance
from tests.memory_table import ConflictingTable, MemoryTable

LIMITS = Limits(("bob/*",), frozenset({"pull"}))


class House:
    """A registry with the user bob, and who signed in there."""

    def __init__(self, table: Table | None = None) -> None:
        self.instance = Instance(table or MemoryTable())
        self.instance.accounts.ensure_admin("right")
        self.instance.accounts.create_user("bob", "right")

    def by_password(self) -> SignedIn:
        return self.signed_in("right")

    def by_token(self, limits: Limits | None = None, expires_at: int | None = None) -> tuple[SignedIn, str]:
        """Who signed in with a new access token, and that token's id."""
        account = self.instance.accounts.get("bob")
        token, secret = self.instance.access_tokens.create(account, "x", limits=limits, expires_at=expires_at)
        return self.signed_in(secret), token.id

    def signed_in(self, secret: str) -> SignedIn:
        found = self.instance.credentials.authenticate("bob", secret, "")
        assert found is not None
        return found

    def issued(self, signed_in: SignedIn | None = None, lifetime: int = REFRESH_LIFETIME) -> str:
        token = self.instance.refresh_tokens.issue(signed_in or self.by_password(), "docker", lifetime)
        assert token is not None
        return token

    def identity(self, token: str) -> Account | None:
        found = self.instance.refresh_tokens.exchange(token)
        return None if found is None else found.identity

    def rotated(self, token: str) -> str:
        found = self.instance.refresh_tokens.exchange(token, rotate=True)
        assert found is not None
        assert found.successor is not None
        return found.successor


# -------------------------------------------------------------------------------------------------------------- standing


def test_one_stands_for_its_account_on_every_instance_for_ninety_days() -> None:
    house = House()
    token = house.issued()
    assert house.identity(token) == house.instance.accounts.get("bob").identity
    house.instance.clock.advance(REFRESH_LIFETIME - 1)
    assert house.instance.another().refresh_tokens.exchange(token) is not None
    house.instance.clock.advance(1)
    assert house.identity(token) is None


def test_docker_uses_one_for_ever_and_is_never_taken_for_a_thief() -> None:
    house = House()
    token = house.issued()
    for _ in range(50):
        house.instance.clock.advance(86_400)
        assert house.identity(token) is not None


def test_a_term_may_be_shorter_and_no_rotation_extends_it() -> None:
    house = House()
    token = house.issued(lifetime=3600)
    house.instance.clock.advance(3599)
    token = house.rotated(token)
    assert house.identity(token) is not None
    house.instance.clock.advance(1)
    assert house.identity(token) is None


def test_another_password_ends_those_of_the_earlier_even_if_it_is_the_same_again() -> None:
    house = House()
    token = house.issued()
    house.instance.accounts.set_password("bob", "right")
    assert house.identity(token) is None
    house.instance.accounts.set_password("bob", "right")
    assert house.identity(token) is None


def test_one_made_while_the_password_changes_is_no_good() -> None:
    house = House()
    signed_in = house.by_password()
    house.instance.accounts.set_password("bob", "new")
    assert house.identity(house.issued(signed_in)) is None


def test_another_password_does_not_end_those_of_access_tokens() -> None:
    house = House()
    token = house.issued(house.by_token()[0])
    house.instance.accounts.set_password("bob", "new")
    assert house.identity(token) is not None


def test_a_locked_account_gets_nothing_and_a_new_one_of_the_name_inherits_nothing() -> None:
    house = House()
    tokens = [house.issued(), house.issued(house.by_token()[0])]
    accounts = house.instance.accounts
    accounts.change("bob", Changes(is_active=False))
    assert [house.identity(token) for token in tokens] == [None, None]
    accounts.change("bob", Changes(is_active=True))
    assert None not in [house.identity(token) for token in tokens]
    Organizations(house.instance.table, accounts).delete_account("bob")
    assert [house.identity(token) for token in tokens] == [None, None]
    accounts.create_user("bob", "right")
    assert [house.identity(token) for token in tokens] == [None, None]


@pytest.mark.parametrize("end", ["deactivate", "delete", "expire"])
def test_it_ends_with_the_access_token_it_came_by(end: str) -> None:
    house = House()
    instance = house.instance
    signed_in, access_token = house.by_token(expires_at=int(instance.clock.now().timestamp()) + 3600)
    token, other = house.issued(signed_in), house.issued()
    assert house.identity(token) is not None
    match end:
        case "deactivate":
            instance.access_tokens.change(signed_in.account, access_token, is_active=False)
        case "delete":
            instance.access_tokens.delete(signed_in.account, access_token)
        case _:
            instance.clock.advance(3600)
    assert house.identity(token) is None
    assert house.identity(other) is not None


def test_it_is_as_narrow_as_the_access_token_it_came_by_also_when_rotated() -> None:
    house = House()
    token = house.issued(house.by_token(LIMITS)[0])
    for each in (token, house.rotated(token)):
        identity = house.identity(each)
        assert identity is not None
        assert identity.limits == LIMITS


def test_it_is_for_one_service() -> None:
    house = House()
    assert house.instance.another(service="other.test").refresh_tokens.exchange(house.issued()) is None


@pytest.mark.parametrize("token", ["", "x", "slr_", "slr_" + "A" * 43, "é", "\ud800", "\0", "x" * 100_000])
def test_an_unknown_one_is_nobody(token: str) -> None:
    house = House()
    house.issued()
    assert house.identity(token) is None


def test_a_table_that_leaks_gives_none_away() -> None:
    house = House()
    tokens = [house.issued()]
    tokens.append(house.rotated(tokens[0]))
    stored = repr(house.instance.table.walk(limit=1000).items)
    for token in tokens:
        assert token not in stored
        assert token.removeprefix("slr_") not in stored


class FullTable(MemoryTable):
    """Takes no more once it is ``full``."""

    full = False

    def transact(self, writes: Sequence[Write]) -> None:
        if self.full:
            raise StoreFull
        super().transact(writes)


def test_a_full_store_keeps_nobody_from_a_token() -> None:
    table = FullTable()
    house = House(table)
    token = house.issued()
    house.instance.tokens.issue(None, Decision((), ()))
    table.full = True
    signed_in = house.by_password()
    assert house.instance.refresh_tokens.issue(signed_in, "docker") is None
    refreshed = house.instance.refresh_tokens.exchange(token, rotate=True)
    assert refreshed is not None
    assert refreshed.successor is None
    house.instance.clock.advance(GRACE + 1)
    assert house.identity(token) is not None  # it was not replaced


# -------------------------------------------------------------------------------------------------------------- rotation


def test_one_that_was_replaced_is_good_for_half_a_minute_and_then_ends_all() -> None:
    house = House()
    first, other = house.issued(), house.issued()
    second = house.rotated(first)
    assert second != first
    house.instance.clock.advance(GRACE)
    assert house.identity(first) is not None
    assert house.identity(second) is not None
    house.instance.clock.advance(1)
    assert house.identity(first) is None
    assert house.identity(second) is None
    assert house.identity(other) is not None  # of another sign-in


def test_a_lost_answer_is_made_good_by_another_successor() -> None:
    house = House()
    first = house.issued()
    lost = house.rotated(first)
    again = house.rotated(first)
    assert again not in {lost, first}
    house.instance.clock.advance(GRACE + 1)
    assert house.identity(again) is not None


def test_a_thief_that_rotates_first_is_thrown_out_when_the_owner_comes() -> None:
    house = House()
    token = house.issued()
    stolen = house.rotated(house.rotated(token))
    house.instance.clock.advance(3600)
    assert house.identity(stolen) is not None
    assert house.identity(token) is None
    assert house.identity(stolen) is None


class Meeting(MemoryTable):
    """Something happens right before the next transaction."""

    before: Callable[[], None] | None = None

    def transact(self, writes: Sequence[Write]) -> None:
        before, self.before = self.before, None
        if before is not None:
            before()
        super().transact(writes)


def test_two_that_rotate_one_at_once_each_get_a_successor_of_one_family() -> None:
    table = Meeting()
    house = House(table)
    first, theirs = house.issued(), list[str]()
    table.before = lambda: theirs.append(house.rotated(first))
    ours = house.rotated(first)
    assert house.identity(ours) is not None
    assert house.identity(theirs[0]) is not None
    house.instance.clock.advance(GRACE + 1)
    assert house.identity(first) is None
    assert [house.identity(token) for token in (ours, theirs[0])] == [None, None]


def test_a_family_that_ends_while_it_is_rotated_is_not_brought_back() -> None:
    table = Meeting()
    house = House(table)
    first = house.issued()
    second = house.rotated(first)
    house.instance.clock.advance(GRACE + 1)

    def reuse() -> None:
        assert house.identity(first) is None

    table.before = reuse
    assert house.instance.refresh_tokens.exchange(second, rotate=True) is None


def test_a_store_that_conflicts_is_asked_again() -> None:
    table = ConflictingTable(MemoryTable(), random.Random(11), 0.4)
    house = House(table)
    token = house.issued()
    for _ in range(20):
        token = house.rotated(token)
    assert table.conflicts
    assert house.identity(token) is not None


@settings(max_examples=60, stateful_step_count=30, deadline=None)
class Families(RuleBasedStateMachine):
    """Against a model: of each family whether it has ended, of each token when it was replaced."""

    @initialize()
    def begin(self) -> None:
        self.house = House()
        self.tokens: dict[str, int] = {}
        self.used: dict[str, float] = {}
        self.ended: set[int] = set()
        self.families = 0

    @property
    def now(self) -> float:
        return self.house.instance.clock.now().timestamp()

    def drawn(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(list(self.tokens)))

    @rule()
    def sign_in(self) -> None:
        self.tokens[self.house.issued()] = self.families
        self.families += 1

    @rule(seconds=st.sampled_from([1, 10, GRACE, GRACE + 1, 3600]))
    def wait(self, seconds: int) -> None:
        self.house.instance.clock.advance(seconds)

    @precondition(lambda self: bool(self.tokens))
    @rule(data=st.data(), rotate=st.booleans(), fresh=st.booleans())
    def exchange(self, data: st.DataObject, rotate: bool, fresh: bool) -> None:
        token = self.drawn(data)
        family = self.tokens[token]
        instance = self.house.instance.another() if fresh else self.house.instance
        found = instance.refresh_tokens.exchange(token, rotate=rotate)
        reused = token in self.used and self.now - self.used[token] > GRACE
        assert (found is not None) == (family not in self.ended and not reused)
        if reused:
            self.ended.add(family)
        if found is not None and rotate:
            assert found.successor is not None
            assert found.successor not in self.tokens
            self.tokens[found.successor] = family
            self.used.setdefault(token, self.now)
        elif found is not None:
            assert found.successor is None

    @invariant()
    def of_an_ended_family_nothing_is_good(self) -> None:
        for token, family in self.tokens.items():
            if family in self.ended:
                assert self.house.identity(token) is None


TestFamilies = Families.TestCase


def test_what_an_earlier_release_wrote_is_nobody() -> None:
    """It knew no families: whoever holds one logs in again."""
    house = House()
    token = house.issued()
    (key,) = [item.key for item in house.instance.table.walk(limit=100).items if item.key.sort == "refresh"]
    record = dict(house.instance.table.get(key) or {})
    del record["family"]
    house.instance.table.write(Put(key, record))
    assert house.identity(token) is None
