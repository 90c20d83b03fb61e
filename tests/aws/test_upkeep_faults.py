"""Any call of S3 or DynamoDB fails while images come and go, and while the schedules clear up behind them.

tests/life_cycle has every call of the ports fail, in memory. Here it is what AWS says, and what the adapters make of that: each
call fails in one way, nothing done or done without an answer. tests/cloud has others, and the other flows.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.aws.upkeep_faults import each_call_fails, each_call_fails_once
from tests.aws.upkeep_flows import FLOWS
from tests.aws.wired import Wires, wires
from tests.cloud.faults import Kind
from tests.emulator import Emulator

ELSEWHERE = frozenset({"push a blob in chunks", "restore a tag", "expire", "collect links"})
"""Much like others."""

STEPS = {"audit": 10, "sweep staging": 3}


@pytest.fixture
def wired(emulator: Emulator) -> Iterator[Wires]:
    with wires(emulator) as made:
        yield made


@pytest.mark.parametrize("name", [name for name in FLOWS if name not in ELSEWHERE])
def test_any_call_fails(wired: Wires, name: str) -> None:
    """Of those that make many calls, which are much alike, not all."""
    print(name, each_call_fails(wired, name, step=STEPS.get(name, 1)))


@pytest.mark.parametrize("name", ["push a blob in chunks", "delete a manifest"])
def test_each_call_is_lost_once_and_repeated(emulator: Emulator, name: str) -> None:
    """A transaction that was done is not taken for one of somebody else."""
    with wires(emulator, repeats=3) as patient:
        print(name, each_call_fails_once(patient, name, Kind.DONE_THEN_RESET))
