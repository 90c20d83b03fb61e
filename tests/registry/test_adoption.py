"""The direct lane: what nobody saw is proven before anybody may read it; lost, late and doubled events lose nothing."""

from __future__ import annotations

import json
import secrets

import pytest

from chalicelib.registry.adoption import Adoption, Arrival
from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.proofs import AT_ONCE, WAIT
from chalicelib.registry.pushes import Sparse
from chalicelib.registry.upload_records import Ticket, new_identifier
from tests.memory_blobs import MemoryBlobs
from tests.surface import CONFIG, Surface, code, image

NAME = "admin/app"


@pytest.fixture
def surface() -> Surface:
    return Surface()


@pytest.fixture
def adoption(surface: Surface) -> Adoption:
    return adoption_of(surface)


def adoption_of(surface: Surface) -> Adoption:
    return Adoption(surface.store, surface.registry.blobs, surface.registry.repositories, surface.clock)


def put(surface: Surface, content: bytes, digest: Digest | None = None, name: str = NAME) -> str:
    """What a client, the edge and S3 do: bytes under a key of the direct lane."""
    repository = surface.registry.repositories.ensure(RepositoryName.parse(name))
    upload = new_identifier(int(surface.clock.now().timestamp()))
    key = f"direct/{repository.id}/{digest or Digest.of(content)}/{upload}"
    surface.store.put(key, content)
    return key


def blob_status(surface: Surface, content: bytes, name: str = NAME) -> int:
    return surface.status("HEAD", f"/v2/{name}/blobs/{Digest.of(content)}")


def test_bytes_of_another_digest_are_dropped_and_nothing_is_linked(surface: Surface, adoption: Adoption) -> None:
    lie = put(surface, b"garbage", Digest.of(b"layer"))
    assert adoption.adopt(lie) is None
    assert surface.store.stat(lie) is None
    assert blob_status(surface, b"layer") == blob_status(surface, b"garbage") == 404


def test_a_liar_does_not_harm_who_is_right(surface: Surface, adoption: Adoption) -> None:
    good, lie = put(surface, b"layer"), put(surface, b"garbage", Digest.of(b"layer"))
    assert adoption.adopt(good) is not None
    assert adoption.adopt(lie) is None
    assert blob_status(surface, b"layer") == 307
    blob = surface.registry.blobs.get(RepositoryName.parse(NAME), Digest.of(b"layer"))
    with surface.store.open(blob.key) as stream:
        assert stream.read() == b"layer"


@pytest.mark.parametrize(
    "key",
    [
        "data/x",
        "manifests/x",
        "direct/x",
        "direct/../sha256:" + "0" * 64 + "/" + "0" * 32,
        "direct/r/sha512:" + "0" * 128 + "/" + "0" * 32,
        "direct/r/sha256:" + "0" * 64 + "/" + "0" * 31,
        "direct/r/sha256:" + "0" * 64 + "/" + "0" * 32 + "/x",
        "direct/r/sha256:" + "0" * 64 + "/" + "0" * 32,
        "",
    ],
)
def test_what_is_no_key_of_the_lane_or_nobody_s_is_not_adopted(adoption: Adoption, key: str) -> None:
    assert adoption.adopt(key) is None


def test_bytes_of_a_repository_that_is_none_are_dropped(surface: Surface, adoption: Adoption) -> None:
    key = f"direct/{secrets.token_hex(12)}/{Digest.of(b'layer')}/{'0' * 32}"
    surface.store.put(key, b"layer")
    assert adoption.adopt(key) is None
    assert surface.store.stat(key) is None


def test_an_event_may_come_twice(surface: Surface, adoption: Adoption) -> None:
    key = put(surface, b"layer")
    for _ in range(3):
        blob = adoption.adopt(key)
        assert blob is not None
        assert blob.key == key
    assert blob_status(surface, b"layer") == 307


def test_bytes_that_are_here_already_are_kept_once(surface: Surface, adoption: Adoption) -> None:
    surface.push_blob("admin/other", b"layer")
    key = put(surface, b"layer")
    blob = adoption.adopt(key)
    assert blob is not None
    assert blob.key != key
    assert surface.store.stat(key) is None
    assert adoption.adopt(key) is None
    assert blob_status(surface, b"layer") == 307


def test_the_digest_of_a_known_blob_gives_nothing_without_its_bytes(surface: Surface, adoption: Adoption) -> None:
    digest = surface.push_blob("admin/other", b"secret")
    assert adoption.adopt(put(surface, b"garbage", digest)) is None
    assert blob_status(surface, b"secret") == 404


def test_a_cancelled_upload_s_bytes_are_adopted_since_its_client_was_told_so(surface: Surface, adoption: Adoption) -> None:
    key = put(surface, b"layer")
    repository = surface.registry.repositories.get(RepositoryName.parse(NAME))
    ticket = Ticket(key.rpartition("/")[2], repository.id, repository.name, "admin", 2**33)
    surface.registry.uploads.cancel(ticket)
    assert adoption.adopt(key) is not None
    assert blob_status(surface, b"layer") == 307


# ------------------------------------------------------------------------------------------------------------ manifests


def push_manifest(surface: Surface, *layers: bytes) -> tuple[int, str]:
    answer = surface.put(NAME, "latest", image(*layers))
    return answer.status, "" if answer.status == 201 else code(answer)


def test_a_manifest_adopts_what_no_event_told_of(surface: Surface) -> None:
    for content in (CONFIG, b"one", b"two"):
        put(surface, content)
    assert push_manifest(surface, b"one", b"two") == (201, "")
    assert blob_status(surface, b"one") == 307


def test_a_manifest_does_not_wait_for_what_never_came(surface: Surface) -> None:
    put(surface, CONFIG)
    before = surface.clock.now()
    answer = surface.put(NAME, "latest", image(b"never"))
    assert (answer.status, code(answer)) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert [error["detail"]["digest"] for error in json.loads(answer.body)["errors"]] == [str(Digest.of(b"never"))]
    assert surface.clock.now() == before


def test_a_manifest_does_not_take_a_lie_for_a_layer(surface: Surface) -> None:
    put(surface, CONFIG)
    put(surface, b"garbage", Digest.of(b"layer"))
    assert push_manifest(surface, b"layer") == (404, "MANIFEST_BLOB_UNKNOWN")


class SlowBlobs(MemoryBlobs):
    """A store that has no hashes at hand: every proof is a long one."""

    def check(self, key: str, digest: Digest, *, limit: int | None = None) -> int | None:
        return super().check(key, digest, limit=None if limit is None else 0)


def test_a_manifest_waits_for_a_long_proof_and_is_told_to_come_again(surface: Surface) -> None:
    surface = Surface(blobs=SlowBlobs(surface.clock), clock=surface.clock)
    keys = [put(surface, content) for content in (CONFIG, b"layer")]
    before = surface.clock.now()
    answer = surface.put(NAME, "latest", image(b"layer"))
    assert (answer.status, code(answer)) == (429, "TOOMANYREQUESTS")
    assert int(answer.headers["Retry-After"]) > 0
    assert WAIT - 1 <= (surface.clock.now() - before).total_seconds() <= WAIT
    assert surface.status("HEAD", f"/v2/{NAME}/manifests/latest") == 404
    for key in keys:
        adoption_of(surface).adopt(key)
    assert push_manifest(surface, b"layer") == (201, "")


def test_a_manifest_that_may_lack_content_needs_what_came(surface: Surface) -> None:
    """And protects it: nobody would note that later."""
    surface = Surface(sparse=Sparse.ALL)
    for content in (CONFIG, b"one"):
        put(surface, content)
    before = surface.clock.now()
    assert push_manifest(surface, b"one", b"never") == (201, "")
    assert surface.clock.now() == before
    assert blob_status(surface, b"one") == 307
    assert surface.status("DELETE", f"/v2/{NAME}/blobs/{Digest.of(b'one')}") == 405
    assert blob_status(surface, b"never") == 404


def test_a_manifest_that_may_lack_content_waits_for_what_came(surface: Surface) -> None:
    surface = Surface(blobs=SlowBlobs(surface.clock), clock=surface.clock, sparse=Sparse.ALL)
    key = put(surface, b"layer")
    assert push_manifest(surface, b"layer", b"never") == (429, "TOOMANYREQUESTS")
    adoption_of(surface).adopt(key)
    assert push_manifest(surface, b"layer", b"never") == (201, "")


def test_arrivals(surface: Surface, adoption: Adoption) -> None:
    repository = surface.registry.repositories.ensure(RepositoryName.parse(NAME)).id
    digests = [Digest.of(b"one"), Digest.of(b"two")]
    assert adoption.catch_up(repository, digests) == {Arrival.ABSENT}
    put(surface, b"one")
    assert adoption.catch_up(repository, digests) == {Arrival.ADOPTED, Arrival.ABSENT}
    put(surface, b"two")
    assert adoption.catch_up(repository, digests) == {Arrival.ADOPTED}
    large = b"x" * (AT_ONCE + 1)
    put(surface, large)
    assert adoption.catch_up(repository, [*digests, Digest.of(large)]) == {Arrival.ADOPTED, Arrival.UNPROVEN}
