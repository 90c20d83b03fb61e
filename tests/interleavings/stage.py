"""Some actors in a world, run again and again: what a scenario is, and how each of its ends is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from operator import itemgetter

from chalicelib.registry.manifests import Manifest
from chalicelib.registry.ports import Value
from tests.frozen_clock import FrozenClock
from tests.interleavings.actors import Act
from tests.interleavings.invariants import Judge, Promises, State, promises
from tests.interleavings.ports import Caller, LeanBlobs, LeanTable, SteppedBlobs, SteppedTable
from tests.interleavings.process import REAL, Ledger, Process, Program
from tests.interleavings.scheduler import Step
from tests.interleavings.worlds import NOW, RANDOM_NAME, World


@dataclass(frozen=True)
class Crash:
    """An actor dies before its call number ``call``, from 1, and begins again as a new process."""

    actor: int
    call: int


@dataclass(frozen=True)
class Scenario:
    """Some actors in a world. ``loose``: reads of several items come apart. ``skews``: how far the clocks of some are off.
    ``dies``: the actors that die, in variants of their own, before each of their calls. ``most``: traces that are walked of
    each variant at most; one that has more is bounded."""

    name: str
    world: Callable[[], World]
    actors: Mapping[str, Act]
    manifests: Sequence[Manifest]
    loose: bool = False
    skews: Mapping[str, timedelta] | None = None
    dies: tuple[str, ...] = ()
    most: int = 20_000
    crash: Crash | None = None

    @property
    def title(self) -> str:
        if self.crash is None:
            return self.name
        return f"{self.name}~{list(self.actors)[self.crash.actor]}~{self.crash.call}"

    def variants(self) -> Iterator[Scenario]:
        """Itself, and one for each call before which somebody may die."""
        yield self
        for who in self.dies:
            actor = list(self.actors).index(who)
            for call in range(1, self._calls(actor) + 2):
                yield replace(self, crash=Crash(actor, call))

    def _calls(self, actor: int) -> int:
        """How many calls an actor makes by itself."""
        scene = Stage(self).scene()
        number = 0
        while scene.steps[actor] is not None:
            scene.step(actor)
            number += 1
        scene.stop()
        return number


class Scene:
    """One run of a scenario's actors; see ``scheduler.Run``."""

    def __init__(self, stage: Stage) -> None:
        scenario, world = stage.scenario, stage.world
        self.table = LeanTable(dict(world.items))
        self.ledger = Ledger(deeds=list(world.deeds))
        self.clock = FrozenClock(NOW)
        self.store = LeanBlobs(dict(world.objects), self.clock)
        self.callers = [self._caller(stage, number, name, act) for number, (name, act) in enumerate(scenario.actors.items())]
        for caller in self.callers:
            caller.go()
        self.steps: list[Step | None] = [caller.next for caller in self.callers]

    def _caller(self, stage: Stage, number: int, name: str, act: Act) -> Caller:
        scenario = stage.scenario
        skew = scenario.skews.get(name) if scenario.skews else None
        clock = FrozenClock(NOW + skew if skew else NOW)

        def run() -> None:
            table = SteppedTable(self.table, caller.meet, loose=scenario.loose)
            act(Process(table, SteppedBlobs(self.store, caller.meet), clock, self.ledger, stage.program))

        crash = scenario.crash
        dies_at = crash.call if crash is not None and crash.actor == number else 0
        caller = Caller(run, dies_at=dies_at, afterwards=run)
        return caller

    def step(self, actor: int) -> None:
        self.ledger.now += 1
        caller = self.callers[actor]
        caller.go()
        self.steps[actor] = caller.next

    def stop(self) -> None:
        for caller in self.callers:
            caller.stop()

    @property
    def has_crashed(self) -> bool:
        return any(caller.has_died for caller in self.callers)


class Stage:
    """Runs a scenario again and again, by a program, and judges how each run ends; equal ends are judged once."""

    def __init__(self, scenario: Scenario, program: Program = REAL) -> None:
        self.scenario = scenario
        self.program = program
        self._judge = Judge(scenario.manifests)
        self.world = scenario.world()
        self._skew = max((scenario.skews or {}).values(), default=timedelta())
        self._judged = _judged_of(self.world, program, self._skew)
        self._ends = set[tuple[object, Promises]]()

    def scene(self) -> Scene:
        return Scene(self)

    @property
    def ends(self) -> int:
        """How many different ends there were."""
        return len(self._ends)

    def judge(self, scene: Scene) -> tuple[str, ...]:
        """What is wrong with how this run ended."""
        failures = [repr(caller.failure) for caller in scene.callers if caller.failure is not None]
        if failures:
            return tuple(f"failed with {failure}" for failure in failures)
        promised = promises(scene.ledger.deeds, is_skewed=bool(self.scenario.skews))
        end = (self._fingerprint(scene), promised)
        self._ends.add(end)
        if end not in self._judged:
            self._judged[end] = tuple(self._look(scene, promised))
        return self._judged[end]

    def _look(self, scene: Scene, promised: Promises) -> list[str]:
        state = State(scene.table.items, scene.store.objects)
        wrong = [*self._judge.wrong(state), *self._judge.unkept(state, promised)]
        if wrong:
            return wrong
        alone = Process(scene.table, scene.store, scene.clock, Ledger(), self.program)
        return self._judge.end(alone, state, promised, self._skew)

    def _fingerprint(self, scene: Scene) -> object:
        """What differs from the world, with names drawn at random numbered in their order; revisions decide nothing any
        more."""
        items, world = scene.table.items, self.world.items
        changed = [
            (key, [(name, _short(attributes[name])) for name in sorted(attributes) if name != "revision"])
            for key, attributes in sorted(items.items(), key=itemgetter(0))
            if world.get(key) is not attributes
        ]
        gone = tuple(sorted(key for key in world if key not in items))
        objects, stored = scene.store.objects, self.world.objects
        put = sorted(name for name in objects if stored.get(name) is not objects[name])
        dropped = tuple(sorted(name for name in stored if name not in objects))
        numbers: dict[str, str] = {}
        shown = RANDOM_NAME.sub(lambda found: numbers.setdefault(found[0], f"<{len(numbers)}>"), f"{changed} {put}")
        return shown, gone, dropped


def _short(value: Value) -> Value:
    return hash(value) if isinstance(value, bytes) else value


@cache
def _judged_of(_world: World, _program: Program, _skew: timedelta) -> dict[tuple[object, Promises], tuple[str, ...]]:
    """How ends of one world were judged, whoever acted in it."""
    return {}
