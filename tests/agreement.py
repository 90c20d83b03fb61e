"""Whether everything that is kept agrees: records with their notes, notes with their records, objects with both.

``disagreements`` are those that nothing explains at any moment between two requests, whatever died before; ``leavings`` are
what is there beyond what is live. After ``settle`` there is neither.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from chalicelib.registry.condemned import Bytes, Link, Listed, Thing, note_key
from chalicelib.registry.configuration import Configuration
from chalicelib.registry.keys import MARK
from chalicelib.registry.manifests import Manifest, read_manifest
from chalicelib.registry.names import Digest, Tag
from chalicelib.registry.ports import EXPIRES, Attributes, BlobStore, Clock, Item, Key, Table
from chalicelib.registry.records import (
    CONDEMNED_AT,
    CONDEMNED_PARTITION,
    PENDING_PARTITION,
    REMOVED_PARTITION,
    RESTORABLE_PARTITION,
    RETIRED_PARTITION,
    UNFINISHED_PARTITION,
    UNTAGGED_PARTITION,
    blob_key,
    content_key,
    holder_key,
    is_pending,
    last_segment,
    link_key,
    manifest_key,
    needed_blob_key,
    needed_manifest_key,
    number,
    pending_key,
    referrer_key,
    removed_manifest_key,
    restorable_key,
    tag_key,
    tagged_key,
    text,
    untagged_key,
)
from chalicelib.registry.times import seconds
from chalicelib.registry.upkeep.leftovers import GRACE, WINDOW, Leftovers
from chalicelib.wire.distribution.call import Registry
from tests.counts import Counts
from tests.surface import Surface

DAY = 24 * 3600
LONG_ENOUGH = 60
"""Days after which nothing is left of what nobody needs, by the settings that hold when nothing was chosen."""

SWEPT = (GRACE + WINDOW) // DAY + 1
"""Days for which objects are looked at that no record names."""

PASSING = (
    CONDEMNED_PARTITION,
    PENDING_PARTITION,
    REMOVED_PARTITION,
    RESTORABLE_PARTITION,
    RETIRED_PARTITION,
    UNFINISHED_PARTITION,
)
"""Partitions that are empty when there is nothing to do."""


def sweep(surface: Surface) -> None:
    """What the schedules do beside the collector."""
    surface.registry.uploads.sweep(1000)
    surface.registry.pushes.sweep(1000)
    Leftovers(surface.table, surface.store, surface.clock, surface.multipart).sweep(Counts())


def collect(surface: Surface) -> Mapping[str, int]:
    """One run of the collector; what it counted."""
    counts = Counts()
    surface.garbage.collect(counts)
    return counts.counted


def settle(surface: Surface, days: int = LONG_ENOUGH) -> None:
    """So many days pass, with the schedules, and nobody pushes or deletes; the rest at once when nothing waits for its time."""
    passed = 0
    while passed < days:
        _run_schedules(surface)
        passing = 1 if passed < SWEPT or _waits(surface.table) else days - passed
        surface.clock.advance(passing * DAY)
        passed += passing
    _run_schedules(surface)
    collect(surface)


def _run_schedules(surface: Surface) -> None:
    sweep(surface)
    collect(surface)


def _waits(table: Table) -> bool:
    return any(table.query(partition, limit=1) for partition in (*PASSING, UNTAGGED_PARTITION))


class Kept(Protocol):
    """A registry with what it keeps: a Surface, or one that runs elsewhere."""

    @property
    def table(self) -> Table: ...
    @property
    def store(self) -> BlobStore: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def configuration(self) -> Configuration: ...
    @property
    def registry(self) -> Registry: ...


def live_state(kept: Kept) -> State:
    """Everything as it is now."""
    items: dict[Key, Attributes] = {}
    cursor: str | None = None
    while True:
        walked = kept.table.walk(cursor, 1000)
        items.update((item.key, item.attributes) for item in walked.items)
        if (cursor := walked.cursor) is None:
            break
    objects = frozenset(stored.key for stored in kept.store.list(""))
    return State(items, objects, seconds(kept.clock), kept)


def assert_agreement(surface: Surface) -> None:
    """Nothing disagrees, at any moment between two requests."""
    assert [*live_state(surface).disagreements()] == []


def assert_settled(surface: Surface, days: int = LONG_ENOUGH) -> None:
    """Nothing disagrees, and in the end nothing is left beyond what is live."""
    settle(surface, days)
    state = live_state(surface)
    assert [*state.disagreements(), *state.leavings()] == []


@dataclass(frozen=True)
class State:
    """What the table and the store hold."""

    items: Mapping[Key, Attributes]
    objects: frozenset[str]
    now: int
    kept: Kept

    # ---------------------------------------------------------------------------------------------------- at any moment

    def disagreements(self) -> Iterator[str]:
        """What contradicts something else."""
        known = {f"repository/{text(attributes, 'id')}" for key, attributes in self.items.items() if is_named(key)}
        for key, attributes in self.items.items():
            kind, _, rest = key.sort.partition("/")
            if key.partition.startswith("blob/"):
                yield from self._of_blob(Item(key, attributes))
            elif key.partition.startswith("repository/") and kind == "blob":
                yield from self._of_link(key.partition, Digest.parse(rest), attributes, is_known=key.partition in known)
            elif key.partition in known:
                yield from self._of_content(key.partition.partition("/")[2], Item(key, attributes))

    def _of_blob(self, item: Item) -> Iterator[str]:
        digest = Digest.parse(item.key.partition.partition("/")[2])
        if item.key.sort == "blob":
            yield from self._condemned(Bytes(digest), item.attributes)
            if CONDEMNED_AT not in item.attributes and not self._under(item.key.partition, "link/"):
                yield f"{digest}: nobody holds it, and it is not condemned"
            if text(item.attributes, "key") not in self.objects:
                yield f"{digest}: its object is gone"
        elif link_key(last_segment(item.key.sort), digest) not in self.items:
            yield f"{digest}: {item.key.sort} holds it without a link"

    def _of_link(self, partition: str, digest: Digest, link: Attributes, *, is_known: bool) -> Iterator[str]:
        repository = partition.partition("/")[2]
        blob = self.items.get(blob_key(digest))
        if holder_key(digest, repository) not in self.items:
            yield f"{repository}: a link to {digest}, whose holders do not name it"
        if blob is None or blob["key"] != link["key"]:
            yield f"{repository}: a link to {digest}, whose record names another object, or is not there"
        yield from self._condemned(Link(repository, digest), link)
        if is_known and CONDEMNED_AT not in link and not self._is_noted(repository, f"needed/blob/{digest}/"):
            yield f"{repository}: nothing needs {digest}, and it is not condemned"

    def _of_content(self, repository: str, item: Item) -> Iterator[str]:
        kind, _, rest = item.key.sort.partition("/")
        if kind == "manifest":
            yield from self._of_manifest(repository, Digest.parse(rest), item.attributes)
        elif kind == "tag":
            digest = Digest.parse(text(item.attributes, "digest"))
            if not self._is_visible(repository, digest) or tagged_key(repository, digest, Tag(rest)) not in self.items:
                yield f"{repository}: the tag {rest} points to nothing"
        elif kind == "tagged":
            listed, tag = rest.split("/")
            if self.items.get(tag_key(repository, Tag(tag)), {}).get("digest") != listed:
                yield f"{repository}: {tag} is listed for {listed}"
        elif kind == "content" and not self._is_visible(repository, Digest.parse(rest)):
            yield f"{repository}: bytes of {rest}, which is not there"
        elif kind == "referrer" and not self._is_visible(repository, Digest.parse(last_segment(rest))):
            yield f"{repository}: {rest} is no referrer any more"
        elif item.key.sort.startswith("removed/manifest/"):
            yield from self._of_removed(repository, Digest.parse(last_segment(rest)), item.attributes)

    def _of_manifest(self, repository: str, digest: Digest, record: Attributes) -> Iterator[str]:
        if is_pending(record):
            if pending_key(number(record, "begun_at"), repository, digest) not in self.items:
                yield f"{repository}: {digest} is pending for ever"
            return
        yield from self._condemned(Listed(repository, digest), record)
        manifest = self.manifest(repository, digest)
        if manifest is None:
            yield f"{repository}: the bytes of {digest} are gone"
            return
        for blob in manifest.blobs:
            if not {link_key(repository, blob.digest), needed_blob_key(repository, blob.digest, digest)} <= self.items.keys():
                yield f"{repository}: {digest} needs {blob.digest}, which is not there, or not noted"
        for child in manifest.manifests:
            noted = needed_manifest_key(repository, child.digest, digest) in self.items
            if not noted or not self._is_visible(repository, child.digest):
                yield f"{repository}: {digest} needs {child.digest}, which is not there, or not noted"
        if manifest.subject is not None and referrer_key(repository, manifest.subject, digest) not in self.items:
            yield f"{repository}: {digest} is no referrer of {manifest.subject}"
        if CONDEMNED_AT not in record and not self._is_needed(repository, digest, manifest):
            yield f"{repository}: nothing needs {digest}, and it is not condemned"

    def _of_removed(self, repository: str, digest: Digest, removed: Attributes) -> Iterator[str]:
        if restorable_key(number(removed, "removed_at"), repository, digest) not in self.items:
            yield f"{repository}: {digest} is removed for ever"
        if "key" in removed and removed["key"] not in self.objects:
            yield f"{repository}: the bytes of {digest}, which was removed, are gone"

    def _condemned(self, thing: Thing, record: Attributes) -> Iterator[str]:
        if CONDEMNED_AT not in record:
            return
        at = number(record, CONDEMNED_AT)
        notes = [note_key(at, thing)]
        if isinstance(thing, Listed):
            if not self.kept.configuration.read().untagged_days:
                return  # nobody waits for it
            notes.append(untagged_key(at, thing.repository, thing.digest))
        if not any(key in self.items for key in notes):
            yield f"{thing}: condemned, and not noted"

    def _is_needed(self, repository: str, digest: Digest, manifest: Manifest) -> bool:
        if self._under(f"repository/{repository}", f"tagged/{digest}/"):
            return True
        if manifest.subject is not None and self._is_or_was(repository, manifest.subject):
            return True
        return self._is_noted(repository, f"needed/manifest/{digest}/")

    def _is_noted(self, repository: str, prefix: str) -> bool:
        notes = self._under(f"repository/{repository}", prefix)
        return any(self._is_or_was(repository, Digest.parse(last_segment(key.sort))) for key in notes)

    def _is_or_was(self, repository: str, digest: Digest) -> bool:
        """Is it there, on its way, or in the trash?"""
        return bool({manifest_key(repository, digest), removed_manifest_key(repository, digest)} & self.items.keys())

    def _is_visible(self, repository: str, digest: Digest) -> bool:
        record = self.items.get(manifest_key(repository, digest))
        return record is not None and not is_pending(record)

    def _under(self, partition: str, prefix: str) -> list[Key]:
        return [key for key in self._partitions[partition] if key.sort.startswith(prefix)]

    @property
    def _partitions(self) -> Mapping[str, list[Key]]:
        if "partitions" not in self.__dict__:
            partitions = defaultdict[str, list[Key]](list)
            for key in self.items:
                partitions[key.partition].append(key)
            self.__dict__["partitions"] = partitions
        found: Mapping[str, list[Key]] = self.__dict__["partitions"]
        return found

    def manifest(self, repository: str, digest: Digest) -> Manifest | None:
        """A manifest by its bytes, None if they are gone."""
        content = self.items.get(content_key(repository, digest))
        if content is None or ("key" in content and content["key"] not in self.objects):
            return None
        stored = self.kept.registry.images.stored(content)
        return read_manifest(stored, text(self.items[manifest_key(repository, digest)], "media_type"), digest)

    # ------------------------------------------------------------------------------------------------ when all is settled

    def leavings(self) -> Iterator[str]:
        """What is there beyond what is live."""
        known = {f"repository/{text(attributes, 'id')}" for key, attributes in self.items.items() if is_named(key)}
        for key, attributes in self.items.items():
            if isinstance(expires := attributes.get(EXPIRES), int) and expires < self.now:
                continue  # the table drops it by itself
            if key.partition in PASSING or (key.partition.startswith("repository/") and key.partition not in known):
                yield f"left: {key.partition} {key.sort}"
            elif key.partition == UNTAGGED_PARTITION:
                at, repository, digest = key.sort.split("/")
                record = self.items.get(manifest_key(repository, Digest.parse(digest)), {})
                if record.get(CONDEMNED_AT) != int(at):
                    yield f"left: {key.partition} {key.sort}"
            elif key.sort.startswith("needed/"):
                needing = manifest_key(key.partition.partition("/")[2], Digest.parse(last_segment(key.sort)))
                if needing not in self.items:
                    yield f"left: {key.partition} {key.sort}"
            elif key.sort.startswith(("blob", "removed/")) and (CONDEMNED_AT in attributes or key.sort[0] == "r"):
                yield f"left: {key.partition} {key.sort}"
        yield from sorted(f"left: {key}" for key in self.objects - self._named() - {MARK})

    def _named(self) -> frozenset[str]:
        """The objects that live records name."""
        naming = [key for key in self.items if key.sort == "blob" or key.sort.startswith("content/")]
        return frozenset(str(self.items[key]["key"]) for key in naming if "key" in self.items[key])


def is_named(key: Key) -> bool:
    """Is it the record of a repository's name?"""
    return key.partition.startswith("name/")
