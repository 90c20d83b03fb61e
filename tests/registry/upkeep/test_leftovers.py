"""The sweep of the store: what nobody can take any more goes, and nothing else, whatever crashed where."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chalicelib.registry.adoption import Adoption
from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.ports import Delete, Exists
from chalicelib.registry.records import upload_key
from chalicelib.registry.upkeep.leftovers import GRACE, WINDOW, Leftovers
from chalicelib.registry.upload_records import LIFETIME, Upload, piece_key
from tests.counts import swept
from tests.surface import Surface

NAME = RepositoryName.parse("admin/app")


@pytest.fixture
def surface() -> Surface:
    return Surface()


@pytest.fixture
def leftovers(surface: Surface) -> Leftovers:
    return Leftovers(surface.table, surface.store, surface.clock)


def begin(surface: Surface) -> Upload:
    return surface.registry.uploads.begin(surface.registry.repositories.ensure(NAME), "admin")


def keys(surface: Surface) -> list[str]:
    return [stored.key for stored in surface.store.list("")]


def stray(surface: Surface) -> str:
    """A piece that was written, and then the program died."""
    key = piece_key(begin(surface).id)
    surface.store.put(key, b"stray")
    return key


def beside_a_finished_one(surface: Surface) -> str:
    upload = begin(surface)
    key = piece_key(upload.id)
    surface.store.put(key, b"chunk whose record was never written")
    surface.registry.uploads.finish(upload.ticket, Digest.of(b"layer"), body=b"layer")
    return key


def beside_a_cancelled_one(surface: Surface) -> str:
    upload = begin(surface)
    surface.registry.uploads.cancel(upload.ticket)
    key = piece_key(upload.id)
    surface.store.put(key, b"came late")
    return key


def known_bytes(surface: Surface) -> str:
    """Bytes that the registry had already, whose deletion did not come to pass."""
    surface.push_blob(str(NAME), b"layer")
    upload = begin(surface)
    blob = surface.registry.uploads.finish(upload.ticket, Digest.of(b"layer"), body=b"layer")
    key = piece_key(upload.id)
    assert blob.key != key
    surface.store.put(key, b"layer")
    return key


def unadopted(surface: Surface) -> str:
    upload = begin(surface)
    key = f"direct/{upload.repository}/{Digest.of(b'direct')}/{upload.id}"
    surface.store.put(key, b"direct")
    return key


def proof(surface: Surface) -> str:
    surface.store.put("proofs/0123", b"a copy")
    return "proofs/0123"


LEFT = [stray, beside_a_finished_one, beside_a_cancelled_one, known_bytes, unadopted, proof]


@pytest.mark.parametrize("leave", LEFT)
def test_what_was_left_goes_when_nobody_can_take_it_any_more(
    surface: Surface, leftovers: Leftovers, leave: Callable[[Surface], str]
) -> None:
    surface.push_image("admin/kept", "latest", b"kept")
    key = leave(surface)
    others = [other for other in keys(surface) if other != key]
    assert swept(leftovers) == 0
    surface.clock.advance(LIFETIME)
    assert swept(leftovers) == 0
    surface.clock.advance(GRACE)
    assert swept(leftovers) == 1
    assert keys(surface) == others
    assert swept(leftovers) == 0


def test_what_counts_stays(surface: Surface, leftovers: Leftovers) -> None:
    surface.push_image(str(NAME), "latest", b"kept")
    uploads = surface.registry.uploads
    in_chunks = begin(surface)
    for chunk in (b"one ", b"two"):
        uploads.append(in_chunks.ticket, chunk, None)
    uploads.finish(in_chunks.ticket, Digest.of(b"one two"))
    adoption = Adoption(surface.store, surface.registry.blobs, surface.registry.repositories, surface.clock)
    assert adoption.adopt(unadopted(surface)) is not None
    surface.store.put("data/" + "0" * 32, b"as an earlier version kept blobs")
    before = keys(surface)
    for _ in range(6):
        surface.clock.advance(20 * 3600)
        assert swept(leftovers) == 0
    assert keys(surface) == before


def test_an_upload_that_goes_on_for_days_is_left_alone(surface: Surface, leftovers: Leftovers) -> None:
    upload = surface.registry.uploads.append(begin(surface).ticket, b"one ", None)
    for _ in range(3):
        surface.clock.advance(LIFETIME - 60)
        assert swept(leftovers) == 0
        upload = surface.registry.uploads.append(upload.ticket, b"more ", None)
    blob = surface.registry.uploads.finish(upload.ticket, Digest.of(b"one more more more "))
    assert keys(surface) == [blob.key]
    assert swept(leftovers) == 0


def test_a_record_that_a_wrong_clock_dropped_proves_nothing(surface: Surface, leftovers: Leftovers) -> None:
    """A table drops records by a clock, and that may be days ahead for a minute."""
    surface.push_blob("admin/app", b"layer")
    [there] = keys(surface)
    surface.clock.advance(GRACE + 60)
    surface.table.write(Delete(upload_key(there.split("/")[1]), Exists()))
    assert swept(leftovers) == 0
    assert keys(surface) == [there]


def test_what_was_swept_is_not_adopted_later(surface: Surface, leftovers: Leftovers) -> None:
    key = unadopted(surface)
    surface.clock.advance(GRACE + 60)
    assert swept(leftovers) == 1
    surface.store.put(key, b"direct")
    adoption = Adoption(surface.store, surface.registry.blobs, surface.registry.repositories, surface.clock)
    assert adoption.adopt(key) is None
    assert surface.store.stat(key) is None


def test_only_days_are_looked_at(surface: Surface, leftovers: Leftovers) -> None:
    """So that the cost follows what was pushed lately."""
    key = stray(surface)
    surface.clock.advance(GRACE + WINDOW + 60)
    assert swept(leftovers) == 0
    assert keys(surface) == [key]
