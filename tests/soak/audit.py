"""``python -m tests.soak.audit``: the end of a soak. Nobody uses the registry of the environment any more.

All that is left over is swept and collected, by clocks days ahead, until nothing changes; then table and store must agree: each
object is named by a record, each record's bytes are there and right, and all that is there is needed. Told as one JSON object:
``collected`` counts, and ``wrong`` sentences.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from chalicelib import wiring
from chalicelib.registry.configuration import Configuration
from chalicelib.registry.keys import DATA
from chalicelib.registry.names import Digest
from chalicelib.registry.ports import Attributes, BlobMissing, BlobStore, Clock, Table
from chalicelib.registry.pushes import Pushes
from chalicelib.registry.upkeep.leftovers import Leftovers
from chalicelib.registry.uploads import Uploads
from chalicelib.wire.distribution.call import Registry
from tests.agreement import DAY, State, live_state
from tests.counts import Counts, swept
from tests.soak.ahead import Ahead, garbage

DAYS = 2
"""How far each run's clock is ahead of the one before it: more than any grace here."""
SWEEPS = 4
"""Runs that also sweep; later than that, what they would sweep is beyond their window."""
LIMIT = 100_000
DECADE = 3652 * DAY
"""Seconds after which the table has dropped by itself all that expires: an event that came just after its repository went."""


def collected() -> Counter[str]:
    """Sweep and collect until there is nothing more to do; what went."""
    gone: Counter[str] = Counter()
    number, quiet = 0, 0
    while quiet < 3:
        number += 1
        clock = Ahead(number * DAYS * DAY)
        dropped = _dropped(clock) if number * DAYS <= SWEEPS else 0
        counts = Counts()
        garbage(clock).collect(counts)
        gone.update(counts.counted)
        gone["swept"] += dropped
        quiet = 0 if dropped or counts.counted else quiet + 1
        if number > 50:
            raise AssertionError(f"collecting goes on for ever: {counts.counted}")
    return gone


def _dropped(clock: Ahead) -> int:
    """What the schedules do."""
    table, store, parts = wiring.table(), wiring.blob_store(), wiring.registry()
    uploads = Uploads(table, store, parts.blobs, clock, multipart=wiring.multipart())
    pushes = Pushes(table, store, parts.repositories, parts.events, clock)
    dropped = uploads.sweep(LIMIT) + pushes.sweep(LIMIT)
    return dropped + swept(Leftovers(table, store, clock, wiring.multipart()))


# ------------------------------------------------------------------------------------------------------------- what is there


@dataclass(frozen=True)
class Environment:
    """What the registry of the environment keeps."""

    table: Table = field(default_factory=wiring.table)
    store: BlobStore = field(default_factory=wiring.blob_store)
    clock: Clock = field(default_factory=partial(Ahead, DECADE))
    configuration: Configuration = field(default_factory=wiring.configuration)
    registry: Registry = field(default_factory=wiring.registry)


def wrong(state: State) -> Iterator[str]:
    """All there is to be said against what is there, when nothing is left to do."""
    yield from state.disagreements()
    yield from state.leavings()
    for key, attributes in state.items.items():
        kind, _, rest = key.sort.partition("/")
        if key.partition.startswith("blob/") and kind == "blob":
            yield from _bytes(Digest.parse(key.partition.partition("/")[2]), attributes)
        elif kind == "content":
            yield from _bytes(Digest.parse(rest), attributes)
    parts = wiring.multipart()
    for begun, *_ in parts.unfinished(DATA) if parts else ():
        yield f"an unfinished upload of parts: {begun}"


def _bytes(digest: Digest, attributes: Attributes) -> Iterator[str]:
    try:
        stored = wiring.registry().images.stored(attributes)
    except BlobMissing:
        yield f"the bytes of {digest} are not there"
        return
    if Digest.of(stored, digest.algorithm) != digest:
        yield f"{digest} has other bytes"


def found(state: State) -> Counter[str]:
    """How much there is."""
    counted: Counter[str] = Counter()
    for key in state.items:
        kind = key.sort.partition("/")[0]
        if key.partition.startswith("blob/"):
            counted["blobs"] += kind == "blob"
        elif key.partition.startswith("repository/"):
            counted["links"] += kind == "blob"
            counted["manifests"] += kind == "manifest"
            counted["tags"] += kind == "tag"
    return counted


def main() -> None:
    gone = collected()
    state = live_state(Environment())
    print(json.dumps({"collected": gone, "found": found(state), "wrong": [*wrong(state)]}))


if __name__ == "__main__":
    main()
