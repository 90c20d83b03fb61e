"""``make prove``: walks every scenario by two processes, and tells what was walked and what was found; then the wrong programs,
each of which has to be found out.

python -m tests.interleavings.run                                   # all
python -m tests.interleavings.run --only image/ --most 500          # some, and at most so many traces of each
python -m tests.interleavings.run --replay "link/push+collect:0011" # one order, step by step
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tests.interleavings.invariants import answered
from tests.interleavings.mutants import Mutant, mutants
from tests.interleavings.process import REAL, Program
from tests.interleavings.scenarios import by_name, find
from tests.interleavings.scheduler import Explorer, Outcome, Unrepeatable, Walk, wander
from tests.interleavings.stage import Crash, Scenario, Scene, Stage

LONGEST = 600
"""Steps of one order at most; one that takes more is a failure: somebody goes in circles."""

AT_RANDOM = 5
"""Of a scenario that is not walked to the end, one order is drawn at random for so many in order: it may be far from them, and
is often one that was had before."""

MANY = 100
"""Traces after which what they left is cleared away."""

ENOUGH = 50
"""Failures of a scenario after which it is not walked on; the shortest is shown."""

MOST_OF_MUTANTS = 300
"""Orders of a scenario at most in which a wrong program has to be found out."""


@dataclass(frozen=True)
class Failure:
    """An order that ends wrong."""

    title: str
    choices: tuple[int, ...]
    wrong: tuple[str, ...]
    answers: str

    @property
    def weight(self) -> tuple[int, int]:
        """How hard it is to read: changes of who acts, and steps."""
        return sum(one != other for one, other in zip(self.choices, self.choices[1:], strict=False)), len(self.choices)

    @property
    def replay(self) -> str:
        return f"{self.title}:{''.join(map(str, self.choices))}"


@dataclass
class Report:
    """What came of a scenario and its variants. ``ends`` counts the different states they ended in."""

    name: str
    traces: int = 0
    redundant: int = 0
    ends: int = 0
    variants: int = 0
    bounded: int = 0
    seconds: float = 0.0
    failure: Failure | None = None
    failures: int = 0

    def add(self, other: Report) -> None:
        self.traces += other.traces
        self.redundant += other.redundant
        self.ends += other.ends
        self.variants += other.variants
        self.bounded += other.bounded
        self.seconds += other.seconds
        self.failures += other.failures
        found = [each for each in (self.failure, other.failure) if each is not None]
        self.failure = min(found, key=lambda failure: failure.weight) if found else None

    def __str__(self) -> str:
        state = f"bounded {self.bounded} of {self.variants}" if self.bounded else "complete"
        rate = self.traces / self.seconds if self.seconds else 0
        wrong = f"  {self.failures} VIOLATIONS" if self.failures else ""
        return f"{self.traces:>9,}  {state:<18} {self.ends:>6} ends  {rate:>6.0f}/s  {self.name}{wrong}"


def walk(scenario: Scenario, program: Program = REAL, most: int | None = None, seed: int = 1) -> Report:
    """Walk one scenario or variant: all its traces, or, if that takes more than ``most`` runs, so many in order and some
    drawn at random."""
    most = scenario.most if most is None else min(most, scenario.most)
    stage, report = Stage(scenario, program), Report(scenario.name, variants=1)
    began = time.perf_counter()
    explorer = Explorer(stage.scene, longest=LONGEST)
    known: set[int] = set()
    if not _walk_in_order(stage, explorer, known, report, most) and report.failures < ENOUGH:
        report.bounded = 1
        for found in wander(stage.scene, random.Random(seed), most // AT_RANDOM, LONGEST):
            _judge(stage, found, known, report)
    report.traces, report.redundant, report.ends = len(known), explorer.redundant, stage.ends
    report.seconds = time.perf_counter() - began
    return report


def _walk_in_order(stage: Stage, explorer: Explorer[Scene], known: set[int], report: Report, most: int) -> bool:
    """Whether that came to an end."""
    try:
        for number, found in enumerate(explorer.walks(), 1):
            _judge(stage, found, known, report)
            if report.failures >= ENOUGH or number + explorer.redundant >= most:
                return False
    except Unrepeatable:
        return False
    return True


def _judge(stage: Stage, found: Walk[Scene], known: set[int], report: Report) -> None:
    scene = found.run
    if stage.scenario.crash is not None and not scene.has_crashed:
        return  # nobody died in it: it was walked with the scenario itself
    known.add(found.trace)
    wrong = stage.judge(scene) if found.outcome is Outcome.COMPLETE else ("it goes on for ever",)
    if wrong:
        report.failures += 1
        failure = Failure(stage.scenario.title, found.choices, wrong, answered(scene.ledger.deeds))
        if report.failure is None or failure.weight < report.failure.weight:
            report.failure = failure


def shown(title: str, choices: Sequence[int], program: Program = REAL) -> Iterator[str]:
    """One order, step by step."""
    stage = Stage(find(title), program)
    scene = stage.scene()
    names = list(stage.scenario.actors)
    order = list(choices)
    while any(step is not None for step in scene.steps):
        actor = order.pop(0) if order else next(number for number, step in enumerate(scene.steps) if step is not None)
        asked = [deed for deed in scene.ledger.deeds if not deed.answer]
        yield f"{scene.ledger.now:>4} {names[actor]:<10} {scene.steps[actor]}"
        scene.step(actor)
        told = [deed for deed in asked if deed.answer]
        yield from (
            f"     {'':<10} => {deed.kind} {deed.subject[1][:19]} {' '.join(deed.tags)}: {deed.answer}" for deed in told
        )
    yield from (f"wrong: {each}" for each in stage.judge(scene) or ("nothing",))


# ------------------------------------------------------------------------------------------------------------------ all


def units(names: Iterable[str]) -> Iterator[tuple[str, Crash | None]]:
    """The scenarios and their variants."""
    for name in names:
        for variant in by_name()[name].variants():
            yield name, variant.crash


def _work(unit: tuple[str, Crash | None], most: int | None) -> Report:
    name, crash = unit
    report = walk(replace(by_name()[name], crash=crash), most=most)
    if report.traces >= MANY:
        gc.collect()
    return report


def _settle_memory() -> None:
    """Looking for cycles among thousands of scenarios, again and again, took a third of the time."""
    gc.freeze()
    gc.disable()


def prove(names: Sequence[str], most: int | None, tell: Callable[[str], object]) -> tuple[Report, list[Report]]:
    """Walk them all: the sum, and what was found wrong."""
    total, reports = Report("all"), dict[str, Report]()
    everything = list(units(names))
    waiting = Counter(name for name, _ in everything)
    began = time.perf_counter()
    with multiprocessing.get_context("fork").Pool(2, _settle_memory) as pool:
        for report in pool.imap_unordered(partial(_work, most=most), everything, chunksize=4):
            name = report.name
            if name in reports:
                reports[name].add(report)
            else:
                reports[name] = report
            total.add(report)
            waiting[name] -= 1
            if not waiting[name]:
                tell(str(reports[name]))
    total.seconds = time.perf_counter() - began
    return total, [report for report in reports.values() if report.failure is not None]


# -------------------------------------------------------------------------------------------------------------- mutants


def is_found_out(mutant: Mutant) -> bool:
    """Does it fail one of its scenarios?"""
    walked = (walk(scenario, mutant.program, most=MOST_OF_MUTANTS) for scenario in _finding_out(mutant))
    return any(report.failure is not None for report in walked)


def _finding_out(mutant: Mutant) -> Iterator[Scenario]:
    for title in mutant.scenarios:
        name, _, who = title.partition("~")
        for variant in by_name()[name].variants():
            if variant.crash is None if not who else variant.title.startswith(f"{title}~"):
                yield variant


def _is_found_out(number: int) -> bool:
    return is_found_out(list(mutants())[number])


def survivors() -> list[str]:
    """The mutants that no walk finds out."""
    names = [mutant.name for mutant in mutants()]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map(_is_found_out, range(len(names)), chunksize=1)
    return [name for name, is_found in zip(names, found, strict=True) if not is_found]


# ----------------------------------------------------------------------------------------------------------------- told


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.interleavings.run", description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="scenarios whose names begin so")
    parser.add_argument("--most", type=int, help="traces of each scenario at most")
    parser.add_argument("--replay", help="scenario:choices")
    chosen = parser.parse_args(arguments)
    if chosen.replay:
        title, _, choices = chosen.replay.rpartition(":")
        for line in shown(title, [int(each) for each in choices]):
            print(line)
        return 0
    names = [name for name in by_name() if not chosen.only or name.startswith(tuple(chosen.only))]
    total, wrong = prove(names, chosen.most, partial(print, flush=True))
    for report in wrong:
        failure = report.failure
        assert failure is not None
        print(f"\n{failure.title}: {'; '.join(failure.wrong)}\n  {failure.answers}")
        for line in shown(failure.title, failure.choices):
            print(f"  {line}")
        print(f'  again: python -m tests.interleavings.run --replay "{failure.replay}"')
    print(
        f"\n{total.traces:,} interleavings of {len(names):,} scenarios in {total.variants:,} variants, {total.bounded:,} of "
        f"them bounded; {total.redundant:,} begun in vain; {total.failures:,} violations; {total.seconds:.0f} s"
    )
    missed = [] if chosen.only else _tell_of_mutants()
    return 1 if wrong or missed else 0


def _tell_of_mutants() -> list[str]:
    began = time.perf_counter()
    missed, all_of_them = survivors(), len(list(mutants()))
    for name in missed:
        print(f"NOT FOUND OUT: {name}")
    seconds = time.perf_counter() - began
    print(f"{all_of_them - len(missed)} of {all_of_them} mutants (wrong programs) found out; {seconds:.0f} s")
    return missed


if __name__ == "__main__":
    sys.exit(main())
