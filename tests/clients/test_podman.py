"""podman: containers/image with a local store, started anew for these tests."""

from __future__ import annotations

import pytest

from tests.clients.images import SourceImage
from tests.clients.sandbox import Sandbox
from tests.clients.stores import StoreClient, check_image, check_index
from tests.clients.wire import Wire


@pytest.fixture(scope="module")
def client(sandbox: Sandbox) -> StoreClient:
    logged_in = StoreClient("podman", sandbox)
    logged_in.login()
    return logged_in


def test_image(client: StoreClient, wire: Wire, debian: SourceImage) -> None:
    check_image(client, wire, debian)


def test_index(client: StoreClient, wire: Wire, multi: SourceImage) -> None:
    check_index(client, wire, multi)


def test_list(client: StoreClient, wire: Wire, multi: SourceImage) -> None:
    check_index(client, wire, multi)
    remote = client.sandbox.reference("multi", multi.tag).rpartition(":")[0]
    assert multi.tag in client.run("search", "--list-tags", "--tls-verify=false", remote).split()
