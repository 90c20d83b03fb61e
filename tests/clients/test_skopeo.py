"""skopeo: containers/image without a local store; copies layouts as they are, so digests must match to the bit."""

from __future__ import annotations

import pytest

from tests.clients.images import SourceImage, opened
from tests.clients.sandbox import Sandbox
from tests.clients.wire import Wire

# Without the last, skopeo may swap a layer for another compression of it that podman or buildah pushed before.
COPY = ("skopeo", "copy", "--all", "--preserve-digests")
PLAIN_TO = "--dest-tls-verify=false"
PLAIN_FROM = "--src-tls-verify=false"


@pytest.fixture(scope="module", autouse=True)
def login(sandbox: Sandbox) -> None:
    account = sandbox.registry
    words = ("skopeo", "login", "--tls-verify=false", "-u", account.user, "--password-stdin", account.host)
    sandbox.is_refused(*words, stdin="not the password")
    sandbox.run(*words, stdin=account.password)


@pytest.mark.parametrize("name", ["debian", "multi"])
def test_push_list_pull_delete(sandbox: Sandbox, wire: Wire, name: str, request: pytest.FixtureRequest) -> None:
    image: SourceImage = request.getfixturevalue(name)
    repository, remote = sandbox.repository(name), f"docker://{sandbox.reference(name, image.tag)}"

    sandbox.run(*COPY, PLAIN_TO, f"oci:{image.reference}", remote)
    assert wire.digests(repository, image.tag) == image.digests()
    assert f'"{image.tag}"' in sandbox.run("skopeo", "list-tags", "--tls-verify=false", remote.rpartition(":")[0])
    assert "linux" in sandbox.run("skopeo", "inspect", "--tls-verify=false", remote)

    back = sandbox.folder / f"pulled-{name}"
    sandbox.run(*COPY, PLAIN_FROM, remote, f"oci:{back}:{image.tag}")
    assert opened(back).content() == image.digests()

    by_digest = f"{remote.rpartition(':')[0]}@{image.digest}"
    sandbox.run("skopeo", "delete", "--tls-verify=false", by_digest)
    assert wire.status(repository, image.digest) == 404
    assert wire.status(repository, image.tag) == 404
