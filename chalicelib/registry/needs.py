"""Who needs a blob or a manifest of a repository: what the notes of it (``needed/`` in ``records.py``) come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import partial

from chalicelib.registry.attempts import Changed, settled
from chalicelib.registry.errors import Busy
from chalicelib.registry.manifests import Manifest
from chalicelib.registry.names import Digest
from chalicelib.registry.ports import (
    MAX_TRANSACTION,
    Absent,
    Attributes,
    Check,
    ConditionFailed,
    Delete,
    Either,
    Equals,
    Item,
    Key,
    Table,
    Write,
)
from chalicelib.registry.records import (
    contents,
    is_pending,
    last_segment,
    manifest_key,
    needed_blob_key,
    needed_manifest_key,
    removed_manifest_key,
)

_NOTES_READ = 20

_DROPPED_AT_ONCE = MAX_TRANSACTION - 2

EXPIRED = "expired"
"""On what was removed: it is not to be restored any more, and what it needed is being given up."""


class Need(IntEnum):
    """How much a thing is needed: by nothing, by a manifest that was removed and may be restored, by one whose push is under
    way, by one that is there."""

    NONE = 0
    RESTORABLE = 1
    PENDING = 2
    VISIBLE = 3


def is_restorable(removed: Attributes) -> bool:
    """May what was removed be restored, given its record in the trash?"""
    return EXPIRED not in removed


class Needs:
    """Looks who needs what."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def of_blob(self, repository: str, digest: Digest) -> Mapping[Digest, Need]:
        """Which manifests need the blob, and how, up to one that is there. Raises Changed, Conflict, Busy."""
        return self._of(repository, f"needed/blob/{digest}/")

    def of_manifest(self, repository: str, digest: Digest) -> Mapping[Digest, Need]:
        """Which indexes need the manifest; see ``of_blob``."""
        return self._of(repository, f"needed/manifest/{digest}/")

    def _of(self, repository: str, prefix: str) -> Mapping[Digest, Need]:
        """Notes of a manifest that is gone count for nothing, and are cleared on the way."""
        after, needing = "", dict[Digest, Need]()
        while notes := self._table.query(contents(repository), prefix=prefix, after=after, limit=_NOTES_READ):
            found = self.states(repository, [_manifest(note) for note in notes])
            self._clear(repository, [note.key for note in notes if found[_manifest(note)] is Need.NONE])
            needing.update((digest, need) for digest, need in found.items() if need is not Need.NONE)
            if Need.VISIBLE in found.values() or len(notes) < _NOTES_READ:
                break
            after = notes[-1].key.sort
        return needing

    def states(self, repository: str, digests: Sequence[Digest]) -> Mapping[Digest, Need]:
        """What these manifests are. Those that are there are read first, and what was removed after them: one that is removed
        in between is seen all the same."""
        keys = {manifest_key(repository, digest): digest for digest in digests}
        found = {keys[key]: record for key, record in self._table.batch_get(list(keys)).items()}
        absent = {removed_manifest_key(repository, digest): digest for digest in digests if digest not in found}
        removed = self._table.batch_get(list(absent)) if absent else {}
        states = dict.fromkeys(digests, Need.NONE)
        states.update((absent[key], Need.RESTORABLE) for key, record in removed.items() if is_restorable(record))
        states.update((digest, Need.PENDING if is_pending(record) else Need.VISIBLE) for digest, record in found.items())
        return states

    def forget(self, repository: str, manifest: Manifest) -> None:
        """Drop the notes of a manifest whose push was refused. What is left of them counts for nothing."""
        notes = [needed_blob_key(repository, blob.digest, manifest.digest) for blob in manifest.blobs]
        notes += [needed_manifest_key(repository, child.digest, manifest.digest) for child in manifest.manifests]
        gone = _gone(repository, manifest.digest)
        for start in range(0, len(notes), _DROPPED_AT_ONCE):
            writes: list[Write] = [*gone, *map(Delete, notes[start : start + _DROPPED_AT_ONCE])]
            try:
                settled(partial(self._table.transact, writes))
            except (ConditionFailed, Busy):
                return  # it is being pushed again

    def _clear(self, repository: str, notes: Sequence[Key]) -> None:
        """Raises Changed if a manifest is back, or was removed once more: it wants its note."""
        for note in notes:
            gone = _gone(repository, Digest.parse(last_segment(note.sort)))
            try:
                settled(partial(self._table.transact, [*gone, Delete(note)]))
            except ConditionFailed:
                raise Changed from None


def _gone(repository: str, manifest: Digest) -> tuple[Check, Check]:
    """The conditions that a manifest is neither there nor to be restored."""
    for_good = Either((Absent(), Equals(EXPIRED, value=True)))
    return Check(manifest_key(repository, manifest), Absent()), Check(removed_manifest_key(repository, manifest), for_good)


def _manifest(note: Item) -> Digest:
    return Digest.parse(last_segment(note.key.sort))


def standing(needing: Mapping[Digest, Need]) -> Digest | None:
    """One that keeps a client from deleting what it needs; what was removed does not."""
    return next((digest for digest, need in needing.items() if need >= Need.PENDING), None)
