"""What the template tells the functions is what they read."""

from __future__ import annotations

import pytest

from chalicelib.settings import Cloud, read_settings
from infra.stack.functions import environment
from infra.stack.roles import ALLOWED


@pytest.mark.parametrize("function", ALLOWED)
def test_every_function_s_environment_can_be_read(function: str) -> None:
    told = {name: "https://registry.example" if name.endswith("URL") else "" for name in environment(function)}
    told |= {name: name.lower() for name in told if name.startswith("SLIPWAY_") and not told[name]}
    told |= {"SLIPWAY_SPARSE_MANIFESTS": "none", "SLIPWAY_TRACING": "no", "SLIPWAY_LOG": "all", "SLIPWAY_LANES": "direct,relay"}
    store = read_settings(told).store
    assert isinstance(store, Cloud)
    assert (store.table, store.bucket) == ("slipway_table", "slipway_bucket")
    assert bool(store.upload_secret) == (function == "api_handler")
    assert bool(store.admin_secret) == (function == "ensure_admin")
    assert not store.upload_keys
