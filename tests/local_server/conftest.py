"""Fixtures of the one-machine server's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.local_server.running import Local, running


@pytest.fixture
def local() -> Iterator[Local]:
    """A running server of the test's own."""
    with running() as server:
        yield server
