"""Fixtures: a user with an empty home, and a server that says what it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra.command.running import Scripted, User, scripted


@pytest.fixture
def user(tmp_path: Path) -> User:
    home = tmp_path / "home"
    home.mkdir()
    return User(home)


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as script:
        yield script
