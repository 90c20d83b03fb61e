"""Fixtures: the registry packaged, deployed into an emulator from nothing, and reachable at its edge on a loopback port."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.sandbox import Sandbox, new_sandbox, short_folder
from tests.clients.wire import Wire
from tests.cloud.stage import Cloud, deployed

ORDER = (
    "test_deployed", "test_lanes", "test_clients", "test_without_relay", "test_background", "test_jobs",
    "test_collection", "test_roles", "test_faults", "test_upkeep_faults", "test_end",
)  # fmt: skip
"""The roles are compared with what all before them called, and before calls fail on purpose; at the end it is destroyed."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: ORDER.index(item.path.stem) if item.path.stem in ORDER else -1)


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """One for all: the tests' repositories are their own."""
    with tempfile.TemporaryDirectory(prefix="slipway-cloud-") as folder, deployed(Path(folder)) as running:
        yield running


@pytest.fixture(scope="session")
def wire(cloud: Cloud) -> Wire:
    return Wire(cloud.registry)


@pytest.fixture
def sandbox(cloud: Cloud, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with short_folder() as folder:
        yield new_sandbox(str(request.param), folder, cloud.registry)
