"""``python -m tests.soak.audit``: the end of a soak. Nobody uses the registry of the environment any more.

All that is left over is swept and collected, by clocks days ahead, until nothing changes; then table and store must agree: each
object is named by a record, each record's bytes are there and right, and all that is there is needed. Told as one JSON object:
``collected`` counts, and ``wrong`` sentences.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from chalicelib import wiring
from chalicelib.registry.keys import DATA
from chalicelib.registry.manifests import Manifest, read_manifest
from chalicelib.registry.names import Digest, Tag
from chalicelib.registry.ports import Attributes, Key, Table
from chalicelib.registry.pushes import Pushes
from chalicelib.registry.records import (
    CONDEMNED_AT,
    CONDEMNED_PARTITION,
    PENDING_PARTITION,
    REMOVED_PARTITION,
    RESTORABLE_PARTITION,
    RETIRED_PARTITION,
    UNFINISHED_PARTITION,
    blob_key,
    contents,
    holder_key,
    link_key,
    manifest_key,
    needed_blob_key,
    needed_manifest_key,
    tag_key,
    text,
)
from chalicelib.registry.upkeep.leftovers import Leftovers
from chalicelib.registry.uploads import Uploads
from tests.counts import Counts, swept
from tests.soak.ahead import Ahead, garbage

DAY = 24 * 3600
DAYS = 2
"""How far each run's clock is ahead of the one before it: more than any grace here."""
SWEEPS = 4
"""Runs that also sweep; later than that, what they would sweep is beyond their window."""
LIMIT = 100_000
EMPTY = (
    CONDEMNED_PARTITION, PENDING_PARTITION, REMOVED_PARTITION, RESTORABLE_PARTITION, RETIRED_PARTITION, UNFINISHED_PARTITION,
)  # fmt: skip
"""Lists of what there is to do."""


def collected() -> Counter[str]:
    """Sweep and collect until there is nothing more to do; what went."""
    found: Counter[str] = Counter()
    number, quiet = 0, 0
    while quiet < 3:
        number += 1
        clock = Ahead(number * DAYS * DAY)
        dropped = _dropped(clock) if number * DAYS <= SWEEPS else 0
        counts = Counts()
        garbage(clock).collect(counts)
        found.update(counts.counted)
        found["swept"] += dropped
        quiet = 0 if dropped or counts.counted else quiet + 1
        if number > 50:
            raise AssertionError(f"collecting goes on for ever: {counts.counted}")
    return found


def _dropped(clock: Ahead) -> int:
    """What the schedules do."""
    table, store, parts = wiring.table(), wiring.blob_store(), wiring.registry()
    uploads = Uploads(table, store, parts.blobs, clock, multipart=wiring.multipart())
    pushes = Pushes(table, store, parts.repositories, parts.events, clock)
    dropped = uploads.sweep(LIMIT) + pushes.sweep(LIMIT)
    return dropped + swept(Leftovers(table, store, clock, wiring.multipart()))


# ------------------------------------------------------------------------------------------------------------- what is there


@dataclass
class Everything:
    """The whole table."""

    items: Mapping[Key, Attributes]
    wrong: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, table: Table) -> Everything:
        items: dict[Key, Attributes] = {}
        cursor: str | None = None
        while True:
            walked = table.walk(cursor, 500)
            items.update((item.key, item.attributes) for item in walked.items)
            if (cursor := walked.cursor) is None:
                return cls(items)

    def check(self) -> Counter[str]:
        """All there is to be said against it goes to ``wrong``; how much there was."""
        for key in self.items:
            if key.partition in EMPTY:
                self.wrong.append(f"there is still to do: {key}")
        self._objects()
        counted: Counter[str] = Counter()
        for key, attributes in self.items.items():
            kind, _, rest = key.sort.partition("/")
            if key.partition.startswith("blob/"):
                self._blob(key, attributes)
                counted["blobs"] += kind == "blob"
            elif key.partition.startswith("repository/"):
                self._of_repository(key.partition.partition("/")[2], kind, rest, attributes)
                counted["links"] += kind == "blob"
                counted["manifests"] += kind == "manifest"
                counted["tags"] += kind == "tag"
        return counted

    def _objects(self) -> None:
        """What lies in the store is what records name, and is right."""
        store = wiring.blob_store()
        there = {stored.key for stored in store.list("")}
        named = dict(self._named())
        self.wrong += [f"nothing names the object {key}" for key in sorted(there - named.keys())]
        self.wrong += [f"{named[key]} names {key}, which is not there" for key in sorted(named.keys() - there)]
        for key in there & named.keys():
            algorithm, _, expected = named[key].partition(":")
            with store.open(key) as stream:
                if hashlib.new(algorithm, stream.read()).hexdigest() != expected:
                    self.wrong.append(f"{named[key]} names {key}, which has other bytes")
        parts = wiring.multipart()
        if parts is not None:
            self.wrong += [f"an unfinished upload of parts: {key}" for key, *_ in parts.unfinished(DATA)]

    def _named(self) -> Iterator[tuple[str, str]]:
        for key, attributes in self.items.items():
            if key.partition.startswith("blob/") and key.sort == "blob":
                yield text(attributes, "key"), key.partition.partition("/")[2]
            elif key.sort.startswith("content/") and "key" in attributes:
                yield text(attributes, "key"), key.sort.partition("/")[2]

    def _blob(self, key: Key, attributes: Attributes) -> None:
        digest = Digest.parse(key.partition.partition("/")[2])
        holders = list(self._below(key.partition, "link/")) if key.sort == "blob" else []
        if key.sort == "blob":
            self._need(bool(holders), f"no repository holds {digest}")
            self._need(CONDEMNED_AT not in attributes, f"{digest} is condemned, and {len(holders)} hold it")
        else:
            owner = key.sort.partition("/")[2]
            self._need(link_key(owner, digest) in self.items, f"{owner} is noted as holding {digest}, and does not")

    def _of_repository(self, owner: str, kind: str, rest: str, attributes: Attributes) -> None:
        match kind:
            case "blob":
                self._link(owner, Digest.parse(rest), attributes)
            case "manifest":
                self._manifest(owner, Digest.parse(rest), attributes)
            case "tag":
                digest = Digest.parse(text(attributes, "digest"))
                self._need(manifest_key(owner, digest) in self.items, f"the tag {rest} of {owner} points to no manifest")
            case "needed":
                needing = Digest.parse(rest.rpartition("/")[2])
                self._need(manifest_key(owner, needing) in self.items, f"{owner}: {rest} is noted as needed by what is gone")
            case "tagged":
                tagged, _, tag = rest.partition("/")
                pointing = self.items.get(tag_key(owner, Tag(tag)), {})
                self._need(pointing.get("digest") == tagged, f"{owner}: {tag} is noted as a tag of {tagged}")
            case "removed":
                self.wrong.append(f"the trash of {owner} still has {rest}")

    def _link(self, owner: str, digest: Digest, link: Attributes) -> None:
        blob = self.items.get(blob_key(digest))
        self._need(blob is not None, f"{owner} holds {digest}, which is no blob")
        self._need(blob is None or blob["key"] == link["key"], f"{owner} holds {digest} under another key than the blob's")
        self._need(holder_key(digest, owner) in self.items, f"{owner} holds {digest} and is not noted for it")
        needed = self._below(contents(owner), f"needed/blob/{digest}/")
        self._need(any(True for _ in needed), f"{owner} holds {digest}, which nothing needs")
        self._need(CONDEMNED_AT not in link, f"{digest} of {owner} is condemned, and needed")

    def _manifest(self, owner: str, digest: Digest, record: Attributes) -> None:
        self._need("pending" not in record, f"{digest} of {owner} is pending")
        manifest = self._read(owner, digest)
        if manifest is None:
            self.wrong.append(f"the bytes of the manifest {digest} of {owner} are gone")
            return
        for blob in manifest.blobs:
            self._need(link_key(owner, blob.digest) in self.items, f"{digest} of {owner} lacks {blob.digest}")
            self._need(needed_blob_key(owner, blob.digest, digest) in self.items, f"{digest} of {owner} forgot {blob.digest}")
        for child in manifest.manifests:
            self._need(manifest_key(owner, child.digest) in self.items, f"{digest} of {owner} lacks {child.digest}")
            self._need(
                needed_manifest_key(owner, child.digest, digest) in self.items, f"{digest} of {owner} forgot {child.digest}"
            )

    def _read(self, owner: str, digest: Digest) -> Manifest | None:
        images = wiring.registry().images
        try:
            image = images.held(owner, digest)
            return read_manifest(images.content(image), image.media_type, digest)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is wrong
            self.wrong.append(f"{digest} of {owner}: {error!r}")
            return None

    def _below(self, partition: str, prefix: str) -> Iterator[Key]:
        for key in self._partitions.get(partition, ()):
            if key.sort.startswith(prefix):
                yield key

    def __post_init__(self) -> None:
        self._partitions: dict[str, list[Key]] = {}
        for key in self.items:
            self._partitions.setdefault(key.partition, []).append(key)

    def _need(self, holds: bool, told: str) -> None:
        if not holds:
            self.wrong.append(told)


def main() -> None:
    gone = collected()
    everything = Everything.of(wiring.table())
    found = everything.check()
    print(json.dumps({"collected": gone, "found": found, "wrong": everything.wrong}))


if __name__ == "__main__":
    main()
