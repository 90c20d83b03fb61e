"""Fixtures: the images that clients push, and a registry and a sandbox for each test module.

The registry is started by `make run`; SLIPWAY_CLIENTS_COMMAND and SLIPWAY_CLIENTS_READY name another one for comparison.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.clients.images import SourceImage, debian_image, multi_platform_image
from tests.clients.sandbox import Sandbox, new_sandbox, short_folder
from tests.clients.wire import Wire
from tests.conformance.registry_process import CACHE, DEFAULT_COMMAND, DEFAULT_READY_PATH, RunningRegistry, started_registry


def client_name(request: pytest.FixtureRequest) -> str:
    return request.path.stem.removeprefix("test_").replace("_", "-")


@pytest.fixture(scope="module")
def registry(request: pytest.FixtureRequest) -> Iterator[RunningRegistry]:
    """An empty one for each client: some would mount what another client left there, and upload nothing themselves."""
    command = os.environ.get("SLIPWAY_CLIENTS_COMMAND", DEFAULT_COMMAND)
    ready = os.environ.get("SLIPWAY_CLIENTS_READY", DEFAULT_READY_PATH)
    log = CACHE / "clients" / f"registry-{client_name(request)}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with started_registry(command, ready_path=ready, log=log) as running:
        yield running


@pytest.fixture(scope="module")
def wire(registry: RunningRegistry) -> Wire:
    return Wire(registry)


@pytest.fixture(scope="session")
def debian() -> SourceImage:
    return debian_image(CACHE / "clients")


@pytest.fixture(scope="session")
def multi() -> SourceImage:
    return multi_platform_image(CACHE / "clients")


@pytest.fixture(scope="module")
def sandbox(registry: RunningRegistry, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Named after the client, so that its repositories are. Its folder is no `tmp_path`: podman wants a path of less than
    50 characters, buildah one that could be an image's name, and whole images must not stay behind."""
    with short_folder() as folder:
        yield new_sandbox(client_name(request), folder, registry)
