"""What crashes, lost answers and lost events leave in the store: objects that no record names and nobody will name.

An upload's id begins with its time, and a Location lives for a day: after that nobody begins to use bytes that nobody has
taken. Only what is between one and a few days old is looked at in the table, so the cost follows what was pushed since, not
what is stored; but keys of the direct lane are in no order of time, and all of them are listed. No clock is trusted with
data: before an upload's bytes go its record is made to say that it has ended, which fails if they were adopted, and after
which they cannot be.

What was missed by all sweeps the audit finds (``audit.py``): it has each object of the store looked at here, however old.
Uploads are forgotten by then; whose bytes an old object is, only the bytes themselves can tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta

from chalicelib.registry.adoption import Direct
from chalicelib.registry.attempts import settled
from chalicelib.registry.errors import UploadUnknown
from chalicelib.registry.keys import DATA, DIRECT, MANIFESTS, PROOFS
from chalicelib.registry.names import ALGORITHMS, Digest
from chalicelib.registry.ports import (
    EXPIRES,
    Attributes,
    BlobMissing,
    BlobStore,
    Clock,
    ConditionFailed,
    Lacks,
    Multipart,
    Stored,
    Table,
    Update,
)
from chalicelib.registry.records import blob_key, content_key, direct_key, removed_manifest_key, retired_key, text
from chalicelib.registry.times import seconds
from chalicelib.registry.upkeep.hashing import hashed
from chalicelib.registry.upkeep.pace import Pace
from chalicelib.registry.upload_records import LIFETIME, REMEMBERED, UploadRecords, begun_at

GRACE = LIFETIME + 3600
"""Seconds after which what was begun is nobody's any more: its life, and an hour for clocks that differ."""

WINDOW = 3 * 24 * 3600
"""Seconds back from there that are looked at: a daily sweep may fail twice."""

_PIECE = re.compile(rf"{DATA}([0-9a-f]{{32}})/.*", re.ASCII)
_MANIFEST = re.compile(rf"{MANIFESTS}([^/]+)/(sha256:[0-9a-f]{{64}}|sha512:[0-9a-f]{{128}})/.*", re.ASCII)


class Leftovers:
    """Sweeps the store. ``multipart`` is the store's, if it has one."""

    def __init__(self, table: Table, store: BlobStore, clock: Clock, multipart: Multipart | None = None) -> None:
        self._table = table
        self._store = store
        self._clock = clock
        self._multipart = multipart
        self._records = UploadRecords(table, clock)

    def sweep(self, pace: Pace, after: str = "") -> None:
        """Drop what is left over, objects and unfinished multipart uploads. Cursors are the keys that were looked at: one that
        was ended goes on ``after`` the last. Raises what ``pace`` raises."""
        for stored in self._candidates(after):
            if self._is_of_late(stored) and self.drop(stored, pace.checkpoint):
                pace.count("objects")
            pace.checkpoint(stored.key)
        self._abort_parts(pace)

    def _candidates(self, after: str) -> Iterator[Stored]:
        """What may have been begun within the window, in order of key."""
        latest = self._latest() - WINDOW
        for stored in self._store.list(DATA, max(after, f"{DATA}{max(0, latest):08x}")):
            upload = _upload_of(stored.key)
            if upload and begun_at(upload) > self._latest():
                break
            yield stored
        for prefix in (DIRECT, MANIFESTS, PROOFS):
            yield from self._store.list(prefix, after)

    def _is_of_late(self, stored: Stored) -> bool:
        return stored.key.startswith(DATA) or stored.modified.timestamp() >= self._latest() - WINDOW

    def _latest(self) -> int:
        return seconds(self._clock) - GRACE

    def drop(self, stored: Stored, go_on: Callable[[], None]) -> bool:
        """Drop one object of any place if it is left over; False if it stays. ``go_on`` is called now and then while its bytes
        are read, where that is needed, and may raise what ends that."""
        key, is_old = stored.key, stored.modified.timestamp() <= self._latest()
        if key.startswith(DATA):
            upload = _upload_of(key)
            return begun_at(upload) <= self._latest() and self._drop_piece(key, upload, go_on) if upload else False
        if key.startswith(DIRECT):
            direct = Direct.parse(key)
            return direct is not None and is_old and self._drop_unclaimed(key, direct.upload, direct.digest)
        if not is_old or (key.startswith(MANIFESTS) and self._is_manifest(key)):
            return False
        return self._delete(key)

    def _drop_piece(self, key: str, upload: str, go_on: Callable[[], None]) -> bool:
        """The upload's record says whose bytes a piece is, for as long as it is kept after the upload ended. That there is none
        proves nothing, however young the upload is: a clock that was days ahead for a minute had the table drop it."""
        record = self._records.read(upload)
        if record is not None and "digest" not in record and "ended" not in record:
            return False  # under way; the expiry of uploads drops it with its record
        if record is None or ("ended" in record and begun_at(upload) + REMEMBERED <= self._records.now()):
            return self._drop_forgotten(key, upload, go_on)
        return self._drop_unclaimed(key, upload, None)

    def _drop_forgotten(self, key: str, upload: str, go_on: Callable[[], None]) -> bool:
        try:
            digests = hashed(self._store, key, ALGORITHMS, go_on).digests
        except BlobMissing:
            return False
        if any(self._is_blob(digest, key) for digest in digests):
            return False
        self._close(upload, None)
        return not any(self._is_blob(digest, key) for digest in digests) and self._delete(key)

    def _drop_unclaimed(self, key: str, upload: str, digest: Digest | None) -> bool:
        if self._is_taken(key, upload, digest):
            return False
        self._close(upload, digest)
        return not self._is_taken(key, upload, digest) and self._delete(key)  # nor taken while it was closed

    def _delete(self, key: str) -> bool:
        """What is retired is the collector's."""
        if self._table.get(retired_key(key)) is not None:
            return False
        self._store.delete(key)
        return True

    def _is_taken(self, key: str, upload: str, digest: Digest | None) -> bool:
        """Is it a blob's, or that of an upload which still lives? ``digest``: what its bytes should have, if that is known."""
        if digest is None:
            record = self._records.read(upload)
            if record is None or "ended" in record:
                return False
            if "digest" not in record:
                return True
            digest = Digest.parse(text(record, "digest"))
        return self._is_blob(digest, key)

    def _is_blob(self, digest: Digest, key: str) -> bool:
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

    def _is_manifest(self, key: str) -> bool:
        """Is it a manifest's, or was it put by an earlier version? Else its bytes were put for a push that died then, or that
        found the manifest there already. A push takes minutes: none that began before those is going to name them."""
        place = _MANIFEST.fullmatch(key)
        if place is None:
            return True
        repository, digest = place[1], Digest.parse(place[2])
        # One after the other, in the order in which a removal takes the bytes from the one to the other.
        content = self._table.get(content_key(repository, digest)) or {}
        removed = self._table.get(removed_manifest_key(repository, digest)) or {}
        return key in {content.get("key"), removed.get("key")}

    def _abort_parts(self, pace: Pace) -> None:
        if self._multipart is None:
            return
        latest = self._clock.now() - timedelta(seconds=GRACE)
        for key, identifier, begun in list(self._multipart.unfinished(DATA)):
            pace.checkpoint()
            upload = key.split("/")[1]
            record = self._records.read(upload)
            if begun <= latest and not _goes_on(record, identifier):
                self._multipart.abort(key, identifier)
                pace.count("objects")


def _upload_of(key: str) -> str:
    """The upload of a key of ``data/``; "" for what an earlier version kept there."""
    piece = _PIECE.fullmatch(key)
    return piece[1] if piece else ""


def _goes_on(record: Attributes | None, multipart: str) -> bool:
    """May parts of it still become an upload's? Those of one that was finished meanwhile will not."""
    return record is not None and record.get("multipart") == multipart and not ({"ended", "digest"} & record.keys())
