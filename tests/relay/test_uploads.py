"""Large bodies through a running relay: what reaches S3 and the API, and what the client is told."""

from __future__ import annotations

import json

import pytest

from tests.endurance.raw import chunked
from tests.relay.fakes import CHALLENGE, TOKEN, FakeRegistry
from tests.relay.running import INLINE, TARGET, UPLOAD, Running, content, digest_of, relay

CHUNKED = {"Authorization": TOKEN, "Transfer-Encoding": "chunked"}


@pytest.mark.parametrize("size", [INLINE + 1, 99_999, 100_000, 100_001, 730_011])
def test_a_large_patch_becomes_parts(running: Running, registry: FakeRegistry, size: int) -> None:
    body = content(size)
    answer = running.ask("PATCH", TARGET, body)
    assert (answer.status, answer.headers["Range"], answer.headers["Location"]) == (202, f"0-{size - 1}", TARGET)
    assert registry.content[UPLOAD] == body
    assert registry.calls.pop("parts", 0) <= 2
    assert registry.calls == {"begin": 1, "s3": -(-size // 50_000), "end": 1}


@pytest.mark.parametrize("size", [0, 1, 999, 1001, INLINE])
@pytest.mark.parametrize("announced", [True, False])
def test_a_small_patch_goes_to_the_api_whole(running: Running, registry: FakeRegistry, size: int, announced: bool) -> None:
    body = content(size)
    if announced:
        answer = running.ask("PATCH", TARGET, body)
    else:
        with running.connect() as connection:
            connection.send_head("PATCH", TARGET, CHUNKED)
            connection.send(chunked([body] if body else []))
            answer = connection.answer()
    assert answer.status == 202
    (seen,) = registry.named("PATCH")
    assert (seen.body, seen.headers["content-length"], seen.target) == (body, str(size), TARGET)
    assert registry.calls == {"PATCH": 1}


@pytest.mark.parametrize("size", [INLINE + 1, 400_000])
def test_a_large_unannounced_patch_becomes_parts(running: Running, registry: FakeRegistry, size: int) -> None:
    body = content(size)
    with running.connect() as connection:
        connection.send_head("PATCH", TARGET, CHUNKED)
        connection.send(chunked(body[n : n + 32_768] for n in range(0, size, 32_768)))
        assert connection.answer().status == 202
        connection.send_head("GET", TARGET, {"Authorization": TOKEN})
        assert connection.answer().headers["Range"] == f"0-{size - 1}"
    (begin,) = registry.named("begin")
    assert json.loads(begin.body) == {"content_range": None, "content_length": None}
    assert registry.content[UPLOAD] == body


def test_who_dawdles_is_asked_for_a_token(running: Running, registry: FakeRegistry) -> None:
    """A slow unannounced body is treated as a large one, which begins with the token."""
    with running.connect() as connection:
        connection.send_head("PATCH", TARGET, {"Transfer-Encoding": "chunked"})
        connection.send(chunked([b"slow"], ended=False))
        assert connection.answer().status == 401
    with running.connect() as connection:
        connection.send_head("PATCH", TARGET, CHUNKED)
        connection.send(chunked([b"slow"], ended=False))
        registry.wait_for(lambda: registry.calls["begin"] == 2)
        connection.send(chunked([b"ly"]))
        assert connection.answer().status == 202
    assert registry.content[UPLOAD] == b"slowly"


def test_a_dawdler_who_brings_nothing_is_answered_by_the_api(running: Running, registry: FakeRegistry) -> None:
    with running.connect() as connection:
        connection.send_head("PATCH", TARGET, CHUNKED)
        registry.wait_for(lambda: registry.calls["begin"] == 1)
        connection.send(chunked([]))
        connection.answer()
    assert registry.writings["w1"].state == "aborted"
    assert registry.calls["PATCH"] == 1


def test_chunks_with_ranges(running: Running, registry: FakeRegistry) -> None:
    body = content(300_000)
    first, second = body[:120_000], body[120_000:]
    assert running.ask("PATCH", TARGET, first, Content_Range="0-119999").status == 202
    answer = running.ask("PATCH", TARGET, second, Content_Range="7-180006")
    assert (answer.status, answer.headers["Range"]) == (416, "0-119999")
    assert running.ask("PATCH", TARGET, second, Content_Range="120000-299999").status == 202
    digest = digest_of(body)
    assert running.ask("PUT", f"{TARGET}&digest={digest}").status == 201
    assert registry.blobs[digest] == body


def test_a_large_put_with_a_digest(running: Running, registry: FakeRegistry) -> None:
    body = content(250_000)
    digest = digest_of(body)
    answer = running.ask("PUT", f"{TARGET}&digest={digest.replace(':', '%3A')}", body)
    assert (answer.status, answer.headers["Location"]) == (201, f"/v2/team/app/blobs/{digest}")
    assert registry.blobs == {digest: body}
    assert registry.named("begin")[0].target == f"/_relay{TARGET}/begin".replace("?_state=s/begin", "/begin?_state=s")


def test_a_wrong_digest_is_the_apis_to_refuse(running: Running, registry: FakeRegistry) -> None:
    answer = running.ask("PUT", f"{TARGET}&digest={digest_of(b'')}", content(250_000))
    assert answer.status == 400
    assert registry.blobs == {}


@pytest.mark.parametrize("query", ["", "&digest=", "&digest=sha256:12"])
def test_a_large_put_without_a_digest_is_refused_unread(running: Running, registry: FakeRegistry, query: str) -> None:
    answer = running.ask("PUT", TARGET + query, content(250_000))
    assert (answer.status, json.loads(answer.body)["errors"][0]["code"]) == (400, "DIGEST_INVALID")
    assert not registry.calls


def test_a_post_with_a_digest_and_a_large_body(running: Running, registry: FakeRegistry) -> None:
    body = content(250_000)
    digest = digest_of(body)
    assert running.ask("POST", f"/v2/team/app/blobs/uploads/?a=b&digest={digest}", body).status == 201
    assert registry.blobs == {digest: body}
    (post,) = registry.named("POST")
    assert (post.target, post.body) == ("/v2/team/app/blobs/uploads/?a=b", b"")


def test_a_post_that_fails_leaves_no_upload(running: Running, registry: FakeRegistry) -> None:
    assert running.ask("POST", f"/v2/team/app/blobs/uploads/?digest={digest_of(b'')}", content(250_000)).status == 400
    assert registry.cancelled == {"/v2/team/app/blobs/uploads/fresh"}


def test_a_refused_token_is_the_apis_answer(running: Running, registry: FakeRegistry) -> None:
    answer = running.ask("PATCH", TARGET, content(250_000), Authorization="Bearer old")
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, CHALLENGE)
    assert registry.calls == {"begin": 1}


def test_more_than_all_parts_can_hold(running: Running, registry: FakeRegistry) -> None:
    registry.max_parts = 4
    assert running.ask("PATCH", TARGET, content(200_000)).status == 202
    answer = running.ask("PATCH", TARGET, content(200_001))
    assert (answer.status, json.loads(answer.body)["errors"][0]["code"]) == (413, "SIZE_INVALID")
    with running.connect() as connection:
        connection.send_head("PATCH", TARGET, CHUNKED)
        connection.send(chunked([content(100_000), content(100_001)]))
        assert connection.answer().status == 413
    assert [writing.state for writing in registry.writings.values()] == ["ended", "aborted", "aborted"]


def test_a_relay_without_a_key_attests_nothing(registry: FakeRegistry) -> None:
    registry.key = ""
    with relay(registry.origin, key="") as running:
        assert running.ask("PATCH", TARGET, content(250_000)).status == 202


def test_many_uploads_share_few_buffers(registry: FakeRegistry) -> None:
    """More clients than buffers: all come through, in turns."""
    bodies = {f"/v2/team/app/blobs/uploads/n{n}": content(400_000, n) for n in range(6)}
    with relay(registry.origin, parts=2) as running:
        connections = {path: running.connect() for path in bodies}
        for path, connection in connections.items():
            connection.send_head("PATCH", path + "?_state=s", CHUNKED)
        for start in range(0, 400_000, 20_000):
            for path, connection in connections.items():
                connection.send(chunked([bodies[path][start : start + 20_000]], ended=False))
        for connection in connections.values():
            connection.send(b"0\r\n\r\n")
        for connection in connections.values():
            assert connection.answer().status == 202
            connection.leave()
    assert {path: registry.content[path] for path in bodies} == bodies
