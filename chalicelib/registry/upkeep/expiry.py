"""The end of what was removed: when it may not be restored any more.

It is marked as expired first, which ends that; then the notes of what it needed go, each batch on the condition that the
manifest has not come back, and with them what it needed is condemned; its own record goes last. Whoever is interrupted leaves
the rest to the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import takewhile

from chalicelib.registry.condemned import Link, Listed, condemn, noted_at
from chalicelib.registry.errors import NotRestorable
from chalicelib.registry.images import Images
from chalicelib.registry.names import Digest, Tag
from chalicelib.registry.needs import EXPIRED, is_restorable
from chalicelib.registry.pages import every
from chalicelib.registry.ports import Absent, Attributes, Check, Clock, Condition, Delete, Item, Key, Put, Table, Update, Write
from chalicelib.registry.records import (
    RESTORABLE_PARTITION,
    contents,
    is_pending,
    last_segment,
    manifest_key,
    needed_blob_key,
    needed_manifest_key,
    number,
    removed_manifest_key,
    removed_tag_key,
    retired_key,
    revised,
    text,
)
from chalicelib.registry.times import seconds
from chalicelib.registry.trash import read_removed
from chalicelib.registry.upkeep.pace import Pace, settle

_AT_ONCE = 24
"""Needs that are given up in one transaction: three writes each."""

_REFERRERS_READ = 50


class Expiry:
    """Ends what was removed."""

    def __init__(self, table: Table, clock: Clock, images: Images) -> None:
        self._table = table
        self._clock = clock
        self._images = images

    def expire(self, latest: int, pace: Pace) -> None:
        """Give up what was removed at ``latest`` or before (seconds since the epoch). Raises Busy, and what ``pace`` raises."""
        for item in takewhile(lambda item: noted_at(item) <= latest, every(self._table, RESTORABLE_PARTITION)):
            settle(partial(self._end, item, pace), pace)

    def _end(self, item: Item, pace: Pace) -> None:
        at, repository, kind, what = item.key.sort.split("/")
        if kind == "tag":
            self._table.transact([Delete(removed_tag_key(repository, Tag(what), int(at))), Delete(item.key)])
        else:
            self._expire(int(at), repository, Digest.parse(what), item.key)
        pace.count("expired")

    def _expire(self, at: int, repository: str, digest: Digest, noted: Key) -> None:
        """In steps, each of which may be the last one of this process: the next one begins again with the first."""
        key = removed_manifest_key(repository, digest)
        removed = self._table.get(key)
        if removed is None or number(removed, "removed_at") != at:
            # Restored, or removed again at another time; if it is removed again at this very time, the note is that one's.
            as_read = Absent() if removed is None else revised(removed)
            self._table.transact([Check(key, as_read), Delete(noted)])
            return
        same = revised(removed)
        if is_restorable(removed):
            self._table.write(Update(key, set={EXPIRED: True}, condition=same))
        if not self._give_up(repository, digest, removed):
            return
        retired = [Put(retired_key(text(removed, "key")), {})] if "key" in removed else []
        self._table.transact([Delete(key, same), Delete(noted), *retired])

    def _give_up(self, repository: str, digest: Digest, removed: Attributes) -> bool:
        """Condemn what the manifest needed, and what spoke of it; nothing if it has come back. False if it is on its way back:
        if that does not come to pass, there is still to do what was to do here."""
        try:
            manifest = read_removed(self._images, removed, digest)
        except NotRestorable:
            return True  # the audit finds what nobody condemned
        needs: dict[Link | Listed, Key | None] = dict.fromkeys(self._referrers(repository, digest))
        for blob in manifest.blobs:
            needs[Link(repository, blob.digest)] = needed_blob_key(repository, blob.digest, digest)
        for child in manifest.manifests:
            needs[Listed(repository, child.digest)] = needed_manifest_key(repository, child.digest, digest)
        things = list(needs)
        for start in range(0, len(things), _AT_ONCE):
            batch = {thing: needs[thing] for thing in things[start : start + _AT_ONCE]}
            current = self._table.get(manifest_key(repository, digest))
            if current is not None:
                return not is_pending(current)
            self._condemn(repository, digest, batch, revised(removed))
        return True

    def _referrers(self, repository: str, subject: Digest) -> Sequence[Listed]:
        """A stretch at a time: who may push puts as many there as they like, each with a descriptor of up to 64 KiB."""
        items = every(self._table, contents(repository), prefix=f"referrer/{subject}/", stretch=_REFERRERS_READ)
        return [Listed(repository, Digest.parse(last_segment(item.key.sort))) for item in items]

    def _condemn(self, repository: str, digest: Digest, needs: Mapping[Link | Listed, Key | None], same: Condition) -> None:
        """Those of them that are there; all lose their notes. Raises ConditionFailed if one went or came meanwhile, or the
        manifest came, or came and was removed again: then the notes are those of the later removal."""
        found = self._table.batch_get([thing.key for thing in needs])
        now = seconds(self._clock)
        writes: list[Write] = [
            Check(manifest_key(repository, digest), Absent()),
            Check(removed_manifest_key(repository, digest), same),
        ]
        checks = len(writes)
        for thing, note in needs.items():
            if note is not None:
                writes.append(Delete(note))
            if thing.key in found and not is_pending(found[thing.key]):
                writes += condemn(thing, now)
        if len(writes) > checks:
            self._table.transact(writes)
