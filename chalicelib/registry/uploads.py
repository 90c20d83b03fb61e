"""Uploads: bytes on their way to becoming a blob.

An upload belongs to one repository and one account; anybody else is told that it does not exist. What arrives is kept as
pieces, each an object under a key of its own that never changes and is never used again: a request whose body is at hand
makes one here (``append``), a relay that streams a body makes one in ``relays.py``. The direct lane does without all this
(``adoption.py``).

``finish`` proves that the pieces together have the digest and makes them a blob. A single piece whose hash was taken when it
came is adopted where it lies. More are assembled, which reads them: if that takes long, another process does it
(``proofs.py``) and whoever asks meanwhile waits, or is told to come again.
"""

from __future__ import annotations

import hashlib

from chalicelib.registry.attempts import retried, settled
from chalicelib.registry.blobs import Blob, Blobs
from chalicelib.registry.errors import (
    BlobUnknown,
    DigestMismatch,
    RangeInvalid,
    RegistryError,
    UploadInvalid,
    UploadUnknown,
)
from chalicelib.registry.names import ALGORITHMS, Digest
from chalicelib.registry.pages import every
from chalicelib.registry.ports import (
    EXPIRES,
    Attributes,
    BlobMissing,
    BlobStore,
    Clock,
    ConditionFailed,
    Delete,
    Item,
    Multipart,
    Piece,
    StoreFull,
    Table,
)
from chalicelib.registry.proofs import AT_ONCE, Proofs
from chalicelib.registry.records import UNFINISHED_PARTITION, last_segment, number
from chalicelib.registry.relays import take_up
from chalicelib.registry.repositories import Repository
from chalicelib.registry.upload_records import (
    LIFETIME,
    Chunk,
    Ticket,
    Upload,
    UploadRecords,
    check_chunk,
    check_length,
    fresh,
    new_identifier,
    piece_key,
    pieces_prefix,
)


class Uploads:
    """The uploads under way. ``multipart`` is the store's, if relays send parts to it."""

    def __init__(
        self,
        table: Table,
        store: BlobStore,
        blobs: Blobs,
        clock: Clock,
        *,
        multipart: Multipart | None = None,
        proofs: Proofs | None = None,
    ) -> None:
        self._table = table
        self._store = store
        self._blobs = blobs
        self._multipart = multipart
        self._proofs = proofs
        self._records = UploadRecords(table, clock)

    def begin(self, repository: Repository, account: str) -> Upload:
        """A fresh upload. Nothing is written for it: many are begun and only looked at."""
        now = self._records.now()
        return Upload(new_identifier(now), repository.id, repository.name, account, now + LIFETIME)

    def get(self, ticket: Ticket) -> Upload:
        """The upload as it is now, what a dead relay left included. Raises UploadUnknown."""
        return self._current(ticket)

    def _current(self, upload: Ticket | Upload) -> Upload:
        return take_up(self._records, self._multipart, self._records.under_way(upload))

    def append(self, ticket: Ticket, content: bytes, chunk: Chunk | None) -> Upload:
        """Add the request's body. Raises RangeInvalid, SizeInvalid, UploadUnknown, UploadInvalid, StoreFull, Busy."""
        begins = not ticket.size and (chunk is None or chunk.start == 0)
        # A first chunk is nearly always the first: that is written without a look, on the condition that it is.
        upload = fresh(ticket) if begins and content else self.get(ticket)
        check_chunk(upload, chunk, len(content))
        return self._append(upload, content, chunk) if content else upload

    def _append(self, upload: Upload, content: bytes, chunk: Chunk | None) -> Upload:
        piece, sha256 = self._put(upload, content), hashlib.sha256(content).hexdigest()
        try:
            return self._record(upload, piece, sha256, chunk)
        except (RegistryError, StoreFull):
            self._delete_unless_recorded(upload, piece)
            raise

    def _record(self, upload: Upload, piece: Piece, sha256: str, chunk: Chunk | None) -> Upload:
        try:
            return self._records.add_piece(upload, piece, sha256)
        except RangeInvalid:
            current = self._current(upload)
            if piece in current.pieces:
                return current  # it was recorded, and the table's answer was lost
            if upload.is_recorded:
                raise
            # A client may use its first Location again and again; the body's place is where the last one ended.
            check_chunk(current, chunk, piece.size)
            return self._records.add_piece(current, piece, sha256)

    def _delete_unless_recorded(self, upload: Upload, piece: Piece) -> None:
        """A write that failed may have come to pass, if its answer was lost: what a record names is never taken away."""
        if not self._records.holds(upload.id, piece.key):
            self._store.delete(piece.key)

    def _put(self, upload: Upload, content: bytes) -> Piece:
        piece = Piece(piece_key(upload.id), len(content))
        self._store.put(piece.key, content)
        return piece

    def finish(self, ticket: Ticket, digest: Digest, *, body: bytes = b"", chunk: Chunk | None = None) -> Blob:
        """Append what is left, prove that all bytes hash to ``digest``, and make them the repository's blob.

        Finishing a finished upload under the same digest answers the same. Raises UploadUnknown, RangeInvalid,
        SizeInvalid, DigestMismatch (and the upload is gone), Unproven, StoreFull, Busy.
        """
        check_length(chunk, len(body))
        if body and not ticket.size and (chunk is None or chunk.start == 0) and Digest.of(body, digest.algorithm) == digest:
            return self._adopt_new(fresh(ticket), digest, body)
        if not body and ticket.piece and str(digest) == f"sha256:{ticket.sha256}":
            return self._adopt(_told(ticket, ticket.piece), digest, ticket.piece.key, ticket.piece.size)
        upload = self._records.find(ticket)
        if upload.digest:
            return self._finished(upload, digest)
        upload = take_up(self._records, self._multipart, upload)
        if body or chunk:
            check_chunk(upload, chunk, len(body))
            upload = self._append(upload, body, chunk) if body else upload
        if self._proofs is not None and _is_long(upload, digest):
            return self._proofs.settle(upload, digest, lambda: self._finished(self._records.find(upload), digest))
        return self.prove(upload, digest)

    def _adopt_new(self, upload: Upload, digest: Digest, body: bytes) -> Blob:
        """All bytes came at once and are right: no record is needed before the last one."""
        piece = self._put(upload, body)
        try:
            return self._adopt(upload, digest, piece.key, piece.size)
        except (RegistryError, StoreFull):
            self._delete_unless_recorded(upload, piece)
            raise

    def prove(self, upload: Upload, digest: Digest) -> Blob:
        """Prove a recorded upload's bytes, however long that takes, and make them the blob; see ``finish``."""
        try:
            proven = self._proven(upload, digest)
        except BlobMissing:
            raise UploadUnknown from None
        if proven is None:
            self._drop(upload, refused=str(digest))
            raise DigestMismatch(digest=str(digest))
        blob = self._adopt(upload, digest, proven, upload.size)
        for key in {piece.key for piece in upload.pieces} - {proven, blob.key}:
            self._store.delete(key)
        return blob

    def _proven(self, upload: Upload, digest: Digest) -> str | None:
        """The key under which the upload's bytes lie as one object; None if they do not have the digest."""
        if upload.sha256 and digest.algorithm == "sha256":
            return upload.pieces[0].key if upload.sha256 == digest.hex else None
        if len(upload.pieces) == 1:
            return None if self._store.check(upload.pieces[0].key, digest) is None else upload.pieces[0].key
        key = piece_key(upload.id)
        return None if self._store.assemble(upload.pieces, key, digest) is None else key

    def _adopt(self, upload: Upload, digest: Digest, key: str, size: int) -> Blob:
        """Finish the upload with proven bytes, which are dropped if it was finished before or the registry has them already."""

        def adopt() -> Blob:
            also = self._records.finished(upload, digest, key)
            try:
                return self._blobs.adopt(upload.repository, upload.name, digest, key, size, also=also)
            except ConditionFailed:
                current = self._records.find(upload)
                if current.digest:
                    return self._finished(current, digest)
                raise

        blob = retried(adopt)
        if blob.key != key:
            self._store.delete(key)
        return blob

    def _finished(self, upload: Upload, digest: Digest) -> Blob:
        blob = self._blobs.find(upload.repository, digest)
        if upload.digest != str(digest) or blob is None:
            raise UploadUnknown
        try:
            return self._blobs.keep(blob)
        except BlobUnknown:
            raise UploadUnknown from None

    def cancel(self, ticket: Ticket) -> None:
        """End it and drop its bytes. Raises UploadUnknown if there is none, or it was finished meanwhile."""
        self._drop(self._records.under_way(ticket))

    def sweep(self, limit: int) -> int:
        """Drop up to ``limit`` uploads that expired unfinished, oldest first; how many were dropped."""
        dropped = 0
        for item in every(self._table, UNFINISHED_PARTITION):
            if dropped == limit:
                break
            identifier = last_segment(item.key.sort)
            attributes = self._records.read(identifier)
            if attributes is not None and number(attributes, EXPIRES) > self._records.now():
                continue
            dropped += self._expire(identifier, attributes or {}, item)
        return dropped

    def _expire(self, identifier: str, attributes: Attributes, index: Item) -> bool:
        """``attributes`` are those of its record, none if the table has dropped it by itself."""
        try:
            self._records.end(identifier)
        except UploadUnknown:
            settled(lambda: self._table.write(Delete(index.key)))
            return False  # finished just now
        self._drop_bytes(identifier, str(attributes.get("writing", "")), str(attributes.get("multipart", "")))
        return True

    def _drop(self, upload: Upload, refused: str = "") -> None:
        self._records.end(upload.id, refused)
        self._drop_bytes(upload.id, upload.writing, upload.multipart)

    def _drop_bytes(self, identifier: str, writing: str = "", multipart: str = "") -> None:
        if multipart and self._multipart is not None:
            self._multipart.abort(writing, multipart)
        elif writing:
            self._store.delete(writing)
        for stored in list(self._store.list(pieces_prefix(identifier))):
            self._store.delete(stored.key)


def check_algorithm(text: str) -> None:
    """Is it one that uploads may be announced for? Which one counts is said by the digest at the end.

    Raises UploadInvalid.
    """
    if text not in ALGORITHMS:
        raise UploadInvalid(f"digest-algorithm must be one of {', '.join(sorted(ALGORITHMS))}", algorithm=text[:100])


def _is_long(upload: Upload, digest: Digest) -> bool:
    return upload.size > AT_ONCE and not (upload.sha256 and digest.algorithm == "sha256")


def _told(ticket: Ticket, piece: Piece) -> Upload:
    """The upload as its ticket has it."""
    return Upload(
        ticket.id,
        ticket.repository,
        ticket.name,
        ticket.account,
        ticket.expires_at,
        pieces=(piece,),
        sha256=ticket.sha256,
        is_recorded=True,
    )
