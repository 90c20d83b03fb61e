"""What the collector takes, and when; that nothing else goes is shown by tests/interleavings."""

from __future__ import annotations

import pytest

from chalicelib.registry.condemned import RENEWED_AFTER
from chalicelib.registry.errors import NotRestorable, TagExists
from chalicelib.registry.events import Actor
from chalicelib.registry.names import Digest, RepositoryName, Tag
from tests.counts import Counts
from tests.surface import Surface

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
    assert collect(surface) == {"manifests": 1}
    assert [removed.digest for removed in surface.trash.page(APP, "", 10)] == [digest]


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
