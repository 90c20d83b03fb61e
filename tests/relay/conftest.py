"""Fixtures of the relay's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.relay.fakes import FakeRegistry
from tests.relay.running import Running, relay


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """The API and S3; what the relay said to them has to be right in the end."""
    fake = FakeRegistry()
    yield fake
    fake.close()
    assert fake.wrong == []


@pytest.fixture
def running(registry: FakeRegistry) -> Iterator[Running]:
    """A relay in front of it."""
    with relay(registry.origin) as started:
        yield started
