"""The collector: takes away what nothing needs, while everybody goes on.

It looks at what was noted as condemned (``condemned.py``), removed (``trash.py``) or retired, and at nothing else: what it
costs follows the garbage. What it takes it takes by a conditional write, upon a revision that it read before it looked who
needs the thing. Whatever comes in between, and whenever it is killed, the next run goes on from what is noted.

::

    removed manifest --restorable_days--> its needs are condemned --grace--> links go, their blobs are condemned
        --grace--> blob records go, their objects are retired --> objects are deleted

A blob's object is deleted by no other way. Its key is never used again, so that a delete that comes late hurts nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import suppress
from datetime import datetime
from functools import partial
from itertools import takewhile

from chalicelib.registry.adoption import Direct
from chalicelib.registry.attempts import settled
from chalicelib.registry.condemned import (
    RENEWED_AFTER,
    Bytes,
    Link,
    Listed,
    Thing,
    acquit,
    condemn,
    note_key,
    noted_at,
    parse_note,
    unlink,
)
from chalicelib.registry.configuration import Configuration
from chalicelib.registry.errors import ManifestReferenced
from chalicelib.registry.names import Digest
from chalicelib.registry.needs import Need, Needs
from chalicelib.registry.pages import every
from chalicelib.registry.ports import (
    EXPIRES,
    Absent,
    Attributes,
    BlobStore,
    Check,
    Clock,
    Delete,
    Item,
    Key,
    Put,
    Table,
    Update,
    Write,
)
from chalicelib.registry.records import (
    CONDEMNED_AT,
    CONDEMNED_PARTITION,
    RETIRED_PARTITION,
    UNTAGGED_PARTITION,
    blob_key,
    direct_key,
    identity_key,
    manifest_key,
    number,
    retired_key,
    revised,
    text,
    untagged_key,
)
from chalicelib.registry.removals import Removals
from chalicelib.registry.times import seconds
from chalicelib.registry.upkeep.expiry import Expiry
from chalicelib.registry.upkeep.pace import Pace, settle
from chalicelib.registry.upkeep.remains import Remains
from chalicelib.registry.upload_records import REMEMBERED

_NOTES_READ = 20

DAY = 24 * 3600


class _TimeOver(Exception):
    """The work is to end here, and is not done."""


class _Limited:
    """A pace that ends at a time, which is the cursor: who goes on with the work ends it then, too."""

    def __init__(self, pace: Pace, clock: Clock, until: datetime) -> None:
        self._pace = pace
        self._clock = clock
        self._until = until

    def count(self, what: str, number: int = 1) -> None:
        self._pace.count(what, number)

    def checkpoint(self, cursor: str | None = None) -> None:
        self._pace.checkpoint(cursor or str(int(self._until.timestamp())))
        if self._clock.now() >= self._until:
            raise _TimeOver


class Garbage:
    """Collects. Any number may do so at once."""

    def __init__(
        self,
        table: Table,
        store: BlobStore,
        clock: Clock,
        *,
        configuration: Configuration,
        removals: Removals,
        expiry: Expiry,
    ) -> None:
        self._table = table
        self._store = store
        self._clock = clock
        self._configuration = configuration
        self._removals = removals
        self._expiry = expiry
        self._remains = Remains(table, clock)
        self._needs = Needs(table)

    def collect(self, pace: Pace, until: datetime | None = None) -> None:
        """Everything that is due, or what of it is done at that time. Raises Busy, and what ``pace`` raises."""
        with suppress(_TimeOver):
            self._collect(pace if until is None else _Limited(pace, self._clock, until))

    def _collect(self, pace: Pace) -> None:
        choices = self._configuration.read()
        now = seconds(self._clock)
        self._remains.clear(pace)
        self._expiry.expire(now - choices.restorable_days * DAY, pace)
        collects_manifests = choices.untagged_days > 0
        for item in self._due(CONDEMNED_PARTITION, now - choices.grace_hours * 3600 - RENEWED_AFTER):
            settle(partial(self._settle, item, pace, collects_manifests=collects_manifests), pace)
        for item in self._due(UNTAGGED_PARTITION, now - choices.untagged_days * DAY):
            step = self._collect_manifest if collects_manifests else self._forget
            settle(partial(step, item, pace), pace)
        for item in every(self._table, RETIRED_PARTITION):
            settle(partial(self._delete, item.key.sort, pace), pace)

    def _due(self, partition: str, latest: int) -> Iterator[Item]:
        """The notes of a partition up to a time, oldest first."""
        return takewhile(lambda item: noted_at(item) <= latest, every(self._table, partition))

    def _settle(self, item: Item, pace: Pace, *, collects_manifests: bool) -> None:
        """Decide about one condemned thing. Raises ConditionFailed, Conflict and Changed if it has to be decided anew."""
        at, thing = parse_note(item.key.sort)
        record = self._table.get(thing.key)
        if record is None or record.get(CONDEMNED_AT) != at:
            self._drop_note(item.key, thing, record)
        elif isinstance(thing, Link):
            self._settle_link(thing, record, item.key, pace)
        elif isinstance(thing, Bytes):
            self._settle_blob(thing, record, item.key, pace)
        else:
            self._settle_manifest(thing, record, item.key, waits=collects_manifests)

    def _drop_note(self, noted: Key, thing: Thing, record: Attributes | None) -> None:
        """The thing is gone, or needed, or was condemned at another time. If somebody, by whatever clock, condemns it at this
        very time, the note is that one's."""
        same = Absent() if record is None else revised(record)
        self._table.transact([Check(thing.key, same), Delete(noted)])

    def _settle_link(self, link: Link, record: Attributes, noted: Key, pace: Pace) -> None:
        needs = set(self._needs.of_blob(link.repository, link.digest).values())
        same = revised(record)
        if needs:
            self._spare(link, record, noted, needs)
        else:
            has_blob = self._table.get(blob_key(link.digest)) is not None
            now = seconds(self._clock)
            self._table.transact([*unlink(link, now, same, has_blob=has_blob), Delete(noted)])
            pace.count("links")

    def _spare(self, thing: Link | Listed, record: Attributes, noted: Key, needs: Set[Need]) -> None:
        """Something needs it: then it is live; or is only on its way, and may give up: then it is looked at a grace later."""
        now, same = seconds(self._clock), revised(record)
        if needs != {Need.PENDING}:
            self._table.transact([acquit(thing, same), Delete(noted)])
        elif noted != note_key(now, thing):
            self._table.transact([*condemn(thing, now, same), Delete(noted)])

    def _settle_blob(self, blob: Bytes, record: Attributes, noted: Key, pace: Pace) -> None:
        """The record was read before the holders: who links or unlinks in between gives it another revision."""
        if self._table.query(blob.key.partition, prefix="link/", limit=1):
            self._table.transact([acquit(blob, revised(record)), Delete(noted)])
            return
        key = text(record, "key")
        writes: list[Write] = [Delete(blob.key, revised(record)), Put(retired_key(key), {}), Delete(noted)]
        direct = Direct.parse(key)
        if direct is not None:  # the store may tell of it once more: nobody is to adopt what is about to go
            swept: Attributes = {"swept": True, EXPIRES: seconds(self._clock) + REMEMBERED}
            writes.append(Update(direct_key(direct.upload, direct.digest), set=swept))
        self._table.transact(writes)
        self._delete(key, pace)

    def _delete(self, key: str, pace: Pace) -> None:
        """An object that no record names any more."""
        self._store.delete(key)
        settled(partial(self._table.write, Delete(retired_key(key))))
        pace.count("objects")

    def _settle_manifest(self, manifest: Listed, record: Attributes, noted: Key, *, waits: bool) -> None:
        """A manifest that nothing needed for as long as the grace waits for the time of untagged ones, if there is one. If not
        it stays condemned without a note: the audit notes it when somebody decides otherwise."""
        needs = self._needs.of_listed(manifest.repository, manifest.digest, record)
        if needs:
            self._spare(manifest, record, noted, needs)
            return
        at = number(record, CONDEMNED_AT)
        waiting = [Put(untagged_key(at, manifest.repository, manifest.digest), {})] if waits else []
        self._table.transact([Check(manifest.key, revised(record)), *waiting, Delete(noted)])

    def _forget(self, item: Item, _pace: Pace) -> None:
        """A note of the time when untagged manifests were collected."""
        self._table.write(Delete(item.key))

    def _collect_manifest(self, item: Item, pace: Pace) -> None:
        at, repository, digest = item.key.sort.split("/")
        manifest = Listed(repository, Digest.parse(digest))
        record = self._table.get(manifest.key)
        if record is None or record.get(CONDEMNED_AT) != int(at):
            self._drop_note(item.key, manifest, record)
        elif needs := self._needs.of_listed(manifest.repository, manifest.digest, record):
            self._spare(manifest, record, item.key, needs)
        else:
            identity = self._table.get(identity_key(repository)) or {"name": ""}
            also: list[Write] = [Delete(item.key)]
            if "subject" in record:
                subject = Digest.parse(text(record, "subject"))
                also.append(Check(manifest_key(repository, subject), Absent()))
            with suppress(ManifestReferenced):  # an index has come to need it, and has said so of its record
                self._removals.collect(repository, text(identity, "name"), manifest.digest, record, also)
                pace.count("manifests")
