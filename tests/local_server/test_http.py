"""What reaches the application, what does not, and what state a connection is left in."""

from __future__ import annotations

from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network

import pytest

from infra.local.connections import MAX_PIPELINE
from infra.local.heads import MAX_HEAD
from infra.local.inline import INLINE_BODY
from tests.edge.speaking import bearer, state
from tests.local_server.running import SECONDS, Local, running

HOST = b"Host: registry.test\r\nAuthorization: %s\r\n" % bearer("a", *map(str, range(20))).encode()


def test_an_event_is_the_gateways(local: Local) -> None:
    reply = local.ask(
        "GET", "/x/a%2Fb/tags/list?n=1&n=2&last=%20x", "Accept: a", "Accept: b", "Cookie: c=1; d=2", "User-Agent: u"
    )
    event = reply.json()
    assert event["version"] == "2.0"
    assert (event["rawPath"], event["rawQueryString"]) == ("/x/a/b/tags/list", "n=1&n=2&last=%20x")
    assert event["queryStringParameters"] == {"n": "1,2", "last": " x"}
    assert event["cookies"] == ["c=1", "d=2"]
    told = {"host": "registry.test", "accept": "a,b", "user-agent": "u", "x-slipway-viewer": "127.0.0.1"}
    assert event["headers"] == told
    context = event["requestContext"]
    assert isinstance(context, dict)
    assert context["http"] == {
        "method": "GET",
        "path": "/x/a/b/tags/list",
        "protocol": "HTTP/1.1",
        "sourceIp": "127.0.0.1",
        "userAgent": "u",
    }
    assert context["requestId"] != local.ask("GET", "/v2/x/tags/list").json()["requestContext"]["requestId"]  # type: ignore[index]


def test_a_form_comes_in_base64_and_json_as_text(local: Local) -> None:
    form = local.ask("POST", "/auth/token", "Content-Type: application/x-www-form-urlencoded", body=b"a=b").json()
    assert (b64decode(str(form["body"])), form["isBase64Encoded"]) == (b"a=b", True)
    told = local.ask("POST", "/api", "Content-Type: application/json", body='{"a":"é"}'.encode()).json()
    assert (told["body"], told["isBase64Encoded"]) == ('{"a":"é"}', False)
    bad = local.ask("POST", "/api", "Content-Type: application/json", body=b"\xff").json()
    assert (bad["body"], bad["isBase64Encoded"]) == ("\ufffd", False)


def test_a_chunked_manifest_is_read_whole(local: Local) -> None:
    with local.wire() as wire:
        body = b"3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\nTrailer: x\r\n\r\n"
        event = wire.ask("PUT", "/v2/a/tags/x", "Transfer-Encoding: chunked", body=body).json()
        assert b64decode(str(event["body"])) == b"abcdefg"
        assert wire.ask("GET", "/v2/").status == 200


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_nobody_outside_speaks_for_the_relay(local: Local, method: str) -> None:
    paths = ("/_relay/open", "/_relay", "/_relay/", "//_relay/open", "/%5Frelay/open", "/_rela%79/x", "/x/../_relay/open")
    for path in (*paths, "/./_relay/x", "/_relay/v2/a/blobs/uploads/u/close"):
        assert local.ask(method, path, body=b"{}" if method == "POST" else b"").status == 404, path
    assert local.app.events == []


def test_an_absolute_target_does_not_reach_the_relay_either(local: Local) -> None:
    assert local.ask("POST", "http://other.test/_relay/v2/a/blobs/uploads/u/close").status == 404
    assert local.app.events == []


def test_a_body_at_the_limit_passes_and_one_byte_more_is_413(local: Local) -> None:
    assert local.ask("PUT", "/v2/a/manifests/x", body=bytes(INLINE_BODY)).status == 200
    with local.wire() as wire:
        reply = wire.ask("PUT", "/v2/a/manifests/x", f"Content-Length: {INLINE_BODY + 1}")
        assert reply.status == 413
        assert reply.json() == {"message": "Request Entity Too Large"}
    assert len(local.app.events) == 1


def test_an_endless_chunked_body_is_413(local: Local) -> None:
    with local.wire() as wire:
        wire.send(b"PUT /v2/a/manifests/x HTTP/1.1\r\n", HOST, b"Transfer-Encoding: chunked\r\n\r\n")
        wire.send(*([b"100000\r\n" + bytes(1 << 20) + b"\r\n"] * 6))
        reply = wire.reply()
        assert (reply.status, reply.headers["connection"]) == (413, "close")
    assert local.app.events == []


def test_a_body_shorter_than_announced_is_no_request(local: Local) -> None:
    with local.wire() as wire:
        wire.send(b"PUT /v2/a/manifests/x HTTP/1.1\r\n", HOST, b"Content-Length: 10\r\n\r\nshort")
    assert local.ask("GET", "/v2/").status == 200
    assert len(local.app.events) == 1


def test_a_body_longer_than_announced_is_the_next_request_and_a_bad_one(local: Local) -> None:
    with local.wire() as wire:
        wire.send(b"PUT /v2/a/manifests/x HTTP/1.1\r\n", HOST, b"Content-Length: 5\r\n\r\n12345678\r\n\r\n")
        assert wire.reply().status == 200
        assert wire.ended()
    assert len(local.app.events) == 1


AMBIGUOUS = (
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    b"Content-Length: 5\r\nContent-Length: 6\r\n",
    b"Content-Length: 5, 6\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length: -5\r\n",
    b"Content-Length: 5x\r\n",
    b"Content-Length: 99999999999999999999999\r\n",
    b"Content-Length:\r\n",
    b"Content-Length : 5\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding: chunked, identity\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"X: a\x00b\r\n",
    b"no colon\r\n",
    b"Host: second.test\r\n",
)

MALFORMED = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"nonsense\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)


def test_two_readings_of_one_request_are_refused(local: Local) -> None:
    for head in AMBIGUOUS:
        with local.wire() as wire:
            wire.send(b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\n", HOST, head)
            wire.send(b"\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n", HOST, b"\r\n")
            assert wire.reply().status == 400, head
            assert wire.ended(), head
    assert local.app.events == []


def test_malformed_requests_are_400_and_the_server_stays(local: Local) -> None:
    for sent in MALFORMED:
        with local.wire() as wire:
            wire.send(sent)
            assert wire.reply().status == 400, sent
            assert wire.ended(), sent
    assert local.app.events == []
    assert local.ask("GET", "/v2/").status == 200


def test_a_head_beyond_the_limit_is_431(local: Local) -> None:
    room = MAX_HEAD - 200
    assert local.ask("GET", "/x", f"Authorization: {'a' * room}").status == 200
    reply = local.ask("GET", "/v2/", f"Authorization: {'a' * MAX_HEAD}")
    assert (reply.status, reply.headers["connection"]) == (431, "close")
    assert local.ask("GET", "/v2/?" + "q" * MAX_HEAD).status == 431


def test_a_head_without_end_is_431(local: Local) -> None:
    with local.wire() as wire:
        wire.send(b"GET / HTTP/1.1\r\n", HOST, b"X: ")
        try:
            while True:
                wire.send(b"a" * 16_384)
        except OSError:
            pass
    assert local.ask("GET", "/v2/").status == 200


def test_a_connection_serves_on_after_each_kind_of_answer(local: Local) -> None:
    with local.wire() as wire:
        for method, target, status in (
            ("GET", "/v2/", 200),
            ("GET", "/v2/a/manifests/x", 200),
            ("HEAD", "/v2/a/manifests/x", 200),
            ("HEAD", "/elsewhere", 200),
            ("GET", "/empty", 204),
            ("HEAD", "/empty", 204),
            ("GET", "/fails", 500),
            ("HEAD", "/fails", 500),
            ("POST", "/_relay/open", 404),
            ("GET", "/_blobs/data/none?for=GET", 404),
            ("HEAD", "/_blobs/data/none?for=GET", 403),
            ("DELETE", "/v2/a/manifests/x", 200),
        ):
            assert wire.ask(method, target).status == status, f"{method} {target}"


def test_head_announces_the_length_and_sends_nothing(local: Local) -> None:
    reply = local.ask("HEAD", "/v2/a/manifests/x")
    assert reply.headers["content-length"] == "1024"
    assert "content-length" not in local.ask("HEAD", "/empty").headers


def test_a_failure_tells_no_more_than_that(local: Local) -> None:
    reply = local.ask("GET", "/fails")
    assert reply.status == 500
    assert b"on purpose" not in reply.body


def test_pipelined_requests_are_answered_in_order(local: Local) -> None:
    with local.wire() as wire:
        wire.send(*(b"GET /v2/%d/tags/list HTTP/1.1\r\n%s\r\n" % (number, HOST) for number in range(MAX_PIPELINE + 1)))
        answered = [wire.reply().json()["rawPath"] for _ in range(MAX_PIPELINE + 1)]
    assert answered == [f"/v2/{number}/tags/list" for number in range(MAX_PIPELINE + 1)]


def test_a_good_request_is_answered_before_the_bad_bytes_behind_it(local: Local) -> None:
    with local.wire() as wire:
        wire.send(b"GET /v2/a/tags/list HTTP/1.1\r\n", HOST, b"\r\nnonsense\r\n\r\n")
        assert wire.reply().status == 200
        assert wire.ended()


def test_a_pipeline_without_end_is_cut(local: Local) -> None:
    with local.wire() as wire:
        wire.send(b"GET /slow HTTP/1.1\r\n", HOST, b"\r\n")
        assert local.app.held.wait(SECONDS)
        wire.send((b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n") * (MAX_PIPELINE + 50))
        assert wire.ended()


def test_an_upgrade_is_answered_as_if_not_asked(local: Local) -> None:
    with local.wire() as wire:
        wire.send(b"GET /v2/ HTTP/1.1\r\n", HOST, b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n")
        assert wire.reply().status == 200
        assert wire.ended()
    assert len(local.app.events) == 1


def test_thirty_clients_at_once_each_get_their_own_answer(local: Local) -> None:
    def client(number: int) -> list[object]:
        with local.wire() as wire:
            return [wire.ask("GET", f"/v2/{number}/{turn}/tags/list").json()["rawPath"] for turn in range(10)]

    with ThreadPoolExecutor(30) as clients:
        answers = list(clients.map(client, range(30)))
    assert answers == [[f"/v2/{number}/{turn}/tags/list" for turn in range(10)] for number in range(30)]


def test_slow_calls_do_not_hold_up_pulls(local: Local) -> None:
    with local.wire() as slow:
        slow.send(b"POST /slow HTTP/1.1\r\n", HOST, b"Content-Length: 0\r\n\r\n")
        assert local.app.held.wait(SECONDS)
        assert local.ask("GET", "/v2/a/manifests/x").status == 200
        local.app.release.set()
        assert slow.reply().body == b"slow"


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_head_that_does_not_come_is_not_waited_for(local: Local, sent: bytes) -> None:
    with local.wire() as wire, local.wire() as other:
        assert other.ask("GET", "/v2/").status == 200
        wire.send(sent)
        assert other.ask("GET", "/v2/").status == 200
        local.after(5)
        assert other.ask("GET", "/v2/").status == 200
        local.after(20)
        if sent:
            assert wire.reply().status == 408
        assert wire.ended()


def test_line_breaks_do_not_keep_a_connection(local: Local) -> None:
    with local.wire() as wire:
        assert wire.ask("GET", "/v2/").status == 200
        wire.send(b"\r\n")
        assert local.ask("GET", "/v2/").status == 200
        local.after(20)
        assert wire.ended()


def test_a_body_that_stalls_is_not_waited_for(local: Local) -> None:
    with local.wire() as wire:
        wire.send(b"PATCH /v2/a/blobs/uploads/u?_state=%s HTTP/1.1\r\n" % state().encode(), HOST)
        wire.send(b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        while not local.app.events:
            assert local.ask("GET", "/empty").status == 204
        local.after(30)
        assert not local.app.closed.is_set()
        local.after(90)
        assert wire.ended()
    assert local.app.closed.wait(SECONDS)


def test_a_slow_application_is_waited_for(local: Local) -> None:
    with local.wire() as wire:
        wire.send(b"GET /slow HTTP/1.1\r\n", HOST, b"\r\n")
        assert local.app.held.wait(SECONDS)
        local.after(3600)
        local.app.release.set()
        assert wire.reply().body == b"slow"


@pytest.mark.parametrize(
    ("forwarded", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.9, 198.51.100.7", "198.51.100.7"),
        ("192.0.2.9, 10.1.2.3", "192.0.2.9"),
        ("192.0.2.9, junk", "127.0.0.1"),
        ("junk, 10.1.2.3", "10.1.2.3"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:192.0.2.3", "192.0.2.3"),
    ],
)
def test_a_trusted_proxy_is_believed_about_the_hop_before_it(forwarded: str, source: str) -> None:
    with running(trusted=(ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8"))) as local:
        context = local.ask("GET", "/x", f"X-Forwarded-For: {forwarded}").json()["requestContext"]
        assert context["http"]["sourceIp"] == source  # type: ignore[index]


def test_nobody_else_is_believed(local: Local) -> None:
    context = local.ask("GET", "/x", "X-Forwarded-For: 192.0.2.1").json()["requestContext"]
    assert context["http"]["sourceIp"] == "127.0.0.1"  # type: ignore[index]
