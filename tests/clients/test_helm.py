"""helm: charts as OCI artifacts, through oras-go."""

from __future__ import annotations

import pytest

from tests.clients.sandbox import Sandbox
from tests.clients.wire import Wire

CHART = """apiVersion: v2
name: harbour
version: 1.2.3
description: a chart for the client tests
"""


@pytest.fixture(scope="module", autouse=True)
def login(sandbox: Sandbox) -> None:
    account = sandbox.registry
    words = ("helm", "registry", "login", "--plain-http", "-u", account.user, "--password-stdin", account.host)
    sandbox.is_refused(*words, stdin="not the password")
    sandbox.run(*words, stdin=account.password)


def test_push_show_pull(sandbox: Sandbox, wire: Wire) -> None:
    chart = sandbox.folder / "harbour"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text(CHART)
    (chart / "templates" / "map.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: harbour}\n")
    sandbox.run("helm", "package", str(chart))
    remote = f"oci://{sandbox.registry.host}/{sandbox.repository('charts')}"
    sandbox.run("helm", "push", "--plain-http", "harbour-1.2.3.tgz", remote)
    wire.digests(f"{sandbox.repository('charts')}/harbour", "1.2.3")

    assert "version: 1.2.3" in sandbox.run("helm", "show", "chart", "--plain-http", f"{remote}/harbour")
    back = sandbox.folder / "back"
    back.mkdir()
    sandbox.run("helm", "pull", "--plain-http", f"{remote}/harbour", "--version", "1.2.3", "--destination", str(back))
    assert (back / "harbour-1.2.3.tgz").read_bytes() == (sandbox.folder / "harbour-1.2.3.tgz").read_bytes()
