"""Clients that take what they were not given: memory, threads, turns. Counted are bytes, calls, threads; never time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import cast

import pytest
from uvicorn.protocols.http import httptools_impl

from infra.local import connections, inline
from infra.local.connections import MAX_BODY_PART, MAX_PIPELINE, Connection
from infra.local.inline import INLINE_BODY, SMALL_BODY
from infra.local.logins import LOGIN_THREADS, MAX_LOGINS
from infra.local.pulls import SMALL_ANSWER
from tests.edge.speaking import bearer, state
from tests.local_server.fakes import method_of
from tests.local_server.running import SECONDS, Local, Wire, running

MANIFEST, BLOB = "/v2/a/manifests/x", "/v2/a/blobs/sha256:" + "a" * 64
UPLOAD = f"/v2/a/blobs/uploads/u?_state={state()}"
BASIC = "Authorization: Basic YTpi"
CHUNKED = "Transfer-Encoding: chunked"
LARGEST = 4_700_000
"""Bytes that a function can just answer."""
FAR_MORE = 8 << 20
"""Bytes: more than any limit, and little enough for a server without one to swallow within a test."""


def begin(wire: Wire, method: str, target: str, *lines: str) -> None:
    """The head of a request, with a token where the registry wants one."""
    token = [f"Authorization: {bearer('a')}"] if target.startswith("/v2/") else []
    wire.send("\r\n".join([f"{method} {target} HTTP/1.1", "Host: registry.test", *token, *lines, "", ""]).encode())


def is_cut_off(wire: Wire, piece: bytes) -> bool:
    """Whether the server closes the connection while it is sent the same piece again and again."""
    try:
        for _ in range(FAR_MORE // len(piece)):
            wire.send(piece)
    except OSError:
        return True
    wire.socket.settimeout(5)
    try:
        return wire.reply().status == 400 and wire.ended()
    except TimeoutError:
        return False


def settled(local: Local) -> None:
    """Return when the server has taken in what was sent to it before."""
    for _ in range(3):
        assert local.ask("GET", "/empty").status == 204


# ------------------------------------------------------------------------------------------------- trailers, extensions


def test_a_trailer_is_no_header(local: Local) -> None:
    trailers = b"X-Forwarded-For: 192.0.2.1\r\nAuthorization: Bearer other\r\nHost: elsewhere.test\r\nX-New: 1\r\n"
    event = local.ask("PUT", "/x", CHUNKED, body=b"3\r\nabc\r\n0\r\n" + trailers + b"\r\n").json()
    assert event["headers"] == {"host": "registry.test", "content-length": "3", "x-slipway-viewer": "127.0.0.1"}


def test_the_headers_are_those_of_the_head_when_a_trailer_comes_later(local: Local) -> None:
    with local.wire() as wire:
        begin(wire, "PUT", "/x", CHUNKED)
        settled(local)
        wire.send(b"3\r\nabc\r\n0\r\nX-New: 1\r\n\r\n")
        assert "x-new" not in cast("dict[str, str]", wire.reply().json()["headers"])
        assert wire.ask("GET", "/empty").status == 204


@pytest.mark.parametrize("target", ["/x", UPLOAD])
@pytest.mark.parametrize("start", [b"0\r\nX-Long: ", b"3\r\nabc\r\n0\r\nX: y\r\n", b"5;extension="])
def test_what_is_neither_head_nor_content_is_bounded(local: Local, target: str, start: bytes) -> None:
    piece = b"X: y\r\n" * 1_000 if start.endswith(b"\r\n") else b"a" * 16_384
    with local.wire() as wire:
        begin(wire, "PATCH", target, CHUNKED)
        settled(local)
        wire.send(start)
        assert is_cut_off(wire, piece)
    assert local.ask("GET", "/empty").status == 204


def test_the_frames_of_small_chunks_do_not_count(local: Local) -> None:
    with local.wire() as wire:
        begin(wire, "PATCH", UPLOAD, CHUNKED)
        settled(local)
        wire.send(b"1\r\nx\r\n" * MAX_BODY_PART, b"0\r\nX-Trailer: " + b"y" * 1_000 + b"\r\n\r\n")
        assert wire.reply().status == 202
    assert len(local.blobs.held["data/u"]) == MAX_BODY_PART


# ------------------------------------------------------------------------------------------------------- inline bodies


@pytest.mark.parametrize(
    ("method", "target"), [("POST", "/auth/token"), ("PATCH", "/api/v0/repositories/a"), ("DELETE", MANIFEST)]
)
def test_what_anybody_may_send_is_small(local: Local, method: str, target: str) -> None:
    with local.wire() as wire:
        begin(wire, method, target, f"Content-Length: {SMALL_BODY + 1}")
        assert wire.reply().status == 413
    with local.wire() as wire:
        begin(wire, method, target, CHUNKED)
        wire.send(b"%x\r\n" % (SMALL_BODY + 1), bytes(SMALL_BODY + 1))
        assert wire.reply().status == 413
    assert local.app.events == []
    assert local.ask(method, target, body=bytes(SMALL_BODY)).status == 200


def test_who_may_not_send_a_body_is_told_before_sending_it(local: Local) -> None:
    local.app.refuse_unread = 401
    with local.wire() as wire:
        begin(wire, "PUT", MANIFEST, "Content-Length: 1000", "Expect: 100-continue")
        reply = wire.reply()
    assert (reply.status, reply.headers["connection"], local.app.events) == (401, "close", [])
    assert local.ask("GET", MANIFEST).status == 200


def test_who_has_no_token_is_told_before_sending_a_body(local: Local) -> None:
    with local.wire() as wire:
        wire.send(f"PUT {MANIFEST} HTTP/1.1\r\nHost: registry.test\r\nContent-Length: 1000\r\n\r\n".encode())
        assert wire.reply().status == 401
    assert local.app.events == []


def test_bodies_wait_for_room_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 1 << 20
    monkeypatch.setattr(inline, "INLINE_BUDGET", size)
    with running() as local, local.wire() as first, local.wire() as second:
        begin(first, "PUT", MANIFEST, f"Content-Length: {size}")
        settled(local)
        begin(second, "PUT", MANIFEST, f"Content-Length: {size}", "Expect: 100-continue")
        settled(local)
        second.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            second.socket.recv(1)
        assert sum(held.flow.read_paused for held in open_connections(local)) == 1
        second.socket.settimeout(SECONDS)
        first.send(bytes(size))
        assert first.reply().status == 200
        assert second.reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert second.reader.readline() == b"\r\n"
        second.send(bytes(size))
        assert second.reply().status == 200


def test_a_body_that_comes_a_byte_at_a_time_is_not_waited_for(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BODY_SECONDS", 1e9)  # it never stalls
    with local.wire() as wire:
        begin(wire, "PUT", MANIFEST, f"Content-Length: {INLINE_BODY}")
        wire.send(b"x")
        settled(local)
        local.after(inline.SECONDS + inline.SECONDS_PER_MEBIBYTE * 4)
        wire.send(b"x")
        settled(local)
        local.after(inline.SECONDS + inline.SECONDS_PER_MEBIBYTE * 5)
        assert wire.reply().status == 408
        assert wire.ended()
    assert not [event for event in local.app.events if method_of(event) == "PUT"]


# --------------------------------------------------------------------------------------------------------------- logins


def test_logins_have_two_threads_and_a_short_queue(local: Local) -> None:
    with ExitStack() as stack:
        storm = [stack.enter_context(local.wire()) for _ in range(MAX_LOGINS)]
        for number, wire in enumerate(storm):
            begin(wire, "GET", "/slow", BASIC)
            if number == 0:
                assert local.app.held.wait(SECONDS)
        settled(local)
        refused = local.ask("POST", "/auth/token", "Content-Type: application/x-www-form-urlencoded", body=b"a=b")
        assert (refused.status, refused.headers["content-type"]) == (429, "application/json")
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json()["errors"][0]["code"] == "TOOMANYREQUESTS"  # type: ignore[index]
        assert local.ask("GET", "/api/v0/repositories/a", BASIC).status == 429
        assert len([event for event in local.app.events if event["rawPath"] == "/slow"]) == LOGIN_THREADS
        for method, target in (("GET", "/auth/token"), ("GET", "/_ping"), ("GET", MANIFEST), ("HEAD", BLOB)):
            assert local.ask(method, target).status == 200
        assert local.ask("PUT", MANIFEST, body=b"{}").status == 200
        local.app.release.set()
        assert [wire.reply().status for wire in storm] == [200] * MAX_LOGINS
    assert local.ask("GET", "/auth/token", BASIC).status == 200


# ------------------------------------------------------------------------------------------------------------- the loop


def test_the_loop_answers_what_is_known_to_be_small(local: Local) -> None:
    def on_loop(method: str, target: str) -> bool:
        token = f"Authorization: {bearer('a', 'a/manifests/x')}"
        assert local.ask(method, target, token).status == 200
        return local.app.threads[-1] is local.thread

    assert [on_loop("GET", MANIFEST) for _ in range(3)] == [False, True, True]
    local.app.manifest_size = SMALL_ANSWER + 1
    assert [on_loop("GET", MANIFEST) for _ in range(3)] == [True, False, False]
    assert on_loop("HEAD", MANIFEST)
    assert on_loop("GET", BLOB)
    assert not on_loop("HEAD", BLOB)
    for target in (f"{MANIFEST}/tags/list", "/v2/a/blobs/sha256:x/tags/list", "/v2/a/manifests/x/referrers/y"):
        assert [on_loop("GET", target) for _ in range(2)] == [False, False], target


# ---------------------------------------------------------------------------------------------- pipelines, slow readers


def test_a_pipeline_is_parsed_no_further_than_it_is_long(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    original = httptools_impl.RequestResponseCycle
    monkeypatch.setattr(httptools_impl, "RequestResponseCycle", _counting(original, made))
    with local.wire() as wire:
        wire.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        assert local.app.held.wait(SECONDS)
        wire.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n" * 2_000)
        assert wire.ended()
    assert len(made) <= MAX_PIPELINE + 1
    local.app.release.set()
    settled(local)
    assert not [event for event in local.app.events if event["rawPath"] == "/x"]


def _counting(original: Callable[..., object], made: list[object]) -> Callable[..., object]:
    def make(**given: object) -> object:
        made.append(given["scope"])
        return original(**given)

    return make


@pytest.mark.parametrize("lines", [(), ("Connection: close",)])
def test_an_answer_that_nobody_reads_is_given_up(local: Local, lines: tuple[str, ...]) -> None:
    local.app.manifest_size = LARGEST
    with local.wire() as wire:
        for _ in range(MAX_PIPELINE):
            begin(wire, "GET", MANIFEST, *lines)
        assert wire.reader.readline().startswith(b"HTTP/1.1 200")
        for turn in range(1, 5_000):
            if not open_connections(local):
                break
            local.after(61.0 * turn)
        assert not open_connections(local)
        assert len(wire.reader.read()) < 24 << 20


# ------------------------------------------------------------------------------------------------------- all of it together


def open_connections(local: Local) -> list[Connection]:
    return [cast("Connection", connection) for connection in local.server.server_state.connections]


def _trailer(local: Local, wire: Wire) -> None:
    begin(wire, "PATCH", UPLOAD, CHUNKED)
    wire.send(b"3\r\nabc\r\n0\r\nX-Long: ", b"a" * 16_384)


def _inline(local: Local, wire: Wire) -> None:
    begin(wire, "PUT", MANIFEST, f"Content-Length: {INLINE_BODY}")
    wire.send(bytes(INLINE_BODY // 2))


def _form(local: Local, wire: Wire) -> None:
    begin(wire, "POST", "/auth/token", CHUNKED)
    wire.send(b"1\r\na\r\n")


def _login(local: Local, wire: Wire) -> None:
    begin(wire, "GET", "/slow", BASIC)


def _pipeline(local: Local, wire: Wire) -> None:
    wire.send((b"GET /_blobs/data/big?for=GET HTTP/1.1\r\nHost: x\r\n\r\n") * MAX_PIPELINE)


def _unread(local: Local, wire: Wire) -> None:
    begin(wire, "GET", "/_blobs/data/big?for=GET")


STUCK = (_trailer, _inline, _form, _login, _pipeline, _unread)


@contextmanager
def stuck(local: Local, each: int) -> Iterator[None]:
    """``each`` connections stuck in each of the ways at once; what they send is sent from threads, for it may not be taken."""
    with ExitStack() as stack:
        wires = [(way, stack.enter_context(local.wire())) for _ in range(each) for way in STUCK]
        threads = [threading.Thread(target=_quietly, args=(way, local, wire)) for way, wire in wires]
        for thread in threads:
            thread.start()
        yield
        for _, wire in wires:
            wire.socket.shutdown(2)
        for thread in threads:
            thread.join(SECONDS)


def _quietly(way: Callable[[Local, Wire], None], local: Local, wire: Wire) -> None:
    try:
        way(local, wire)
    except OSError:
        return


def test_pulls_go_on_whoever_is_stuck(local: Local) -> None:
    local.blobs.put("data/big", bytes(32 << 20))
    with stuck(local, each=25):
        assert local.app.held.wait(SECONDS)
        for _ in range(20):
            assert local.ask("GET", MANIFEST).status == 200
            assert local.ask("GET", "/_ping").status == 200
            assert local.ask("GET", "/auth/token").status == 200
        assert len([event for event in local.app.events if event["rawPath"] == "/slow"]) <= LOGIN_THREADS
        local.app.release.set()
