"""CloudFront before a deployed stack: where requests go, how their bodies get there, and what comes back."""

from __future__ import annotations

import hashlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from chalicelib.wire.distribution.state import Lane
from infra.local import gateway
from infra.local.edge import store_of
from infra.local.edge_front import ApiOrigin, EdgeFront, Origins, StorageOrigin
from infra.local.events import Answer
from infra.local.front import ClientGone, Exchange, serving
from infra.local.signing import Signer
from tests.edge.speaking import KEYS, REALM, REPOSITORY, SERVICE, UPLOAD, bearer, state

LARGE = bytes(range(256)) * 40_000
DIGEST = f"sha256:{hashlib.sha256(LARGE).hexdigest()}"
PATH = f"/v2/a/blobs/uploads/{UPLOAD}"


class Seen(NamedTuple):
    method: str
    target: str
    headers: dict[str, str]
    size: int
    chunked: bool


@dataclass
class Origin:
    """Notes what it gets, reads bodies to their end and answers as it was told to."""

    answer: Answer = field(default_factory=lambda: Answer(200, [(b"etag", b'"x"')], b"told"))
    seen: list[Seen] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)
    first: threading.Event = field(default_factory=threading.Event)
    reads: bool = True
    before: Callable[[], object] = lambda: None

    def __call__(self, exchange: Exchange) -> None:
        head, size = exchange.head, 0
        self.before()
        try:
            while self.reads and (block := exchange.body.read()):
                self.first.set()
                size += len(block)
        except ClientGone:
            self.gone.set()
            raise
        target = head.path + (f"?{head.query}" if head.query else "")
        self.seen.append(Seen(head.method, target, dict(head.headers), size, exchange.body.length is None))
        exchange.answer(self.answer)


@dataclass
class Stack:
    """A front, and an origin of each kind behind it."""

    address: str
    front: EdgeFront
    api: Origin
    relay: Origin
    storage: Origin

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.address, timeout=20)

    def ask(self, method: str, target: str, body: object = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        named = {"Authorization": bearer("a")} | {name.replace("_", "-"): value for name, value in headers.items()}
        connection = self.connection()
        connection.request(method, target, body, named)  # type: ignore[arg-type]
        answer = connection.getresponse()
        told = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return told


@contextmanager
def deployed(*, seconds: float = 20.0, ttls: dict[int, float] | None = None) -> Iterator[Stack]:
    api, relay, storage = Origin(), Origin(), Origin()
    with ExitStack() as stack:
        urls = [stack.enter_context(serving(origin)) for origin in (api, relay, storage)]
        signer = Signer("eu-central-1", "AKIATEST", "secret")
        origins = Origins(
            ApiOrigin(f"{urls[0]}/api/$default", seconds=seconds), urls[1], StorageOrigin(urls[2], "bucket", signer)
        )
        store = store_of(REALM, SERVICE, KEYS, direct=True, relay=True)
        front = EdgeFront(store, origins, **({} if ttls is None else {"ttls": ttls}))  # type: ignore[arg-type]
        url = stack.enter_context(serving(front))
        yield Stack(urlsplit(url).netloc, front, api, relay, storage)


@pytest.fixture
def stack() -> Iterator[Stack]:
    with deployed() as stack:
        yield stack


def target(lane: Lane = Lane.OPEN) -> str:
    return f"{PATH}?_state={state(upload=UPLOAD, lane=lane)}&digest={DIGEST}"


# --------------------------------------------------------------------------------------------------------------- the API


def test_a_pull_goes_to_the_api(stack: Stack) -> None:
    status, headers, body = stack.ask("GET", "/v2/a/tags/list?n=1", Accept="x/y")
    assert (status, body, headers["etag"], headers["x-cache"]) == (200, b"told", '"x"', "Miss from cloudfront")
    assert "apigw-requestid" in headers
    seen = stack.api.seen[0]
    assert (seen.method, seen.target) == ("GET", "/api/$default/v2/a/tags/list?n=1")
    assert seen.headers["authorization"] == bearer("a")
    assert "via" in seen.headers
    assert seen.headers["host"] != stack.address


def test_who_has_no_token_is_told_by_the_edge(stack: Stack) -> None:
    status, headers, _ = stack.ask("GET", "/v2/", Authorization="")
    assert (status, headers["www-authenticate"][:6]) == (401, "Bearer")
    assert stack.api.seen == []


def test_a_challenge_of_the_api_s_is_renamed(stack: Stack) -> None:
    challenge = [(b"www-authenticate", b"Basic a"), (b"x-slipway-www-authenticate", b"Basic b")]
    stack.api.answer = Answer(401, challenge, b"")
    _, headers, _ = stack.ask("GET", "/auth/token")
    assert (headers["www-authenticate"], headers["x-amzn-remapped-www-authenticate"]) == ("Basic b", "Basic a")


@pytest.mark.parametrize("chunked", [False, True])
def test_what_the_gateway_does_not_take_does_not_reach_the_function(stack: Stack, chunked: bool) -> None:
    body = bytes(gateway.BODY + 30_000)
    sent: object = iter([body]) if chunked else body
    status, _, told = stack.ask("PUT", "/v2/a/manifests/t", sent)
    assert (status, told) == (413, b'{"message":"Request Entity Too Large"}')
    assert stack.ask("GET", "/x", None, X_Long="x" * 10_000)[0] == 431
    assert stack.api.seen == []


def test_a_function_that_answers_too_much_or_too_late() -> None:
    with deployed(seconds=0.2) as stack:
        stack.api.answer = Answer(200, [], bytes(4_800_000))
        assert stack.ask("GET", "/x")[::2] == (500, b'{"message":"Internal Server Error"}')
        release = threading.Event()
        stack.api.before = lambda: release.wait(20)
        assert stack.ask("GET", "/x")[::2] == (503, b'{"message":"Service Unavailable"}')
        release.set()


def test_head_has_the_length_and_no_body(stack: Stack) -> None:
    status, headers, body = stack.ask("HEAD", "/v2/a/manifests/t")
    assert (status, headers["content-length"], body) == (200, "4", b"")


def test_an_error_is_kept_unless_the_template_says_no() -> None:
    for ttls, calls in (({}, 1), (None, 2)):
        with deployed(ttls=ttls) as stack:
            stack.api.answer = Answer(404, [], b"none")
            assert [stack.ask(method, "/v2/a/manifests/t")[0] for method in ("HEAD", "GET")] == [404, 404]
            assert len(stack.api.seen) == calls


# ------------------------------------------------------------------------------------------------------------ the others


def test_a_large_put_goes_to_storage_signed_and_comes_back_created(stack: Stack) -> None:
    status, headers, _ = stack.ask("PUT", target(), LARGE, Content_Type="x/y")
    assert (status, headers["location"], headers["docker-content-digest"]) == (201, f"/v2/a/blobs/{DIGEST}", DIGEST)
    seen = stack.storage.seen[0]
    key = f"/bucket/direct/{REPOSITORY}/{DIGEST.replace(':', '%3A')}/{UPLOAD}"
    assert (seen.method, seen.target, seen.size, seen.chunked) == ("PUT", key, len(LARGE), False)
    assert seen.headers["x-amz-content-sha256"] == DIGEST.removeprefix("sha256:")
    assert seen.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIATEST/")
    for name in ("x-amz-content-sha256", "x-amz-checksum-sha256", "x-amz-date", "host"):
        assert name in seen.headers["authorization"]
    assert "content-type" not in seen.headers


def test_storage_s_refusal_is_the_viewer_s(stack: Stack) -> None:
    stack.storage.answer = Answer(400, [(b"content-type", b"application/xml")], b"<Error/>")
    status, headers, body = stack.ask("PUT", target(), LARGE)
    assert (status, body, headers["x-cache"]) == (400, b"<Error/>", "Error from cloudfront")


def test_a_stream_of_unknown_length_goes_to_the_relay_in_chunks(stack: Stack) -> None:
    status, _, body = stack.ask("PATCH", target(), iter([LARGE, LARGE]))
    assert (status, body) == (200, b"told")
    seen = stack.relay.seen[0]
    assert (seen.method, seen.target, seen.size, seen.chunked) == ("PATCH", target(), 2 * len(LARGE), True)


def begun(stack: Stack, head: bytes) -> socket.socket:
    """A connection with an upload begun on it."""
    host, port = stack.address.split(":")
    connection = socket.create_connection((host, int(port)), 20)
    start = f"PATCH {target()} HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer('a')}\r\n".encode()
    connection.sendall(start + head + b"\r\n")
    return connection


def test_bytes_reach_the_relay_before_the_last_is_sent(stack: Stack) -> None:
    with begun(stack, b"Transfer-Encoding: chunked\r\n") as connection:
        connection.sendall(b"5\r\nhello\r\n")
        assert stack.relay.first.wait(20)
        connection.sendall(b"0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5000000\r\n"])
def test_the_relay_sees_a_client_leave(stack: Stack, framing: bytes) -> None:
    with begun(stack, framing) as connection:
        connection.sendall(b"5\r\nhello\r\n")
        assert stack.relay.first.wait(20)
    assert stack.relay.gone.wait(20)
    assert stack.relay.seen == []


def test_an_early_refusal_is_told_before_the_body_is_through(stack: Stack) -> None:
    stack.relay.reads = False
    stack.relay.answer = Answer(416, [(b"range", b"0-5")], b"no")
    status, headers, body = stack.ask("PATCH", target(), iter([LARGE] * 4))
    assert (status, headers["range"], body) == (416, "0-5", b"no")


def test_an_origin_that_is_not_there_is_a_502(stack: Stack) -> None:
    stack.front.origins.relay = "http://127.0.0.1:1"
    assert stack.ask("PATCH", target(), iter([LARGE]))[0] == 502
    stack.front.origins.relay = ""
    assert stack.ask("PATCH", target(), iter([LARGE]))[0] == 502


def test_a_get_with_a_body_is_not_taken(stack: Stack) -> None:
    assert stack.ask("GET", "/v2/", b"x")[0] == 403


def test_connections_are_used_again(stack: Stack) -> None:
    connection = stack.connection()
    for _ in range(3):
        connection.request("GET", "/v2/a/tags/list", headers={"Authorization": bearer("a")})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"told")
    connection.close()
