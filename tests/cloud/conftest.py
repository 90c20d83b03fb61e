"""Fixtures: the registry packaged, deployed into an emulator from nothing, and reachable at its edge on a loopback port."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.sandbox import Sandbox, new_sandbox
from tests.clients.wire import Wire
from tests.cloud.stage import Cloud, deployed


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
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
        yield new_sandbox(str(request.param), Path(folder), cloud.registry)
