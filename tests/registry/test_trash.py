"""What was removed and comes back: whole, once, under names that are free, and whoever else is at it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial

import pytest

from chalicelib.registry.condemned import RENEWED_AFTER
from chalicelib.registry.errors import BlobReferenced, ContentGone, NameUnknown, NotRestorable, TagExists
from chalicelib.registry.events import Actor
from chalicelib.registry.names import Digest, Reference, RepositoryName, Tag
from chalicelib.registry.records import RESTORABLE_PARTITION, RETIRED_PARTITION
from chalicelib.registry.trash import Removed, Restored
from tests.counts import Counts
from tests.memory_table import MemoryTable
from tests.surface import CONFIG, Surface, image, index
from tests.watched_table import Died, WatchedTable, die, interleaved, refusal

NAME = "admin/app"
APP = RepositoryName.parse(NAME)
ADMIN = Actor("admin")
DAY = 24 * 3600
GRACE = DAY + RENEWED_AFTER
LAYER = b"layer"
LARGE = image(LAYER, annotations={"about": "x" * 300_000})
MANY = image(*(b"layer %d" % number for number in range(120)))
"""It needs more than a transaction holds."""


@dataclass
class Shop:
    """A registry with one repository, and short words for what happens in it."""

    table: WatchedTable = field(default_factory=lambda: WatchedTable(MemoryTable()))

    def __post_init__(self) -> None:
        self.surface = Surface(table=self.table)
        self.surface.push_blob(NAME, CONFIG)
        self.surface.push_blob(NAME, LAYER)

    def push(self, tag: str, content: bytes = image(LAYER)) -> Digest:
        return self.surface.put_manifest(NAME, tag, content)

    def untag(self, tag: str) -> None:
        self.surface.registry.removals.untag(APP, Tag(tag), ADMIN)

    def delete(self, digest: Digest) -> None:
        self.surface.registry.removals.delete(APP, digest, ADMIN)

    def restore(self, reference: Reference | str, digest: Digest | None = None) -> Restored:
        wanted = Tag(reference) if isinstance(reference, str) else reference
        return self.surface.trash.restore(APP, wanted, ADMIN, digest=digest)

    def page(self) -> list[Removed]:
        return list(self.surface.trash.page(APP, "", 100))

    def collect(self, after: float = 0) -> None:
        self.surface.clock.advance(after)
        self.surface.garbage.collect(Counts())

    def pulled(self, reference: object) -> str | None:
        """The digest that a puller gets, layers and all; None for nothing."""
        answer = self.surface.call("GET", f"/v2/{NAME}/manifests/{reference}")
        if answer.status == 404:
            return None
        content = json.loads(answer.body)
        for part in (*content.get("layers", ()), *([content["config"]] if "config" in content else ())):
            assert self.surface.status("GET", f"/v2/{NAME}/blobs/{part['digest']}") == 307, part
        return answer.headers["Docker-Content-Digest"]

    def holds(self, digest: Digest) -> bool:
        return self.pulled(digest) == str(digest)


@pytest.fixture
def shop() -> Shop:
    return Shop()


# ------------------------------------------------------------------------------------------------------ what is refused


def test_nothing_that_was_never_removed(shop: Shop) -> None:
    digest = shop.push("1.0")
    for reference in ("1.0", "none", digest, Digest.of(b"none")):
        with pytest.raises(NotRestorable):
            shop.restore(reference)
    with pytest.raises(NameUnknown):
        shop.surface.trash.restore(RepositoryName("admin/none"), Tag("1.0"), ADMIN)
    assert shop.page() == []


def test_nothing_twice(shop: Shop) -> None:
    digest = shop.push("1.0")
    shop.delete(digest)
    assert shop.restore(digest) == Restored(digest, ("1.0",), shop.surface.registry.repositories.get(APP).id)
    with pytest.raises(NotRestorable):
        shop.restore(digest)
    shop.untag("1.0")
    shop.restore("1.0")
    with pytest.raises(NotRestorable):
        shop.restore("1.0")
    assert shop.table.query(RESTORABLE_PARTITION) == []


def test_nothing_that_was_removed_too_long_ago(shop: Shop) -> None:
    digest = shop.push("1.0")
    shop.untag("1.0")
    shop.delete(digest)
    shop.collect(7 * DAY)
    for reference in ("1.0", digest):
        with pytest.raises(NotRestorable):
            shop.restore(reference)
    assert shop.page() == []


def test_a_tag_brings_its_image_back_with_all_that_went_with_it(shop: Shop) -> None:
    digest = shop.push("alone")
    others = {f"t{number:02}" for number in range(50)}
    for other in others:
        shop.push(other)
    shop.untag("alone")
    shop.delete(digest)
    assert set(shop.restore("alone").tags) == {"alone", *others}
    assert shop.page() == []


def test_no_image_whose_layer_was_deleted_after_it(shop: Shop) -> None:
    digest = shop.push("1.0")
    with pytest.raises(BlobReferenced):
        shop.surface.registry.blobs.delete(APP, Digest.of(LAYER))
    shop.delete(digest)
    shop.surface.registry.blobs.delete(APP, Digest.of(LAYER))
    with pytest.raises(ContentGone) as refused:
        shop.restore(digest)
    assert refused.value.digests == (str(Digest.of(LAYER)),)
    assert str(Digest.of(LAYER)) in str(refused.value)
    assert [removed.digest for removed in shop.page()] == [digest]
    shop.surface.push_blob(NAME, LAYER)
    shop.restore(digest)
    assert shop.holds(digest)


@pytest.mark.parametrize("instead", [b"\0" * len(LARGE), LARGE.replace(b"x", b"y")])
def test_no_image_whose_bytes_are_damaged_which_keeps_nothing_else_from_being_collected(shop: Shop, instead: bytes) -> None:
    digest = shop.push("1.0", LARGE)
    shop.delete(digest)
    store = shop.surface.store
    [stored] = store.list("manifests/")
    store.put(stored.key, instead)
    with pytest.raises(NotRestorable):
        shop.restore(digest)
    garbage = shop.surface.push_blob(NAME, b"garbage")
    shop.collect(7 * DAY + GRACE)
    assert shop.surface.status("HEAD", f"/v2/{NAME}/blobs/{garbage}") == 404
    assert (shop.page(), list(store.list("manifests/"))) == ([], [])


def test_nor_one_that_is_there_and_damaged(shop: Shop) -> None:
    digest = shop.push("1.0", LARGE)
    shop.untag("1.0")
    [stored] = shop.surface.store.list("manifests/")
    shop.surface.store.put(stored.key, b"\0")
    with pytest.raises(NotRestorable):
        shop.restore("1.0", digest)


def test_no_index_before_its_images(shop: Shop) -> None:
    content = index(image(LAYER))
    child, parent = shop.push(""), shop.push("all", content)
    shop.delete(parent)
    shop.delete(child)
    with pytest.raises(ContentGone) as refused:
        shop.restore(parent)
    assert refused.value.digests == (str(child),)
    shop.restore(child)
    assert shop.restore(parent).tags == ("all",)
    assert shop.page() == []


def test_an_image_whose_subject_was_removed_comes_back_alone(shop: Shop) -> None:
    subject = shop.push("1.0")
    described = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": str(subject), "size": len(image(LAYER))}
    signature = shop.push("", image(LAYER, subject=described))
    shop.delete(subject)
    shop.delete(signature)
    shop.restore(signature)
    listed = json.loads(shop.surface.call("GET", f"/v2/{NAME}/referrers/{subject}").body)["manifests"]
    assert [each["digest"] for each in listed] == [str(signature)]
    shop.restore(subject)
    assert shop.holds(subject)


def test_a_repository_that_is_deleted_meanwhile_is_not_made_again(shop: Shop) -> None:
    empty = shop.push("empty", index())
    shop.delete(empty)
    for content in (index(), image(LAYER)):
        for nth in range(1, 12):
            world = Shop()
            digest = world.push("x", content)
            world.delete(digest)
            repositories = world.surface.registry.repositories
            world.table.before(nth, lambda repositories=repositories: repositories.delete(APP))  # type: ignore[misc]
            outcome = refusal(lambda world=world, digest=digest: world.restore(digest))  # type: ignore[misc]
            world.table.rest()
            assert outcome in {"", "NameUnknown", "NotRestorable"}, nth
            assert repositories.find(APP) is None or outcome == ""


# ------------------------------------------------------------------------------------------------------------- tags


def test_a_manifest_leaves_names_that_were_taken_to_who_took_them(shop: Shop) -> None:
    first = shop.push("1.0")
    shop.push("latest")
    shop.delete(first)
    second = shop.push("latest", index())
    assert shop.restore(first).tags == ("1.0",)
    assert shop.pulled("latest") == str(second)


def test_thirty_tags_come_back_with_their_manifest(shop: Shop) -> None:
    tags = tuple(f"t{number:02}" for number in range(30))
    for tag in tags:
        digest = shop.push(tag)
    shop.delete(digest)
    assert shop.restore(digest).tags == tags
    assert shop.page() == []
    assert shop.table.query(RESTORABLE_PARTITION) == []


def test_a_tag_that_was_taken_away_before_stays_away(shop: Shop) -> None:
    digest = shop.push("1.0")
    shop.push("2.0")
    shop.untag("2.0")
    shop.delete(digest)
    assert shop.restore(digest).tags == ("1.0",)
    assert [removed.reference for removed in shop.page()] == [f"2.0@{digest}"]


def test_a_tag_brings_its_manifest_and_those_that_went_with_it(shop: Shop) -> None:
    digest = shop.push("1.0")
    shop.push("2.0")
    shop.untag("2.0")
    shop.delete(digest)
    assert shop.restore("2.0").tags == ("1.0", "2.0")
    assert shop.page() == []


def test_a_tag_comes_back_as_it_was_at_any_removal(shop: Shop) -> None:
    first, second = shop.push("1.0"), shop.push("2.0", index())
    for content in (image(LAYER), index()):
        shop.push("latest", content)
        shop.surface.clock.advance(5)
        shop.untag("latest")
    assert [removed.reference for removed in shop.page()] == [f"latest@{first}", f"latest@{second}"]
    shop.restore("latest", first)
    assert shop.pulled("latest") == str(first)
    with pytest.raises(TagExists):
        shop.restore("latest")
    shop.surface.clock.advance(5)
    shop.untag("latest")
    shop.restore("latest", second)
    assert shop.pulled("latest") == str(second)
    with pytest.raises(NotRestorable):
        shop.restore("latest", Digest.of(b"other"))


def test_a_tag_that_was_pushed_again_is_not_shown(shop: Shop) -> None:
    digest = shop.push("1.0")
    shop.untag("1.0")
    assert [(removed.tag, removed.media_type, removed.size) for removed in shop.page()] == [
        ("1.0", json.loads(image(LAYER))["mediaType"], len(image(LAYER)))
    ]
    shop.push("1.0")
    assert shop.page() == []
    shop.push("1.0", index())
    assert [(removed.tag, removed.digest) for removed in shop.page()] == [("1.0", digest)]


# ------------------------------------------------------------------------------------------------------------ pages


def test_pages_are_full_though_rows_are_hidden(shop: Shop) -> None:
    contents = [image(LAYER, annotations={"n": str(number)}) for number in range(30)]
    digests = [shop.push(f"t{number:02}", content) for number, content in enumerate(contents)]
    for digest in digests:
        shop.delete(digest)
    for content in contents[:20]:
        shop.push("", content)
    for number in range(40):
        shop.push(f"u{number:02}", contents[0])
        shop.untag(f"u{number:02}")
    expected = [*sorted(str(digest) for digest in digests[20:]), *(f"u{number:02}@{digests[0]}" for number in range(40))]
    for size in (1, 3, 7, 100):
        seen: list[Removed] = []
        while page := shop.surface.trash.page(APP, seen[-1].id if seen else "", size):
            seen += page
            assert len(page) == size or len(seen) == len(expected)
        assert [removed.reference for removed in seen] == expected


# ------------------------------------------------------------------------------------------------- manifests of all sizes


@pytest.mark.parametrize("content", [image(LAYER), LARGE, MANY], ids=["small", "large", "many layers"])
def test_whole_whenever_the_process_dies(content: bytes) -> None:
    """At every write, and then once more: it is restorable or there, and in the end it is there and nothing is left over."""
    layers = [part["digest"] for part in json.loads(content)["layers"]]
    for nth in range(1, 200):
        shop = Shop()
        for number in range(120 if len(layers) > 1 else 0):
            shop.surface.push_blob(NAME, b"layer %d" % number)
        digest = shop.push("1.0", content)
        shop.push("2.0", content)
        shop.delete(digest)
        kept = [stored.key for stored in shop.surface.store.list("manifests/")]
        shop.table.before(nth, die, only_writes=True)
        try:
            shop.restore(digest)
        except Died:
            assert shop.holds(digest) or [removed.digest for removed in shop.page()] == [digest], nth
            assert refusal(partial(shop.restore, digest)) in {"", "NotRestorable"}
        finished = shop.table.is_waiting
        shop.table.rest()
        assert shop.holds(digest)
        assert (shop.pulled("1.0"), shop.pulled("2.0"), shop.page()) == (str(digest), str(digest), [])
        shop.collect(10 * DAY)
        shop.collect(10 * DAY)
        assert shop.holds(digest)
        left = {stored.key for stored in shop.surface.store.list("manifests/")}
        assert len(kept) == (content is LARGE)
        assert not left & set(kept), "the trash's own copy goes with its record"
        assert shop.table.query(RETIRED_PARTITION) == shop.table.query(RESTORABLE_PARTITION) == []
        if finished:
            return
    raise AssertionError("it never came to an end")


def test_a_manifest_whose_bytes_are_lost_is_not_restorable(shop: Shop) -> None:
    digest = shop.push("1.0", LARGE)
    shop.delete(digest)
    [stored] = shop.surface.store.list("manifests/")
    shop.surface.store.delete(stored.key)
    with pytest.raises(NotRestorable):
        Shop(shop.table).restore(digest)


# -------------------------------------------------------------------------------------------------------- interleavings


def removed(content: bytes = image(LAYER)) -> Shop:
    """A manifest with a tag that was deleted; a tag of another one that was taken away."""
    shop = Shop()
    shop.delete(shop.push("1.0", content))
    shop.push("kept", index())
    shop.push("2.0", index())
    shop.untag("2.0")
    return shop


@pytest.mark.parametrize("content", [image(LAYER), LARGE], ids=["small", "large"])
def test_restored_while_it_is_deleted_once_more(content: bytes) -> None:
    digest = Digest.of(content)
    for shop, restoring, deleting in interleaved(
        lambda: removed(content), lambda shop: shop.table, lambda shop: shop.restore(digest), lambda shop: shop.delete(digest)
    ):
        assert restoring == "", restoring
        if deleting == "ManifestUnknown":  # it was not back yet
            assert shop.holds(digest)
        else:
            assert deleting == ""
            there = shop.holds(digest)
            assert there or [each.digest for each in shop.page() if not each.tag] == [digest]
            if not there:
                shop.restore(digest)
        assert shop.pulled("1.0") == str(digest)
        shop.collect(10 * DAY)
        shop.collect(10 * DAY)
        assert shop.holds(digest)


@pytest.mark.parametrize("content", [image(LAYER), LARGE], ids=["small", "large"])
def test_restored_while_it_expires(content: bytes) -> None:
    digest = Digest.of(content)
    for turn in (False, True):
        first, second = (
            (Shop.collect, lambda shop: shop.restore(digest)) if turn else (lambda s: s.restore(digest), Shop.collect)
        )

        def late() -> Shop:
            shop = removed(content)
            shop.surface.clock.advance(7 * DAY)
            return shop

        for shop, one, other in interleaved(late, lambda shop: shop.table, first, second):
            restoring = other if turn else one
            assert restoring in {"", "NotRestorable"}
            assert shop.holds(digest) == (restoring == "")
            for _ in range(3):
                shop.collect(GRACE + 1)
            assert shop.holds(digest) == (restoring == "")
            left = list(shop.surface.store.list("manifests/"))
            assert len(left) == (len(content) > 256 * 1024 and restoring == "")
            assert [each for each in shop.page() if not each.tag] == []


def test_a_name_is_never_taken_from_who_pushed_it_meanwhile() -> None:
    """By digest and by tag; the newcomer keeps the name, whenever it came."""
    other = image(LAYER, annotations={"new": "1"})
    for reference in (Digest.of(image(LAYER)), "2.0"):
        name = "1.0" if isinstance(reference, Digest) else "2.0"
        for shop, restoring, pushing in interleaved(
            removed,
            lambda shop: shop.table,
            lambda shop, reference=reference: shop.restore(reference),  # type: ignore[misc]
            lambda shop, name=name: shop.push(name, other),  # type: ignore[misc]
        ):
            assert pushing == ""
            assert restoring in {"", "TagExists"}
            assert shop.pulled(name) == str(Digest.of(other))
            assert isinstance(reference, str) or shop.holds(reference)


def test_a_tag_that_is_taken_away_while_it_comes_back_is_there_or_restorable() -> None:
    for shop, restoring, untagging in interleaved(
        removed, lambda shop: shop.table, lambda shop: shop.restore("2.0"), lambda shop: shop.untag("2.0")
    ):
        assert (restoring, untagging) in {("", ""), ("", "ManifestUnknown")}
        if untagging == "":
            assert shop.pulled("2.0") is None
            shop.restore("2.0")
        assert shop.pulled("2.0") == str(Digest.of(index()))


def test_two_restore_the_same() -> None:
    digest = Digest.of(LARGE)
    for reference in (digest, "2.0"):
        for shop, one, other in interleaved(
            lambda: removed(LARGE),
            lambda shop: shop.table,
            lambda shop, reference=reference: shop.restore(reference),  # type: ignore[misc]
            lambda shop, reference=reference: shop.restore(reference),  # type: ignore[misc]
        ):
            assert {one, other} <= {"", "NotRestorable"}
            assert "" in {one, other}
            shop.collect()
            assert shop.pulled(reference) is not None
            with pytest.raises(NotRestorable):
                shop.restore(reference)


def test_a_layer_that_is_deleted_meanwhile() -> None:
    digest, layer = Digest.of(image(LAYER)), Digest.of(LAYER)
    for shop, restoring, deleting in interleaved(
        removed,
        lambda shop: shop.table,
        lambda shop: shop.restore(digest),
        lambda shop: shop.surface.registry.blobs.delete(APP, layer),
    ):
        assert (restoring, deleting) in {("", "BlobReferenced"), ("ContentGone", "")}
        assert shop.holds(digest) == (restoring == "")


def test_removed_anew_while_the_earlier_removal_expires() -> None:
    """The later removal keeps what it needs for its own time."""
    digest = Digest.of(image(LAYER))

    def again(shop: Shop) -> None:
        shop.push("1.0")
        shop.delete(digest)

    def late() -> Shop:
        shop = removed()
        shop.surface.clock.advance(7 * DAY)
        return shop

    for shop, _, again_refused in interleaved(late, lambda shop: shop.table, Shop.collect, again):
        assert again_refused == ""
        for _ in range(4):
            shop.collect(GRACE + 1)
        shop.restore(digest)
        assert shop.holds(digest)
