"""The direct lane: bytes that a client put into the store by itself, under a key that the edge chose for it.

    direct/<repository id>/<digest>/<upload id>

Nobody here saw them. ``adopt`` proves them and makes them a blob of the repository; it runs when the store tells of the
object (perhaps twice, late, or never), and when a manifest names a blob that is not there yet. The client was told 201 by
the store itself, so proven bytes are always adopted, whatever became of the upload; only what the sweep has taken up
(``leftovers.py``) is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from dataclasses import dataclass
from enum import Enum

from chalicelib.registry.attempts import retried
from chalicelib.registry.blobs import Blob, Blobs
from chalicelib.registry.errors import UploadUnknown
from chalicelib.registry.keys import DIRECT
from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.ports import EXPIRES, BlobMissing, BlobStore, Clock, ConditionFailed, Lacks, ProofLong, Update
from chalicelib.registry.proofs import AT_ONCE
from chalicelib.registry.records import direct_key
from chalicelib.registry.repositories import Repositories
from chalicelib.registry.times import seconds
from chalicelib.registry.upload_records import REMEMBERED

_LISTED_SINGLY = 50
"""Missing blobs that are looked for one by one; of more, which no image has but any manifest may invent, all that came to the
repository is listed instead."""

_KEY = re.compile(rf"{DIRECT}([0-9a-z]+)/(sha256:[0-9a-f]{{64}})/([0-9a-f]{{32}})", re.ASCII)


class Arrival(Enum):
    """What is known of a blob that a repository lacks."""

    ABSENT = "absent"
    """Nothing of it has come."""
    UNPROVEN = "unproven"
    """Bytes are there, and somebody will say whether they are the right ones."""
    ADOPTED = "adopted"


@dataclass(frozen=True, slots=True)
class Direct:
    """What a key of the direct lane says."""

    repository: str
    digest: Digest
    upload: str

    @classmethod
    def parse(cls, key: str) -> Direct | None:
        """None if it is no such key."""
        match = _KEY.fullmatch(key)
        return cls(match[1], Digest.parse(match[2]), match[3]) if match else None


class Adoption:
    """Makes what came by the direct lane blobs."""

    def __init__(self, store: BlobStore, blobs: Blobs, repositories: Repositories, clock: Clock) -> None:
        self._store = store
        self._blobs = blobs
        self._repositories = repositories
        self._clock = clock

    def adopt(self, key: str, *, limit: int | None = None) -> Blob | None:
        """Prove what lies under a key and link it; None if it is not there (any more), or is nobody's, and then it is dropped.

        Raises ProofLong if more than ``limit`` bytes would have to be read for it, Busy.
        """
        direct = Direct.parse(key)
        if direct is None:
            return None
        try:
            size = self._store.check(key, direct.digest, limit=limit)
        except BlobMissing:
            return None
        name = None if size is None else self._repositories.name_of(direct.repository)
        if size is None or name is None:
            self._store.delete(key)
            return None
        return self._link(direct, name, key, size)

    def _link(self, direct: Direct, name: RepositoryName, key: str, size: int) -> Blob | None:
        """Make proven bytes the repository's blob; None if the sweep has taken them up."""
        seen = Update(
            direct_key(direct.upload, direct.digest),
            set={"key": key, EXPIRES: seconds(self._clock) + REMEMBERED},
            condition=Lacks("swept"),
        )

        def adopt() -> Blob:
            try:
                return self._blobs.adopt(direct.repository, name, direct.digest, key, size, also=[seen])
            except ConditionFailed as failed:
                if max(failed.failed) > _LINKS:
                    raise UploadUnknown from None
                raise

        try:
            blob = retried(adopt)
        except UploadUnknown:
            if not self._blobs.keeps(direct.digest, key):
                self._store.delete(key)
            return self._blobs.find(direct.repository, direct.digest)
        if blob.key != key:
            self._store.delete(key)  # the registry has these bytes already
        return blob

    def catch_up(self, repository: str, digests: Iterable[Digest]) -> Set[Arrival]:
        """Adopt what came of blobs that a repository lacks, as far as that takes no time; what became of them."""
        missing = list(digests)
        if len(missing) <= _LISTED_SINGLY:
            return {self._catch_up(repository, digest) for digest in missing}
        here = {direct.digest for direct in map(Direct.parse, self._keys(f"{DIRECT}{repository}/")) if direct}
        arrivals = {self._catch_up(repository, digest) for digest in missing if digest in here}
        absent = [digest for digest in missing if digest not in here]
        held = self._blobs.held(repository, absent)
        return arrivals | {Arrival.ADOPTED if digest in held else Arrival.ABSENT for digest in absent}

    def _keys(self, prefix: str) -> Iterable[str]:
        return (stored.key for stored in self._store.list(prefix))

    def _catch_up(self, repository: str, digest: Digest) -> Arrival:
        arrival = Arrival.ABSENT
        for key in list(self._keys(f"{DIRECT}{repository}/{digest}/")):
            try:
                if self.adopt(key, limit=AT_ONCE) is not None:
                    return Arrival.ADOPTED
            except ProofLong:
                arrival = Arrival.UNPROVEN
        # Somebody else may have adopted it, and dropped the bytes as known ones, between two looks.
        return arrival if self._blobs.find(repository, digest) is None else Arrival.ADOPTED


_LINKS = 3
"""The last of the writes by which ``Blobs.adopt`` links: what comes after is the caller's."""
