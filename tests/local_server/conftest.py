"""Fixtures of the one-machine server's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.local_server.running import Local, start


@pytest.fixture(scope="session")
def stopping() -> Iterator[list[Local]]:
    """Servers told to stop. That takes each a fifth of a second, which no test has to wait for."""
    servers: list[Local] = []
    yield servers
    for server in servers:
        server.join()


@pytest.fixture
def local(stopping: list[Local]) -> Iterator[Local]:
    """A running server of the test's own."""
    server = start()
    yield server
    server.stop()
    stopping.append(server)
