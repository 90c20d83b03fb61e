"""A part of what ``make prove`` walks, drawn with a seed; and the wrong programs, each of which has to be found out."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.interleavings.mutants import Mutant, mutants
from tests.interleavings.process import REAL
from tests.interleavings.run import is_found_out, prove, shown, walk
from tests.interleavings.scenarios import by_name, families
from tests.interleavings.stage import Crash

SOME = 4
"""Scenarios of each family."""

MOST = 60
"""Orders of each of them at most: enough for most pairs."""


@pytest.mark.parametrize("family", list(families()))
def test_no_order_of_some_callers_breaks_anything(family: str) -> None:
    chance = random.Random(f"{family} 1")
    mine = [scenario for name, scenario in by_name().items() if name.startswith(f"{family}/")]
    pairs, triples = ([scenario for scenario in mine if len(scenario.actors) == number] for number in (2, 3))
    drawn = [*chance.sample(pairs, SOME), *chance.sample(triples, SOME)]
    for scenario in drawn:
        crash = Crash(chance.randrange(len(scenario.actors)), chance.randint(1, 12))
        for variant in (scenario, replace(scenario, crash=crash)):
            report = walk(variant, most=MOST if family != "huge" else 2)
            assert report.failure is None, f"{report.failure.replay}: {report.failure.wrong}"
            assert report.traces or variant.crash is not None


@pytest.mark.parametrize("mutant", list(mutants()), ids=lambda mutant: mutant.name)
def test_a_wrong_program_is_found_out(mutant: Mutant) -> None:
    assert is_found_out(mutant)
    assert not is_found_out(replace(mutant, program=REAL)), "the real one is right there"


def test_an_order_can_be_shown_step_by_step() -> None:
    mutant = next(mutants())
    failure = walk(by_name()[mutant.scenarios[0]], mutant.program).failure
    assert failure is not None
    lines = list(shown(failure.title, failure.choices, mutant.program))
    assert len(lines) > len(failure.choices)
    assert lines[-1] == f"wrong: {failure.wrong[-1]}"
    assert list(shown(failure.title, failure.choices))[-1] == "wrong: nothing"


def test_two_processes_walk_what_they_are_given() -> None:
    told: list[str] = []
    names = [name for name in by_name() if name.startswith("held/delete+push")]
    total, wrong = prove(names, 50, told.append)
    assert not wrong
    assert len(told) == len(names)
    assert total.variants > len(names)
    assert total.traces > 50
