"""The domain and its protocols start without cryptography; cryptography starts without PyJWT."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def loaded(*modules: str) -> set[str]:
    """The top-level packages that a fresh interpreter has after importing the modules."""
    program = f"import sys, {', '.join(modules)}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    run = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "chalicelib.registry.accounts",
        "chalicelib.registry.federation",
        "chalicelib.registry.tokens",
        "chalicelib.wire.token",
        "chalicelib.outgoing.public_https",
    ],
)
def test_the_domain_and_the_protocol_do_not_load_cryptography(module: str) -> None:
    assert not loaded(module) & {"cryptography", "jwt", "boto3", "botocore", "chalice"}


def test_the_ring_does_not_load_what_cold_starts_pay_for() -> None:
    assert not loaded("chalicelib.crypto.keyring") & {"boto3", "botocore", "asyncio"}
