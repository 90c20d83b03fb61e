"""What may be wrong with blobs, and with the links by which repositories hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from chalicelib.registry.attempts import retried
from chalicelib.registry.condemned import Bytes, Link, condemn
from chalicelib.registry.needs import Need, Needs
from chalicelib.registry.ports import (
    Absent,
    Attributes,
    BlobStore,
    Check,
    Clock,
    Delete,
    Equals,
    Exists,
    Put,
    Table,
    Update,
    Write,
)
from chalicelib.registry.records import (
    CONDEMNED_AT,
    REVISION,
    fresh_revision,
    holder_key,
    identity_key,
    last_segment,
    link_key,
    number,
    retired_key,
    revised,
    text,
)
from chalicelib.registry.times import seconds
from chalicelib.registry.upkeep.drift import LOST, Drift, repair, still, unnoted
from chalicelib.registry.upkeep.storage import Use

_HOLDERS_READ = 20


class BlobDrift:
    """Examines them; every method reads afresh, and raises Changed if somebody was there meanwhile."""

    def __init__(self, table: Table, store: BlobStore, clock: Clock) -> None:
        self._table = table
        self._store = store
        self._clock = clock
        self._needs = Needs(table)

    def of_blob(self, blob: Bytes) -> Iterator[Drift]:
        """The record of the bytes themselves."""
        record = self._table.get(blob.key)
        if record is None:
            return
        key, size = text(record, "key"), number(record, "size")
        if not self._is_stored(key, size):
            still(self._table, blob.key, record)
            yield Drift(LOST, f"{blob}: {key} is not there with {size} bytes")
        if CONDEMNED_AT in record:
            yield from unnoted(self._table, self._clock, blob, record)
        elif not self._table.query(blob.key.partition, prefix="link/", limit=1):
            yield repair(f"{blob}: nobody holds it", *condemn(blob, seconds(self._clock), revised(record)))

    def _is_stored(self, key: str, size: int) -> bool:
        stored = self._store.stat(key)
        return stored is not None and stored.size == size

    def of_link(self, link: Link) -> Iterator[Drift]:
        """A repository's blob. Something needs it, or it is condemned and noted."""
        record = self._table.get(link.key)
        if record is None:
            return
        blob, holder = Bytes(link.digest).key, holder_key(link.digest, link.repository)
        found = self._table.batch_get([blob, holder])
        if blob not in found:
            yield self._unnamed(link, record)
        elif text(found[blob], "key") != text(record, "key"):
            yield from self._astray(link, record, found[blob])
        if holder not in found and blob in found:
            yield from self._unheld(link, record)
        if CONDEMNED_AT in record:
            yield from unnoted(self._table, self._clock, link, record)
        elif not self._needs.of_blob(link.repository, link.digest):
            yield repair(f"{link}: nothing needs it", *condemn(link, seconds(self._clock), revised(record)))

    def _unnamed(self, link: Link, record: Attributes) -> Drift:
        """The blob's record is made again, unless its object is about to go. If the collector has deleted that since it was
        looked for, the record is of a lost blob, which it was without it."""
        key, size = text(record, "key"), number(record, "size")
        if not self._is_stored(key, size) or self._table.get(retired_key(key)) is not None:
            still(self._table, link.key, record)
            return Drift(LOST, f"{link}: there is no such blob")
        return repair(
            f"{link}: the blob had no record",
            Put(Bytes(link.digest).key, {"key": key, "size": size, REVISION: fresh_revision()}, Absent()),
            Check(link.key, revised(record)),
            Check(retired_key(key), Absent()),
        )

    def _astray(self, link: Link, record: Attributes, blob: Attributes) -> Iterator[Drift]:
        """A link leads elsewhere than the blob: it was not there when the lost bytes came again."""
        bytes_, here, there = Bytes(link.digest).key, text(record, "key"), text(blob, "key")
        size = number(blob, "size")
        if self._is_stored(there, size):
            changes: Attributes = {"key": there, "size": size, REVISION: fresh_revision()}
            yield repair(
                f"{link}: it led to {here}",
                Update(link.key, set=changes, condition=revised(record)),
                Check(bytes_, Equals("key", there)),
            )
        elif self._is_stored(here, size):
            yield repair(
                f"{link}: it has the bytes that the blob has lost",
                Update(bytes_, set={"key": here, REVISION: fresh_revision()}, condition=revised(blob)),
                Check(link.key, revised(record)),
                Check(retired_key(here), Absent()),
            )

    def _unheld(self, link: Link, record: Attributes) -> Iterator[Drift]:
        """The blob gets another revision: the collector may have seen that nobody holds it."""
        identity = self._table.get(identity_key(link.repository))
        if identity is not None:
            yield repair(
                f"{link}: the blob did not know of it",
                Put(holder_key(link.digest, link.repository), {"name": text(identity, "name")}),
                Check(link.key, revised(record)),
                Update(Bytes(link.digest).key, set={REVISION: fresh_revision()}, condition=Exists()),
            )

    def of_holder(self, link: Link) -> Iterator[Drift]:
        """The index item by which a blob knows of a link."""
        if self._table.get(link.key) is not None:
            return
        holder, blob = holder_key(link.digest, link.repository), Bytes(link.digest)
        found = self._table.batch_get([holder, blob.key])
        if holder in found:
            condemned = condemn(blob, seconds(self._clock)) if blob.key in found else []
            writes: list[Write] = [Delete(holder, Exists()), Check(link.key, Absent()), *condemned]
            yield repair(f"{link}: the blob was held without it", *writes)

    def use(self, blob: Bytes, go_on: Callable[[], None]) -> Use:
        """What the blob is good for, by the repositories that hold it, up to one where it is live."""
        best, after = Use.GARBAGE, ""
        while holders := self._table.query(blob.key.partition, prefix="link/", after=after, limit=_HOLDERS_READ):
            links = {link_key(last_segment(item.key.sort), blob.digest): last_segment(item.key.sort) for item in holders}
            for key, record in self._table.batch_get(list(links)).items():
                use = retried(partial(self._use, links[key], blob, record))
                if use is Use.LIVE:
                    return use
                best = use if use is Use.RESTORABLE else best
                go_on()
            after = holders[-1].key.sort
        return best

    def _use(self, repository: str, blob: Bytes, link: Attributes) -> Use:
        needs = self._needs.of_blob(repository, blob.digest).values()
        if any(need >= Need.PENDING for need in needs):
            return Use.LIVE
        if needs:
            return Use.RESTORABLE
        return Use.GARBAGE if CONDEMNED_AT in link else Use.LIVE
