"""Fixtures: a folder that goes away, and a server in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.endurance.client import Client
from tests.endurance.server import Server, running_server, working_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with working_folder() as made:
        yield made


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    """An empty registry, serving. Whatever is done to it, its log must hold no failure of its own."""
    with running_server(folder) as running:
        yield running
        assert not running.complaints(), running.log()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as made:
        yield made
