"""10 GB go through the relay, and its memory stays below the bound that docs/relay.md states."""

from __future__ import annotations

import pytest

from tests.relay.test_memory import BOUND
from tests.relay.throughput import GIGABYTE, in_blocks, rounds

LARGE = 10


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "with its length"])
def test_10_gb_go_through_the_relay_in_little_memory(chunked: bool) -> None:
    (found,) = rounds(in_blocks(LARGE), chunked=chunked)
    print(f"\nrelay: throughput against a plain SDK multipart upload: {found}")
    assert found.size > (LARGE - 1) * GIGABYTE
    assert 0 < found.relay_memory < BOUND
