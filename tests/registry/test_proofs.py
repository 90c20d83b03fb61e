"""Long proofs: done once, elsewhere, and joined by whoever asks."""

from __future__ import annotations

import pytest

from chalicelib.registry.names import Digest
from chalicelib.registry.proofs import AT_ONCE, LEASE, WAIT, Prover
from chalicelib.wire.http import Response
from tests.frozen_clock import FrozenClock
from tests.memory_blobs import MemoryBlobs
from tests.memory_table import MemoryTable
from tests.surface import Surface, code

NAME = "admin/app"
HALF = b"x" * (AT_ONCE // 2 + 1)
WHOLE = HALF + HALF


class Started:
    """A Background that does what it was asked for when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def prove(self, upload: str, digest: str) -> None:
        self.asked.append((upload, digest))


class ClockWithWork(FrozenClock):
    """While somebody sleeps, others work."""

    def __init__(self) -> None:
        super().__init__()
        self.then: list[object] = []

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        while self.then:
            self.then.pop()()  # type: ignore[operator]


@pytest.fixture
def background() -> Started:
    return Started()


@pytest.fixture
def clock() -> ClockWithWork:
    return ClockWithWork()


@pytest.fixture
def surface(background: Started, clock: ClockWithWork) -> Surface:
    return Surface(table=MemoryTable(), blobs=MemoryBlobs(clock), clock=clock, background=background)


def upload(surface: Surface) -> str:
    location = surface.call("POST", f"/v2/{NAME}/blobs/uploads/").headers["Location"]
    for _ in range(2):
        location = surface.call("PATCH", location, HALF).headers["Location"]
    return location


def finish(surface: Surface, location: str, content: bytes = WHOLE) -> Response:
    return surface.call("PUT", f"{location}&digest={Digest.of(content)}")


def work(surface: Surface, background: Started, number: int = 0) -> bool:
    identifier, digest = background.asked[number]
    return Prover(surface.table, surface.clock).work(identifier, Digest.parse(digest), surface.registry.uploads.prove)


def test_a_request_waits_and_is_told_to_come_again(surface: Surface, background: Started, clock: ClockWithWork) -> None:
    location, before = upload(surface), clock.now()
    answer = finish(surface, location)
    assert (answer.status, code(answer)) == (429, "TOOMANYREQUESTS")
    assert "Retry-After" in answer.headers
    assert WAIT - 1 <= (clock.now() - before).total_seconds() <= WAIT
    assert surface.status("HEAD", f"/v2/{NAME}/blobs/{Digest.of(WHOLE)}") == 404
    assert finish(surface, location).status == 429
    assert len(background.asked) == 1, "the second joined the first"
    assert work(surface, background)
    assert finish(surface, location).status == 201
    assert len(background.asked) == 1
    assert surface.status("HEAD", f"/v2/{NAME}/blobs/{Digest.of(WHOLE)}") == 307


def test_a_proof_that_ends_meanwhile_answers_who_waits(surface: Surface, background: Started, clock: ClockWithWork) -> None:
    location = upload(surface)
    clock.then.append(lambda: work(surface, background))
    answer = finish(surface, location)
    assert answer.status == 201
    assert answer.headers["Docker-Content-Digest"] == str(Digest.of(WHOLE))
    assert len(list(surface.store.list(""))) == 1


def test_a_wrong_digest_is_told_to_who_waits_and_who_comes_again(
    surface: Surface, background: Started, clock: ClockWithWork
) -> None:
    location = upload(surface)
    clock.then.append(lambda: work(surface, background))
    answer = finish(surface, location, b"another")
    assert (answer.status, code(answer)) == (400, "DIGEST_INVALID")
    assert list(surface.store.list("")) == []
    assert finish(surface, location, b"another").status == 404


def test_a_cancelled_upload_is_unknown_to_who_waits(surface: Surface, background: Started, clock: ClockWithWork) -> None:
    location = upload(surface)
    clock.then.append(lambda: surface.call("DELETE", location))
    assert finish(surface, location).status == 404
    assert not work(surface, background)


def test_a_proof_is_done_once_however_often_it_is_started(surface: Surface, background: Started) -> None:
    location = upload(surface)
    assert finish(surface, location).status == 429
    assert work(surface, background)
    assert not work(surface, background)
    assert finish(surface, location).status == 201


def test_a_proof_whose_process_died_is_started_again(surface: Surface, background: Started, clock: ClockWithWork) -> None:
    location = upload(surface)
    assert finish(surface, location).status == 429
    prover = Prover(surface.table, clock)

    def die(*_: object) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        prover.work(background.asked[0][0], Digest.parse(background.asked[0][1]), die)  # type: ignore[arg-type]
    assert not work(surface, background), "another start of the same proof does not know that it died"
    assert finish(surface, location).status == 429
    assert len(background.asked) == 1
    clock.advance(LEASE)
    assert finish(surface, location).status == 429
    assert len(background.asked) == 2
    assert work(surface, background, 1)
    assert finish(surface, location).status == 201


def test_what_is_small_or_vouched_for_is_not_put_off(surface: Surface, background: Started) -> None:
    location = surface.call("POST", f"/v2/{NAME}/blobs/uploads/").headers["Location"]
    location = surface.call("PATCH", location, WHOLE).headers["Location"]
    assert finish(surface, location).status == 201
    location = surface.call("POST", f"/v2/{NAME}/blobs/uploads/").headers["Location"]
    for chunk in (b"one ", b"two"):
        surface.call("PATCH", location, chunk)
    assert finish(surface, location, b"one two").status == 201
    assert background.asked == []
