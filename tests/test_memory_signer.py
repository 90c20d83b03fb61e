"""The fake Signer honours the port like any adapter."""

from __future__ import annotations

import pytest

from tests.contracts.signer import SignerContract
from tests.memory_signer import MemorySigner


class TestMemorySigner(SignerContract):
    @pytest.fixture
    def signer(self) -> MemorySigner:
        return MemorySigner()
