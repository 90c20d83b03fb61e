"""Fixtures for every test."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.emulator import Emulator, start


def pytest_collection_finish() -> None:
    """Thousands of tests stay until the end: no collection of garbage has to look at them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """An AWS emulator with empty DynamoDB, S3, KMS, IAM and STS, checking signatures; one per test process. Tests share it:
    each makes tables, buckets and keys under names of its own."""
    with start(tmp_path_factory.mktemp("emulator")) as running:
        yield running


@pytest.fixture(autouse=True)
def _execution_environment() -> Iterator[None]:
    """Each Chalice application that is made adds a word to AWS_EXECUTION_ENV, and tests make thousands."""
    before = os.environ.get("AWS_EXECUTION_ENV")
    yield
    if before is None:
        os.environ.pop("AWS_EXECUTION_ENV", None)
    else:
        os.environ["AWS_EXECUTION_ENV"] = before


# A deadline would assert on the clock of a shared machine.
settings.register_profile("slipway", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("slipway")
