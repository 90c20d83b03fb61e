"""What crashes, lost answers and lost events leave in the store: objects that no record names and nobody will name.

An upload's id begins with its time, and a Location lives for a day: after that nobody begins to use bytes that nobody has
taken. Only what is between one and a few days old is looked at in the table, so the cost follows what was pushed since, not
what is stored; but keys of the direct lane are in no order of time, and all of them are listed. No clock is trusted with
data: before an upload's bytes go its record is made to say that it has ended, which fails if they were adopted, and after
which they cannot be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta

from chalicelib.registry.adoption import Direct
from chalicelib.registry.attempts import settled
from chalicelib.registry.errors import UploadUnknown
from chalicelib.registry.keys import DATA, DIRECT, MANIFESTS, PROOFS
from chalicelib.registry.names import Digest
from chalicelib.registry.ports import (
    EXPIRES,
    Attributes,
    BlobStore,
    Clock,
    ConditionFailed,
    Lacks,
    Multipart,
    Stored,
    Table,
    Update,
)
from chalicelib.registry.records import blob_key, content_key, direct_key, removed_manifest_key, text
from chalicelib.registry.upload_records import LIFETIME, REMEMBERED, UploadRecords, begun_at

GRACE = LIFETIME + 3600
"""Seconds after which what was begun is nobody's any more: its life, and an hour for clocks that differ."""

WINDOW = 3 * 24 * 3600
"""Seconds back from there that are looked at: a daily sweep may fail twice."""


def _pass_on() -> None:
    """What happens between two if nothing else is to."""


class Leftovers:
    """Sweeps the store. ``multipart`` is the store's, if it has one."""

    def __init__(self, table: Table, store: BlobStore, clock: Clock, multipart: Multipart | None = None) -> None:
        self._table = table
        self._store = store
        self._clock = clock
        self._multipart = multipart
        self._records = UploadRecords(table, clock)

    def sweep(self, between: Callable[[], object] = _pass_on) -> int:
        """Drop what is left over; how many objects and unfinished multipart uploads that were. ``between`` is called between
        any two that are looked at, and may end the sweep by what it raises."""
        dropped = 0
        for key, upload, digest in self._candidates():
            between()
            if self._is_taken(key, upload, digest):
                continue
            self._close(upload, digest)
            if not self._is_taken(key, upload, digest):  # nor while it was closed
                self._store.delete(key)
                dropped += 1
        for stored in self._old(PROOFS):
            between()
            self._store.delete(stored.key)
            dropped += 1
        return dropped + self._drop_manifests(between) + self._abort_parts(between)

    def _candidates(self) -> Iterator[tuple[str, str, Digest | None]]:
        """Keys that might be left over, of which upload, and which digest their bytes should have, if that is known."""
        latest = int(self._clock.now().timestamp()) - GRACE
        for stored in self._store.list(DATA, f"{DATA}{max(0, latest - WINDOW):08x}"):
            _, _, rest = stored.key.partition("/")
            upload, slash, _ = rest.partition("/")
            if not slash:
                continue  # what an earlier version kept there
            if begun_at(upload) > latest:
                break
            yield stored.key, upload, None
        for stored in self._old(DIRECT):
            direct = Direct.parse(stored.key)
            if direct is not None:
                yield stored.key, direct.upload, direct.digest

    def _old(self, prefix: str) -> Iterator[Stored]:
        latest = self._clock.now() - timedelta(seconds=GRACE)
        earliest = latest - timedelta(seconds=WINDOW)
        return (stored for stored in self._store.list(prefix) if earliest <= stored.modified <= latest)

    def _is_taken(self, key: str, upload: str, digest: Digest | None) -> bool:
        """Is it a blob's, or that of an upload which still lives?"""
        if digest is None:
            record = self._records.read(upload)
            if record is None or "ended" in record:
                return False
            if "digest" not in record:
                return True  # under way; the expiry of uploads drops it with its record
            digest = Digest.parse(text(record, "digest"))
        blob = self._table.get(blob_key(digest))
        return blob is not None and text(blob, "key") == key

    def _close(self, upload: str, digest: Digest | None) -> None:
        """From now on nobody adopts what is under the upload's keys."""
        if digest is not None:
            swept: Attributes = {"swept": True, EXPIRES: self._records.now() + REMEMBERED}
            with suppress(ConditionFailed):  # adopted: the second look says whether it counts
                settled(lambda: self._table.write(Update(direct_key(upload, digest), set=swept, condition=Lacks("key"))))
            return
        with suppress(UploadUnknown):  # it has ended already
            self._records.end(upload)

    def _drop_manifests(self, between: Callable[[], object]) -> int:
        """Bytes of large manifests, put for a push that died then, or that found the manifest there already. A push takes
        minutes: none that began before those is going to name them."""
        dropped = 0
        for stored in list(self._old(MANIFESTS)):
            between()
            _, _, place = stored.key.partition(MANIFESTS)
            repository, _, rest = place.partition("/")
            digest, slash, _ = rest.partition("/")
            if not slash:
                continue  # what an earlier version kept there
            parsed = Digest.parse(digest)
            # One after the other, in the order in which a removal takes the bytes from the one to the other.
            content = self._table.get(content_key(repository, parsed)) or {}
            removed = self._table.get(removed_manifest_key(repository, parsed)) or {}
            if stored.key not in {content.get("key"), removed.get("key")}:
                self._store.delete(stored.key)
                dropped += 1
        return dropped

    def _abort_parts(self, between: Callable[[], object]) -> int:
        if self._multipart is None:
            return 0
        latest, aborted = self._clock.now() - timedelta(seconds=GRACE), 0
        for key, identifier, begun in list(self._multipart.unfinished(DATA)):
            between()
            upload = key.split("/")[1]
            record = self._records.read(upload)
            if begun <= latest and not _goes_on(record, identifier):
                self._multipart.abort(key, identifier)
                aborted += 1
        return aborted


def _goes_on(record: Attributes | None, multipart: str) -> bool:
    """May parts of it still become an upload's? Those of one that was finished meanwhile will not."""
    return record is not None and record.get("multipart") == multipart and not ({"ended", "digest"} & record.keys())
