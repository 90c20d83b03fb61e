"""What storage tells comes twice, late, out of order or never, while clients finish, cancel and delete, and sweeps run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.registry.adoption import Adoption
from chalicelib.registry.errors import RegistryError, UploadUnknown
from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.records import blob_key, text
from chalicelib.registry.upkeep.leftovers import GRACE, Leftovers
from chalicelib.registry.upload_records import LIFETIME, Chunk, Ticket, Upload
from tests.counts import Counts
from tests.frozen_clock import FrozenClock
from tests.memory_blobs import MemoryBlobs
from tests.memory_multipart import MemoryMultipart
from tests.surface import Surface

NAMES = [RepositoryName.parse(name) for name in ("admin/a", "admin/b")]
CONTENTS = [b"one layer", b"another layer", b""]
UPLOADS = 4


@dataclass
class World:
    """A registry with some uploads begun, whose Locations clients keep and use as they like, for as long as they are good."""

    clock: FrozenClock = field(default_factory=FrozenClock)

    def __post_init__(self) -> None:
        self.store = MemoryBlobs(self.clock)
        self.multipart = MemoryMultipart(self.store, self.clock, smallest=1)
        self.surface = Surface(clock=self.clock, blobs=self.store, multipart=self.multipart)
        registry = self.surface.registry
        self.uploads: list[Upload] = [
            registry.uploads.begin(registry.repositories.ensure(NAMES[number % 2]), "admin") for number in range(UPLOADS)
        ]
        self.now: list[Upload] = list(self.uploads)
        self.adoption = Adoption(self.store, registry.blobs, registry.repositories, self.clock)
        self.told: list[str] = []
        self.leftovers = Leftovers(self.surface.table, self.store, self.clock, self.multipart)

    def ticket(self, upload: Upload) -> Ticket:
        """What its Location says, which the door takes for a day."""
        if upload.expires_at <= self.clock.now().timestamp():
            raise UploadUnknown
        return upload.ticket

    # What may happen, each to upload ``u`` with content ``c``. A client is refused what is refused.

    def puts(self, u: int, c: int) -> None:
        """By the direct lane, whose bytes storage verifies; the Location is good for a day."""
        upload, content = self.uploads[u], CONTENTS[c]
        self.ticket(upload)
        key = f"direct/{upload.repository}/{Digest.of(content)}/{upload.id}"
        self.store.put(key, content)
        self.told.append(key)

    def tells(self, u: int, c: int) -> None:
        """Storage tells of any object that ever came, perhaps again."""
        if self.told:
            self.adoption.adopt(self.told[(u * 3 + c) % len(self.told)])

    def appends(self, u: int, c: int) -> None:
        self.now[u] = self.surface.registry.uploads.append(self.ticket(self.now[u]), CONTENTS[c], None)

    def resumes(self, u: int, c: int) -> None:
        content = CONTENTS[c]
        upload = self.surface.registry.uploads.get(self.ticket(self.now[u]))
        rest = content[upload.size :]
        chunk = Chunk(upload.size, len(rest)) if rest else None
        self.now[u] = self.surface.registry.uploads.append(upload.ticket, rest, chunk)

    def finishes(self, u: int, c: int) -> None:
        self.surface.registry.uploads.finish(self.ticket(self.now[u]), Digest.of(CONTENTS[c]))

    def finishes_at_once(self, u: int, c: int) -> None:
        self.surface.registry.uploads.finish(self.ticket(self.uploads[u]), Digest.of(CONTENTS[c]), body=CONTENTS[c])

    def relays(self, u: int, c: int) -> None:
        """Begins a piece, sends it, and does not end it."""
        relay = self.surface.registry.parts_relay
        assert relay
        writing = relay.begin(self.ticket(self.now[u]), None, None)
        self.multipart.send(relay.urls(writing, 1, 1)[0], CONTENTS[c])

    def relays_whole(self, u: int, c: int) -> None:
        """A piece, whose end is told twice."""
        relay = self.surface.registry.parts_relay
        assert relay
        if not CONTENTS[c]:
            return
        writing = relay.begin(self.ticket(self.now[u]), None, None)
        self.multipart.send(relay.urls(writing, 1, 1)[0], CONTENTS[c])
        parts = self.multipart.parts(writing.key, writing.multipart)
        size = writing.offset + len(CONTENTS[c])
        ended = relay.end(writing, parts, size, "")
        assert relay.end(writing, parts, size, "") == ended
        self.now[u] = ended

    def cancels(self, u: int, c: int) -> None:
        self.surface.registry.uploads.cancel(self.ticket(self.now[u]))

    def deletes(self, u: int, c: int) -> None:
        self.surface.registry.blobs.delete(NAMES[u % 2], Digest.of(CONTENTS[c]))

    def passes(self, u: int, c: int) -> None:
        """Time: of more than an hour, the daily sweep runs behind it, which looks some days back and no further."""
        seconds = (3600, LIFETIME // 2, LIFETIME, GRACE + 60)[(u + c) % 4]
        self.clock.advance(seconds)
        if seconds > 3600:
            self.leftovers.sweep(Counts())

    def sweeps(self, u: int, c: int) -> None:
        if c % 2:
            self.surface.registry.uploads.sweep(u + 1)
        else:
            self.leftovers.sweep(Counts())

    # ------------------------------------------------------------------------------------------------------ what must hold

    def right(self) -> set[str]:
        """What can be read is right; the keys that blobs' records name."""
        named = set()
        for content in CONTENTS:
            digest = Digest.of(content)
            record = self.surface.table.get(blob_key(digest))
            if record is not None:
                named.add(text(record, "key"))
            for name in NAMES:
                blob = self.surface.registry.blobs.find(self.surface.registry.repositories.get(name).id, digest)
                if blob is not None:
                    assert record is not None
                    assert blob.key == text(record, "key")
                    with self.store.open(blob.key) as stream:
                        assert stream.read() == content
        assert all(self.store.stat(key) for key in named)
        return named


STEPS = [
    World.puts, World.tells, World.appends, World.resumes, World.finishes, World.finishes_at_once, World.relays,
    World.relays_whole, World.cancels, World.deletes, World.passes, World.sweeps,
]  # fmt: skip


@settings(max_examples=250)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, UPLOADS - 1), st.integers(0, len(CONTENTS) - 1)), max_size=30))
def test_in_any_order(happenings: list[tuple[Callable[[World, int, int], None], int, int]]) -> None:
    world = World()
    for step, upload, content in happenings:
        with suppress(RegistryError):  # refused, as it may be
            step(world, upload, content)
        world.right()
    world.clock.advance(2 * GRACE)
    world.surface.registry.uploads.sweep(1000)
    world.leftovers.sweep(Counts())
    named = world.right()
    assert {stored.key for stored in world.store.list("")} == named
    assert list(world.multipart.unfinished("data/")) == []
