"""Wrong passwords: how many may be tried, and how fast.

Three counters know of every wrong password: the pair of an account's name and an address, the address, the name. Each forgets
one failure in so many seconds; below so many it lets everything pass, and beyond that it asks for a pause since the last try,
which doubles up to a few seconds or minutes and never grows further:

=========  =====  ================  =====================
counter    free   forgets one in    pause
=========  =====  ================  =====================
the pair       5             600 s  1 s, doubled to 300 s
address       30              30 s  1 s, doubled to 30 s
the name      50              18 s  1 s, doubled to 10 s
=========  =====  ================  =====================

So a day holds at most 302 guesses from one address at one account, 2,920 from one address at all of them, and 8,700 at one
account from everywhere. Nobody is locked out for good: where the right password came from lately (``GOOD_SECONDS``)
only the pair counts, which strangers cannot move, and access tokens and refresh tokens are never counted, since they
cannot be guessed. Names that no account has are counted alike. While a pause lasts the right password is refused too, or
guessing would go on. It ends the pause, but failures are forgotten by time alone: or whoever shares the address could guess on
after each sign-in of the account's own.

What is counted is counted after the password was found wrong, so many tries at one moment pass a counter that is still low,
once, and are all remembered. Beyond that a try takes its turn by a conditional write before the password is looked at: of many
at once one passes.

The address is a header's where an edge stands before the registry (wire/address.py); who goes around the edge can say
any address, and is held by the counter of the name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from chalicelib.registry.errors import AccountNameInvalid, TooManyAttempts
from chalicelib.registry.names import parse_login
from chalicelib.registry.ports import (
    EXPIRES,
    Attributes,
    Clock,
    Condition,
    ConditionFailed,
    Conflict,
    Equals,
    Key,
    Lacks,
    StoreFull,
    Table,
    Update,
)
from chalicelib.registry.records import attempts_from_key, attempts_key, number_or

GOOD_SECONDS = 30 * 86_400
"""How long an address is known after the right password came from it."""

_NOTED_AGAIN_SECONDS = 86_400
"""A known address is noted again at most once in so long: signing in costs no write otherwise."""

_LONGEST_MEMORY = 86_400_000
"""Milliseconds that any number of failures takes to be forgotten, at most."""

_SKEW = 60_000
"""Milliseconds by which instances' clocks may differ."""

_ADDRESS_BITS_6 = 64
"""What one subscriber of IPv6 has at least."""

_UNTIL, _LAST, _GOOD = "until", "last", "good_until"
"""When the last failure will be forgotten, when the last try was (milliseconds since the epoch), and, in seconds, how long
the address is known."""

_WRITES = 3


@dataclass(frozen=True, slots=True)
class Bound:
    """How a counter holds failures: ``free`` pass, one is forgotten in ``forgets`` ms, pauses last ``longest`` ms at most."""

    free: int
    forgets: int
    longest: int

    def pause(self, failures: int) -> int:
        """Milliseconds since the last try that the next one needs."""
        beyond = failures - self.free
        return 0 if beyond < 0 else min(self.longest, 1_000 << min(beyond, 20))


PAIR = Bound(free=5, forgets=600_000, longest=300_000)
ADDRESS = Bound(free=30, forgets=30_000, longest=30_000)
NAME = Bound(free=50, forgets=18_000, longest=10_000)


@dataclass(frozen=True, slots=True)
class Counter:
    """One counter as it was read at ``now`` (milliseconds): when all will be forgotten, and the last try, None for none."""

    key: Key
    bound: Bound
    now: int
    until: int | None
    last: int | None
    good_until: int = 0

    @property
    def memory(self) -> int:
        """Milliseconds until all is forgotten. Instances that count at once may write more than a day; a day after the last try
        it is over all the same."""
        if self.last is not None and self.now - self.last >= _LONGEST_MEMORY:
            return 0
        return min(max(0, (self.until or 0) - self.now), _LONGEST_MEMORY)

    @property
    def failures(self) -> int:
        """How many are not forgotten yet."""
        return -(-self.memory // self.bound.forgets)

    @property
    def takes_turns(self) -> bool:
        return self.failures >= self.bound.free

    @property
    def wait(self) -> int:
        """Milliseconds until the next try, at most; failures that are forgotten meanwhile shorten it. A try in a time to come
        is one before the clock was set back."""
        if self.last is None or self.last > self.now + _SKEW:
            return 0
        return max(0, self.bound.pause(self.failures) - max(0, self.now - self.last))

    def turn(self) -> Update:
        """The write that one of many makes whose pause is over."""
        return Update(self.key, set={_LAST: self.now}, condition=_as_read(_LAST, self.last))

    def failed(self) -> Update:
        """The write that counts one more, if nobody else has."""
        counted: Attributes = {_UNTIL: self.now + self.memory + self.bound.forgets, **self._noted()}
        return Update(self.key, set=counted, condition=_as_read(_UNTIL, self.until))

    def failed_too(self) -> Update:
        """The same where somebody has."""
        return Update(self.key, set=self._noted(), add={_UNTIL: self.bound.forgets})

    def _noted(self) -> Attributes:
        kept = (self.now + 2 * _LONGEST_MEMORY) // 1_000
        return {_LAST: self.now, EXPIRES: max(kept, self.good_until)}

    @property
    def is_known(self) -> bool:
        return self.now < self.good_until * 1_000

    def succeeded(self) -> Update | None:
        """The write that ends a pause and notes a good address, None if there is nothing to write."""
        until = self.now // 1_000 + GOOD_SECONDS
        if until - self.good_until < _NOTED_AGAIN_SECONDS and not self.takes_turns:
            return None
        kept = max(until, (self.now + 2 * _LONGEST_MEMORY) // 1_000)
        noted: dict[str, int] = {_GOOD: until, EXPIRES: kept}
        if not self.takes_turns:
            return Update(self.key, set=noted)
        # Not if a failure was counted meanwhile, which this would undo.
        ended = {**noted, _UNTIL: self.now + self.memory}
        return Update(self.key, set=ended, remove=(_LAST,), condition=_as_read(_UNTIL, self.until))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a password that was let through."""

    pair: Counter
    others: tuple[Counter, ...]


class Throttle:
    """Counts wrong passwords, and says when to wait."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    def keys(self, name: str, source: str) -> Sequence[Key]:
        """The items to read before ``begin``, along with the account's: the pair's, the address's, the name's."""
        hashed, address = _hashed(name), folded_address(source)
        return [attempts_key(hashed, address), attempts_from_key(address), attempts_key(hashed)]

    def begin(self, name: str, source: str, found: Mapping[Key, Attributes]) -> Attempt:
        """A try at the password of a name, which an account may have or not, before it is looked at; ``found`` are those of
        ``keys`` that there are. Raises TooManyAttempts."""
        now = int(self._clock.now().timestamp() * 1_000)
        pair, *others = (
            _counter(key, bound, now, found.get(key, {}))
            for key, bound in zip(self.keys(name, source), (PAIR, ADDRESS, NAME), strict=True)
        )
        held = [pair] if pair.is_known else [pair, *others]
        wait = max(counter.wait for counter in held)
        if wait:
            raise TooManyAttempts(-(-wait // 1_000))
        self._take_turn([counter for counter in held if counter.takes_turns])
        return Attempt(pair, tuple(others))

    def _take_turn(self, counters: Sequence[Counter]) -> None:
        if not counters:
            return
        try:
            if len(counters) == 1:
                self._table.write(counters[0].turn())
            else:
                self._table.transact([counter.turn() for counter in counters])
        except (ConditionFailed, Conflict, StoreFull):
            longest = max(counter.bound.pause(counter.failures) for counter in counters)
            raise TooManyAttempts(-(-longest // 1_000)) from None

    def failed(self, attempt: Attempt) -> None:
        """The password was wrong. Never waits; what the store has no time or room for is not counted."""
        for counter in (attempt.pair, *attempt.others):
            self._count(counter)

    def _count(self, counter: Counter) -> None:
        write = counter.failed()
        for _ in range(_WRITES):
            try:
                self._table.write(write)
            except ConditionFailed:
                write = counter.failed_too()
            except Conflict:
                continue
            except StoreFull:
                return
            else:
                return

    def succeeded(self, attempt: Attempt) -> None:
        """The password was right; the address is known from now on. What the store has no time or room for is not noted."""
        write = attempt.pair.succeeded()
        if write is None:
            return
        with suppress(ConditionFailed, Conflict, StoreFull):
            self._table.write(write)


def folded_address(source: str) -> str:
    """What of an address counts: IPv4 whole, IPv6 (which a subscriber has a whole network of) its first 64 bits; "" for what is
    no address."""
    try:
        address = ip_address(source.strip())
    except ValueError:
        return ""
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    shift = address.max_prefixlen - _ADDRESS_BITS_6
    return f"{IPv6Address(int(address) >> shift << shift)}/{_ADDRESS_BITS_6}"


def _hashed(name: str) -> str:
    """Names in any form, also such as no account can have."""
    with suppress(AccountNameInvalid):
        name = parse_login(name)
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def _as_read(attribute: str, value: int | None) -> Condition:
    return Lacks(attribute) if value is None else Equals(attribute, value)


def _counter(key: Key, bound: Bound, now: int, found: Attributes) -> Counter:
    until, last = (number_or(found, name, -1) for name in (_UNTIL, _LAST))
    return Counter(key, bound, now, None if until < 0 else until, None if last < 0 else last, number_or(found, _GOOD, 0))
