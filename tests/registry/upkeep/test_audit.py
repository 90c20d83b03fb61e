"""The audit: every kind of drift is found, and put right where it can be; where nothing drifted it finds nothing, whatever the
registry went through; and it hurts nobody who is at work meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.registry.condemned import RENEWED_AFTER, Link, Listed, note_key
from chalicelib.registry.errors import RegistryError
from chalicelib.registry.events import Actor
from chalicelib.registry.manifests import parse_manifest
from chalicelib.registry.names import Digest, RepositoryName, Tag
from chalicelib.registry.ports import Attributes, Delete, Key, Put, Update
from chalicelib.registry.pushes import Sparse
from chalicelib.registry.records import (
    CONDEMNED_AT,
    OBJECTS_PARTITION,
    blob_key,
    content_key,
    contents,
    holder_key,
    link_key,
    manifest_key,
    needed_blob_key,
    referrer_key,
    restorable_key,
    retired_key,
    tag_key,
    tagged_key,
)
from chalicelib.registry.upkeep.audit import PER_SECOND
from chalicelib.registry.upkeep.leftovers import GRACE as LEFT_AFTER
from chalicelib.registry.upkeep.storage import Storage, Total, Use
from chalicelib.registry.upload_records import REMEMBERED, piece_key
from tests.auditing import audit
from tests.counts import Counts, Run
from tests.memory_blobs import MemoryBlobs
from tests.memory_table import MemoryTable
from tests.surface import CONFIG, Surface, descriptor, image, index
from tests.watched_table import Died, WatchedTable, die, interleaved

APP = RepositoryName.parse("admin/app")
ADMIN = Actor("admin")
HOUR, DAY = 3600, 24 * 3600
LAYER = b"layer"
LAYER_DIGEST = Digest.of(LAYER)


def found(run: Run) -> dict[str, int]:
    """What it counted but for what it looked at."""
    return {what: number for what, number in run.counted.items() if what not in {"items", "objects"}}


def collect(surface: Surface, after: float = 0) -> None:
    surface.clock.advance(after)
    surface.garbage.collect(Counts())


@pytest.fixture
def surface() -> Surface:
    surface = Surface()
    surface.push_image("admin/app", "1.0", LAYER)
    return surface


def app(surface: Surface) -> str:
    return surface.registry.repositories.get(APP).id


def write(surface: Surface, *writes: Put | Update | Delete) -> None:
    for each in writes:
        surface.table.write(each)


def key_of(surface: Surface, digest: Digest = LAYER_DIGEST) -> str:
    return str(surface.table.get(blob_key(digest))["key"])  # type: ignore[index]


MANIFEST = Digest.of(image(LAYER))


# ------------------------------------------------------------------------------------------------------- what it repairs


def uncondemned_blob(surface: Surface) -> None:
    write(surface, Put(blob_key(Digest.of(b"x")), {"key": "data/x", "size": 1, "revision": 1}))
    surface.store.put("data/x", b"x")


def unnoted_blob(surface: Surface) -> None:
    digest = Digest.of(b"x")
    write(surface, Put(blob_key(digest), {"key": "data/x", "size": 1, "revision": 1, CONDEMNED_AT: 5}))
    surface.store.put("data/x", b"x")


def unheld_link(surface: Surface) -> None:
    write(surface, Delete(holder_key(LAYER_DIGEST, app(surface))))


def unnoted_link(surface: Surface) -> None:
    write(surface, Update(link_key(app(surface), LAYER_DIGEST), set={CONDEMNED_AT: 5}))


def uncondemned_link(surface: Surface) -> None:
    digest = surface.push_blob("admin/app", b"nobody's")
    key = link_key(app(surface), digest)
    at = surface.table.get(key)[CONDEMNED_AT]  # type: ignore[index]
    write(surface, Update(key, remove=(CONDEMNED_AT,)), Delete(note_key(int(str(at)), Link(app(surface), digest))))


def astray_link(surface: Surface) -> None:
    write(surface, Update(link_key(app(surface), LAYER_DIGEST), set={"key": "data/elsewhere"}))


def blob_behind_its_link(surface: Surface) -> None:
    write(surface, Update(blob_key(LAYER_DIGEST), set={"key": "data/elsewhere"}))


def unnamed_link(surface: Surface) -> None:
    write(surface, Delete(blob_key(LAYER_DIGEST)))


def holder_without_link(surface: Surface) -> None:
    write(surface, Put(holder_key(LAYER_DIGEST, "0" * 24), {"name": "admin/gone"}))


def unneeded_note(surface: Surface) -> None:
    write(surface, Delete(needed_blob_key(app(surface), LAYER_DIGEST, MANIFEST)))


def uncondemned_manifest(surface: Surface) -> None:
    repository = app(surface)
    write(surface, Delete(tag_key(repository, Tag("1.0"))), Delete(tagged_key(repository, MANIFEST, Tag("1.0"))))


def unnoted_manifest(surface: Surface) -> None:
    surface.configuration.change(untagged_days=1)
    surface.registry.removals.untag(APP, Tag("1.0"), ADMIN)
    at = int(surface.clock.now().timestamp())
    write(surface, Delete(note_key(at, Listed(app(surface), MANIFEST))))


def unlisted_referrer(surface: Surface) -> None:
    repository = app(surface)
    digest = surface.push_image("admin/app", "about", b"signature", subject=descriptor(image(LAYER)))
    write(surface, Delete(referrer_key(repository, MANIFEST, digest)))


def pending_for_good(surface: Surface) -> None:
    record: Attributes = {"media_type": "x", "size": 5, "pending": True, "begun_at": 5, "revision": 5}
    write(surface, Put(manifest_key(app(surface), Digest.of(b"x")), record))


def content_without_manifest(surface: Surface) -> None:
    write(surface, Put(content_key(app(surface), Digest.of(b"x")), {"content": b"x"}))


def referrer_without_manifest(surface: Surface) -> None:
    write(surface, Put(referrer_key(app(surface), MANIFEST, Digest.of(b"x")), {"artifact_type": ""}))


def dangling_tag(surface: Surface) -> None:
    repository, gone = app(surface), Digest.of(b"x")
    write(surface, Put(tag_key(repository, Tag("2.0")), {"digest": str(gone), "media_type": "x", "size": 5, "pushed_at": 5}))
    write(surface, Put(tagged_key(repository, gone, Tag("2.0")), {}))


def unknown_tag(surface: Surface) -> None:
    write(surface, Delete(tagged_key(app(surface), MANIFEST, Tag("1.0"))))


def tagged_no_longer(surface: Surface) -> None:
    write(surface, Put(tagged_key(app(surface), MANIFEST, Tag("gone")), {}))


def removed_for_good(surface: Surface) -> None:
    surface.registry.removals.delete(APP, MANIFEST, ADMIN)
    write(surface, Delete(restorable_key(int(surface.clock.now().timestamp()), app(surface), MANIFEST)))


def removed_that_loses_its_blobs(surface: Surface) -> None:
    surface.registry.removals.delete(APP, MANIFEST, ADMIN)
    write(surface, Delete(needed_blob_key(app(surface), LAYER_DIGEST, MANIFEST)))


def removed_tag_for_good(surface: Surface) -> None:
    surface.registry.removals.untag(APP, Tag("1.0"), ADMIN)
    write(surface, Delete(restorable_key(int(surface.clock.now().timestamp()), app(surface), Tag("1.0"))))


def abandoned(surface: Surface) -> None:
    write(surface, Put(link_key("f" * 24, LAYER_DIGEST), {"key": key_of(surface), "size": 5, "revision": 5}))


REPAIRED = [
    uncondemned_blob, unnoted_blob, unheld_link, unnoted_link, uncondemned_link, astray_link, blob_behind_its_link,
    unnamed_link, holder_without_link, unneeded_note, uncondemned_manifest, unnoted_manifest, unlisted_referrer,
    pending_for_good,
    content_without_manifest, referrer_without_manifest, dangling_tag, unknown_tag, tagged_no_longer, removed_for_good,
    removed_that_loses_its_blobs, removed_tag_for_good, abandoned,
]  # fmt: skip

UNTAGGED = (uncondemned_manifest, unnoted_manifest)


@pytest.mark.parametrize("plant", REPAIRED)
def test_what_drifted_is_put_right_once(surface: Surface, plant: Callable[[Surface], None]) -> None:
    plant(surface)
    first = audit(surface)
    assert set(found(first)) <= {"repaired", "lost"}, first.lines
    assert first.counted["repaired"] >= 1
    again = audit(surface)
    assert found(again) == {}, again.lines
    if plant not in UNTAGGED and "removed" not in plant.__name__:
        surface.clock.advance(60)
        collect(surface, 10 * DAY)
        assert surface.call("GET", f"/v2/admin/app/manifests/{MANIFEST}").status == 200
        assert surface.call("HEAD", f"/v2/admin/app/blobs/{LAYER_DIGEST}").status == 307
        assert surface.store.stat(key_of(surface)) is not None


def test_an_untagged_manifest_whose_note_was_lost_goes_by_the_policy(surface: Surface) -> None:
    unnoted_manifest(surface)
    collect(surface, 10 * DAY)
    assert surface.call("GET", f"/v2/admin/app/manifests/{MANIFEST}").status == 200
    audit(surface)
    for _ in range(3):
        collect(surface, 2 * DAY)
    assert surface.call("GET", f"/v2/admin/app/manifests/{MANIFEST}").status == 404


def test_what_was_forgotten_goes_after_the_audit(surface: Surface) -> None:
    for plant in (uncondemned_blob, unnoted_blob, uncondemned_link, content_without_manifest, abandoned):
        plant(surface)
    audit(surface)
    for _ in range(3):
        collect(surface, DAY + RENEWED_AFTER + 1)
    assert surface.table.get(blob_key(Digest.of(b"x"))) is None
    assert surface.table.get(blob_key(Digest.of(b"nobody's"))) is None
    assert surface.table.query(contents("f" * 24)) == []
    assert found(audit(surface)) == {}


# ---------------------------------------------------------------------------------------------------------- what it tells


def test_lost_bytes_are_told_each_time_and_deleted_nowhere(surface: Surface) -> None:
    surface.store.delete(key_of(surface))
    for _ in range(2):
        run = audit(surface)
        assert found(run) == {"lost": 1}
        assert str(LAYER_DIGEST) in run.lines[0]
    surface.push_blob("admin/other", LAYER)
    assert found(audit(surface)) == {"repaired": 1}
    assert found(audit(surface)) == {}
    url = surface.call("GET", f"/v2/admin/app/blobs/{LAYER_DIGEST}").headers["Location"]
    assert isinstance(surface.store, MemoryBlobs)
    linked = surface.store.linked("GET", url)
    assert linked is not None
    assert surface.store.stat(linked.key) is not None


def test_a_wrong_size_is_told(surface: Surface) -> None:
    surface.store.put(key_of(surface), b"cut")
    assert found(audit(surface)) == {"lost": 1}


def test_a_manifest_without_bytes_is_told(surface: Surface) -> None:
    write(surface, Delete(content_key(app(surface), MANIFEST)))
    assert found(audit(surface)) == {"lost": 1}
    write(surface, Put(content_key(app(surface), MANIFEST), {"content": b"another"}))
    assert found(audit(surface)) == {"damaged": 1}
    write(surface, Put(content_key(app(surface), MANIFEST), {"key": "manifests/gone"}))
    assert found(audit(surface)) == {"lost": 1}


def test_what_a_manifest_lacks_is_told_unless_it_may(surface: Surface) -> None:
    write(surface, Delete(link_key(app(surface), LAYER_DIGEST)), Delete(holder_key(LAYER_DIGEST, app(surface))))
    assert found(audit(surface)) == {"lost": 1, "repaired": 1}
    assert found(audit(surface, sparse=Sparse.ALL)) == {"absent": 1}


def test_what_is_had_elsewhere_is_no_drift(surface: Surface) -> None:
    foreign = descriptor(b"foreign", "application/vnd.oci.image.layer.nondistributable.v1.tar")
    surface.put_manifest("admin/app", "foreign", image(layers=[foreign]))
    assert found(audit(surface)) == {}


def test_what_cannot_be_read_is_told(surface: Surface) -> None:
    write(surface, Put(Key("blob/sha256:12", "blob"), {"key": "data/x", "size": 5}))
    write(surface, Update(blob_key(LAYER_DIGEST), set={"size": "five"}))
    write(surface, Put(Key("elsewhere/5", "x"), {}), Put(Key(contents(app(surface)), "other/x"), {}))
    assert found(audit(surface)) == {"unreadable": 2, "unknown": 2}


def test_every_partition_is_known(surface: Surface) -> None:
    surface.push_image("admin/app", "", LAYER, b"another")
    surface.registry.removals.delete(APP, MANIFEST, ADMIN)
    surface.registry.repositories.delete(APP)
    audit(surface)
    assert found(audit(surface)) == {}


# ---------------------------------------------------------------------------------------------------------- the store


def test_objects_that_nobody_names_go_however_old(surface: Surface) -> None:
    repository = app(surface)
    old = f"{int(surface.clock.now().timestamp()):08x}" + "0" * 24
    lost = [
        piece_key(old),
        f"direct/{repository}/{Digest.of(b'direct')}/{old}",
        f"manifests/{repository}/{Digest.of(b'm')}/{'0' * 32}",
        "proofs/0123",
    ]
    for key in lost:
        surface.store.put(key, b"nobody's")
    surface.store.put("data/" + "0" * 32, b"as an earlier version kept blobs")
    before = [stored.key for stored in surface.store.list("")]
    surface.clock.advance(LEFT_AFTER - 60)
    assert found(audit(surface)) == {}
    surface.clock.advance(REMEMBERED + 30 * DAY)
    write(surface, Put(retired_key(lost[0]), {}))
    assert found(audit(surface)) == {"orphans": 3}
    write(surface, Delete(retired_key(lost[0])))
    assert found(audit(surface)) == {"orphans": 1}
    assert [stored.key for stored in surface.store.list("")] == [key for key in before if key not in lost]


def test_old_objects_of_blobs_stay_even_if_the_walk_missed_them(surface: Surface) -> None:
    """The upload is forgotten, and nothing says whose the object is but its bytes."""
    surface.clock.advance(REMEMBERED + 30 * DAY)
    audit(surface)
    for item in surface.table.query(OBJECTS_PARTITION):
        write(surface, Delete(item.key))
    run = Run(cursor=json.dumps(["data/", "", Storage(surface.table).read().attributes()]))
    assert found(audit(surface, run)) == {}
    assert surface.store.stat(key_of(surface)) is not None


def test_whose_an_object_was_is_forgotten_with_it(surface: Surface) -> None:
    audit(surface)
    assert {str(item.key.sort) for item in surface.table.query(OBJECTS_PARTITION)} == {
        key_of(surface, Digest.of(content)) for content in (LAYER, CONFIG)
    }
    surface.registry.repositories.delete(APP)
    for _ in range(3):
        collect(surface, 2 * DAY)
    assert found(audit(surface)) == {}
    assert surface.table.query(OBJECTS_PARTITION) == []


# ---------------------------------------------------------------------------------------------------------- the numbers


def test_what_is_stored_is_counted_by_its_use(surface: Surface) -> None:
    storage = Storage(surface.table)
    assert storage.read().measured_at is None
    surface.push_image("admin/app", "2.0", b"to be removed")
    surface.push_blob("admin/app", b"no manifest came")
    surface.registry.removals.delete(APP, Digest.of(image(b"to be removed")), ADMIN)
    began = surface.clock.now().timestamp()
    audit(surface)
    numbers = storage.read()
    assert numbers.measured_at is not None
    assert numbers.measured_at >= began
    assert numbers.totals == {
        Use.LIVE: Total(len(LAYER) + len(CONFIG), 2),
        Use.RESTORABLE: Total(len(b"to be removed"), 1),
        Use.GARBAGE: Total(len(b"no manifest came"), 1),
    }
    assert numbers.manifests == 1


def test_numbers_are_carried_over_from_stretch_to_stretch(surface: Surface) -> None:
    for number in range(100):
        surface.push_blob("admin/app", b"%03d" % number)
    audit(surface)
    assert Storage(surface.table).read().totals[Use.GARBAGE] == Total(300, 100)


def test_it_takes_its_time(surface: Surface) -> None:
    for number in range(300):
        surface.push_blob("admin/app", b"%d" % number)
    before = surface.clock.now().timestamp()
    run = audit(surface)
    took = surface.clock.now().timestamp() - before
    assert took >= (run.counted["items"] + run.counted["objects"]) / PER_SECOND - 1e-3


# ------------------------------------------------------------------------------------------ interrupted, and in between


@cache
def _first_drifted() -> Surface:
    """Enough for two stretches, with drift in each."""
    surface = Surface()
    surface.push_image("admin/app", "1.0", LAYER)
    surface.push_image("admin/app", "2.0", b"another")
    for plant in (holder_without_link, unneeded_note, unnoted_link, unknown_tag, uncondemned_blob, abandoned):
        plant(surface)
    surface.store.put(piece_key("5" * 8 + "0" * 24), b"nobody's")
    return surface


def drifted() -> Surface:
    """Another one of the same, on a table that is watched."""
    first = _first_drifted()
    surface = Surface(table=WatchedTable(MemoryTable()))
    for item in first.table.walk(limit=10_000).items:
        surface.table.write(Put(item.key, item.attributes))
    for stored in first.store.list(""):
        with first.store.open(stored.key) as stream:
            surface.store.put(stored.key, stream.read())
    return surface


def watched(surface: Surface) -> WatchedTable:
    assert isinstance(surface.table, WatchedTable)
    return surface.table


def state(surface: Surface) -> object:
    """How many items, the sizes of what is stored, and the numbers of another audit: one that repairs counts some things as
    they were before."""
    assert found(audit(surface)) == {}
    items = watched(surface).inner.walk(limit=10_000).items
    return len(items), sorted(stored.size for stored in surface.store.list("")), Storage(surface.table).read().totals


def test_an_interrupted_audit_goes_on() -> None:
    whole = drifted()
    audit(whole)
    expected = state(whole)
    for nth in count(1):
        surface, run = drifted(), Run()
        watched(surface).before(nth, die)
        try:
            audit(surface, run)
        except Died:
            audit(surface, run)
            assert state(surface) == expected
        else:
            assert nth > 100
            return


def push_again(surface: Surface) -> object:
    return surface.push_image("admin/app", "again", LAYER)


def push_more(surface: Surface) -> object:
    return surface.push_image("admin/other", "1.0", LAYER, b"more")


def remove(surface: Surface) -> None:
    surface.registry.removals.delete(APP, MANIFEST, ADMIN)


def remove_all(surface: Surface) -> None:
    surface.registry.repositories.delete(APP)


def clean_up(surface: Surface) -> None:
    surface.garbage.collect(Counts())


@pytest.mark.parametrize("meanwhile", [push_again, push_more, remove, remove_all, clean_up])
def test_nothing_is_lost_by_what_happens_meanwhile(meanwhile: Callable[[Surface], object]) -> None:
    for surface, outcome, refused in interleaved(drifted, watched, audit, meanwhile):
        assert (outcome, refused) == ("", "")
        audit(surface)
        assert found(audit(surface)) == {}
        for _ in range(4):
            collect(surface, 10 * DAY)
        assert found(audit(surface)) == {}
        for item in watched(surface).inner.walk(limit=10_000).items:
            if item.key.sort.startswith("manifest/") and "pending" not in item.attributes:
                assert (
                    surface.table.get(link_key(item.key.partition.removeprefix("repository/"), Digest.of(CONFIG))) is not None
                )


# ------------------------------------------------------------------------------------------------------- any history


REPOSITORIES = ("admin/one", "admin/two")
LAYERS = (b"a", b"b", b"c")
SETS: Sequence[tuple[bytes, ...]] = ((b"a",), (b"a", b"b"), (b"b", b"c"))
TAGS = ("x", "y")
MANY = tuple(f"layer {number}".encode() for number in range(60))


def _images() -> Sequence[bytes]:
    """All manifests of a history: plain ones, one of a subject, one that takes several transactions, and indexes of them."""
    plain = [image(*layers) for layers in SETS]
    about = image(b"c", subject=descriptor(plain[0]))
    return [*plain, about, image(*MANY), index(plain[0], plain[1]), index(plain[1], about)]


IMAGES = _images()
names = st.sampled_from(["admin/one"] * 4 + ["admin/two"])
which = st.integers(0, 7)
tags = st.sampled_from([*TAGS, *TAGS, ""])
pushes = st.tuples(st.just("push"), names, st.sampled_from(IMAGES), tags)
steps = st.one_of(
    pushes,
    pushes,
    st.tuples(st.just("die"), names, st.sampled_from(IMAGES), tags, st.integers(1, 4)),
    st.tuples(st.just("blob"), names, st.sampled_from(LAYERS)),
    st.tuples(st.just("unblob"), names, st.sampled_from(LAYERS)),
    st.tuples(st.just("untag"), names, which),
    st.tuples(st.just("untag"), names, which),
    st.tuples(st.just("delete"), names, which),
    st.tuples(st.just("delete"), names, which),
    st.tuples(st.just("restore"), names, which),
    st.tuples(st.just("mount"), st.sampled_from(LAYERS)),
    st.tuples(st.just("collect"), st.sampled_from([0, HOUR, DAY + 2 * HOUR, DAY + 2 * HOUR, 8 * DAY])),
    st.tuples(st.just("collect"), st.sampled_from([DAY + 2 * HOUR, 8 * DAY])),
    st.tuples(st.just("untagged"), st.sampled_from([0, 1])),
    st.tuples(st.just("drop"), st.just("admin/two"))
    | which.map(lambda nth: ("drop", "admin/one") if nth == 0 else ("collect", 0)),
)


class History:
    """Does steps; what the registry refuses is no step. A step is about one of those things that are there, if any are."""

    def __init__(self) -> None:
        self.surface = Surface(table=WatchedTable(MemoryTable()))
        self.registry = self.surface.registry

    def do(self, step: tuple[Any, ...]) -> bool:
        """Whether there was anything to do."""
        what, *rest = step
        try:
            getattr(self, "_" + what)(*rest)
        except (RegistryError, IndexError):
            return False
        return True

    def _die(self, name: str, content: bytes, tag: str, nth: int) -> None:
        """A push that ends before one of its writes, and perhaps is taken up by nobody."""
        self._bring(name, content)
        table = watched(self.surface)
        table.before(nth, die, only_writes=True)
        try:
            self._put(name, content, tag)
        except Died:
            return
        finally:
            table.rest()

    def _push(self, name: str, content: bytes, tag: str) -> None:
        self._bring(name, content)
        self._put(name, content, tag)

    def _put(self, name: str, content: bytes, tag: str) -> None:
        parsed, manifest = RepositoryName.parse(name), parse_manifest(content, "", None)
        make = partial(self.registry.repositories.make, parsed)
        self.registry.pushes.push(parsed, manifest, [Tag(tag)] if tag else [], ADMIN, make)

    def _bring(self, name: str, content: bytes) -> None:
        """What a client does first: it uploads the blobs that the repository lacks."""
        body = json.loads(content)
        blobs = {str(Digest.of(blob)): blob for blob in (*LAYERS, *MANY, CONFIG)}
        repository = self.registry.repositories.ensure(RepositoryName.parse(name))
        for entry in [body["config"], *body["layers"]] if "layers" in body else ():
            held = self.registry.blobs.find(repository.id, Digest.parse(entry["digest"]))
            if held is None:
                self._blob(name, blobs[entry["digest"]])
            else:
                self.registry.blobs.keep(held)

    def _blob(self, name: str, content: bytes) -> None:
        upload = self.registry.uploads.begin(self.registry.repositories.ensure(RepositoryName.parse(name)), "admin")
        self.registry.uploads.finish(upload.ticket, Digest.of(content), body=content)

    def _unblob(self, name: str, content: bytes) -> None:
        self.registry.blobs.delete(RepositoryName.parse(name), Digest.of(content))

    def _mount(self, content: bytes) -> None:
        source, target = (RepositoryName.parse(name) for name in REPOSITORIES)
        repository = self.registry.repositories.ensure(target)
        self.registry.blobs.mount(repository, Digest.of(content), source, lambda *_: True)

    def _untag(self, name: str, nth: int) -> None:
        parsed = RepositoryName.parse(name)
        self.registry.removals.untag(parsed, self.registry.images.tags(parsed, "", 10)[nth % 2], ADMIN)

    def _delete(self, name: str, nth: int) -> None:
        parsed = RepositoryName.parse(name)
        there = self.surface.table.query(contents(self.registry.repositories.get(parsed).id), prefix="manifest/")
        self.registry.removals.delete(parsed, Digest.parse(there[nth % max(1, len(there))].key.sort.split("/")[1]), ADMIN)

    def _restore(self, name: str, nth: int) -> None:
        parsed = RepositoryName.parse(name)
        removed = self.surface.trash.page(parsed, "", 10)
        chosen = removed[nth % max(1, len(removed))]
        self.surface.trash.restore(parsed, Tag(chosen.tag) if chosen.tag else chosen.digest, ADMIN)

    def _drop(self, name: str) -> None:
        self.registry.repositories.delete(RepositoryName.parse(name))

    def _untagged(self, days: int) -> None:
        self.surface.configuration.change(untagged_days=days)
        audit(self.surface)  # it notes what was untagged when nobody waited for it

    def _collect(self, after: int) -> None:
        collect(self.surface, after)
        self.registry.pushes.sweep(100)


@settings(max_examples=60, deadline=None)
@given(st.lists(tags, min_size=len(IMAGES), max_size=len(IMAGES)), st.lists(steps, min_size=8, max_size=30))
def test_no_history_drifts(tagged: list[str], history: list[tuple[Any, ...]]) -> None:
    """Nothing that clients or the collector do is drift at any time: this is a proof of the collector, too."""
    world = History()
    for content, tag in zip(IMAGES, tagged, strict=True):
        world.do(("push", "admin/one", content, tag))
    for step in history:
        if world.do(step) and step[0] == "collect":
            assert found(run := audit(world.surface)) == {}, run.lines
    for _ in range(4):
        assert found(run := audit(world.surface)) == {}, run.lines
        collect(world.surface, 10 * DAY)
