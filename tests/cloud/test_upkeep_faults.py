"""Any call of S3 or DynamoDB fails while collection is at work. tests/aws/test_upkeep_faults.py leaves out: another way of
either sort for each call, all that the audit calls, and most of what the adapters repeat, which takes pauses."""

from __future__ import annotations

import pytest

from tests.aws.upkeep_faults import each_call_fails, each_call_fails_once
from tests.aws.upkeep_flows import FLOWS
from tests.aws.wired import wires
from tests.cloud.faults import Kind
from tests.emulator import Emulator


@pytest.mark.parametrize("name", FLOWS)
def test_any_call_fails(emulator: Emulator, name: str) -> None:
    with wires(emulator) as wired:
        print(name, each_call_fails(wired, name, 1, both=True))


@pytest.mark.parametrize("kind", [Kind.SLOW_DOWN, Kind.DONE_THEN_500], ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", ["push an image", "collect blobs"])
def test_each_call_fails_once_and_is_repeated(emulator: Emulator, name: str, kind: Kind) -> None:
    with wires(emulator, repeats=3) as wired:
        print(name, kind.name, each_call_fails_once(wired, name, kind))
