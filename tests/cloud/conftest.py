"""Fixtures: the registry packaged, deployed into an emulator from nothing, and reachable at its edge on a loopback port."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.clients.sandbox import Sandbox, new_sandbox, short_folder
from tests.clients.wire import Wire
from tests.cloud.stage import Cloud, deployed

ORDER = (
    "test_deployed", "test_lanes", "test_clients", "test_without_relay", "test_background", "test_jobs",
    "test_collection", "test_roles", "test_end",
)  # fmt: skip
"""The roles are compared with what all before them called; at the end the stage is destroyed."""


class Scheduler(LoadScopeScheduling):  # type: ignore[misc]
    """Tests that share a stage stay in one process, in their order; the others run in the other, and wherever there is room."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        beside = {"test_faults": nodeid, "test_upkeep_faults": nodeid, "test_clients_under_faults": path}
        return beside.get(Path(path).stem, "stage")


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduler:
    """Of two processes; see ``make test-cloud``."""
    return Scheduler(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures that tests print, which of two processes are not seen while they run."""
    for report in terminalreporter.getreports("passed"):
        if report.when == "call" and report.capstdout.strip():
            terminalreporter.write_line(f"{report.location[2]}: {' '.join(report.capstdout.split())}")


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
