"""Uploads as the domain sees them: expiry among many, texts that are no upload's id, old Locations, pieces."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.registry.errors import DigestMismatch, RangeInvalid, UploadInvalid, UploadUnknown
from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.ports import EXPIRES, Delete, Piece, Update, Value
from chalicelib.registry.records import UNFINISHED_PARTITION, upload_key
from chalicelib.registry.upload_records import LIFETIME, MAX_PIECES, Chunk, Ticket, piece_key
from chalicelib.registry.uploads import Uploads
from tests.surface import Surface

NAME = RepositoryName.parse("admin/app")


@pytest.fixture
def surface() -> Surface:
    return Surface()


@pytest.fixture
def uploads(surface: Surface) -> Uploads:
    return surface.registry.uploads


def begin(surface: Surface) -> Ticket:
    return surface.registry.uploads.begin(surface.registry.repositories.ensure(NAME), "admin").ticket


def keys(surface: Surface) -> list[str]:
    return [stored.key for stored in surface.store.list("")]


def test_many_long_lived_uploads_do_not_hide_an_expired_one(surface: Surface, uploads: Uploads) -> None:
    begun = [uploads.append(begin(surface), b"x", None) for _ in range(450)]
    later = int(surface.clock.now().timestamp()) + 10 * LIFETIME
    for upload in begun[:-1]:
        surface.table.write(Update(upload_key(upload.id), set={EXPIRES: later}))
    surface.clock.advance(LIFETIME + 1)
    assert uploads.sweep(1) == 1
    assert keys(surface) == sorted(upload.pieces[0].key for upload in begun[:-1])


def test_an_expired_upload_whose_record_the_table_dropped_leaves_nothing(surface: Surface, uploads: Uploads) -> None:
    upload = uploads.append(begin(surface), b"x", None)
    surface.clock.advance(LIFETIME + 1)
    surface.table.write(Delete(upload_key(upload.id)))
    assert uploads.sweep(10) == 1
    assert keys(surface) == []
    assert surface.table.query(UNFINISHED_PARTITION) == []


@pytest.mark.parametrize("identifier", ["", "x", "A" * 32, "0" * 31, "0" * 32 + "\n", "../" * 10, "é" * 32, "0" * 5000])
def test_what_is_no_id_is_no_upload(surface: Surface, identifier: str) -> None:
    relay = surface.registry.staged_relay
    assert relay is not None
    ticket = replace(begin(surface), id=identifier, size=1)
    with pytest.raises(UploadUnknown):
        surface.registry.uploads.get(ticket)
    with pytest.raises(UploadUnknown):
        relay.close(identifier, NAME, "0" * 16, 0)


def test_beginning_writes_nothing(surface: Surface) -> None:
    ticket = begin(surface)
    assert surface.table.get(upload_key(ticket.id)) is None
    assert surface.table.query(UNFINISHED_PARTITION) == []
    assert keys(surface) == []


def test_the_first_location_is_good_for_every_chunk(surface: Surface, uploads: Uploads) -> None:
    ticket = begin(surface)
    for chunk in (b"one ", b"two ", b"three"):
        uploads.append(ticket, chunk, None)
    digest = Digest.of(b"one two three")
    blob = uploads.finish(ticket, digest)
    assert keys(surface) == [blob.key]


def test_a_chunk_out_of_place_leaves_nothing(surface: Surface, uploads: Uploads) -> None:
    ticket = begin(surface)
    uploads.append(ticket, b"one", Chunk(0, 3))
    for place in (Chunk(0, 3), Chunk(2, 3), Chunk(4, 3)):
        with pytest.raises(RangeInvalid) as refused:
            uploads.append(ticket, b"two", place)
        assert refused.value.size == 3
    assert len(keys(surface)) == 1


def test_a_vouched_piece_is_adopted_where_it_lies(surface: Surface, uploads: Uploads) -> None:
    upload = uploads.append(begin(surface), b"layer", None)
    blob = uploads.finish(upload.ticket, Digest.of(b"layer"))
    assert blob.key == upload.pieces[0].key
    assert keys(surface) == [blob.key]


def test_a_vouched_piece_is_not_adopted_as_anything_else(surface: Surface, uploads: Uploads) -> None:
    upload = uploads.append(begin(surface), b"layer", None)
    with pytest.raises(DigestMismatch):
        uploads.finish(upload.ticket, Digest.of(b"another"))
    assert keys(surface) == []
    with pytest.raises(UploadUnknown):
        uploads.finish(upload.ticket, Digest.of(b"layer"))


def test_a_cancelled_upload_takes_nothing_whatever_its_locations_say(surface: Surface, uploads: Uploads) -> None:
    fresh = begin(surface)
    upload = uploads.append(fresh, b"layer", None)
    uploads.cancel(fresh)
    for ticket in (fresh, upload.ticket):
        with pytest.raises(UploadUnknown):
            uploads.append(ticket, b"more", None)
        for body in (b"", b"layer"):
            with pytest.raises(UploadUnknown):
                uploads.finish(ticket, Digest.of(b"layer"), body=body)
    assert keys(surface) == []


def test_a_fresh_upload_can_be_cancelled(surface: Surface, uploads: Uploads) -> None:
    ticket = begin(surface)
    uploads.cancel(ticket)
    with pytest.raises(UploadUnknown):
        uploads.get(ticket)
    with pytest.raises(UploadUnknown):
        uploads.finish(ticket, Digest.of(b"layer"), body=b"layer")
    assert keys(surface) == []


def test_a_location_of_what_is_gone_is_unknown(surface: Surface, uploads: Uploads) -> None:
    ticket = replace(begin(surface), size=3, piece=Piece(piece_key("0" * 32), 3))
    with pytest.raises(UploadUnknown):
        uploads.get(ticket)
    with pytest.raises(UploadUnknown):
        uploads.append(ticket, b"more", None)


def test_pieces_without_end_are_refused(surface: Surface, uploads: Uploads) -> None:
    ticket = begin(surface)
    upload = uploads.append(ticket, b"x", None)
    many: list[Value] = [{"key": upload.pieces[0].key, "size": 1}] * MAX_PIECES
    surface.table.write(Update(upload_key(ticket.id), set={"pieces": many, "size": MAX_PIECES}))
    with pytest.raises(UploadInvalid, match="chunks"):
        uploads.append(ticket, b"x", None)
    assert len(keys(surface)) == 1


def test_the_same_bytes_pushed_twice_are_kept_once(surface: Surface, uploads: Uploads) -> None:
    digest = Digest.of(b"layer")
    first = uploads.finish(begin(surface), digest, body=b"layer")
    assert uploads.finish(begin(surface), digest, body=b"layer").key == first.key
    upload = uploads.append(begin(surface), b"layer", None)
    assert uploads.finish(upload.ticket, digest).key == first.key
    assert keys(surface) == [first.key]
