"""Pieces that a relay writes: a program that streams a request's body to where objects lie, and asks here before and after.

``StagedRelay`` is for a relay beside the store (one machine): it appends to what is staged under a key. ``PartsRelay`` is for
one that has no way to the store but signed URLs: it sends parts of a multipart upload. Either way a body becomes one piece,
and the newest writer wins: an earlier one finds, when it is done, that its piece is not wanted any more. What a relay that
died had sent in parts is taken up by whoever comes next.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from chalicelib.registry.errors import RangeInvalid, RegistryError, SizeInvalid, UploadUnknown
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.ports import BlobMissing, BlobStore, Multipart, Part, PartsInvalid, Piece, Staging, StoreFull
from chalicelib.registry.upload_records import (
    UNANNOUNCED,
    Chunk,
    Ticket,
    Upload,
    UploadRecords,
    check_chunk,
    fresh,
    piece_key,
)

PART = 8 * 1024 * 1024
"""Bytes of each part but the last. A relay holds several in memory; 10,000 of them are 80 GB, the most of one body."""

MAX_PARTS = 10_000


def take_up(records: UploadRecords, multipart: Multipart | None, upload: Upload) -> Upload:
    """The upload with the parts that a relay sent before it died, made a piece. Should it be alive, it is told when it ends.

    Raises RangeInvalid if others wrote meanwhile, UploadUnknown, Busy.
    """
    if multipart is None or not upload.multipart:
        return upload
    parts = sent(multipart, upload)
    if not parts:
        return upload
    try:
        multipart.complete(upload.writing, upload.multipart, parts)
    except PartsInvalid:
        return upload  # ended just now, by its relay or by another who took it up
    return records.add_piece(upload, Piece(upload.writing, sum(part.size for part in parts)), "")


def sent(multipart: Multipart, upload: Upload) -> Sequence[Part]:
    """The parts that have arrived, up to the first that has not."""
    try:
        found = multipart.parts(upload.writing, upload.multipart)
    except PartsInvalid:
        return ()
    return [part for place, part in enumerate(found, 1) if part.number == place]


_WRITER = re.compile(r"[0-9a-f]{16}", re.ASCII)


def announced(chunk: Chunk | None) -> int:
    return UNANNOUNCED if chunk is None else chunk.start + chunk.length


class StagedRelay:
    """For a relay beside the store."""

    def __init__(self, records: UploadRecords, store: BlobStore, staging: Staging) -> None:
        self._records = records
        self._store = store
        self._staging = staging

    def open(self, ticket: Ticket, chunk: Chunk | None, length: int | None) -> Upload:
        """Let a new writer stage a piece under ``writing``; ``length`` is the body's, None if not announced.

        Raises RangeInvalid, SizeInvalid, UploadUnknown, Busy.
        """
        upload = self._records.under_way(ticket)
        check_chunk(upload, chunk, length)
        return self._records.set_writer(upload, secrets.token_hex(8), announced(chunk))

    def close(self, identifier: str, name: RepositoryName, writer: str, size: int) -> Upload:
        """Record what the writer staged as far as offset ``size``; less than it announced is what a broken connection leaves.
        The writer's secret stands for the client, whose token was checked when it was given.

        Raises RangeInvalid if another writer came since or less was staged, SizeInvalid if it is more than announced,
        UploadUnknown, StoreFull, Busy.
        """
        upload = self._records.recorded(identifier)
        if upload.name != name or not _WRITER.fullmatch(writer):
            raise UploadUnknown
        key = piece_key(upload.id, writer)
        try:
            if not secrets.compare_digest(upload.writing, key):
                raise RangeInvalid(upload.size, "another request wrote to this upload meanwhile")
            if upload.until != UNANNOUNCED and size > upload.until:
                raise SizeInvalid(announced=upload.until, received=size)
            if size == upload.size:
                self._store.delete(key)
                return upload
            return self._seal(upload, key, size)
        except (RegistryError, StoreFull):
            if not self._records.holds(identifier, key):
                self._store.delete(key)
            raise

    def _seal(self, upload: Upload, key: str, size: int) -> Upload:
        try:
            sealed = self._staging.seal(key)
        except BlobMissing:
            raise RangeInvalid(upload.size) from None
        if upload.size + sealed.size != size:
            raise RangeInvalid(upload.size)
        return self._records.add_piece(upload, Piece(key, sealed.size), sealed.sha256)


@dataclass(frozen=True, slots=True)
class Writing:
    """What a relay that sends parts is told, and vouched for: ``ticket`` is of the upload it writes to, ``offset`` where its
    piece goes, ``writer`` its secret, which names the piece's key, ``multipart`` the id of the multipart upload."""

    ticket: Ticket
    offset: int
    writer: str
    multipart: str
    until: int = UNANNOUNCED

    @property
    def key(self) -> str:
        return piece_key(self.ticket.id, self.writer)


class PartsRelay:
    """For a relay without a way to the store but signed URLs."""

    def __init__(self, records: UploadRecords, store: BlobStore, multipart: Multipart) -> None:
        self._records = records
        self._store = store
        self._multipart = multipart

    def begin(self, ticket: Ticket, chunk: Chunk | None, length: int | None) -> Writing:
        """Let a new writer send a piece in parts. Raises RangeInvalid, SizeInvalid, UploadUnknown, Busy."""
        if not ticket.size and (chunk is None or chunk.start == 0):
            # A first piece is nearly always the first: that is written without a look, on the condition that it is.
            with suppress(RangeInvalid):
                return self._begin(fresh(ticket), chunk, length)
        return self._begin(take_up(self._records, self._multipart, self._records.under_way(ticket)), chunk, length)

    def _begin(self, upload: Upload, chunk: Chunk | None, length: int | None) -> Writing:
        check_chunk(upload, chunk, length)
        writer = secrets.token_hex(8)
        key = piece_key(upload.id, writer)
        multipart = self._multipart.begin(key)
        try:
            begun = self._records.set_writer(upload, writer, announced(chunk), multipart)
        except RegistryError:
            self._multipart.abort(key, multipart)
            raise
        if upload.multipart:
            self._multipart.abort(upload.writing, upload.multipart)  # of a writer that is outrun, and had sent nothing
        told = replace(begun.ticket, piece=None, sha256="")
        return Writing(told, begun.size, writer, multipart, begun.until)

    def urls(self, writing: Writing, first: int, count: int) -> Sequence[str]:
        """Where parts ``first`` and on are to be sent; no record is read for it."""
        return self._multipart.part_urls(writing.key, writing.multipart, first, count)

    def end(self, writing: Writing, parts: Sequence[Part], size: int, sha256: str) -> Upload:
        """Make a piece of the parts, up to offset ``size``; ``sha256`` is the piece's if one who is trusted says so, else "".

        Ending it again, because the answer was lost, has the same outcome. Raises SizeInvalid, RangeInvalid if another writer
        came since, UploadUnknown, StoreFull, Busy.
        """
        length = sum(part.size for part in parts)
        if writing.offset + length != size or (writing.until != UNANNOUNCED and size > writing.until):
            self.abort(writing)
            raise SizeInvalid(announced=size, received=writing.offset + length)
        if not parts:
            self.abort(writing)
            return self._records.under_way(writing.ticket)
        # As it was left by ``begin``: if it was not the first piece, what came before has to be read.
        upload = self._begun(writing) if not writing.offset else self._records.find(writing.ticket)
        if _holds(upload, writing):
            return upload
        try:
            self._multipart.complete(writing.key, writing.multipart, parts)
        except PartsInvalid:
            raise RangeInvalid(self._records.under_way(writing.ticket).size, "these are not the parts that arrived") from None
        try:
            return self._with_piece(upload, writing, length, sha256)
        except (RangeInvalid, UploadUnknown):
            ended = self._ended_before(writing)
            if ended is None:
                self._store.delete(writing.key)  # its writer was outrun: no record will ever name it
                raise
            return ended

    def _with_piece(self, upload: Upload, writing: Writing, length: int, sha256: str) -> Upload:
        """The piece is recorded where it was announced to go. Raises RangeInvalid, UploadUnknown, Busy."""
        if (upload.writer, upload.size) != (writing.writer, writing.offset):
            raise RangeInvalid(upload.size, "another request wrote to this upload meanwhile")
        return self._records.add_piece(upload, Piece(writing.key, length), sha256)

    def _ended_before(self, writing: Writing) -> Upload | None:
        """The upload if it has the piece already: this is asked again, or the parts were taken up."""
        try:
            upload = self._records.find(writing.ticket)
        except UploadUnknown:
            return None
        return upload if _holds(upload, writing) else None

    def _begun(self, writing: Writing) -> Upload:
        begun = fresh(writing.ticket)
        return replace(begun, writer=writing.writer, writing=writing.key, multipart=writing.multipart, is_recorded=True)

    def abort(self, writing: Writing) -> None:
        """Give the piece up: nothing that was sent counts."""
        self._multipart.abort(writing.key, writing.multipart)


def _holds(upload: Upload, writing: Writing) -> bool:
    return any(piece.key == writing.key for piece in upload.pieces)
