"""Large uploads: what the application is told, what lies in the store, and what the client sees when it goes wrong."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib.registry.errors import RegistryError
from chalicelib.registry.names import Digest
from chalicelib.wire.distribution.state import Lane
from infra.local.body import Body, Message
from infra.local.edge import INLINE_UPLOAD
from infra.local.events import Answer, Head
from infra.local.relay import BLOCK, Relay
from tests.edge.speaking import bearer, state
from tests.endurance.client import arrived
from tests.local_server.fakes import parameters
from tests.local_server.running import SECONDS, Local, Wire
from tests.memory_blobs import MemoryBlobs
from tests.surface import Surface

UPLOAD = "/v2/a/blobs/uploads/u"
TARGET = f"{UPLOAD}?_state={state()}"
DIGEST, OTHER = "sha256:" + "d" * 64, "sha256:" + "e" * 64
OPEN, CLOSE = f"POST /_relay{UPLOAD}/open", f"POST /_relay{UPLOAD}/close"
LARGE = b"0123456789abcdef" * (INLINE_UPLOAD // 16 + 70_000)


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def begin(wire: Wire, method: str, target: str, *lines: str) -> None:
    head = [f"{method} {target} HTTP/1.1", "Host: registry.test", f"Authorization: {bearer('a')}", *lines, "", ""]
    wire.send("\r\n".join(head).encode())


def test_a_chunked_patch_is_staged_and_answered_by_close(local: Local) -> None:
    body = chunked(b"hello ", b"world")
    reply = local.ask("PATCH", TARGET, "Transfer-Encoding: chunked", f"Authorization: {bearer('a')}", body=body)
    assert (reply.status, reply.headers["range"]) == (202, "0-10")
    assert local.blobs.held["data/u"] == b"hello world"
    assert local.app.calls() == [OPEN, CLOSE]
    opened, closed = local.app.events
    assert opened["headers"]["authorization"] == bearer("a")  # type: ignore[index]
    assert local.app.told(opened) == {"content_range": None, "content_length": None}
    assert local.app.told(closed) == {"writer": "w1", "size": 11}
    assert "authorization" not in closed["headers"]  # type: ignore[operator]


def test_an_empty_chunked_patch_is_an_empty_upload(local: Local) -> None:
    reply = local.ask("PATCH", TARGET, "Transfer-Encoding: chunked", body=chunked())
    assert reply.status == 202
    assert local.app.told(local.app.seen("/close"))["size"] == 0
    assert local.blobs.appends == []


def test_an_empty_chunked_patch_ends_where_it_begins(local: Local) -> None:
    local.app.offset = 6
    assert local.ask("PATCH", TARGET, "Transfer-Encoding: chunked", body=chunked()).status == 202
    assert local.app.told(local.app.seen("/close"))["size"] == 6


def test_a_large_patch_arrives_in_blocks_and_ends_beyond_its_offset(local: Local) -> None:
    local.app.offset = 6
    reply = local.ask("PATCH", TARGET, f"Content-Range: 6-{5 + len(LARGE)}", body=LARGE)
    assert reply.status == 202
    assert local.blobs.held["data/u"] == LARGE
    assert max(local.blobs.appends) < 2 * BLOCK
    assert local.app.told(local.app.seen("/close")) == {"writer": "w1", "size": 6 + len(LARGE)}
    told = local.app.told(local.app.seen("/open"))
    assert (told["content_range"], told["content_length"]) == (f"6-{5 + len(LARGE)}", len(LARGE))


def test_each_body_has_a_key_of_its_own(local: Local) -> None:
    for number, body in enumerate((b"one", b"two"), 1):
        assert local.ask("PATCH", TARGET, "Transfer-Encoding: chunked", body=chunked(body)).status == 202
        assert local.app.told(local.app.events[-1]) == {"writer": f"w{number}", "size": 3}
    assert local.blobs.held == {"data/u": b"one", "data/u2": b"two"}


def test_a_small_known_patch_goes_to_the_application_whole(local: Local) -> None:
    reply = local.ask("PATCH", TARGET, body=b"x" * INLINE_UPLOAD)
    assert reply.status == 200
    assert local.app.calls() == [f"PATCH {UPLOAD}"]


def test_a_large_put_is_closed_with_its_digest(local: Local) -> None:
    reply = local.ask("PUT", f"{TARGET}&digest={DIGEST.replace(':', '%3A')}", f"Content-Range: 0-{len(LARGE) - 1}", body=LARGE)
    assert (reply.status, reply.headers["location"]) == (201, f"/v2/a/blobs/{DIGEST}")
    assert local.app.calls() == [OPEN, CLOSE]
    assert local.app.told(local.app.events[1]) == {"writer": "w1", "size": len(LARGE), "digest": DIGEST}


def test_a_digest_said_twice_counts_once(local: Local) -> None:
    assert local.ask("PUT", f"{TARGET}&digest={DIGEST}&digest={DIGEST}", body=LARGE).status == 201
    assert local.app.told(local.app.events[1])["digest"] == DIGEST


@pytest.mark.parametrize("query", [f"digest={DIGEST}&digest={OTHER}", "other=1", "digest=", "digest=sha256:d"])
def test_a_large_put_without_one_digest_is_refused_unread(local: Local, query: str) -> None:
    with local.wire() as wire:
        begin(wire, "PUT", f"{TARGET}&{query}", "Content-Length: 9000000000")
        assert wire.reply().status == 400
    assert local.app.events == []


@pytest.mark.parametrize("query", ["", "?_state=x.y", f"?_state={state(upload='other')}", f"?_state={state(name='b')}"])
def test_a_large_body_without_its_upload_s_state_is_refused_unread(local: Local, query: str) -> None:
    with local.wire() as wire:
        begin(wire, "PATCH", UPLOAD + query, "Transfer-Encoding: chunked")
        assert wire.reply().status == 404
    assert local.app.events == []


def test_a_large_body_without_a_token_is_refused_unread(local: Local) -> None:
    with local.wire() as wire:
        wire.send(f"PATCH {TARGET} HTTP/1.1\r\nHost: registry.test\r\nContent-Length: 9000000000\r\n\r\n".encode())
        assert wire.reply().status == 401
    assert local.app.events == []


def test_what_a_relay_began_goes_on_there(local: Local) -> None:
    target = f"{UPLOAD}?_state={state(lane=Lane.RELAY)}"
    assert local.ask("PATCH", target, body=b"small").status == 202
    assert local.app.calls() == [OPEN, CLOSE]
    local.app.events.clear()
    assert local.ask("PUT", f"{target}&digest={DIGEST}", "Content-Length: 0").status == 201
    assert local.ask("GET", target).status == 200
    assert local.app.calls() == [f"PUT {UPLOAD}", f"GET {UPLOAD}"]


def test_a_large_post_with_a_digest_begins_then_goes_on_as_put(local: Local) -> None:
    target = f"/v2/a/blobs/uploads/?digest={DIGEST}&extra=1"
    assert local.ask("POST", target, body=LARGE).status == 201
    new = "POST /_relay/v2/a/blobs/uploads/new"
    assert local.app.calls() == ["POST /v2/a/blobs/uploads/", f"{new}/open", f"{new}/close"]
    assert parameters(local.app.events[0]) == {"extra": ["1"]}
    assert local.app.told(local.app.events[2])["digest"] == DIGEST


def test_a_large_post_without_a_digest_is_refused_unread(local: Local) -> None:
    with local.wire() as wire:
        begin(wire, "POST", "/v2/a/blobs/uploads/", "Content-Length: 9000000000")
        reply = wire.reply()
    assert reply.status == 413
    assert local.app.events == []


@pytest.mark.parametrize("status", [401, 404, 416])
def test_a_refusal_reaches_a_client_that_is_still_sending(local: Local, status: int) -> None:
    local.app.refuse_open = status
    with local.wire() as wire:
        begin(wire, "PATCH", TARGET, "Content-Length: 9000000000")
        sender = threading.Thread(target=_send_until_cut, args=(wire,))
        sender.start()
        reply = wire.reply()
        wire.socket.shutdown(2)
        sender.join(SECONDS)
    assert (reply.status, reply.headers["connection"]) == (status, "close")
    assert reply.body == b'{"errors":[]}'
    assert local.app.calls() == [OPEN]


def test_a_refusal_reaches_a_client_that_reads_only_after_sending(local: Local) -> None:
    local.app.refuse_open = 401
    reply = local.ask("PATCH", TARGET, body=bytes(32 << 20))
    assert reply.status == 401


def test_a_client_cut_off_mid_body_leaves_what_it_sent_closed(local: Local) -> None:
    with local.wire() as wire:
        begin(wire, "PATCH", TARGET, "Content-Length: 9000000000")
        wire.send(LARGE)
    assert local.app.closed.wait(SECONDS)
    size = local.app.told(local.app.seen("/close"))["size"]
    assert size == len(local.blobs.held["data/u"])
    assert 0 < int(str(size)) <= len(LARGE)
    assert LARGE.startswith(local.blobs.held["data/u"])
    assert local.ask("GET", "/v2/").status == 200


def test_a_client_cut_off_mid_put_is_not_completed(local: Local) -> None:
    with local.wire() as wire:
        begin(wire, "PUT", f"{TARGET}&digest={DIGEST}", "Transfer-Encoding: chunked")
        wire.send(b"5\r\nhello\r\n")
    assert local.app.closed.wait(SECONDS)
    assert local.ask("GET", "/v2/").status == 200
    assert "digest" not in local.app.told(local.app.seen("/close"))


def test_a_malformed_chunk_ends_the_upload_resumable(local: Local) -> None:
    with local.wire() as wire:
        begin(wire, "PATCH", TARGET, "Transfer-Encoding: chunked")
        wire.send(b"5\r\nhello\r\nnot a size\r\n")
        assert wire.reply().status == 400
        assert wire.ended()
    assert local.app.closed.wait(SECONDS)


def test_a_server_that_stops_leaves_uploads_closed(local: Local) -> None:
    local.server.config.timeout_graceful_shutdown = 0
    with local.wire() as wire:
        begin(wire, "PATCH", TARGET, "Content-Length: 9000000000")
        wire.send(LARGE)
        assert local.blobs.waiting.wait(SECONDS)
        local.server.should_exit = True
        assert local.app.closed.wait(SECONDS)
    size = local.app.told(local.app.seen("/close"))["size"]
    assert int(str(size)) == len(local.blobs.held["data/u"]) > 0


def test_what_somebody_dropped_meanwhile_is_416_with_what_had_arrived_before(local: Local) -> None:
    local.app.offset = 50
    local.blobs.drops = True
    reply = local.ask("PATCH", TARGET, body=LARGE)
    assert (reply.status, reply.headers["range"]) == (416, "0-49")
    assert local.app.told(local.app.seen("/close"))["size"] == 50
    assert local.blobs.staged == local.blobs.held == {}


@pytest.mark.parametrize("offset", [0, 6])
def test_a_full_store_is_507_and_gets_back_what_the_request_brought(local: Local, offset: int) -> None:
    local.app.offset = offset
    local.blobs.limit = 2 * BLOCK
    reply = local.ask("PATCH", TARGET, body=LARGE)
    assert reply.status == 507
    assert json.loads(reply.body)["errors"]
    assert local.app.told(local.app.seen("/close"))["size"] == offset
    assert local.app.calls() == [OPEN, CLOSE]
    assert local.blobs.staged == local.blobs.held == {}


def test_a_full_store_keeps_nothing_of_an_upload_that_nobody_knows_of(local: Local) -> None:
    local.blobs.limit = 2 * BLOCK
    reply = local.ask("POST", f"/v2/a/blobs/uploads/?digest={DIGEST}", f"Authorization: {bearer('a')}", body=LARGE)
    assert reply.status == 507
    assert local.blobs.staged == local.blobs.held == {}
    assert local.app.calls()[-2:] == ["POST /_relay/v2/a/blobs/uploads/new/close", "DELETE /v2/a/blobs/uploads/new"]
    cancelled = local.app.events[-1]
    assert cancelled["headers"]["authorization"] == bearer("a")  # type: ignore[index]
    assert cancelled["headers"]["content-length"] == "0"  # type: ignore[index]
    assert parameters(cancelled)["_state"] == ["s"]


def test_a_client_cut_off_from_an_upload_that_nobody_knows_of_leaves_none(local: Local) -> None:
    with local.wire() as wire:
        begin(wire, "POST", f"/v2/a/blobs/uploads/?digest={DIGEST}", "Transfer-Encoding: chunked")
        wire.send(b"5\r\nhello\r\n")
    for _ in range(2_000):
        assert local.ask("GET", "/_blobs/none?for=GET").status == 404  # which the application is not asked about
        if "DELETE /v2/a/blobs/uploads/new" in local.app.calls():
            break
    assert local.app.calls()[-1] == "DELETE /v2/a/blobs/uploads/new"


def test_what_a_full_store_cannot_drop_the_upload_keeps(local: Local) -> None:
    local.blobs.clings = True
    local.blobs.limit = 2 * BLOCK
    assert local.ask("PATCH", TARGET, body=LARGE).status == 507
    size = local.app.told(local.app.seen("/close"))["size"]
    assert size == len(local.blobs.held["data/u"]) > 0


def test_a_put_whose_close_is_refused_is_not_completed(local: Local) -> None:
    local.app.close_status = 404
    assert local.ask("PUT", f"{TARGET}&digest={DIGEST}", body=LARGE).status == 404
    assert local.app.calls() == [OPEN, CLOSE]


def test_a_store_that_stands_still_stops_the_sender(local: Local) -> None:
    local.blobs.gate.clear()
    with local.wire() as wire:
        begin(wire, "PATCH", TARGET, "Content-Length: 9000000000")
        wire.socket.settimeout(0.5)
        sent = 0
        try:
            while sent < 256 << 20:
                sent += wire.socket.send(bytes(1 << 20))
        except TimeoutError:
            pass
        assert sent < 64 << 20, "the server took more than sockets and two blocks hold"


def test_the_connection_is_good_for_more_after_each_kind_of_upload(local: Local) -> None:
    with local.wire() as wire:
        assert wire.ask("PATCH", TARGET, "Transfer-Encoding: chunked", body=chunked(b"one")).status == 202
        assert wire.ask("PUT", f"{TARGET}&digest={DIGEST}", body=LARGE).status == 201
        assert wire.ask("PATCH", TARGET, body=b"small").status == 200
        assert wire.ask("HEAD", "/v2/a/manifests/x").status == 200
        assert wire.ask("GET", "/v2/").status == 200


def test_an_expecting_client_is_told_to_go_on(local: Local) -> None:
    with local.wire() as wire:
        begin(wire, "PATCH", TARGET, f"Content-Length: {len(LARGE)}", "Expect: 100-continue")
        assert wire.reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert wire.reader.readline() == b"\r\n"
        wire.send(LARGE)
        assert wire.reply().status == 202


def test_an_expecting_client_that_is_refused_sends_nothing(local: Local) -> None:
    local.app.refuse_open = 401
    with local.wire() as wire:
        begin(wire, "PATCH", TARGET, f"Content-Length: {len(LARGE)}", "Expect: 100-continue")
        assert wire.reader.readline().startswith(b"HTTP/1.1 401 ")


def _send_until_cut(wire: Wire) -> None:
    try:
        while True:
            wire.socket.sendall(bytes(1 << 20))
    except OSError:
        return


def test_a_writer_that_a_later_one_overtook_is_refused_and_leaves_nothing() -> None:
    surface, content = Surface(), b"layer"
    assert isinstance(surface.store, MemoryBlobs)
    location = surface.call("POST", "/v2/admin/app/blobs/uploads/").headers["Location"]
    path, _, query = location.partition("?")

    def open_writer() -> dict[str, str]:
        told: dict[str, str] = json.loads(surface.call("POST", f"/_relay{path}/open?{query}", b"{}").body)
        return told

    def close(opened: dict[str, str], **told: object) -> int:
        body = json.dumps({"writer": opened["writer"], "size": len(content), **told}).encode()
        return surface.send("POST", f"/_relay{path}/close", body).status

    earlier, later = open_writer(), open_writer()
    assert earlier["key"] != later["key"]
    for opened in (earlier, later):
        surface.store.append(opened["key"], 0, content)
    digest = str(Digest.of(content))
    assert close(earlier) == 416
    assert close(later, digest=digest) == 201
    assert surface.store.staged == {}
    assert [stored.key for stored in surface.store.list("data/")] == [later["key"]]
    assert surface.status("HEAD", f"/v2/admin/app/blobs/{digest}") == 307


@pytest.mark.parametrize("sent", [b"", b"x", b"xy", b"xyz"])
def test_a_body_that_breaks_off_is_gone_on_with_by_what_the_status_says(sent: bytes) -> None:
    """Which says of one byte what it says of none."""
    surface, content = Surface(), b"xyz of a layer"
    assert isinstance(surface.store, MemoryBlobs)
    location = surface.call("POST", "/v2/admin/app/blobs/uploads/").headers["Location"]
    path, _, query = location.partition("?")
    arriving: list[Message] = [{"type": "http.request", "body": sent, "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return arriving.pop(0)

    async def call(head: Head, body: bytes) -> Answer:
        return call_now(head, body)

    def call_now(head: Head, body: bytes) -> Answer:
        answered = surface.call(head.method, f"{head.path}?{head.query}", body)
        return Answer(answered.status, [], answered.body)

    def refused(error: RegistryError) -> Answer:
        raise error

    with ThreadPoolExecutor(1) as pool:
        relay = Relay(call, call_now, surface.store, pool, refused)
        assert asyncio.run(relay.upload(Head("PATCH", path, query, {}), Body(receive, len(content)))) is None
    kept = arrived(surface.call("GET", location).headers["Range"])
    rest = surface.call("PATCH", location, content[kept:], content_range=f"{kept}-{len(content) - 1}")
    assert (rest.status, rest.headers["Range"]) == (202, f"0-{len(content) - 1}")
    assert surface.status("PUT", f"{rest.headers['Location']}&digest={Digest.of(content)}") == 201
