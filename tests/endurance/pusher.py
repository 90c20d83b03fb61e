"""A client that pushes and deletes without end in a repository of its own, remembers what was acknowledged, and checks it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from tests.endurance.client import CONFIG, WAYS, Answer, Client, image
from tests.endurance.content import Content, digest_of
from tests.endurance.ledger import Ledger, Name

SIZES = ((9, 200), (1_000, 60_000), (200_000, 900_000), (1_500_000, 6_000_000))
"""Ranges of a layer's size. The last one reaches beyond what goes inline whatever the way."""
SIZE_WEIGHTS = (4, 4, 3, 1)
SHARED = tuple(Content(seed=900 + number, size=size) for number, size in enumerate((17, 30_000, 700_000, 4_500_000)))
"""Layers that all pushers' images are made on."""
TAGS = 40
"""Tags that move on and on; as many again are never moved."""
SPOT_CHECKS = 5


@dataclass(frozen=True, slots=True)
class Interrupted:
    """An upload in chunks whose last acknowledged chunk ended at ``arrived``."""

    content: Content
    location: str
    arrived: int


class Pusher:
    """Works in one repository; all that is random comes from ``seed``."""

    def __init__(self, seed: int, repository: str) -> None:
        self._random = random.Random(seed)
        self._next_seed = seed * 1_000_000
        self._repository = repository
        self._images: dict[str, bytes] = {}
        self._interrupted: Interrupted | None = None
        self.ledger = Ledger()
        self.resumed = 0
        self.pulled_images = 0
        self.pulled_blobs = 0

    def work(self, client: Client) -> None:
        """Push and delete until the connection breaks, and pass on how it broke."""
        if self._interrupted is not None:
            self._resume(client, self._interrupted)
        while True:
            step = self._random.choices((self._push_image, self._untag, self._delete_image, self._drop_blob), (12, 1, 1, 1))[0]
            step(client)

    # --------------------------------------------------------------------------------------------------------- pushing

    def _push_image(self, client: Client) -> None:
        layers = [self._new_content() for _ in range(self._random.randrange(4))]
        if self._random.random() < 0.5:
            layers.insert(0, self._random.choice(SHARED))
        for layer in layers:
            self._push_layer(client, layer)
        self._push_config(client)
        manifest = image([(layer.digest(), layer.size) for layer in layers], note=f"{self._random.random()}")
        self._push_manifest(client, manifest)

    def _new_content(self) -> Content:
        self._next_seed += 1
        return Content(self._next_seed, self._random.randint(*self._random.choices(SIZES, SIZE_WEIGHTS)[0]))

    def _push_layer(self, client: Client, content: Content) -> None:
        digest = content.digest()
        name = Name("blob", digest)
        self.ledger.attempt(name, digest)
        if self._random.random() < 1 / (len(WAYS) + 1):
            self._push_in_chunks(client, content)
        else:
            self._random.choice(WAYS)(client, self._repository, content)
        self.ledger.settle(name, digest)

    def _push_config(self, client: Client) -> None:
        digest = digest_of(CONFIG)
        self.ledger.attempt(Name("blob", digest), digest)
        client.request("POST", self._repository, f"blobs/uploads/?digest={digest}", CONFIG).expect(201)
        self.ledger.settle(Name("blob", digest), digest)

    def _push_manifest(self, client: Client, manifest: bytes) -> None:
        digest = digest_of(manifest)
        self._images[digest] = manifest
        tag = self._random.choice(("", f"moving-{self._random.randrange(TAGS)}", f"kept-{self._random.randrange(10**6)}"))
        names = [Name("manifest", digest), *([Name("tag", tag)] if tag else [])]
        for name in names:
            self.ledger.attempt(name, digest)
        client.push_manifest(self._repository, tag or digest, manifest).expect(201)
        for name in names:
            self.ledger.settle(name, digest)

    # ----------------------------------------------------------------------------------------- chunks, taken up after a crash

    def _push_in_chunks(self, client: Client, content: Content) -> None:
        self._interrupted = Interrupted(content, client.begin(self._repository), 0)
        self._go_on(client, self._interrupted)

    def _go_on(self, client: Client, upload: Interrupted) -> None:
        """Send what is missing, a random chunk at a time, then finish."""
        content, location, start = upload.content, upload.location, upload.arrived
        while start < content.size:
            # Two bytes at least: one and none look the same in a Range.
            end = min(content.size, start + self._random.randint(2, content.size))
            answer = self._patch(client, content, location, start, end)
            location, start = answer.location, end
            assert answer.arrived == end, f"{end} bytes sent, told {answer.arrived}"
            self._interrupted = Interrupted(content, location, start)
        client.finish(self._repository, location, content.digest()).expect(201)
        self._interrupted = None

    def _patch(self, client: Client, content: Content, location: str, start: int, end: int) -> Answer:
        length = end - start if self._random.random() < 0.5 else None
        blocks = content.blocks(start, end)
        span = f"{start}-{end - 1}"
        return client.request("PATCH", self._repository, location, blocks, length=length, Content_Range=span).expect(202)

    def _resume(self, client: Client, upload: Interrupted) -> None:
        """What was acknowledged of an upload outlives the crash; it may even have been finished."""
        digest = upload.content.digest()
        answer = client.request("GET", self._repository, upload.location).expect(204, 404)
        if answer.status == 404:
            assert upload.arrived == upload.content.size, f"an upload with {upload.arrived} bytes acknowledged is gone"
            client.finish(self._repository, upload.location, digest).expect(201)
            self._interrupted = None
        else:
            assert upload.arrived <= answer.arrived <= upload.content.size, f"{upload} has {answer.arrived}"
            self._go_on(client, Interrupted(upload.content, upload.location, answer.arrived))
        self.ledger.settle(Name("blob", digest), digest)
        self.resumed += 1

    # -------------------------------------------------------------------------------------------------------- deleting

    def _untag(self, client: Client) -> None:
        if tags := self.ledger.standing("tag"):
            name = Name("tag", self._random.choice(tags))
            self.ledger.attempt(name, None)
            client.request("DELETE", self._repository, f"manifests/{name.reference}").expect(202)
            self.ledger.settle(name, None)

    def _delete_image(self, client: Client) -> None:
        if digests := self.ledger.standing("manifest"):
            digest = self._random.choice(digests)
            self.ledger.attempt_removal(digest)
            client.request("DELETE", self._repository, f"manifests/{digest}").expect(202)
            self.ledger.settle_removal(digest)

    def _drop_blob(self, client: Client) -> None:
        """Push a blob that nothing needs and take it away again; one that an image needs stays."""
        content = self._new_content()
        self._push_layer(client, content)
        name = Name("blob", content.digest())
        self.ledger.attempt(name, None)
        client.request("DELETE", self._repository, f"blobs/{name.reference}").expect(202)
        self.ledger.settle(name, None)
        if self.ledger.standing("manifest"):
            client.request("DELETE", self._repository, f"blobs/{digest_of(CONFIG)}").expect(405)

    # -------------------------------------------------------------------------------------------------------- checking

    def check_fresh(self, client: Client) -> None:
        """Look at what was written since the last look, and at some of what was written before."""
        everything = self.ledger.names()
        spots = self._random.sample(everything, min(SPOT_CHECKS, len(everything)))
        self._check(client, [*self.ledger.take_fresh(), *spots])

    def check_all(self, client: Client) -> None:
        """Look at everything."""
        self._check(client, self.ledger.names())

    def delete_everything(self, client: Client) -> None:
        """Take all away, images first. What no answer ever told, the notes of which tag and which image needs what, shows here:
        one that a crash lost or made up would leave a tag behind, or keep a blob from going."""
        for digest in self.ledger.standing("manifest"):
            self.ledger.attempt_removal(digest)
            client.request("DELETE", self._repository, f"manifests/{digest}").expect(202)
            self.ledger.settle_removal(digest)
        assert client.tags(self._repository) == set()
        for digest in self.ledger.standing("blob"):
            client.request("DELETE", self._repository, f"blobs/{digest}").expect(202)
            self.ledger.settle(Name("blob", digest), None)

    def _check(self, client: Client, names: Iterable[Name]) -> None:
        looks = {"blob": self._look_at_blob, "manifest": self._look_at_manifest, "tag": self._look_at_manifest}
        for name in dict.fromkeys(names):
            self.ledger.observe(name, looks[name.kind](client, name.reference))
        listed = client.tags(self._repository)
        missing = set(self.ledger.standing("tag")) - listed
        assert not missing, f"acknowledged tags are not listed: {missing}"
        assert listed <= self.ledger.may_stand("tag"), f"tags nobody made, or deleted ones: {listed}"

    def _look_at_blob(self, client: Client, digest: str) -> str | None:
        found = client.hash_blob(self._repository, digest)
        if found is None:
            return None
        self.pulled_blobs += 1
        return found[0]

    def _look_at_manifest(self, client: Client, reference: str) -> str | None:
        """The digest of what a tag or a digest names; the image below it is pulled whole."""
        answer = client.pull_manifest(self._repository, reference).expect(200, 404)
        if answer.status == 404:
            return None
        digest = digest_of(answer.body)
        assert answer.headers["Docker-Content-Digest"] == digest
        client.check_image(self._repository, digest, self._images[digest])
        self.pulled_images += 1
        return digest
