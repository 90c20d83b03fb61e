"""Proofs that take longer than a request may: another process does them, once, and whoever asks waits for it.

The upload's record holds the lease: ``proving`` (a digest) and ``proof_until``. Who gets it has the proof started in the
background; others join. The background may be started twice: ``prover`` lets the first go on alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress

from chalicelib.registry.attempts import moments, settled
from chalicelib.registry.blobs import Blob
from chalicelib.registry.errors import DigestMismatch, Unproven, UploadUnknown
from chalicelib.registry.names import Digest
from chalicelib.registry.ports import (
    All,
    Background,
    Below,
    Clock,
    ConditionFailed,
    Either,
    Equals,
    Exists,
    Lacks,
    Table,
    Update,
)
from chalicelib.registry.records import upload_key
from chalicelib.registry.upload_records import Upload, UploadRecords

AT_ONCE = 16 * 1024 * 1024
"""Bytes whose proof a request waits for at most: they are read and hashed in a second. Of more, S3 is made to hash a copy,
which only the function in the background may write."""

WAIT = 25.0
"""Seconds that a request waits for a proof: API Gateway gives up after 30."""

LEASE = 16 * 60
"""Seconds after which a proof that was not ended is taken for dead: more than a function of Lambda may live."""

_PAUSE = 0.5


class Proofs:
    """Starts and joins long proofs, and takes up those of the dead."""

    def __init__(self, table: Table, clock: Clock, background: Background) -> None:
        self._table = table
        self._clock = clock
        self._background = background
        self._records = UploadRecords(table, clock)

    def settle(self, upload: Upload, digest: Digest, finished: Callable[[], Blob]) -> Blob:
        """Start the proof or join it; what ``finished`` gives when it is done. Raises DigestMismatch, UploadUnknown, and
        Unproven if that takes too long: ask again."""
        if self._lease(upload, digest):
            self._start(upload, digest)
        for _ in moments(self._clock, WAIT, _PAUSE):
            record = self._records.read(upload.id)
            if record is not None and "digest" in record:
                return finished()
            if record is None or "ended" in record:
                if record is not None and record.get("refused") == str(digest):
                    raise DigestMismatch(digest=str(digest))
                raise UploadUnknown
        raise Unproven

    def _start(self, upload: Upload, digest: Digest) -> None:
        try:
            self._background.prove(upload.id, str(digest))
        except Exception:
            # Nobody will: the next who asks may try.
            free = Update(upload_key(upload.id), remove=("proving", "proof_until"), condition=Equals("proving", str(digest)))
            with suppress(ConditionFailed):
                settled(lambda: self._table.write(free))
            raise

    def _lease(self, upload: Upload, digest: Digest) -> bool:
        now = self._records.now()
        free = Either((Lacks("proving"), Below("proof_until", now)))
        taken = Update(
            upload_key(upload.id),
            set={"proving": str(digest), "proof_until": now + LEASE},
            remove=("prover",),
            condition=All((Exists(), Lacks("digest"), Lacks("ended"), free)),
        )
        try:
            settled(lambda: self._table.write(taken))
        except ConditionFailed:
            return False
        return True


class Prover:
    """The process that ``Proofs`` has started."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._records = UploadRecords(table, clock)

    def work(self, identifier: str, digest: Digest, prove: Callable[[Upload, Digest], Blob]) -> bool:
        """``prove`` the upload, unless another process does or did; whether this one did it. A refused
        upload is no error here: whoever waits is told."""
        mine = Update(
            upload_key(identifier),
            set={"prover": secrets.token_hex(8)},
            condition=All((Equals("proving", str(digest)), Lacks("prover"), Lacks("digest"), Lacks("ended"))),
        )
        try:
            settled(lambda: self._table.write(mine))
        except ConditionFailed:
            return False
        try:
            prove(self._records.recorded(identifier), digest)
        except (DigestMismatch, UploadUnknown):
            return True
        return True
