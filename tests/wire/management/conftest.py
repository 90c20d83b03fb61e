from __future__ import annotations

import pytest

from tests.wire.management.asking import House


@pytest.fixture
def house() -> House:
    return House()
