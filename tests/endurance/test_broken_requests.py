"""Requests that break off or are other than they say: nothing wrong becomes visible, and what was right goes on."""

from __future__ import annotations

import random

import pytest

from tests.endurance.chance import seeded
from tests.endurance.client import MANIFEST, Client
from tests.endurance.content import BLOCK, Content, digest_of
from tests.endurance.layers import INLINE, RELAYED, REPOSITORY, WAYS, Request, Way, layer_request, pushed_image
from tests.endurance.raw import RawConnection, chunked
from tests.endurance.server import Server, eventually

UNREAD = 1 << 19
"""Bytes that may be lost of what arrived before a clean end: they lay in the server's buffers."""
RESETS = (False, True, False, True, False, True, False, True, False, True, False, False)
"""How each of a test's connections breaks: closed in good order, or reset."""


# ----------------------------------------------------------------------------------------------------------- broken off


@pytest.mark.parametrize("way", [way for way in WAYS if way.method != "POST"], ids=str)
def test_a_layer_that_breaks_off_is_not_there_and_can_be_finished(server: Server, client: Client, way: Way) -> None:
    chance = seeded()
    for turn, reset in enumerate(RESETS):
        content = Content(seed=turn, size=RELAYED if way.relayed else INLINE)
        location = client.begin(REPOSITORY)
        request = layer_request(client, way, location, content)
        sent = _cuts(len(request.body), chance)[turn]
        _send_part(server, request, sent, reset=reset)
        assert client.hash_blob(REPOSITORY, content.digest()) is None, f"visible after {sent} bytes"
        if way.relayed and not reset:
            _wait_for_most(client, location, sent)
        _finish(client, location, content, at_most=sent if way.relayed else 0)
        assert client.hash_blob(REPOSITORY, content.digest()) == (content.digest(), content.size)


@pytest.mark.parametrize("way", [way for way in WAYS if way.method == "POST"], ids=str)
def test_a_layer_that_breaks_off_in_its_post_is_not_there(server: Server, client: Client, way: Way) -> None:
    """Nobody was told where its bytes are, so it cannot be finished, only begun anew."""
    chance, digests = seeded(), set()
    for turn, reset in enumerate(RESETS):
        content = Content(seed=turn, size=RELAYED if way.relayed else INLINE)
        request = layer_request(client, way, "", content)
        _send_part(server, request, _cuts(len(request.body), chance)[turn], reset=reset)
        digests.add(content.digest())
        assert {client.hash_blob(REPOSITORY, digest) for digest in digests} == {None}
    whole = layer_request(client, way, "", Content(seed=0, size=RELAYED))
    with RawConnection(server.address) as connection:
        whole.send(connection)
        connection.answer().expect(201)


def test_a_manifest_that_breaks_off_is_not_there(server: Server, client: Client) -> None:
    chance = seeded()
    before, after = pushed_image(client, "before", "stable"), pushed_image(client, "after", "")
    for turn, reset in enumerate(RESETS):
        for request in _manifest_requests(client, "stable", after):
            _send_part(server, request, _cuts(len(request.body), chance)[turn], reset=reset)
            client.pull_manifest(REPOSITORY, digest_of(after)).expect(404)
            assert client.pull_manifest(REPOSITORY, "stable").expect(200).body == before
    assert client.tags(REPOSITORY) == {"stable"}
    for request in _manifest_requests(client, "stable", after):
        with RawConnection(server.address) as connection:
            request.send(connection)
            connection.answer().expect(201)
    client.check_image(REPOSITORY, "stable", after)


def _manifest_requests(client: Client, reference: str, manifest: bytes) -> tuple[Request, Request]:
    """Its push with a known length, and in chunks."""
    target = f"/v2/{REPOSITORY}/manifests/{reference}"
    headers = {**client.authorization(REPOSITORY), "Content-Type": MANIFEST}
    return (
        Request("PUT", target, {**headers, "Content-Length": str(len(manifest))}, manifest),
        Request("PUT", target, {**headers, "Transfer-Encoding": "chunked"}, chunked([manifest[:100], manifest[100:]])),
    )


def _cuts(size: int, chance: random.Random) -> list[int]:
    """A place for each of RESETS within a body of ``size`` bytes, edges among them. Each lacks a byte at least."""
    edges = [0, 1, size // 2, size - 1, size - 1, min(size - 1, BLOCK)]
    return edges + [chance.randrange(size) for _ in range(len(RESETS) - len(edges))]


def _send_part(server: Server, request: Request, sent: int, *, reset: bool) -> None:
    connection = RawConnection(server.address)
    request.send_part(connection, sent)
    if reset:
        connection.break_off()
    else:
        connection.leave()


def _wait_for_most(client: Client, location: str, sent: int) -> None:
    """A clean end lets what was sent arrive, and the status has to tell."""
    eventually(lambda: client.arrived(REPOSITORY, location) >= sent - UNREAD, f"most of {sent} bytes are told as arrived")


def _finish(client: Client, location: str, content: Content, at_most: int) -> None:
    """Go on where the registry says, as a client does: asking again when another request turns out to be still at it."""

    def goes_on() -> bool:
        nonlocal location
        arrived = client.arrived(REPOSITORY, location)
        assert arrived <= at_most, f"{arrived} of {at_most} bytes arrived"
        if arrived == content.size:
            return True
        rest, span = content.blocks(arrived), f"{arrived}-{content.size - 1}"
        answer = client.request("PATCH", REPOSITORY, location, rest, Content_Range=span).expect(202, 416)
        location = answer.location if answer.status == 202 else location
        return answer.status == 202

    eventually(goes_on, "the upload is taken up")
    assert client.arrived(REPOSITORY, location) == content.size
    client.finish(REPOSITORY, location, content.digest()).expect(201)


# ---------------------------------------------------------------------------------------------- other than was announced


@pytest.mark.parametrize("size", [INLINE, RELAYED])
@pytest.mark.parametrize("later", [False, True], ids=["at-once", "after-the-answer"])
@pytest.mark.parametrize("extra", [b"x", bytes(100), b"more of the layer" * 10_000], ids=["one", "zeros", "much"])
def test_bytes_beyond_the_announced_length_are_no_part_of_the_layer(
    server: Server, client: Client, size: int, extra: bytes, *, later: bool
) -> None:
    """They are a request that is none: 400, or, when they come while the layer is still being answered, the end behind it."""
    content, location = Content(seed=size, size=size), client.begin(REPOSITORY)
    request = layer_request(client, Way("PATCH", known=True, relayed=True), location, content)
    with RawConnection(server.address) as connection:
        request.send(connection, b"" if later else extra)
        answer = connection.answer().expect(202)
        assert answer.arrived == size
        if later:
            connection.send(extra)
            connection.answer().expect(400)
        else:
            assert answer.headers["Connection"] == "close"
        assert connection.ended()
    assert client.arrived(REPOSITORY, location) == size
    longer = digest_of(request.body + extra)
    client.finish(REPOSITORY, location, longer).expect(400)
    assert client.hash_blob(REPOSITORY, longer) is None


def test_a_second_request_in_the_extra_bytes_has_to_bring_its_own_token(server: Server, client: Client) -> None:
    """What a proxy that counts differently would let through: the bytes behind the body are a request, and an anonymous one."""
    pushed_image(client, "kept", tag="kept")
    content, location = Content(seed=3, size=RELAYED), client.begin(REPOSITORY)
    request = layer_request(client, Way("PATCH", known=True, relayed=True), location, content)
    with RawConnection(server.address) as connection:
        request.send(connection)
        connection.send_head("DELETE", f"/v2/{REPOSITORY}/manifests/kept", {})
        connection.answer().expect(202)
        connection.answer().expect(401)
    assert client.tags(REPOSITORY) == {"kept"}


@pytest.mark.parametrize("size", [INLINE, RELAYED])
def test_a_chunk_longer_than_its_content_range_is_refused(client: Client, size: int) -> None:
    content, location = Content(seed=size, size=size), client.begin(REPOSITORY)
    answer = client.request("PATCH", REPOSITORY, location, content.blocks(), Content_Range=f"0-{size - 2}").expect(400)
    assert answer.code == "SIZE_INVALID"
    assert client.arrived(REPOSITORY, location) == 0
    assert client.hash_blob(REPOSITORY, content.digest()) is None
    _finish(client, location, content, at_most=0)
    assert client.hash_blob(REPOSITORY, content.digest()) == (content.digest(), size)


@pytest.mark.parametrize("size", [INLINE, RELAYED])
def test_a_length_unlike_the_content_range_is_refused(client: Client, size: int) -> None:
    content, location = Content(seed=size, size=size), client.begin(REPOSITORY)
    for last in (size - 2, size):
        refused = client.request("PATCH", REPOSITORY, location, content.whole(), Content_Range=f"0-{last}").expect(400)
        assert refused.code == "SIZE_INVALID"
    assert client.arrived(REPOSITORY, location) == 0


@pytest.mark.parametrize("bad", [b"zz\r\n", b"-5\r\n?????\r\n", b"5\r\n??????????\r\n", b"FFFFFFFFFFFFFFFFF\r\n"])
def test_chunks_that_are_none_end_the_request_and_leave_no_layer(server: Server, client: Client, bad: bytes) -> None:
    """``?`` stands for the layer's next bytes: five more than the chunk says are five too many, and five belong to it."""
    content, location = Content(seed=4, size=RELAYED), client.begin(REPOSITORY)
    bad = bad.replace(b"?" * bad.count(b"?"), content.whole(2 << 20, (2 << 20) + bad.count(b"?")))
    headers = {**client.authorization(REPOSITORY), "Transfer-Encoding": "chunked"}
    with RawConnection(server.address) as connection:
        connection.send_head("PATCH", location, headers)
        connection.send(chunked(content.blocks(0, 2 << 20), ended=False), bad)
        connection.answer().expect(400)
        assert connection.ended()
    assert client.hash_blob(REPOSITORY, content.digest()) is None
    _finish(client, location, content, at_most=(2 << 20) + 5)


@pytest.mark.parametrize("way", [way for way in WAYS if way.relayed], ids=str)
def test_a_large_layer_with_a_wrong_digest_is_refused_and_its_bytes_are_dropped(
    server: Server, client: Client, way: Way
) -> None:
    content, wrong = Content(seed=5, size=RELAYED), Content(seed=6, size=RELAYED).digest()
    location = client.begin(REPOSITORY)
    with RawConnection(server.address) as connection:
        layer_request(client, way, location, content, wrong).send(connection)
        answer = connection.answer()
    if way.method == "PATCH":
        answer = client.finish(REPOSITORY, answer.expect(202).location, wrong)
    assert answer.expect(400).code == "DIGEST_INVALID"
    assert {client.hash_blob(REPOSITORY, digest) for digest in (wrong, content.digest())} == {None}
    assert server.stored_bytes() == 0, "the staged bytes are still in the data folder"
