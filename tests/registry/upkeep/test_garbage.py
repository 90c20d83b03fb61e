"""What the collector takes, and when; that nothing else goes is shown by tests/interleavings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from chalicelib.registry.condemned import RENEWED_AFTER, Bytes, Link, note, note_key
from chalicelib.registry.errors import ManifestBlobUnknown, NotRestorable, TagExists
from chalicelib.registry.events import Actor, Events
from chalicelib.registry.manifests import OCI_MANIFEST, parse_manifest
from chalicelib.registry.names import Digest, RepositoryName, Tag
from chalicelib.registry.ports import Delete, Item, Key, Put
from chalicelib.registry.records import CONDEMNED_AT, blob_key, manifest_key, needed_manifest_key
from chalicelib.registry.removals import Removals
from chalicelib.registry.times import seconds
from chalicelib.registry.upkeep.expiry import Expiry
from chalicelib.registry.upkeep.garbage import Garbage
from tests.counts import Counts
from tests.frozen_clock import FrozenClock
from tests.memory_table import MemoryTable
from tests.surface import CONFIG, Surface, descriptor, image, registry_on
from tests.watched_table import WatchedTable

APP = RepositoryName.parse("admin/app")
HOUR, DAY = 3600, 24 * 3600
GRACE = DAY + RENEWED_AFTER
ADMIN = Actor("admin")


def collect(surface: Surface, after: float = 0) -> dict[str, int]:
    surface.clock.advance(after)
    counts = Counts()
    surface.garbage.collect(counts)
    return counts.counted


def objects(surface: Surface) -> list[str]:
    return [stored.key for stored in surface.store.list("data/")]


@pytest.fixture
def surface() -> Surface:
    return Surface()


def pushed(surface: Surface, layer: bytes = b"layer", tag: str = "1.0") -> Digest:
    return surface.push_image("admin/app", tag, layer)


def test_a_blob_that_no_manifest_came_for_goes_after_two_graces(surface: Surface) -> None:
    digest = surface.push_blob("admin/app", b"layer")
    assert collect(surface, GRACE - 1) == {}
    assert collect(surface, 2) == {"links": 1}
    assert surface.call("HEAD", f"/v2/admin/app/blobs/{digest}").status == 404
    assert len(objects(surface)) == 1
    assert collect(surface, GRACE) == {"objects": 1}
    assert objects(surface) == []


def test_a_blob_that_a_manifest_needs_stays(surface: Surface) -> None:
    pushed(surface)
    for _ in range(3):
        assert collect(surface, 10 * GRACE) == {}
    assert len(objects(surface)) == 2


def test_what_a_pusher_is_told_of_is_kept_anew(surface: Surface) -> None:
    digest = surface.push_blob("admin/app", b"layer")
    surface.clock.advance(DAY)
    assert surface.call("HEAD", f"/v2/admin/app/blobs/{digest}").status == 307
    assert collect(surface, DAY) == {}
    assert collect(surface, GRACE - DAY + 1) == {"links": 1}


def test_a_removed_manifest_goes_after_a_week_and_its_blobs_after_it(surface: Surface) -> None:
    digest = pushed(surface)
    surface.registry.removals.delete(APP, digest, ADMIN)
    assert collect(surface, 7 * DAY - 1) == {}
    assert collect(surface, 2) == {"expired": 1}
    assert collect(surface, GRACE + 1) == {"links": 2}
    assert collect(surface, GRACE + 1) == {"objects": 2}
    assert objects(surface) == []


def test_a_removed_manifest_comes_back_with_its_tags(surface: Surface) -> None:
    digest = pushed(surface)
    surface.registry.removals.delete(APP, digest, ADMIN)
    collect(surface, 6 * DAY)
    [removed] = surface.trash.page(APP, "", 10)
    assert (removed.digest, removed.tags, removed.removed_by) == (digest, ("1.0",), "admin")
    surface.trash.restore(APP, digest, ADMIN)
    assert surface.call("GET", "/v2/admin/app/manifests/1.0").status == 200
    assert surface.trash.page(APP, "", 10) == []
    assert collect(surface, 10 * DAY) == {}
    assert len(objects(surface)) == 2


def test_a_removed_tag_comes_back_unless_it_was_taken(surface: Surface) -> None:
    digest = pushed(surface)
    tag = Tag.parse("1.0")
    surface.registry.removals.untag(APP, tag, ADMIN)
    assert surface.trash.restore(APP, tag, ADMIN).digest == digest
    with pytest.raises(NotRestorable):
        surface.trash.restore(APP, tag, ADMIN)
    surface.registry.removals.untag(APP, tag, ADMIN)
    pushed(surface, b"other")
    with pytest.raises(TagExists):
        surface.trash.restore(APP, tag, ADMIN)


def test_untagged_manifests_stay_unless_somebody_decided_otherwise(surface: Surface) -> None:
    digest = pushed(surface)
    surface.registry.removals.untag(APP, Tag.parse("1.0"), ADMIN)
    assert collect(surface, 100 * DAY) == {"expired": 1}
    surface.configuration.change(untagged_days=30)
    assert surface.call("HEAD", f"/v2/admin/app/manifests/{digest}").status == 200
    later = pushed(surface, b"other")
    surface.registry.removals.untag(APP, Tag.parse("1.0"), ADMIN)
    assert collect(surface, 2 * DAY) == {}
    assert collect(surface, 27 * DAY) == {"expired": 1}
    assert collect(surface, 2 * DAY) == {"manifests": 1}
    assert [removed.digest for removed in surface.trash.page(APP, "", 10)] == [later]


def test_the_policy_about_untagged_manifests_can_be_taken_back(surface: Surface) -> None:
    surface.configuration.change(untagged_days=30)
    pushed(surface)
    surface.registry.removals.untag(APP, Tag.parse("1.0"), ADMIN)
    collect(surface, 2 * DAY)
    assert len(surface.table.query("untagged")) == 1
    surface.configuration.change(untagged_days=0)
    assert collect(surface, 100 * DAY) == {"expired": 1}
    assert surface.table.query("untagged") == []


def test_deleted_repositories_leave_nothing_but_what_others_hold(surface: Surface) -> None:
    pushed(surface)
    surface.push_image("admin/other", "1", b"layer")
    surface.registry.repositories.delete(APP)
    assert collect(surface)["records"] > 0
    assert collect(surface, GRACE + 1) == {}
    assert len(objects(surface)) == 2
    surface.registry.repositories.delete(RepositoryName.parse("admin/other"))
    collect(surface)
    assert collect(surface, GRACE + 1) == {"objects": 2}
    assert objects(surface) == []


class Answers(WatchedTable):
    """``most``: items in one answer."""

    most = 0

    def query(
        self, partition: str, *, prefix: str = "", after: str = "", limit: int | None = None, backward: bool = False
    ) -> Sequence[Item]:
        found = super().query(partition, prefix=prefix, after=after, limit=limit, backward=backward)
        self.most = max(self.most, len(found))
        return found


def test_however_many_spoke_of_what_goes_they_are_never_all_in_memory() -> None:
    """Each of them may bring a large descriptor along, and anybody who may push puts them there."""
    table = Answers(MemoryTable())
    surface = Surface(table=table)
    subject = pushed(surface)
    about = descriptor(image(b"layer"), OCI_MANIFEST)
    spoke = [surface.put_manifest("admin/app", "", image(b"layer", subject=about, n=number)) for number in range(300)]
    surface.registry.removals.delete(APP, subject, ADMIN)
    surface.clock.advance(7 * DAY)
    table.most = 0
    assert collect(surface) == {"expired": 1}
    assert table.most <= 200
    repository, now = surface.registry.repositories.get(APP).id, seconds(surface.clock)
    assert {(table.get(manifest_key(repository, digest)) or {}).get(CONDEMNED_AT) for digest in spoke} == {now}


def test_a_record_that_nobody_here_wrote_keeps_no_other_from_going(surface: Surface) -> None:
    strange, digest = Bytes(Digest.of(b"strange")), surface.push_blob("admin/app", b"layer")
    collect(surface, GRACE + 1)
    at = seconds(surface.clock) - 1
    surface.table.transact([Put(strange.key, {"condemned_at": at}), note(at, strange)])
    assert collect(surface, GRACE + 1) == {"left over": 1, "objects": 1}
    assert surface.table.get(blob_key(digest)) is None


@pytest.mark.parametrize(
    ("partition", "sort"),
    [
        *(("condemned", "x"), ("condemned", "000000000001/blob/sha256:x"), ("condemned", "000000000001/link")),
        *(("restorable", "x"), ("restorable", "000000000001/r/manifest/x"), ("untagged", "000000000001/r/x")),
        *(("removed", "000000000001/r"), ("retired", "no/../key")),
    ],
)
def test_nor_does_a_note(surface: Surface, partition: str, sort: str) -> None:
    surface.configuration.change(untagged_days=1)
    surface.push_blob("admin/app", b"layer")
    surface.table.write(Put(Key(partition, sort), {}))
    assert collect(surface, GRACE + 1) == {"left over": 1, "links": 1}
    assert collect(surface, GRACE + 1) == {"left over": 1, "objects": 1}


def test_a_manifest_that_a_pusher_is_told_of_is_kept_anew(surface: Surface) -> None:
    surface.configuration.change(untagged_days=1)
    digest = surface.push_image("admin/app", "", b"layer")
    surface.clock.advance(2 * HOUR)
    token = surface.token("repository:admin/app:pull,push")
    for authorization, kept in ((f"Bearer {surface.token('repository:admin/app:pull')}", False), (f"Bearer {token}", True)):
        url = f"/v2/admin/app/manifests/{digest}"
        assert surface.send("HEAD", url, authorization=authorization).status == 200
        record = surface.table.get(manifest_key(surface.registry.repositories.get(APP).id, digest))
        assert record is not None
        assert (record["condemned_at"] == seconds(surface.clock)) is kept
    assert collect(surface, GRACE - 2 * HOUR + 1) == {}
    assert collect(surface, 2 * HOUR) == {"manifests": 1}


def test_a_push_that_gives_up_spares_no_manifest_for_good(surface: Surface) -> None:
    """An index too large for one transaction has said what it needs when that is due, and dies before it is there."""
    surface.configuration.change(untagged_days=1)
    child = surface.push_image("admin/app", "", b"layer")
    surface.clock.advance(GRACE)
    repository, index = surface.registry.repositories.get(APP).id, Digest.of(b"index")
    on_its_way = manifest_key(repository, index)
    surface.table.write(Put(on_its_way, {"pending": True, "begun_at": seconds(surface.clock), "revision": 1}))
    surface.table.write(Put(needed_manifest_key(repository, child, index), {}))
    assert collect(surface, 1) == {}
    surface.table.write(Delete(on_its_way))
    assert collect(surface, GRACE - 1) == {}
    assert collect(surface, 1) == {"manifests": 1}


def test_a_note_of_this_very_second_is_the_one_who_wrote_it_s(surface: Surface) -> None:
    """A collector whose clock is ahead takes a note for an old one, while a pusher condemns the blob anew at its time."""
    surface.push_image("admin/app", "1.0")
    digest = Digest.of(CONFIG)
    link, at = Link(surface.registry.repositories.get(APP).id, digest), seconds(surface.clock)
    watched = WatchedTable(surface.table)
    ahead = FrozenClock(surface.clock.now() + timedelta(days=30))
    events = Events(watched, ahead, surface.configuration)
    garbage = Garbage(
        watched,
        surface.store,
        ahead,
        configuration=surface.configuration,
        removals=Removals(watched, surface.registry.repositories, events, ahead),
        expiry=Expiry(watched, ahead, surface.registry.images),
    )
    watched.before(1, lambda: surface.push_blob("admin/app", CONFIG), only_writes=True)
    garbage.collect(Counts())
    assert not watched.is_waiting
    record = surface.table.get(link.key)
    assert record is None or record.get("condemned_at") != at or surface.table.get(note_key(at, link)) is not None


def test_a_large_push_that_is_refused_leaves_no_notes(surface: Surface) -> None:
    layers = [b"layer %d" % number for number in range(60)]
    for layer in layers:
        surface.push_blob("admin/app", layer)
    watched = WatchedTable(surface.table)
    registry = registry_on(watched, surface.store, surface.clock)
    surface.push_blob("admin/app", CONFIG)
    gone = Digest.of(layers[-1])
    manifest = parse_manifest(image(*layers), "", None)
    watched.before(3, lambda: surface.registry.blobs.delete(APP, gone), only_writes=True)
    with pytest.raises(ManifestBlobUnknown):
        registry.pushes.push(APP, manifest, [], ADMIN, lambda: registry.repositories.get(APP))
    assert not watched.is_waiting
    repository = registry.repositories.get(APP).id
    assert surface.table.query(f"repository/{repository}", prefix="needed/") == []


def test_a_mount_of_what_goes_at_that_moment_asks_for_the_bytes() -> None:
    """From the repository itself, where nothing but the answer is at stake."""
    table = WatchedTable(MemoryTable())
    surface = Surface(table=table)
    digest = surface.push_blob("admin/app", b"layer")
    surface.clock.advance(GRACE + 1)
    for nth in range(1, 10):
        table.before(nth, lambda: collect(surface))
        answer = surface.call("POST", f"/v2/admin/app/blobs/uploads/?mount={digest}&from=admin/app")
        table.rest()
        assert answer.status in {201, 202}, answer.body
        surface.push_blob("admin/app", b"layer")
        surface.clock.advance(GRACE + 1)
