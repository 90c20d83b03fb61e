"""A client that pushes, pulls, deletes, restores and mounts without end, in repositories that others use as well, and holds the
registry to what it acknowledged.

Layers come from a small pool that all share, so that they are mounted from each other, go and come back all the time. Manifests
and tags are the actor's own: what becomes of them is its own doing, and its ledgers know it.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

from tests.endurance.client import CONFIG, LOST, MANIFEST, WAYS, image
from tests.endurance.content import Content, digest_of
from tests.endurance.ledger import Ledger, Name
from tests.soak.client import Again, SoakClient
from tests.soak.slots import Slots

REPOSITORIES = tuple(f"admin/soak-{number}" for number in range(5))
_SIZES = (40, 900, 3_000, 12_000, 70_000, 250_000)
POPULAR = tuple(Content(seed=number, size=size) for number, size in enumerate(_SIZES * 2))
"""Layers that some image has nearly always, in one repository or another."""
RARE = tuple(Content(seed=100 + number, size=size) for number, size in enumerate(_SIZES * 6))
"""Layers that come and go everywhere."""
POOL = POPULAR + RARE
TINY = tuple(Content(seed=1_000 + number, size=30 + number) for number in range(60))
"""Layers of an image that needs more than a transaction holds."""
INDEX = "application/vnd.oci.image.index.v1+json"
TAGS = 4
IMAGES = 3
"""How many an actor keeps, about; of more it rather deletes some."""
TRIES = 10
"""Times that a push is begun when what it was about to name was collected, until the client gives up."""


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest of the actor's; of an index ``layers`` is empty and ``children`` are manifests."""

    repository: str
    manifest: bytes
    layers: tuple[Content, ...] = ()
    children: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)


@dataclass
class Actor:
    """``number`` is another one for each actor. ``journal`` gets a line for each request and answer."""

    number: int
    seed: int
    slots: Slots
    journal: IO[str]
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed * 1_000 + self.number)
        self._brief = f"admin/brief-{self.number}"
        self._ledgers = {name: Ledger() for name in (*REPOSITORIES, self._brief)}
        self._images: dict[tuple[str, str], Image] = {}
        self._tokens: dict[str, str] = {}
        self._steps: Sequence[tuple[Callable[[SoakClient], None], float]] = (
            (self._push_new, 6),
            (self._push_again, 3),
            (self._push_large, 0.1),
            (self._push_index, 1),
            (self._delete, 5),
            (self._restore, 3),
            (self._untag, 1),
            (self._drop_blob, 2),
            (self._pull, 6),
            (self._use_brief, 0.5),
        )

    def work(self, rest: Callable[[float], bool], longest: float) -> None:
        """Do one thing after the other until ``rest``, which waits for so many seconds, says that it is over; they are up to
        ``longest``. Raises AssertionError where the registry does what it must not."""
        steps, weights = zip(*self._steps, strict=True)
        while not rest(self._chance.uniform(0, longest)):
            self._do(self._chance.choices(steps, weights)[0])

    def check_all(self) -> None:
        """Look at everything there is or was, kills or not."""
        for repository, ledger in self._ledgers.items():
            for name in ledger.names():
                while not self._do(lambda client, repository=repository, name=name: self._check(client, repository, name)):  # type: ignore[misc]
                    pass

    def standing(self, kind: str) -> int:
        """How many manifests or tags there are."""
        return sum(len(ledger.standing(kind)) for ledger in self._ledgers.values())

    def _do(self, step: Callable[[SoakClient], None]) -> bool:
        """Whether the step came to its end: its process may have been killed."""
        seat = self.slots.take(self._chance)
        with SoakClient(seat.address, [*REPOSITORIES, self._brief], self._tokens, self._note) as client:
            try:
                step(client)
            except LOST as error:
                if not self.slots.was_killed(seat):
                    raise AssertionError(f"the connection broke, and nobody killed the server: {error!r}") from error
                self._note(f"lost: {error!r}")
                self.counts["lost answers"] += 1
            except Again as refused:
                self._note(f"again: {refused}")
                self.counts[f"refused, {refused}"] += 1
            else:
                return True
        return False

    def _note(self, line: str) -> None:
        self.journal.write(f"{time.time():.3f} {self.number:2} {line}\n")

    # --------------------------------------------------------------------------------------------------------- pushing

    def _push_new(self, client: SoakClient) -> None:
        if self.standing("manifest") < IMAGES:
            self._push_some(client, self._chance.choice(REPOSITORIES))
        else:
            self._delete(client)

    def _push_some(self, client: SoakClient, repository: str) -> None:
        layers = [
            *self._chance.sample(POPULAR, self._chance.randint(0, 2)),
            *self._chance.sample(RARE, self._chance.randint(1, 2)),
        ]
        self._push(client, self._image(repository, tuple(layers)), self._tag())

    def _push_large(self, client: SoakClient) -> None:
        self._push(client, self._image(self._chance.choice(REPOSITORIES), TINY), self._tag())

    def _push_again(self, client: SoakClient) -> None:
        """The very manifest that was deleted, perhaps."""
        if self._images:
            pushed = self._chance.choice(list(self._images.values()))
            if all(child in self._ledgers[pushed.repository].standing("manifest") for child in pushed.children):
                self._push(client, pushed, self._tag())

    def _push_index(self, client: SoakClient) -> None:
        repository = self._chance.choice(REPOSITORIES)
        standing = [digest for digest in self._ledgers[repository].standing("manifest") if self._is_image(repository, digest)]
        if len(standing) > 1:
            children = tuple(self._chance.sample(standing, 2))
            told = [
                {"mediaType": MANIFEST, "digest": digest, "size": len(self._images[repository, digest].manifest)}
                for digest in children
            ]
            document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": told, "annotations": self._own()}
            self._push(client, Image(repository, json.dumps(document).encode(), children=children), self._tag())

    def _is_image(self, repository: str, digest: str) -> bool:
        return not self._images[repository, digest].children

    def _own(self) -> dict[str, str]:
        return {"note": f"{self.number}-{self._chance.random()}"}

    def _image(self, repository: str, layers: tuple[Content, ...]) -> Image:
        note = self._own()["note"]
        return Image(repository, image([(layer.digest(), layer.size) for layer in layers], note), layers)

    def _tag(self) -> str:
        return self._chance.choice(("", *(f"c{self.number}-{number}" for number in range(TAGS))))

    def _push(self, client: SoakClient, pushed: Image, tag: str) -> None:
        """Whole, and once more whole while the registry lacks something that a collector took."""
        repository, digest = pushed.repository, pushed.digest
        ledger, media_type = self._ledgers[repository], json.loads(pushed.manifest)["mediaType"]
        self._images[repository, digest] = pushed
        names = [Name("manifest", digest), *([Name("tag", tag)] if tag else [])]
        for _ in range(TRIES):
            for layer in pushed.layers:
                self._push_layer(client, repository, layer)
            if not pushed.children:
                config = f"blobs/uploads/?digest={digest_of(CONFIG)}"
                client.request("POST", repository, config, CONFIG).expect(201)
            for name in names:
                ledger.attempt(name, digest)
            target = f"manifests/{tag or digest}"
            answer = client.request("PUT", repository, target, pushed.manifest, Content_Type=media_type).expect(201, 404)
            if answer.status == 201:
                for name in names:
                    ledger.settle(name, digest)
                self.counts["pushes"] += 1
                return
            assert answer.code == "MANIFEST_BLOB_UNKNOWN", answer
            assert not pushed.children, f"{digest}, whose manifests stand, is refused: {answer.body!r}"
            self.counts["pushed once more"] += 1
        self.counts["pushes given up"] += 1

    def _push_layer(self, client: SoakClient, repository: str, layer: Content) -> None:
        digest = layer.digest()
        if (
            self._chance.random() < 0.4
            and client.request("HEAD", repository, f"blobs/{digest}").expect(200, 307, 404).status != 404
        ):
            self.counts["told present"] += 1
            return
        if self._chance.random() < 0.5:
            source = self._chance.choice(REPOSITORIES)
            asked = client.request("POST", repository, f"blobs/uploads/?mount={digest}&from={source}").expect(201, 202)
            if asked.status == 201:
                self.counts["mounts"] += 1
                return
            client.finish(repository, asked.location, digest, layer.blocks(), layer.size).expect(201)
        else:
            self._chance.choice(WAYS)(client, repository, layer)
        self.counts["uploads"] += 1

    # -------------------------------------------------------------------------------------------------------- deleting

    def _delete(self, client: SoakClient) -> None:
        repository = self._chance.choice(REPOSITORIES)
        ledger = self._ledgers[repository]
        if not (standing := ledger.standing("manifest")):
            return
        digest = self._chance.choice(standing)
        indexes = {each.digest for (where, _), each in self._images.items() if where == repository and digest in each.children}
        if indexes & set(standing):
            client.request("DELETE", repository, f"manifests/{digest}").expect(405)
        elif not indexes & ledger.may_stand("manifest"):
            ledger.attempt_removal(digest)
            client.request("DELETE", repository, f"manifests/{digest}").expect(202)
            ledger.settle_removal(digest)
            self.counts["deletes"] += 1

    def _restore(self, client: SoakClient) -> None:
        """What the actor deleted, with the tags that went with it, unless that is over or something it needs is gone."""
        repository = self._chance.choice(REPOSITORIES)
        ledger = self._ledgers[repository]
        gone = [name.reference for name in ledger.names("manifest") if name.reference not in ledger.may_stand("manifest")]
        if not gone:
            return
        digest = self._chance.choice(gone)
        ledger.attempt_return(digest)
        answer = client.restore(repository, digest).expect(200, 404, 409)
        restored = answer.status == 200
        ledger.settle_return(digest, json.loads(answer.body)["tags"] if restored else None)
        self.counts["restored" if restored else "too late to restore"] += 1

    def _untag(self, client: SoakClient) -> None:
        repository = self._chance.choice(REPOSITORIES)
        if tags := self._ledgers[repository].standing("tag"):
            name = Name("tag", self._chance.choice(tags))
            self._ledgers[repository].attempt(name, None)
            client.request("DELETE", repository, f"manifests/{name.reference}").expect(202)
            self._ledgers[repository].settle(name, None)
            self.counts["tags deleted"] += 1

    def _drop_blob(self, client: SoakClient) -> None:
        """Anybody's: what an image needs stays."""
        digest = self._chance.choice(POOL).digest()
        answer = client.request("DELETE", self._chance.choice(REPOSITORIES), f"blobs/{digest}").expect(202, 404, 405)
        self.counts["blobs deleted"] += answer.status == 202

    def _use_brief(self, client: SoakClient) -> None:
        """A repository that comes, is used, and goes with all that is in it."""
        ledger = self._ledgers[self._brief]
        self._push_some(client, self._brief)
        self._check_some(client, self._brief)
        for name in ledger.names():
            ledger.attempt(name, None)
        answer = client.delete_repository(self._brief)
        assert answer.status in {200, 202, 204}, answer
        for name in ledger.names():
            ledger.settle(name, None)
        self.counts["repositories deleted"] += 1

    # ------------------------------------------------------------------------------------------------------------ looking

    def _pull(self, client: SoakClient) -> None:
        self._check_some(client, self._chance.choice([name for name in self._ledgers if self._ledgers[name].names()] or [""]))

    def _check_some(self, client: SoakClient, repository: str) -> None:
        names = self._ledgers[repository].names() if repository else []
        for name in self._chance.sample(names, min(3, len(names))):
            self._check(client, repository, name)

    def _check(self, client: SoakClient, repository: str, name: Name) -> None:
        """Pull it whole, if it is there, as it may be or has to."""
        accepted = f"{MANIFEST}, {INDEX}"
        answer = client.request("GET", repository, f"manifests/{name.reference}", Accept=accepted).expect(200, 404)
        found = digest_of(answer.body) if answer.status == 200 else None
        try:
            self._ledgers[repository].observe(name, found)
        except AssertionError as wrong:
            raise AssertionError(f"{repository}: {wrong}") from None
        self.counts["looks"] += 1
        if found is None:
            return
        pulled = self._images[repository, found]
        assert answer.body == pulled.manifest, f"{repository}: {found} has other bytes"
        for child in pulled.children:
            client.request("GET", repository, f"manifests/{child}", Accept=accepted).expect(200)
        if not pulled.children:
            for digest, size in ((digest_of(CONFIG), len(CONFIG)), *((each.digest(), each.size) for each in pulled.layers)):
                got = client.hash_blob(repository, digest)
                assert got == (digest, size), f"{repository}: {found} needs {digest}, and it is {got}"
        self.counts["pulls"] += 1
