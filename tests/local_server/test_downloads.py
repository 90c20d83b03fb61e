"""Signed links: the right bytes, the right headers, and no more memory than a block for a reader that does not read."""

from __future__ import annotations

import pytest

from infra.local.downloads import Span, Unsatisfiable, span_of
from tests.local_server.running import Local

KEY = "data/x"
LINK = f"/_blobs/{KEY}?for=GET"
CONTENT = bytes(range(256)) * 40
SIZE = len(CONTENT)
ETAG = '"sha256:' + "a" * 64 + '"'


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-0", Span(0, 1)),
        ("bytes=0-", Span(0, 100)),
        ("bytes=10-19", Span(10, 20)),
        ("bytes=99-", Span(99, 100)),
        ("bytes=90-500", Span(90, 100)),
        ("bytes=0-" + "9" * 40, Span(0, 100)),
        ("bytes=-1", Span(99, 100)),
        ("bytes=-100", Span(0, 100)),
        ("bytes=-500", Span(0, 100)),
        (" bytes= 5-6 ", Span(5, 7)),
        ("bytes=0-1,5-6", None),
        ("bytes=-", None),
        ("bytes=", None),
        ("bytes", None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
        ("bytes=0x1-2", None),
        ("bytes=1--2", None),
        ("bytes=\u0660-\u0669", None),
    ],
)
def test_spans(header: str, span: Span | None) -> None:
    assert span_of(header, 100) == span


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("bytes=100-", 100),
        ("bytes=5-4", 100),
        ("bytes=" + "9" * 40 + "-", 100),
        ("bytes=-0", 100),
        ("bytes=0-", 0),
        ("bytes=-5", 0),
    ],
)
def test_spans_beyond_the_end(header: str, size: int) -> None:
    with pytest.raises(Unsatisfiable):
        span_of(header, size)


def test_the_whole(local: Local) -> None:
    local.blobs.put(KEY, CONTENT)
    reply = local.ask("GET", LINK)
    assert (reply.status, reply.body) == (200, CONTENT)
    shown = {name: reply.headers[name] for name in ("content-type", "docker-content-digest", "etag", "accept-ranges")}
    assert shown == {
        "content-type": "application/vnd.test",
        "docker-content-digest": "sha256:" + "a" * 64,
        "etag": ETAG,
        "accept-ranges": "bytes",
    }
    assert local.app.events == []


def test_a_part(local: Local) -> None:
    local.blobs.put(KEY, CONTENT)
    reply = local.ask("GET", LINK, "Range: bytes=100-299")
    assert (reply.status, reply.body) == (206, CONTENT[100:300])
    assert reply.headers["content-range"] == f"bytes 100-299/{SIZE}"


def test_a_part_beyond_the_end(local: Local) -> None:
    local.blobs.put(KEY, CONTENT)
    reply = local.ask("GET", LINK, f"Range: bytes={SIZE}-")
    assert (reply.status, reply.headers["content-range"]) == (416, f"bytes */{SIZE}")


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (ETAG, 206),
        ("Thu, 01 Oct 2026 12:00:00 GMT", 206),
        ('"other"', 200),
        (f"W/{ETAG}", 200),
        ("Fri, 02 Oct 2026 12:00:00 GMT", 200),
    ],
)
def test_a_part_of_the_same_content_only(local: Local, condition: str, status: int) -> None:
    local.blobs.put(KEY, CONTENT)
    reply = local.ask("GET", LINK, "Range: bytes=0-9", f"If-Range: {condition}")
    assert reply.status == status
    assert reply.body == (CONTENT[:10] if status == 206 else CONTENT)


def test_several_parts_get_the_whole(local: Local) -> None:
    local.blobs.put(KEY, CONTENT)
    reply = local.ask("GET", LINK, "Range: bytes=0-1,5-6")
    assert (reply.status, reply.body) == (200, CONTENT)


def test_head_has_the_headers_alone(local: Local) -> None:
    local.blobs.put(KEY, CONTENT)
    with local.wire() as wire:
        reply = wire.ask("HEAD", f"/_blobs/{KEY}?for=HEAD", "Range: bytes=0-9")
        assert (reply.status, reply.headers["content-length"], reply.headers["etag"]) == (200, str(SIZE), ETAG)
        assert wire.ask("GET", LINK).body == CONTENT


def test_an_empty_blob(local: Local) -> None:
    local.blobs.put(KEY, b"")
    with local.wire() as wire:
        assert wire.ask("GET", LINK).body == b""
        assert wire.ask("GET", LINK, "Range: bytes=0-").status == 416


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("HEAD", LINK, 403),
        ("GET", f"/_blobs/{KEY}", 403),
        ("GET", "/_blobs/", 403),
        ("GET", "/_blobs/data/none?for=GET", 404),
        ("POST", LINK, 405),
        ("PUT", LINK, 405),
        ("DELETE", LINK, 405),
    ],
)
def test_a_link_is_good_for_what_it_was_made_for(local: Local, method: str, target: str, status: int) -> None:
    local.blobs.put(KEY, CONTENT)
    assert local.ask(method, target).status == status
    assert local.app.events == []


def test_a_link_takes_no_body(local: Local) -> None:
    local.blobs.put(KEY, CONTENT)
    assert local.ask("GET", LINK, body=b"x").status == 403
    assert local.ask("HEAD", LINK.replace("GET", "HEAD"), body=b"x").status == 400


def test_a_large_blob_and_the_next_request_on_one_connection(local: Local) -> None:
    large = CONTENT * 2000
    local.blobs.put(KEY, large)
    with local.wire() as wire:
        assert wire.ask("GET", LINK).body == large
        assert wire.ask("GET", LINK, "Range: bytes=-5").body == large[-5:]


def test_a_reader_that_leaves_or_stops_is_let_go(local: Local) -> None:
    local.blobs.put(KEY, bytes(64 << 20))
    with local.wire() as wire:
        wire.send(f"GET {LINK} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert wire.reader.readline().startswith(b"HTTP/1.1 200")
    with local.wire() as wire:
        wire.send(f"GET {LINK} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert wire.reader.readline().startswith(b"HTTP/1.1 200")
        # The socket's buffers fill up first; from then on no sweep finds anything taken.
        for turn in range(1, 20_000):
            if not local.server.server_state.connections:
                break
            local.after(600.0 * turn)
        assert len(wire.reader.read()) < 64 << 20


def test_a_blob_cut_short_under_its_link_is_seen_as_cut(local: Local) -> None:
    local.blobs.put(KEY, CONTENT)
    local.blobs.lie = SIZE + 10
    with local.wire() as wire:
        wire.send(f"GET {LINK} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        told = wire.reader.read()
        assert f"content-length: {SIZE + 10}".encode() in told
        assert told.endswith(CONTENT)
