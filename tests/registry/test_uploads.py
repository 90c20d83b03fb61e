"""Uploads as the domain sees them: expiry among many, and texts that are no upload's id."""

from __future__ import annotations

import pytest

from chalicelib.registry.errors import UploadUnknown
from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.ports import EXPIRES, Update
from chalicelib.registry.records import upload_key
from chalicelib.registry.uploads import LIFETIME
from tests.surface import Surface

NAME = RepositoryName.parse("admin/app")


def test_many_long_lived_uploads_do_not_hide_an_expired_one() -> None:
    surface = Surface()
    uploads, repository = surface.registry.uploads, surface.registry.repositories.ensure(NAME)
    begun = [uploads.begin(repository, "admin") for _ in range(450)]
    later = int(surface.clock.now().timestamp()) + 10 * LIFETIME
    for upload in begun[:-1]:
        surface.table.write(Update(upload_key(upload.id), set={EXPIRES: later}))
    surface.clock.advance(LIFETIME + 1)
    assert uploads.sweep(1) == 1
    assert surface.store.stat(begun[-1].key) is None
    assert all(surface.store.stat(upload.key) for upload in begun[:-1])


@pytest.mark.parametrize("identifier", ["", "x", "A" * 32, "0" * 31, "0" * 32 + "\n", "../" * 10, "é" * 32, "0" * 5000])
def test_what_is_no_id_is_no_upload(identifier: str) -> None:
    uploads = Surface().registry.uploads
    with pytest.raises(UploadUnknown):
        uploads.get(identifier, NAME, "admin")
    with pytest.raises(UploadUnknown):
        uploads.written_by(identifier, NAME, "writer")


def test_whose_bytes_lie_under_a_key() -> None:
    surface = Surface()
    uploads, repository = surface.registry.uploads, surface.registry.repositories.ensure(NAME)
    under_way, finished = (uploads.begin(repository, "admin") for _ in range(2))
    empty = Digest.of(b"")
    uploads.finish(finished.id, NAME, "admin", empty, body=b"", chunk=None)
    assert uploads.owns(under_way.key)
    for key in (finished.key, "data/" + "0" * 32, "manifests/x", "", "data/"):
        assert not uploads.owns(key)
