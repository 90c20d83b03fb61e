"""Blobs: proven bytes under a content address, and the links by which repositories hold them.

Access goes by (repository, digest) link alone: that the registry has the bytes somewhere gives nobody anything. A link
is made only by proving the bytes (``adopt``) or from another link that the caller may read (``mount``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from chalicelib.registry.attempts import retried
from chalicelib.registry.condemned import Link, condemn, condemnation, is_young, note, unlink
from chalicelib.registry.errors import BlobReferenced, BlobUnknown
from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.needs import Needs, standing
from chalicelib.registry.ports import (
    Absent,
    Attributes,
    BlobStore,
    Check,
    Clock,
    ConditionFailed,
    Equals,
    Put,
    Shown,
    Table,
    Update,
    Write,
)
from chalicelib.registry.records import (
    CONDEMNED_AT,
    REFERENCED,
    REVISION,
    blob_key,
    contents,
    fresh_revision,
    holder_key,
    is_pending,
    last_segment,
    link_key,
    manifest_key,
    number,
    repository_key,
    text,
)
from chalicelib.registry.repositories import Repositories, Repository
from chalicelib.registry.times import seconds

MayMount: TypeAlias = Callable[[Repository, "Blob"], bool]
"""Whether the caller may read this blob of this repository, at this moment."""

_NOTES_READ = 20
_HOLDERS_TRIED = 20
"""Repositories looked through for a mount without ``from``. Each costs some reads, whose time tells a stranger that others hold
the blob: so they are few, and who is not lucky uploads it."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob that a repository holds: ``size`` in bytes, ``key`` in the BlobStore, ``revision`` of the link; since when nothing
    needs it, None if something does.

    ``is_referenced``: it is known that a manifest of the repository has named it (``Blobs.is_referenced`` finds out). Until
    then it is the pushers' own business: a layer whose image was refused, or never came, is not to be read by others.
    """

    repository: str
    digest: Digest
    size: int
    key: str
    revision: int
    is_referenced: bool
    condemned_at: int | None = None


class Blobs:
    """The blobs of all repositories."""

    def __init__(self, table: Table, store: BlobStore, repositories: Repositories, clock: Clock) -> None:
        self._table = table
        self._store = store
        self._repositories = repositories
        self._clock = clock
        self._needs = Needs(table)

    def get(self, name: RepositoryName, digest: Digest) -> Blob:
        """A blob as it is pulled; one read. Raises NameUnknown, BlobUnknown."""
        blob = self.find(self._repositories.get_recent(name).id, digest)
        if blob is None and self._repositories.forget(name):
            blob = self.find(self._repositories.get(name).id, digest)
        if blob is None:
            raise BlobUnknown(str(digest))
        return blob

    def look(self, name: RepositoryName, digest: Digest) -> Blob:
        """The same for one that is likely not there, as when a client asks before it pushes: one read, of the name too.

        Raises NameUnknown, BlobUnknown.
        """
        repository = self._repositories.get_recent(name)
        found = self._table.batch_get([repository_key(name), link_key(repository.id, digest)])
        named, link = found.get(repository_key(name)), found.get(link_key(repository.id, digest))
        if named is None or text(named, "id") != repository.id:
            self._repositories.forget(name)
            return self.get(name, digest)
        if link is None:
            raise BlobUnknown(str(digest))
        return _blob(repository.id, digest, link)

    def keeps(self, digest: Digest, key: str) -> bool:
        """Is the object under this key the blob of that digest, whoever links to it?"""
        record = self._table.get(blob_key(digest))
        return record is not None and text(record, "key") == key

    def held(self, repository: str, digests: Sequence[Digest]) -> Set[Digest]:
        """Which of them the repository of that id holds."""
        keys = {link_key(repository, digest): digest for digest in digests}
        return {keys[key] for key in self._table.batch_get(list(keys))}

    def find(self, repository: str, digest: Digest) -> Blob | None:
        """The blob if the repository of that id holds it."""
        link = self._table.get(link_key(repository, digest))
        return None if link is None else _blob(repository, digest, link)

    def is_referenced(self, blob: Blob) -> bool:
        """Has a manifest that is visible named this blob? The link says so, unless the push was too large for one
        transaction: then the notes of what is needed do."""
        if blob.is_referenced:
            return True
        notes = self._table.query(contents(blob.repository), prefix=f"needed/blob/{blob.digest}/", limit=_NOTES_READ)
        keys = [manifest_key(blob.repository, Digest.parse(last_segment(note.key.sort))) for note in notes]
        return any(not is_pending(manifest) for manifest in self._table.batch_get(keys).values())

    def url(self, blob: Blob, method: str) -> str:
        """Where its bytes are to be had by ``method``, "GET" or "HEAD", for some minutes."""
        return self._store.link(blob.key, method, Shown(digest=str(blob.digest)))

    def adopt(
        self, repository: str, name: RepositoryName, digest: Digest, key: str, size: int, *, also: Sequence[Write] = ()
    ) -> Blob:
        """Link proven bytes to the repository of this id and name, in one transaction with ``also``.

        If the registry has these bytes already the link is to those, and ``key`` may be dropped by the caller: the blob
        that is returned says which key counts. One call of the table for bytes that are new, which most are. Raises Conflict
        or ConditionFailed when others were at it.
        """
        new = Put(blob_key(digest), {"key": key, "size": size, REVISION: fresh_revision()}, Absent())
        try:
            self._table.transact([new, *self._link(repository, name, digest, key, size), *also])
        except ConditionFailed as known:
            if known.failed != (0,):
                raise
            record = self._table.get(blob_key(digest))
            if record is None:
                raise
            kept = text(record, "key")
            if kept == key or self._store.stat(kept) is not None:
                key = kept  # else the registry had lost the bytes, and whoever has them again heals that
            same = Update(
                blob_key(digest),
                set={"key": key, REVISION: fresh_revision()},
                remove=(CONDEMNED_AT,),
                condition=Equals("key", kept),
            )
            self._table.transact([same, *self._link(repository, name, digest, key, size), *also])
        return Blob(repository, digest, size, key, 0, is_referenced=False)

    def mount(self, repository: Repository, digest: Digest, source: RepositoryName, may: MayMount) -> Blob | None:
        """Link a blob that ``source`` holds; None if it does not, or may not be read by the caller."""
        found = self._repositories.find(source)
        return None if found is None else retried(lambda: self._mount(repository, digest, found, may))

    def mount_from_any(self, repository: Repository, digest: Digest, may: MayMount) -> Blob | None:
        """Link a blob that any repository which the caller may read holds; None if none is found."""
        for item in self._table.query(blob_key(digest).partition, prefix="link/", limit=_HOLDERS_TRIED):
            source = self._repositories.find(RepositoryName.parse(text(item.attributes, "name")))
            if source is None or source.id != last_segment(item.key.sort):
                continue  # deleted, and its name perhaps given to another
            blob = retried(partial(self._mount, repository, digest, source, may))
            if blob is not None:
                return blob
        return None

    def _link(self, repository: str, name: RepositoryName, digest: Digest, key: str, size: int) -> list[Write]:
        """The link, which nothing needs yet, and its index item. Linking again gives it time again."""
        link, now = Link(repository, digest), seconds(self._clock)
        return [
            Update(link.key, set={"key": key, "size": size, **condemnation(now)}),
            Put(holder_key(digest, repository), {"name": str(name)}),
            note(now, link),
        ]

    def _mount(self, repository: Repository, digest: Digest, source: Repository, may: MayMount) -> Blob | None:
        blob = self.find(source.id, digest)
        if blob is None or not may(source, blob):
            return None
        if repository.id == source.id:
            with suppress(BlobUnknown):  # it went just now
                return self.keep(blob)
            return None
        still_there = Check(link_key(source.id, digest), Equals("key", blob.key))
        self._table.transact([still_there, *self._link(repository.id, repository.name, digest, blob.key, blob.size)])
        return blob

    def keep(self, blob: Blob) -> Blob:
        """Have a blob whose pusher is told that it is there outlive the grace from now on. Nothing is written for one that
        something needs, or that is young enough. Raises BlobUnknown if it went meanwhile; Busy."""

        def renew() -> Blob:
            current = self.find(blob.repository, blob.digest)
            if current is None:
                raise BlobUnknown(str(blob.digest))
            if current.condemned_at is not None and not is_young(current.condemned_at, now):
                same = Equals(REVISION, current.revision)
                self._table.transact(condemn(Link(blob.repository, blob.digest), now, same))
            return current

        now = seconds(self._clock)
        return blob if blob.condemned_at is None or is_young(blob.condemned_at, now) else retried(renew)

    def delete(self, name: RepositoryName, digest: Digest) -> None:
        """Take a blob out of a repository, at once. Raises NameUnknown, BlobUnknown, BlobReferenced, Busy."""
        repository = self._repositories.get(name)

        def remove() -> None:
            blob = self.find(repository.id, digest)
            if blob is None:
                raise BlobUnknown(str(digest))
            if needing := standing(self._needs.of_blob(repository.id, digest)):
                raise BlobReferenced(str(digest), str(needing))
            unchanged = Equals(REVISION, blob.revision)
            self._table.transact(unlink(Link(repository.id, digest), seconds(self._clock), unchanged))

        retried(remove)


def _blob(repository: str, digest: Digest, link: Attributes) -> Blob:
    return Blob(
        repository,
        digest,
        number(link, "size"),
        text(link, "key"),
        number(link, REVISION),
        REFERENCED in link,
        number(link, CONDEMNED_AT) if CONDEMNED_AT in link else None,
    )
