"""What podman and buildah have in common: a local store of their own, a push that recompresses, and manifest lists.

Both keep images unpacked, so a pushed manifest is not the one they loaded. What must survive is the configuration, whose
digest names the image, and the uncompressed layers that it lists; those are compared after the local copy was removed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from tests.clients.images import PLATFORMS, SourceImage, archived_layers
from tests.clients.sandbox import Sandbox
from tests.clients.wire import Wire

PLAIN = "--tls-verify=false"


@dataclass(frozen=True, slots=True)
class StoreClient:
    """A client with an image store below its sandbox; `program` is podman or buildah."""

    program: str
    sandbox: Sandbox

    def run(self, *words: str, stdin: str = "") -> str:
        return self.sandbox.run(*self._words(words), stdin=stdin)

    def _words(self, words: Sequence[str]) -> list[str]:
        store = self.sandbox.folder / "store"
        return [
            self.program, "--root", str(store / "root"), "--runroot", str(store / "run"), "--storage-driver", "vfs",
            *words,
        ]  # fmt: skip

    def login(self) -> None:
        account = self.sandbox.registry
        words = self._words(("login", PLAIN, "-u", account.user, "--password-stdin", account.host))
        self.sandbox.is_refused(*words, stdin="not the password")
        self.sandbox.run(*words, stdin=account.password)

    def load(self, image: SourceImage) -> str:
        """Reads a layout into the store; the store names it after its path, and refuses names with a leading dot."""
        copied = shutil.copytree(image.layout, self.sandbox.folder / "layout", dirs_exist_ok=True)
        identity = self.run("pull", "--quiet", f"oci:{copied}:{image.tag}").split()[-1]
        shutil.rmtree(copied)
        return identity

    def saved_layers(self, identity: str) -> list[str]:
        """The hashes of an image's layers as the store writes them out again."""
        archive = self.sandbox.folder / "saved.tar"
        self.run("push", "--quiet", identity.removeprefix("sha256:"), f"docker-archive:{archive}")
        return archived_layers(archive)

    def image_id(self, reference: str) -> str:
        found = json.loads(self.run("inspect", "--type", "image", reference))
        document = found[0] if isinstance(found, list) else found
        identity: str = document.get("Id") or document["FromImageID"]
        return f"sha256:{identity.removeprefix('sha256:')}"


def check_image(client: StoreClient, wire: Wire, image: SourceImage) -> None:
    """Pushes an image from the client's store and pulls it into the emptied store again."""
    sandbox = client.sandbox
    repository, remote = sandbox.repository("debian"), sandbox.reference("debian", image.tag)
    loaded = client.load(image)
    pushed = push_digest(client, "push", local=loaded, remote=remote)

    digest, manifest = wire.manifest(repository, image.tag)
    assert digest == pushed
    assert manifest["config"]["digest"] == image.config_digest()
    wire.digests(repository, image.tag)

    client.run("rmi", "--all", "--force")
    client.run("pull", PLAIN, f"{remote.rpartition(':')[0]}@{digest}")
    assert client.image_id(f"{remote.rpartition(':')[0]}@{digest}") == image.config_digest()
    assert client.saved_layers(image.config_digest()) == image.diff_ids()
    client.run("rmi", "--all", "--force")


def check_index(client: StoreClient, wire: Wire, image: SourceImage) -> None:
    """Builds a manifest list of both platforms, pushes it, and pulls the platform that is not the machine's own."""
    sandbox = client.sandbox
    repository, remote = sandbox.repository("multi"), sandbox.reference("multi", image.tag)
    client.run("manifest", "create", "both")
    client.run("manifest", "add", "--all", "both", f"oci:{image.reference}")
    pushed = push_digest(client, "manifest", "push", "--all", local="both", remote=remote)

    digest, index = wire.manifest(repository, image.tag)
    assert digest == pushed
    assert {one["platform"]["architecture"] for one in index["manifests"]} == set(PLATFORMS)
    assert wire.digests(repository, image.tag) - {digest} == image.digests() - {image.digest}

    client.run("manifest", "rm", "both")
    for architecture in PLATFORMS:
        client.run("pull", PLAIN, "--arch", architecture, remote)
        assert client.image_id(remote) == image.config_digest(architecture)
        client.run("rmi", "--all", "--force")


def push_digest(client: StoreClient, *verb: str, local: str, remote: str) -> str:
    """Pushes `local` to `remote` and returns the digest that the client says it pushed."""
    noted = client.sandbox.folder / "pushed.digest"
    client.run(*verb, PLAIN, "--digestfile", str(noted), local, f"docker://{remote}")
    return noted.read_text().strip()
