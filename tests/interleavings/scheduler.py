"""Walks the orders in which several callers' steps can come, one of each kind that makes a difference.

A *step* is one call of a port, with a footprint: what it reads and what it writes. Two steps are dependent if they are one
caller's, or touch one thing that one of them writes. Orders that differ only in neighbouring independent steps are the same
*trace* (Mazurkiewicz) and end in the same state; of each trace one order is run. Nothing is remembered of states: each order
is run anew from the start (stateless), which is what lets the callers be the real program.

The reduction is source-DPOR with sleep sets (Abdulla, Aronis, Jonsson, Sagonas: Optimal dynamic partial order reduction, 2014):
a step that races with an earlier one makes the order be tried in which it comes first; a caller that was tried somewhere sleeps
in what is tried there later, until a step comes that depends on its own. Every step is enabled until its caller ends.

    for walk in Explorer(make).walks():     # make() gives a Run: callers, each before its first step
        ...
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, Protocol, TypeVar

from chalicelib.registry.ports import Key

NOTHING: frozenset[Key] = frozenset()

_LONG = re.compile(r"(?:sha256:|0{16,})([0-9a-f]{1,6})[0-9a-f]*")
"""Digests and ids, of which the beginning tells enough."""


@dataclass(frozen=True, slots=True)
class Range:
    """What a query reads: all items, there or not, of a partition whose sort keys have a prefix and lie beyond ``after``."""

    partition: str
    prefix: str = ""
    after: str = ""

    def holds(self, key: Key) -> bool:
        return key[0] == self.partition and key[1].startswith(self.prefix) and key[1] > self.after


@dataclass(slots=True)
class Step:
    """One call: its name, and its footprint. ``touched`` are the single keys that it reads or writes."""

    call: str
    touched: frozenset[Key]
    writes: frozenset[Key] = NOTHING
    ranges: tuple[Range, ...] = ()

    def __str__(self) -> str:
        reads = sorted(f"{key.partition} {key.sort}" for key in self.touched - self.writes)
        reads += [f"{each.partition} {each.prefix}*" + (f" beyond {each.after}" if each.after else "") for each in self.ranges]
        writes = sorted(f"{key.partition} {key.sort}" for key in self.writes)
        shown = [self.call, *(["reads", ", ".join(reads)] if reads else []), *(["writes", ", ".join(writes)] if writes else [])]
        return _LONG.sub(r"\1", " ".join(shown))


def dependent(one: Step, other: Step) -> bool:
    """May the order of these two steps of different callers make a difference?"""
    if one.writes:
        if not one.writes.isdisjoint(other.touched):
            return True
        if other.ranges and any(each.holds(key) for each in other.ranges for key in one.writes):
            return True
    if other.writes:
        if not other.writes.isdisjoint(one.touched):
            return True
        if one.ranges and any(each.holds(key) for each in one.ranges for key in other.writes):
            return True
    return False


class Run(Protocol):
    """Callers that were started, each before its first step. ``steps``: what each would do next, None if it has ended."""

    steps: list[Step | None]

    def step(self, actor: int) -> None:
        """Let this one do its step, and go on to before its next one."""

    def stop(self) -> None:
        """Nobody goes on."""


class Unrepeatable(Exception):
    """Something else than the order decides what callers do, such as names drawn at random."""


class Reduction(Enum):
    """How many orders are left out: none, those that sleep sets recognize, or (source-DPOR) also most that would be begun in
    vain."""

    NONE = "none"
    SLEEP = "sleep"
    SOURCE = "source"


class Outcome(Enum):
    """How an order came to an end: all callers ended, it would have repeated a known trace, or it took too many steps."""

    COMPLETE = "complete"
    REDUNDANT = "redundant"
    ENDLESS = "endless"


@dataclass(slots=True)
class _Frame:
    """One point of the order under way: sets of callers and of earlier points are bits of an integer. ``before``: the points
    that happened before its step, by causality; ``clock``: how many steps of each caller those are, its own counted."""

    enabled: int
    sleep: int
    backtrack: int
    chosen: int
    step: Step
    before: int = 0
    clock: tuple[int, ...] = ()


_NO_STEPS: tuple[int, ...] = (0,) * 4
"""The clock of nobody's step; there are four callers at most."""

AnyRun = TypeVar("AnyRun", bound=Run)


@dataclass(slots=True)
class Walk(Generic[AnyRun]):
    """One order that was run: the callers' numbers in their order, and how it ended."""

    run: AnyRun
    choices: tuple[int, ...]
    outcome: Outcome
    trace: int = 0


@dataclass
class Explorer(Generic[AnyRun]):
    """Walks all traces of what ``make`` starts. ``make`` must start the same each time, but for random names."""

    make: Callable[[], AnyRun]
    reduction: Reduction = Reduction.SOURCE
    longest: int = 1_000
    redundant: int = 0
    _stack: list[_Frame] = field(default_factory=list)

    def walks(self) -> Iterator[Walk[AnyRun]]:
        """Each trace once, complete or too long; ``redundant`` counts what was begun in vain. Raises Unrepeatable."""
        while True:
            run = self.make()
            outcome = self._run(run)
            choices = tuple(frame.chosen for frame in self._stack)
            run.stop()
            if outcome is Outcome.REDUNDANT:
                self.redundant += 1
            else:
                yield Walk(run, choices, outcome, self.trace if self.reduction is Reduction.SOURCE else 0)
            if not self._turn():
                return

    @property
    def trace(self) -> int:
        """One number for all orders of the trace that was walked last; see ``TraceHash``."""
        return sum(hash((frame.chosen, frame.clock)) for frame in self._stack)

    def _turn(self) -> bool:
        """Go back to the last point where somebody else is to be tried; False if there is none."""
        stack = self._stack
        while stack:
            last = stack[-1]
            if self.reduction is Reduction.NONE:
                last.backtrack &= ~(1 << last.chosen)
                left = last.backtrack
            else:
                last.sleep |= 1 << last.chosen
                left = last.backtrack & ~last.sleep
            if left:
                last.chosen = (left & -left).bit_length() - 1
                return True
            stack.pop()
        return False

    def _run(self, run: AnyRun) -> Outcome:
        """Repeat the order up to its last point, where the choice is new, and go on from there with as few changes of callers
        as can be."""
        stack, steps = self._stack, run.steps
        for frame in stack:
            step = steps[frame.chosen]
            if step is None:
                raise Unrepeatable("the callers do not do the same again: something else than their order decides")
            frame.step = step
            if frame is stack[-1]:
                self._look_back(len(stack) - 1)
                asleep = self._still_asleep(frame, steps)
            run.step(frame.chosen)
        if not stack:
            asleep = 0
        last = stack[-1].chosen if stack else 0
        while True:
            enabled = 0
            for actor, next_step in enumerate(steps):
                if next_step is not None:
                    enabled |= 1 << actor
            if not enabled:
                return Outcome.COMPLETE
            awake = enabled & ~asleep
            if not awake:
                return Outcome.REDUNDANT
            if len(stack) >= self.longest:
                return Outcome.ENDLESS
            if not awake >> last & 1:
                last = (awake & -awake).bit_length() - 1
            step = steps[last]
            assert step is not None
            backtrack = 1 << last if self.reduction is Reduction.SOURCE else enabled
            frame = _Frame(enabled, asleep, backtrack, last, step)
            stack.append(frame)
            self._look_back(len(stack) - 1)
            asleep = self._still_asleep(frame, steps)
            run.step(last)

    def _still_asleep(self, frame: _Frame, steps: Sequence[Step | None]) -> int:
        """Who sleeps after this point's step: those who did and whose own step is independent of it."""
        if self.reduction is Reduction.NONE or not frame.sleep:
            return 0
        asleep = 0
        for actor, step in enumerate(steps):
            bit = 1 << actor
            if frame.sleep & bit and actor != frame.chosen and step is not None and not dependent(step, frame.step):
                asleep |= bit
        return asleep

    def _look_back(self, at: int) -> None:
        """What happened before the step at this point, and for each earlier step that it races with: who is to be tried
        there."""
        if self.reduction is not Reduction.SOURCE:
            return
        stack = self._stack
        frame = stack[at]
        actor, step, before = frame.chosen, frame.step, 0
        clock = _NO_STEPS
        races = []
        for index in range(at - 1, -1, -1):
            if before >> index & 1:
                continue
            earlier = stack[index]
            if earlier.chosen != actor:
                if not dependent(earlier.step, step):
                    continue
                races.append(index)
            before |= 1 << index | earlier.before
            clock = tuple(map(max, clock, earlier.clock))
        frame.before = before
        frame.clock = (*clock[:actor], clock[actor] + 1, *clock[actor + 1 :])
        for index in races:
            self._try_before(index, at)

    def _try_before(self, race: int, at: int) -> None:
        """Let one who could begin the order in which the step at ``at`` comes before that at ``race`` be tried there."""
        stack, bit = self._stack, 1 << race
        rest = [index for index in range(race + 1, at) if not stack[index].before & bit]
        mask = 0
        initials = seen = 0
        for index in [*rest, at]:
            frame = stack[index]
            who = 1 << frame.chosen
            if not seen & who:
                seen |= who
                if not frame.before & mask:
                    initials |= who
            mask |= 1 << index
        point = stack[race]
        if not initials & (point.backtrack | point.sleep):
            mine = 1 << stack[at].chosen
            point.backtrack |= mine if initials & mine else initials & -initials


# ------------------------------------------------------------------------------------------------------- single orders


def replay(run: AnyRun, choices: Sequence[int], longest: int = 1_000) -> Walk[AnyRun]:
    """Run one order; beyond the last choice, whoever was last goes on as long as it can."""
    done: list[int] = []
    last = 0
    while any(step is not None for step in run.steps) and len(done) < longest:
        if len(done) < len(choices):
            last = choices[len(done)]
        elif run.steps[last] is None:
            last = next(actor for actor, step in enumerate(run.steps) if step is not None)
        run.step(last)
        done.append(last)
    ended = all(step is None for step in run.steps)
    run.stop()
    return Walk(run, tuple(done), Outcome.COMPLETE if ended else Outcome.ENDLESS)


def wander(make: Callable[[], AnyRun], chance: random.Random, number: int, longest: int = 1_000) -> Iterator[Walk[AnyRun]]:
    """Up to ``number`` orders drawn at random, of each trace the first one only."""
    known: set[int] = set()
    for _ in range(number):
        run = make()
        restless = chance.choice((0.1, 0.25, 0.5, 0.9))
        choices: list[int] = []
        trace = TraceHash()
        last = chance.randrange(len(run.steps))
        while (alive := [actor for actor, step in enumerate(run.steps) if step is not None]) and len(choices) < longest:
            if last not in alive or chance.random() < restless:
                last = chance.choice(alive)
            step = run.steps[last]
            assert step is not None
            trace.add(last, step)
            run.step(last)
            choices.append(last)
        run.stop()
        if (value := trace.value) not in known:
            known.add(value)
            yield Walk(run, tuple(choices), Outcome.ENDLESS if alive else Outcome.COMPLETE, value)


class TraceHash:
    """One number for all orders of a trace: that of which steps happened before which."""

    def __init__(self) -> None:
        self._steps: list[tuple[int, Step, int, tuple[int, ...]]] = []

    def add(self, actor: int, step: Step) -> None:
        """The next step of the order."""
        before, clock = 0, _NO_STEPS
        for index in range(len(self._steps) - 1, -1, -1):
            who, earlier, its_before, its_clock = self._steps[index]
            if not before >> index & 1 and (who == actor or dependent(earlier, step)):
                before |= 1 << index | its_before
                clock = tuple(map(max, clock, its_clock))
        self._steps.append((actor, step, before, (*clock[:actor], clock[actor] + 1, *clock[actor + 1 :])))

    @property
    def value(self) -> int:
        return sum(hash((actor, clock)) for actor, _, _, clock in self._steps)
