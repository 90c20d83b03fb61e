"""What the table knows of an upload: its record, read and changed by conditions only.

``upload/<id>``: repository, name, account; pieces, size, sha256 of what has arrived; writer, writing, multipart, until of the
relay that writes the next piece; begun_at, expires_at. At the end ``digest`` and ``key`` of a finished one, or ``ended`` (and
``refused``, the digest that its bytes do not have): nothing changes the record after that. An upload that nothing was
written to has no record: what a holder of its Location may do is said by a ``Ticket``, which the door has verified.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from chalicelib.registry.attempts import settled
from chalicelib.registry.errors import RangeInvalid, SizeInvalid, UploadInvalid, UploadUnknown
from chalicelib.registry.keys import DATA
from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.ports import (
    EXPIRES,
    Absent,
    All,
    Attributes,
    Clock,
    Condition,
    ConditionFailed,
    Delete,
    Either,
    Equals,
    Exists,
    Lacks,
    Piece,
    Put,
    Table,
    Update,
    Write,
)
from chalicelib.registry.records import number, text, unfinished_key, upload_key
from chalicelib.registry.times import seconds

LIFETIME = 24 * 3600
"""Seconds that an upload lives after its last progress."""

REMEMBERED = 7 * 24 * 3600
"""Seconds that an ended one is remembered: a client whose answer got lost may finish it again, and the sweep of the store
(``leftovers.py``) asks for longer which of its bytes were taken."""

MAX_PIECES = 2_000
"""Pieces of one upload at most: they are listed in its record, which has room for no more than some thousands."""

UNANNOUNCED = -1
"""An ``until`` that was not said."""

_IDENTIFIER = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk's place as announced by Content-Range: its first byte, and how many bytes there are."""

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Ticket:
    """What is known of an upload without looking: ``size`` bytes had arrived when its Location was written. ``piece`` is all of
    them and ``sha256`` their hash, if that was known."""

    id: str
    repository: str
    name: RepositoryName
    account: str
    expires_at: int
    size: int = 0
    piece: Piece | None = None
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload. ``pieces``: objects that hold what has arrived, in order; ``sha256`` of all of it in hex, "" if not known;
    ``writer``: who may record the next piece, under which key (``writing``), by which multipart upload, and up to which
    offset it said it would go (``until``); ``digest``: "" until finished. Times in seconds since the epoch."""

    id: str
    repository: str
    name: RepositoryName
    account: str
    expires_at: int
    pieces: tuple[Piece, ...] = ()
    sha256: str = ""
    writer: str = ""
    writing: str = ""
    multipart: str = ""
    until: int = UNANNOUNCED
    digest: str = ""
    is_recorded: bool = False

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return sum(piece.size for piece in self.pieces)

    @property
    def begun_at(self) -> int:
        return begun_at(self.id)

    @property
    def ticket(self) -> Ticket:
        """What is known of it, to be told with its Location."""
        piece = self.pieces[0] if len(self.pieces) == 1 else None
        identity = (self.id, self.repository, self.name, self.account, self.expires_at)
        return Ticket(*identity, self.size, piece, self.sha256)


def new_identifier(now: int) -> str:
    """An upload's id, which begins with the time: so the keys of the store's ``data/`` are in the order of their uploads."""
    return f"{now:08x}{secrets.token_hex(12)}"


def begun_at(identifier: str) -> int:
    return int(identifier[:8], 16)


def pieces_prefix(identifier: str) -> str:
    """What the keys of an upload's objects begin with; nothing else ever lies there."""
    return f"{DATA}{identifier}/"


def piece_key(identifier: str, name: str = "") -> str:
    """The key of one of an upload's objects, a new one unless it is named."""
    return pieces_prefix(identifier) + (name or secrets.token_hex(8))


class UploadRecords:
    """Reads and changes the records."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    def now(self) -> int:
        return seconds(self._clock)

    def read(self, identifier: str) -> Attributes | None:
        """The record as it is, or None."""
        return self._table.get(upload_key(identifier)) if _IDENTIFIER.fullmatch(identifier) else None

    def recorded(self, identifier: str) -> Upload:
        """The upload under way of that id, whoever asks: for those who have vouched for it otherwise. Raises UploadUnknown."""
        attributes = self.read(identifier)
        if attributes is None or "ended" in attributes or "digest" in attributes:
            raise UploadUnknown
        return _upload(identifier, attributes)

    def holds(self, identifier: str, key: str) -> bool:
        """Does the upload's record, ended or not, name the object under this key as one of its own?"""
        attributes = self.read(identifier) or {}
        pieces = cast("Sequence[Mapping[str, Any]]", attributes.get("pieces", ()))
        return attributes.get("key") == key or any(piece["key"] == key for piece in pieces)

    def find(self, ticket: Ticket | Upload) -> Upload:
        """The upload as it is now, under way or finished. Raises UploadUnknown."""
        attributes = self.read(ticket.id)
        if attributes is None:
            if ticket.size:
                raise UploadUnknown
            return fresh(ticket)
        if "ended" in attributes:
            raise UploadUnknown
        upload = _upload(ticket.id, attributes)
        if (upload.name, upload.account) != (ticket.name, ticket.account) or upload.expires_at <= self.now():
            raise UploadUnknown
        return upload

    def under_way(self, ticket: Ticket | Upload) -> Upload:
        """The upload as it is now, if it is not finished. Raises UploadUnknown."""
        upload = self.find(ticket)
        if upload.digest:
            raise UploadUnknown
        return upload

    def add_piece(self, upload: Upload, piece: Piece, sha256: str) -> Upload:
        """Record a piece behind those of ``upload``; ``sha256`` is the piece's, "" if not known.

        Raises RangeInvalid if others wrote meanwhile, UploadUnknown, Busy.
        """
        changed = replace(
            upload,
            pieces=(*upload.pieces, piece),
            sha256="" if upload.pieces else sha256,
            writing="",
            multipart="",
            until=UNANNOUNCED,
            expires_at=self.now() + LIFETIME,
        )
        return self._write(upload, changed)

    def set_writer(self, upload: Upload, writer: str, until: int, multipart: str = "") -> Upload:
        """Let a new writer write the next piece, whatever became of an earlier one; its key is named by the writer.

        Raises RangeInvalid, UploadUnknown, Busy.
        """
        key = piece_key(upload.id, writer)
        changed = replace(
            upload, writer=writer, writing=key, multipart=multipart, until=until, expires_at=self.now() + LIFETIME
        )
        return self._write(upload, changed)

    def _write(self, upload: Upload, changed: Upload) -> Upload:
        if len(upload.pieces) >= MAX_PIECES:
            raise UploadInvalid(f"an upload has {MAX_PIECES} chunks at most; send larger ones")
        changed = replace(changed, is_recorded=True)
        key, attributes = upload_key(upload.id), _attributes(changed)
        try:
            if upload.is_recorded:
                same = All((_UNDER_WAY, Equals("size", upload.size), Equals("writer", upload.writer)))
                settled(lambda: self._table.write(Update(key, set=attributes, condition=same)))
            else:
                index = Put(unfinished_key(upload.begun_at, upload.id), {})
                settled(lambda: self._table.transact([Put(key, attributes, Absent()), index]))
        except ConditionFailed:
            current = self.under_way(upload)
            raise RangeInvalid(current.size, "another request wrote to this upload meanwhile") from None
        return changed

    def finished(self, upload: Upload, digest: Digest, key: str) -> list[Write]:
        """The writes that finish an upload, for the transaction that links its bytes, which lie under ``key``."""
        done = replace(upload, digest=str(digest), expires_at=self.now() + REMEMBERED)
        changes = {**_attributes(done), "digest": str(digest), "key": key}
        return [
            Update(upload_key(upload.id), set=changes, condition=_OPEN),
            Delete(unfinished_key(upload.begun_at, upload.id)),
        ]

    def end(self, identifier: str, refused: str = "") -> None:
        """End it for good, unfinished. The record says so before any bytes go: bytes without a record are waste, a record
        without bytes would be a promise. Raises UploadUnknown if it was finished or ended meanwhile."""
        ended: Attributes = {"ended": True, "refused": refused, EXPIRES: self.now() + REMEMBERED}
        index = Delete(unfinished_key(begun_at(identifier), identifier))
        try:
            settled(lambda: self._table.transact([Put(upload_key(identifier), ended, _OPEN), index]))
        except ConditionFailed:
            raise UploadUnknown from None


def check_chunk(upload: Upload, chunk: Chunk | None, length: int | None) -> None:
    """Does a chunk follow on what has arrived, and is it as long as the body? Raises SizeInvalid, RangeInvalid."""
    check_length(chunk, length)
    if chunk is not None and chunk.start != upload.size:
        raise RangeInvalid(upload.size)


def check_length(chunk: Chunk | None, length: int | None) -> None:
    """Raises SizeInvalid; a length of None was not announced."""
    if chunk is not None and length is not None and chunk.length != length:
        raise SizeInvalid("Content-Range and the length of the body differ", announced=chunk.length, received=length)


_UNDER_WAY: Condition = All((Exists(), Lacks("digest"), Lacks("ended")))
_OPEN: Condition = Either((Absent(), _UNDER_WAY))
"""Under way, or never written to."""


def fresh(ticket: Ticket | Upload) -> Upload:
    """An upload that nothing was written to."""
    return Upload(ticket.id, ticket.repository, ticket.name, ticket.account, ticket.expires_at)


def _attributes(upload: Upload) -> dict[str, Any]:
    return {
        "repository": upload.repository,
        "name": str(upload.name),
        "account": upload.account,
        "pieces": [{"key": piece.key, "size": piece.size} for piece in upload.pieces],
        "size": upload.size,
        "sha256": upload.sha256,
        "writer": upload.writer,
        "writing": upload.writing,
        "multipart": upload.multipart,
        "until": upload.until,
        EXPIRES: upload.expires_at,
    }


def _upload(identifier: str, attributes: Attributes) -> Upload:
    pieces = cast("Sequence[Mapping[str, Any]]", attributes["pieces"])
    return Upload(
        id=identifier,
        repository=text(attributes, "repository"),
        name=RepositoryName.parse(text(attributes, "name")),
        account=text(attributes, "account"),
        expires_at=number(attributes, EXPIRES),
        pieces=tuple(Piece(str(piece["key"]), int(piece["size"])) for piece in pieces),
        sha256=text(attributes, "sha256"),
        writer=text(attributes, "writer"),
        writing=text(attributes, "writing"),
        multipart=text(attributes, "multipart"),
        until=number(attributes, "until"),
        digest=text(attributes, "digest") if "digest" in attributes else "",
        is_recorded=True,
    )
