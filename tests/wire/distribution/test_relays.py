"""A relay that sends parts to the store by signed URLs, over the whole program: what it is trusted with, and what it is not."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest

from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.upkeep.leftovers import GRACE, Leftovers
from chalicelib.wire.http import Response
from tests.counts import swept
from tests.frozen_clock import FrozenClock
from tests.memory_blobs import MemoryBlobs
from tests.memory_multipart import MemoryMultipart
from tests.surface import RELAY_KEY, Surface, code

NAME = "admin/app"
UPLOADS = f"/v2/{NAME}/blobs/uploads/"
PART = 8


@pytest.fixture
def surface() -> Surface:
    clock = FrozenClock()
    store = MemoryBlobs(clock)
    return Surface(clock=clock, blobs=store, multipart=MemoryMultipart(store, clock, smallest=1))


def parts_of(surface: Surface) -> MemoryMultipart:
    assert isinstance(surface.multipart, MemoryMultipart)
    return surface.multipart


def begin(surface: Surface) -> str:
    return surface.call("POST", UPLOADS).headers["Location"]


def ask(surface: Surface, location: str, step: str, told: object) -> Response:
    """``begin`` comes with the client's token and query, what follows with the writer's text alone."""
    path, _, query = location.partition("?")
    body = json.dumps(told).encode()
    if step == "begin":
        return surface.call("POST", f"/_relay{path}/begin?{query}", body)
    return surface.send("POST", f"/_relay{path}/{step}", body)


def begun(surface: Surface, location: str, **asked: object) -> dict[str, Any]:
    answer = ask(surface, location, "begin", {"content_range": None, "content_length": None, **asked})
    assert answer.status == 200, answer.body
    told: dict[str, Any] = json.loads(answer.body)
    return told


def send(surface: Surface, location: str, told: dict[str, Any], content: bytes) -> list[dict[str, object]]:
    """Send all of a body in parts; what to tell at the end."""
    sent: list[dict[str, object]] = []
    for number, start in enumerate(range(0, len(content), PART), 1):
        piece = content[start : start + PART]
        answer = ask(surface, location, "parts", {"writer": told["writer"], "first": number, "count": 1})
        arrived = parts_of(surface).send(json.loads(answer.body)["urls"][0], piece)
        sent.append({"number": number, "etag": arrived.etag, "size": len(piece)})
    return sent


def attestation(writer: str, size: int, content: bytes, key: str = RELAY_KEY) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    return hmac.new(key.encode(), f"slipway-relay-1\n{writer}\n{size}\n{sha256}".encode(), "sha256").hexdigest()


def end(
    surface: Surface, location: str, told: dict[str, Any], content: bytes, *, key: str = RELAY_KEY, **more: object
) -> Response:
    size = told["offset"] + len(content)
    said = {
        "writer": told["writer"],
        "parts": send(surface, location, told, content),
        "size": size,
        "sha256": hashlib.sha256(content).hexdigest(),
        "attestation": attestation(told["writer"], size, content, key) if key else None,
        **more,
    }
    return ask(surface, location, "end", said)


def finish(surface: Surface, location: str, content: bytes) -> Response:
    return surface.call("PUT", f"{location}&digest={Digest.of(content)}")


def assert_pullable(surface: Surface, content: bytes) -> None:
    blob = surface.registry.blobs.get(RepositoryName.parse(NAME), Digest.of(content))
    with surface.store.open(blob.key) as stream:
        assert stream.read() == content


def keys(surface: Surface) -> list[str]:
    return [stored.key for stored in surface.store.list("")]


CONTENT = b"a layer that comes in parts"


@pytest.mark.parametrize("key", [RELAY_KEY, "", "not the key"], ids=["trusted", "says nothing", "says something else"])
def test_a_body_in_parts(surface: Surface, key: str) -> None:
    """Whoever the relay is, right bytes are adopted: those of a trusted one where they lie, others when they are proven."""
    location = begin(surface)
    told = begun(surface, location)
    assert (told["offset"], told["part_size"], told["max_parts"]) == (0, 8 << 20, 10_000)
    ended = end(surface, location, told, CONTENT, key=key)
    assert (ended.status, ended.headers["Range"]) == (202, f"0-{len(CONTENT) - 1}")
    assert finish(surface, ended.headers["Location"], CONTENT).status == 201
    assert_pullable(surface, CONTENT)
    assert len(keys(surface)) == 1


@pytest.mark.parametrize("key", [RELAY_KEY, ""], ids=["trusted", "says nothing"])
def test_a_put_with_a_body_ends_the_upload(surface: Surface, key: str) -> None:
    location = begin(surface)
    ended = end(surface, location, begun(surface, location), CONTENT, key=key, digest=str(Digest.of(CONTENT)))
    assert ended.status == 201
    assert_pullable(surface, CONTENT)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("key", [RELAY_KEY, ""], ids=["trusted", "says nothing"])
def test_a_wrong_digest_is_refused(surface: Surface, key: str, algorithm: str) -> None:
    location = begin(surface)
    wrong = Digest.of(b"other", algorithm)
    ended = end(surface, location, begun(surface, location), CONTENT, key=key, digest=str(wrong))
    assert (ended.status, code(ended)) == (400, "DIGEST_INVALID")
    assert keys(surface) == []


@pytest.mark.parametrize("change", ["writer", "size", "sha256"])
def test_an_attestation_is_for_what_it_was_made_for(surface: Surface, change: str) -> None:
    """A relay that vouches for other bytes than it sent is not believed."""
    location = begin(surface)
    told = begun(surface, location)
    lie = b"bytes that were never sent."
    assert len(lie) == len(CONTENT)
    made = {
        "writer": attestation(begun(surface, begin(surface))["writer"], len(CONTENT), lie),
        "size": attestation(told["writer"], len(CONTENT) + 1, lie),
        "sha256": attestation(told["writer"], len(CONTENT), CONTENT),
    }[change]
    more = {"sha256": hashlib.sha256(lie).hexdigest(), "attestation": made, "digest": str(Digest.of(lie))}
    assert end(surface, location, told, CONTENT, **more).status == 400
    assert surface.status("HEAD", f"/v2/{NAME}/blobs/{Digest.of(lie)}") == 404


@pytest.mark.parametrize("with_digest", [False, True])
@pytest.mark.parametrize("offset", [0, 5])
def test_a_relay_that_got_no_answer_may_ask_again(surface: Surface, offset: int, with_digest: bool) -> None:
    location = begin(surface)
    if offset:
        location = surface.call("PATCH", location, CONTENT[:offset]).headers["Location"]
    told = begun(surface, location)
    said: dict[str, object] = {
        "writer": told["writer"],
        "parts": send(surface, location, told, CONTENT[offset:]),
        "size": len(CONTENT),
        "sha256": None,
        "attestation": None,
    }
    if with_digest:
        said["digest"] = str(Digest.of(CONTENT))
    answers = [ask(surface, location, "end", said) for _ in range(3)]
    assert {answer.status for answer in answers} == {201 if with_digest else 202}
    assert finish(surface, answers[-1].headers["Location"] if not with_digest else location, CONTENT).status == 201
    assert ask(surface, location, "end", said).status == (201 if with_digest else 202), "and once more, finished"
    assert_pullable(surface, CONTENT)
    assert len(keys(surface)) == 1


def test_pieces_follow_on_each_other(surface: Surface) -> None:
    location = begin(surface)
    for start in range(0, len(CONTENT), 10):
        piece = CONTENT[start : start + 10]
        asked = {"content_range": f"{start}-{start + len(piece) - 1}", "content_length": len(piece)}
        told = begun(surface, location, **asked)
        assert told["offset"] == start
        location = end(surface, location, told, piece).headers["Location"]
    assert finish(surface, location, CONTENT).status == 201
    assert_pullable(surface, CONTENT)
    assert len(keys(surface)) == 1


def test_a_chunk_by_the_program_and_one_by_the_relay(surface: Surface) -> None:
    location = surface.call("PATCH", begin(surface), CONTENT[:5]).headers["Location"]
    told = begun(surface, location)
    assert told["offset"] == 5
    location = end(surface, location, told, CONTENT[5:20]).headers["Location"]
    location = surface.call("PATCH", location, CONTENT[20:]).headers["Location"]
    assert finish(surface, location, CONTENT).status == 201
    assert_pullable(surface, CONTENT)


def test_what_a_relay_sent_before_it_died_is_taken_up(surface: Surface) -> None:
    location = begin(surface)
    told = begun(surface, location)
    send(surface, location, told, CONTENT[:16])
    status = surface.call("GET", location)
    assert status.headers["Range"] == "0-15"
    location = status.headers["Location"]
    again = begun(surface, location, content_range=f"16-{len(CONTENT) - 1}", content_length=len(CONTENT) - 16)
    assert again["offset"] == 16
    location = end(surface, location, again, CONTENT[16:]).headers["Location"]
    assert finish(surface, location, CONTENT).status == 201
    assert_pullable(surface, CONTENT)


def test_only_parts_without_a_gap_are_taken_up(surface: Surface) -> None:
    location = begin(surface)
    told = begun(surface, location)
    for number in (1, 3):
        url = json.loads(ask(surface, location, "parts", {"writer": told["writer"], "first": number, "count": 1}).body)
        parts_of(surface).send(url["urls"][0], CONTENT[:PART])
    assert begun(surface, location)["offset"] == PART


def test_the_newest_writer_wins(surface: Surface) -> None:
    location = begin(surface)
    earlier, later = begun(surface, location), begun(surface, location)
    late = end(surface, location, earlier, b"late")
    assert (late.status, code(late)) == (416, "BLOB_UPLOAD_INVALID")
    location = end(surface, location, later, CONTENT).headers["Location"]
    assert finish(surface, location, CONTENT).status == 201
    assert len(keys(surface)) == 1


def test_an_aborted_piece_leaves_nothing_and_the_upload_lives(surface: Surface) -> None:
    location = begin(surface)
    told = begun(surface, location)
    send(surface, location, told, CONTENT)
    assert ask(surface, location, "abort", {"writer": told["writer"]}).status == 204
    assert ask(surface, location, "abort", {"writer": told["writer"]}).status == 204
    assert surface.call("GET", location).headers["Range"] == "0-0"
    location = end(surface, location, begun(surface, location), CONTENT).headers["Location"]
    assert finish(surface, location, CONTENT).status == 201


def test_a_body_of_nothing(surface: Surface) -> None:
    location = begin(surface)
    ended = end(surface, location, begun(surface, location), b"")
    assert (ended.status, ended.headers["Range"]) == (202, "0-0")
    assert finish(surface, ended.headers["Location"], b"").status == 201
    assert list(parts_of(surface).unfinished("")) == []


def test_a_cancelled_upload_takes_no_more(surface: Surface) -> None:
    location = begin(surface)
    told = begun(surface, location)
    sent = send(surface, location, told, CONTENT)
    assert surface.status("DELETE", location) == 204
    said = {"writer": told["writer"], "parts": sent, "size": len(CONTENT), "sha256": None, "attestation": None}
    assert ask(surface, location, "end", said).status in {404, 416}
    assert ask(surface, location, "begin", {}).status == 404
    assert keys(surface) == []
    assert list(parts_of(surface).unfinished("")) == []


def test_the_chunk_that_was_announced_is_the_chunk(surface: Surface) -> None:
    location = begin(surface)
    assert ask(surface, location, "begin", {"content_range": "5-9", "content_length": 5}).status == 416
    assert ask(surface, location, "begin", {"content_range": "0-9", "content_length": 5}).status == 400
    told = begun(surface, location, content_range="0-3")
    refused = end(surface, location, told, CONTENT)
    assert (refused.status, code(refused)) == (400, "SIZE_INVALID")
    assert list(parts_of(surface).unfinished("")) == []


def test_a_relay_cannot_do_without_the_client_s_token_or_its_own_text(surface: Surface) -> None:
    location, other = begin(surface), begin(surface)
    path = location.partition("?")[0]
    assert surface.send("POST", f"/_relay{location}".replace("?", "/begin?"), b"{}").status == 401
    told = begun(surface, location)
    for step, said in (("parts", {"first": 1, "count": 1}), ("end", {"parts": [], "size": 0, "sha256": None}), ("abort", {})):
        for writer in ("", "x", told["writer"][:-1], location.partition("_state=")[2]):
            assert ask(surface, path, step, {"writer": writer, **said}).status == 404, (step, writer)
        assert ask(surface, other.partition("?")[0], step, {"writer": told["writer"], **said}).status == 404
        assert ask(surface, path.replace("/app/", "/other/"), step, {"writer": told["writer"], **said}).status == 404


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("parts", {"first": 0, "count": 1}),
        ("parts", {"first": 1, "count": 0}),
        ("parts", {"first": 1, "count": 101}),
        ("parts", {"first": 10_000, "count": 2}),
        ("parts", {"first": -1, "count": 1}),
        ("parts", {"first": True, "count": 1}),
        ("end", {"parts": {}, "size": 0, "sha256": None}),
        ("end", {"parts": [1], "size": 0, "sha256": None}),
        ("end", {"parts": [{"number": 2, "etag": "e", "size": 1}], "size": 1, "sha256": None}),
        ("end", {"parts": [{"number": 1, "etag": 5, "size": 1}], "size": 1, "sha256": None}),
        ("end", {"parts": [], "size": -1, "sha256": None}),
        ("end", {"parts": [], "size": 0, "sha256": "x"}),
        ("end", {"parts": [], "size": 5, "sha256": None}),
        ("end", {"parts": [], "size": 0, "sha256": None, "digest": 5}),
    ],
)
def test_nonsense_is_refused(surface: Surface, step: str, said: dict[str, object]) -> None:
    location = begin(surface)
    told = begun(surface, location)
    assert ask(surface, location, step, {"writer": told["writer"], **said}).status == 400


def test_parts_that_never_came_make_no_piece(surface: Surface) -> None:
    location = begin(surface)
    told = begun(surface, location)
    parts = [{"number": 1, "etag": "made-up", "size": 4}]
    said = {"writer": told["writer"], "parts": parts, "size": 4, "sha256": None, "attestation": None}
    assert ask(surface, location, "end", said).status == 416
    assert keys(surface) == []


def test_where_no_relay_can_send_parts_there_is_no_such_door() -> None:
    plain = Surface()
    assert ask(plain, begin(plain), "begin", {}).status == 404


def test_parts_of_a_relay_that_never_came_back_are_swept(surface: Surface) -> None:
    location = begin(surface)
    send(surface, location, begun(surface, location), CONTENT)
    leftovers = Leftovers(surface.table, surface.store, surface.clock, surface.multipart)
    assert swept(leftovers) == 0
    surface.clock.advance(GRACE + 60)
    surface.registry.uploads.sweep(10)
    swept(leftovers)
    assert list(parts_of(surface).unfinished("")) == []
    assert keys(surface) == []
