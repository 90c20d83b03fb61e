"""What nothing needs: how it is condemned, and how long until it may go.

A link, a blob and a manifest is *live*, or *condemned* as of a time (``condemned_at``), or gone. It is condemned by whoever
takes away what needed it, and from birth until something needs it; each condemnation is in the same transaction noted in a
partition that is in order of time, so that the collector (``garbage.py``) finds what there is to do without looking at
anything else. A note counts only while the record has its time: to condemn anew is to be given more time.

Every change of the state gives the record another revision, and the collector takes away only what still has the revision
that it was decided upon. So no order of steps, and no clock, can make it take what somebody has come to need.
"""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.registry.names import Digest
from chalicelib.registry.ports import All, Attributes, Condition, Delete, Exists, Item, Key, Lacks, Put, Update, Write
from chalicelib.registry.records import (
    CONDEMNED_AT,
    CONDEMNED_PARTITION,
    REVISION,
    blob_key,
    fresh_revision,
    holder_key,
    link_key,
    manifest_key,
)

RENEWED_AFTER = 3600
"""Seconds after which what is condemned is condemned anew when a pusher is told that it is there. The collector waits for so
much longer than the grace, and most questions, which come right after an upload, cost no write."""

_LINK, _BLOB, _MANIFEST = "link", "blob", "manifest"


@dataclass(frozen=True, slots=True)
class Link:
    """The blob of a repository, by id."""

    repository: str
    digest: Digest

    @property
    def key(self) -> Key:
        return link_key(self.repository, self.digest)

    def __str__(self) -> str:
        return f"{_LINK}/{self.repository}/{self.digest}"


@dataclass(frozen=True, slots=True)
class Bytes:
    """The blob of all repositories."""

    digest: Digest

    @property
    def key(self) -> Key:
        return blob_key(self.digest)

    def __str__(self) -> str:
        return f"{_BLOB}/{self.digest}"


@dataclass(frozen=True, slots=True)
class Listed:
    """A manifest of a repository, by id."""

    repository: str
    digest: Digest

    @property
    def key(self) -> Key:
        return manifest_key(self.repository, self.digest)

    def __str__(self) -> str:
        return f"{_MANIFEST}/{self.repository}/{self.digest}"


Thing = Link | Bytes | Listed


def is_young(condemned_at: int, now: int) -> bool:
    """Has it so much time left that a pusher may be told of it as it is?"""
    return 0 <= now - condemned_at <= RENEWED_AFTER


def note_key(at: int, thing: Thing) -> Key:
    """Where it is noted that a thing was condemned."""
    return Key(CONDEMNED_PARTITION, f"{at:012d}/{thing}")


def noted_at(item: Item) -> int:
    """The time that the key of a note begins with; 0 where none does: nobody here wrote that."""
    time = item.key.sort.partition("/")[0]
    return int(time) if time.isdecimal() else 0


def parse_note(sort: str) -> tuple[int, Thing]:
    """What a note says: since when, and what. Raises ValueError, DigestInvalid for what is none."""
    at, kind, *where, digest = sort.split("/")
    if kind == _BLOB:
        return int(at), Bytes(Digest.parse(digest))
    [repository] = where
    return int(at), (Link if kind == _LINK else Listed)(repository, Digest.parse(digest))


def note(at: int, thing: Thing) -> Put:
    """The write that notes it."""
    return Put(note_key(at, thing), {})


def condemnation(at: int) -> Attributes:
    """What is set of a record that is condemned."""
    return {CONDEMNED_AT: at, REVISION: fresh_revision()}


def condemn(thing: Thing, at: int, condition: Condition | None = None) -> list[Write]:
    """The writes that condemn a thing that is there; a manifest only if it is not on its way."""
    there = All((Exists(), Lacks("pending"))) if isinstance(thing, Listed) else Exists()
    return [Update(thing.key, set=condemnation(at), condition=condition or there), note(at, thing)]


def acquit(thing: Thing, condition: Condition) -> Update:
    """The write that makes a condemned thing live again."""
    return Update(thing.key, set={REVISION: fresh_revision()}, remove=(CONDEMNED_AT,), condition=condition)


def unlink(link: Link, at: int, condition: Condition | None, *, has_blob: bool = True) -> list[Write]:
    """The writes that take a blob out of a repository, and condemn the blob of all of them: it may have been the last one."""
    writes: list[Write] = [Delete(link.key, condition), Delete(holder_key(link.digest, link.repository))]
    return [*writes, *condemn(Bytes(link.digest), at)] if has_blob else writes
