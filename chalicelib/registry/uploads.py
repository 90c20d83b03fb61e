"""Uploads: bytes on their way to becoming a blob.

An upload belongs to one repository and one account; anybody else is told that it does not exist. Its bytes lie under a
store key of their own, which is never used again. ``size`` in the record is what the client was told has arrived; staged
bytes beyond it come from a request that was cut off before it was recorded, and the next append cuts them off.

Two lanes lead here (the direct lane to S3 is the edge's): inline, where the request's body is at hand (``append``), and
relay, where a server streams it into the store beside the application (``open`` before, ``close`` after). The newest
writer wins: ``close`` of an earlier one is refused, and whatever a confused pair of writers left is caught by the proof.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace

from chalicelib.registry.attempts import retried, settled
from chalicelib.registry.blobs import Blob, Blobs
from chalicelib.registry.errors import DigestMismatch, RangeInvalid, SizeInvalid, UploadInvalid, UploadUnknown
from chalicelib.registry.names import ALGORITHMS, Digest, RepositoryName
from chalicelib.registry.ports import (
    EXPIRES,
    Absent,
    All,
    Attributes,
    BlobMissing,
    BlobStore,
    Clock,
    ConditionFailed,
    Delete,
    Equals,
    Exists,
    Item,
    Key,
    Lacks,
    Put,
    Table,
    Update,
    Write,
    WrongOffset,
)
from chalicelib.registry.records import UNFINISHED_PARTITION, last_segment, number, text, unfinished_key, upload_key
from chalicelib.registry.repositories import Repository

LIFETIME = 24 * 3600
"""Seconds that an upload lives after its last progress; a finished one is remembered as long, so that a client whose
answer got lost may finish it again."""


_STRETCH = 200
"""Index items read at a time."""

_IDENTIFIER = re.compile(r"[0-9a-f]{32}", re.ASCII)

_UNKNOWN = -1
"""An ``until`` that was not announced."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk's place as announced by Content-Range: its first byte, and how many bytes there are."""

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload. ``size``: bytes received so far; ``writer``: who may record the next, and ``until`` which offset it said it
    would go; ``digest``: "" until finished; times in seconds since the epoch."""

    id: str
    repository: str
    name: RepositoryName
    account: str
    key: str
    size: int
    until: int
    writer: str
    digest: str
    begun_at: int
    expires_at: int


class Uploads:
    """The uploads under way."""

    def __init__(self, table: Table, store: BlobStore, blobs: Blobs, clock: Clock) -> None:
        self._table = table
        self._store = store
        self._blobs = blobs
        self._clock = clock

    def begin(self, repository: Repository, account: str) -> Upload:
        """A fresh upload. Raises StoreFull, Busy."""
        identifier, now = secrets.token_hex(16), self._now()
        upload = Upload(
            id=identifier,
            repository=repository.id,
            name=repository.name,
            account=account,
            key=upload_bytes(identifier),
            size=0,
            until=_UNKNOWN,
            writer="",
            digest="",
            begun_at=now,
            expires_at=now + LIFETIME,
        )
        self._stage(upload.key, 0, b"")
        record = Put(upload_key(identifier), _attributes(upload), Absent())
        settled(lambda: self._table.transact([record, Put(unfinished_key(now, identifier), {})]))
        return upload

    def get(self, identifier: str, name: RepositoryName, account: str) -> Upload:
        """An upload that is under way, of this repository and account. Raises UploadUnknown."""
        upload = self._find(identifier, name, account)
        if upload.digest:
            raise UploadUnknown
        return upload

    def owns(self, key: str) -> bool:
        """Are the bytes under this store key those of an upload that is not finished?"""
        attributes = self._read(key.removeprefix("data/"))
        return attributes is not None and "digest" not in attributes

    def written_by(self, identifier: str, name: RepositoryName, writer: str) -> Upload:
        """An upload under way, for whoever holds the writer's secret that ``open`` gave.

        Raises UploadUnknown, RangeInvalid if another writer came since.
        """
        attributes = self._read(identifier)
        if attributes is None:
            raise UploadUnknown
        upload = self.get(identifier, name, text(attributes, "account"))
        if not writer or not secrets.compare_digest(upload.writer.encode(), writer.encode()):
            raise RangeInvalid(upload.size, "another request wrote to this upload meanwhile")
        return upload

    def _find(self, identifier: str, name: RepositoryName, account: str) -> Upload:
        attributes = self._read(identifier)
        upload = None if attributes is None else _upload(identifier, attributes)
        if upload is None or upload.name != name or upload.account != account or upload.expires_at <= self._now():
            raise UploadUnknown
        return upload

    def _read(self, identifier: str) -> Attributes | None:
        return self._table.get(upload_key(identifier)) if _IDENTIFIER.fullmatch(identifier) else None

    def append(self, upload: Upload, content: bytes, chunk: Chunk | None) -> Upload:
        """The inline lane: add the request's body. Raises RangeInvalid, SizeInvalid, UploadUnknown, StoreFull."""
        _check_chunk(upload, chunk, len(content))
        if not content:
            return upload
        size = self._stage(upload.key, upload.size, content)
        return self._record(upload, size, Equals("size", upload.size))

    def open(self, upload: Upload, chunk: Chunk | None, length: int | None) -> Upload:
        """The relay lane: let a new writer append at ``size``; ``length`` is the body's, None if not announced.

        Raises RangeInvalid, SizeInvalid, UploadUnknown.
        """
        _check_chunk(upload, chunk, length)
        opened = replace(upload, writer=secrets.token_hex(8), until=chunk.start + chunk.length if chunk else _UNKNOWN)
        self._update(upload, {"writer": opened.writer, "until": opened.until, EXPIRES: self._deadline()}, Lacks("digest"))
        return opened

    def close(self, upload: Upload, writer: str, size: int) -> Upload:
        """The relay lane: record that the writer staged up to ``size``; less than it announced is what a broken connection
        leaves. Raises RangeInvalid if another writer came since, SizeInvalid if it is more, UploadUnknown."""
        if upload.until != _UNKNOWN and size > upload.until:
            raise SizeInvalid(announced=upload.until, received=size)
        stored = self._store.stat(upload.key)
        if writer != upload.writer or stored is None or stored.size < size:
            raise RangeInvalid(upload.size, "another request wrote to this upload meanwhile")
        return self._record(upload, size, Equals("writer", writer))

    def finish(
        self, identifier: str, name: RepositoryName, account: str, digest: Digest, *, body: bytes, chunk: Chunk | None
    ) -> Blob:
        """Append what is left, prove that all bytes hash to ``digest``, and make them the repository's blob.

        Finishing a finished upload under the same digest answers the same. Raises UploadUnknown, RangeInvalid,
        SizeInvalid, DigestMismatch (and the upload is gone), Busy.
        """
        upload = self._find(identifier, name, account)
        if upload.digest:
            return self._finished(upload, digest)
        upload = self.append(upload, body, chunk)
        self._prove(upload, digest)
        blob = retried(lambda: self._adopt(upload, digest))
        if blob.key != upload.key:
            self._store.delete(upload.key)
        return blob

    def _finished(self, upload: Upload, digest: Digest) -> Blob:
        blob = self._blobs.find(upload.repository, digest)
        if upload.digest != str(digest) or blob is None:
            raise UploadUnknown
        return blob

    def _prove(self, upload: Upload, digest: Digest) -> None:
        stored = self._store.stat(upload.key)
        if stored is None or stored.size < upload.size:
            raise UploadUnknown
        if stored.size > upload.size:
            self._stage(upload.key, upload.size, b"")
        try:
            size = self._store.prove(upload.key, digest)
        except BlobMissing:
            raise UploadUnknown from None
        if size != upload.size:
            self._drop(upload)
            raise DigestMismatch(digest=str(digest))

    def _adopt(self, upload: Upload, digest: Digest) -> Blob:
        changes: Attributes = {"digest": str(digest), EXPIRES: self._deadline()}
        done = Update(upload_key(upload.id), set=changes, condition=All((Exists(), Lacks("digest"))))
        also: list[Write] = [done, Delete(unfinished_key(upload.begun_at, upload.id))]
        try:
            return self._blobs.adopt(upload.repository, upload.name, digest, upload.key, upload.size, also=also)
        except ConditionFailed:
            current = self._find(upload.id, upload.name, upload.account)
            if current.digest:
                return self._finished(current, digest)
            raise

    def cancel(self, upload: Upload) -> None:
        """End it and drop its bytes. Raises UploadUnknown if it was finished meanwhile."""
        self._drop(upload)

    def sweep(self, limit: int) -> int:
        """Drop up to ``limit`` uploads that expired unfinished, oldest first; how many were dropped."""
        dropped = 0
        for item in self._unfinished():
            if dropped == limit:
                break
            identifier = last_segment(item.key.sort)
            attributes = self._table.get(upload_key(identifier))
            if attributes is not None and number(attributes, EXPIRES) > self._now():
                continue
            try:
                self._expire(identifier, item.key)
            except ConditionFailed:
                continue  # finished just now
            self._store.delete(upload_bytes(identifier))
            dropped += 1
        return dropped

    def _unfinished(self) -> Iterator[Item]:
        after = ""
        while items := self._table.query(UNFINISHED_PARTITION, after=after, limit=_STRETCH):
            yield from items
            after = items[-1].key.sort

    def _expire(self, identifier: str, index: Key) -> None:
        """Raises ConditionFailed if it was finished just now."""
        settled(lambda: self._table.transact([Delete(upload_key(identifier), Lacks("digest")), Delete(index)]))

    def _drop(self, upload: Upload) -> None:
        """The record goes first: bytes without a record are waste, a record without bytes would be a promise."""
        index = Delete(unfinished_key(upload.begun_at, upload.id))
        unfinished = All((Exists(), Lacks("digest")))
        try:
            settled(lambda: self._table.transact([Delete(upload_key(upload.id), unfinished), index]))
        except ConditionFailed:
            raise UploadUnknown from None
        self._store.delete(upload.key)

    def _stage(self, key: str, offset: int, content: bytes) -> int:
        try:
            return self._store.append(key, offset, content)
        except WrongOffset as wrong:
            raise RangeInvalid(wrong.size) from None

    def _record(self, upload: Upload, size: int, condition: Equals) -> Upload:
        deadline = self._deadline()
        self._update(upload, {"size": size, EXPIRES: deadline}, condition)
        return replace(upload, size=size, expires_at=deadline)

    def _update(self, upload: Upload, changes: Attributes, condition: Equals | Lacks) -> None:
        unfinished = All((Exists(), Lacks("digest"), condition))
        try:
            settled(lambda: self._table.write(Update(upload_key(upload.id), set=changes, condition=unfinished)))
        except ConditionFailed:
            current = self.get(upload.id, upload.name, upload.account)
            raise RangeInvalid(current.size, "another request wrote to this upload meanwhile") from None

    def _now(self) -> int:
        return int(self._clock.now().timestamp())

    def _deadline(self) -> int:
        return self._now() + LIFETIME


def check_algorithm(text: str) -> None:
    """Is it one that uploads may be announced for? Which one counts is said by the digest at the end.

    Raises UploadInvalid.
    """
    if text not in ALGORITHMS:
        raise UploadInvalid(f"digest-algorithm must be one of {', '.join(sorted(ALGORITHMS))}", algorithm=text[:100])


def _check_chunk(upload: Upload, chunk: Chunk | None, length: int | None) -> None:
    if chunk is None:
        return
    if length is not None and chunk.length != length:
        raise SizeInvalid("Content-Range and the length of the body differ", announced=chunk.length, received=length)
    if chunk.start != upload.size:
        raise RangeInvalid(upload.size)


def _attributes(upload: Upload) -> Attributes:
    return {
        "repository": upload.repository,
        "name": str(upload.name),
        "account": upload.account,
        "size": upload.size,
        "until": upload.until,
        "writer": upload.writer,
        "begun_at": upload.begun_at,
        EXPIRES: upload.expires_at,
    }


def _upload(identifier: str, attributes: Attributes) -> Upload:
    return Upload(
        id=identifier,
        repository=text(attributes, "repository"),
        name=RepositoryName.parse(text(attributes, "name")),
        account=text(attributes, "account"),
        key=upload_bytes(identifier),
        size=number(attributes, "size"),
        until=number(attributes, "until"),
        writer=text(attributes, "writer"),
        digest=text(attributes, "digest") if "digest" in attributes else "",
        begun_at=number(attributes, "begun_at"),
        expires_at=number(attributes, EXPIRES),
    )


def upload_bytes(identifier: str) -> str:
    """The store's key of an upload's bytes; nothing else ever lies there."""
    return f"data/{identifier}"
