"""What is no large body goes to the registry as it is, and its answer to the client."""

from __future__ import annotations

import hashlib
import json

import pytest

from infra.relay.application import HEALTH
from tests.endurance.raw import RawConnection, chunked
from tests.relay.fakes import CHALLENGE, RESET, TOKEN, FakeRegistry
from tests.relay.running import TARGET, UPLOAD, Running, content, digest_of, quicker, relay
from tests.relay.throughput import free_port


def test_a_head_travels_without_what_belongs_to_the_connection(running: Running, registry: FakeRegistry) -> None:
    told = {
        "Accept": "application/vnd.oci.image.manifest.v1+json",
        "Connection": "close, X-Private",
        "X-Private": "1",
        "Keep-Alive": "timeout=5",
        "Proxy-Authorization": "Basic x",
        "TE": "trailers",
        "Forwarded": "for=192.0.2.1",
        "X-Forwarded-For": "192.0.2.1",
        "X-Forwarded-Host": "elsewhere.test",
        "X-Real-IP": "192.0.2.1",
        "Via": "2.0 edge",
        "User-Agent": "docker/28",
        "Cookie": "a=b",
    }
    running.ask("GET", "/v2/echo?n=1&last=%2Fx%20y&a", b"", **{name.replace("-", "_"): value for name, value in told.items()})
    (seen,) = registry.seen
    via = seen.headers.pop("via")  # type: ignore[attr-defined]
    assert via.startswith("2.0 edge, 1.1 slipway-relay-")
    assert seen.target == "/v2/echo?n=1&last=%2Fx%20y&a"
    assert seen.headers == {
        "host": registry.origin.removeprefix("http://"),
        "accept": "application/vnd.oci.image.manifest.v1+json",
        "user-agent": "docker/28",
        "authorization": TOKEN,
        "cookie": "a=b",
    }


@pytest.mark.parametrize("size", [0, 10, 5000, 60_000])
def test_a_body_goes_there_and_back(running: Running, registry: FakeRegistry, size: int) -> None:
    body = content(size)
    answer = running.ask("PUT", "/v2/echo", body)
    assert (answer.status, answer.body) == (200, body)
    assert registry.seen[0].headers["content-length"] == str(size)


def test_a_location_on_the_upstream_is_made_relative(running: Running) -> None:
    assert running.ask("GET", "/v2/echo").headers["Location"] == "/v2/next"


def test_an_answer_is_streamed(running: Running) -> None:
    answer = running.ask("GET", "/v2/large")
    assert (len(answer.body), answer.headers["Content-Length"]) == (3_000_000, "3000000")


def test_head_has_a_length_and_no_body(running: Running) -> None:
    with running.connect() as connection:
        connection.send_head("HEAD", "/v2/large", {"Connection": "close"})
        received = b"".join(iter(lambda: connection._reader.read(65_536), b""))
    assert b"content-length: 3000000\r\n" in received
    assert received.endswith(b"\r\n\r\n")


def test_a_challenge_is_passed_on(running: Running) -> None:
    answer = running.ask("GET", "/v2/", Authorization="")
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, CHALLENGE)


@pytest.mark.parametrize(
    "target", ["/v2/team/app/manifests/latest", "/v2/team/app/blobs/uploads/", "/v2/Team/blobs/uploads/x", "/token"]
)
def test_a_large_body_that_is_no_uploads_is_refused(running: Running, registry: FakeRegistry, target: str) -> None:
    answer = running.ask("POST", target, content(100_000))
    assert (answer.status, json.loads(answer.body)["errors"][0]["code"]) == (413, "SIZE_INVALID")
    with running.connect() as connection:
        connection.send_head("POST", target, {"Transfer-Encoding": "chunked"})
        connection.send(chunked([content(100_000)]))
        assert connection.answer().status == 413
    assert not registry.calls


@pytest.mark.parametrize("path", ["/_relay/v2/a/blobs/uploads/u/end", "//_relay/x", "/v2/../_relay/x", "/%5frelay/x"])
def test_what_is_the_relays_own_is_not_the_clients(running: Running, registry: FakeRegistry, path: str) -> None:
    assert running.ask("POST", path, b"{}").status == 404
    assert not registry.calls


def test_health_asks_nobody(running: Running, registry: FakeRegistry) -> None:
    assert running.ask("GET", HEALTH).status == 200
    assert not registry.calls


def test_an_upstream_that_is_down(registry: FakeRegistry) -> None:
    with relay("http://127.0.0.1:9") as running:
        for answer in (running.ask("GET", "/v2/"), running.ask("PATCH", TARGET, content(100_000))):
            assert (answer.status, json.loads(answer.body)["errors"][0]["code"]) == (502, "UNAVAILABLE")


def test_an_upstream_that_hangs_up(running: Running, registry: FakeRegistry) -> None:
    registry.plan["POST"] = [RESET]
    assert running.ask("POST", "/token", b"a=b").status == 502


def test_a_relay_that_is_its_own_upstream_says_so() -> None:
    port = free_port()
    with relay(f"http://127.0.0.1:{port}", port=port) as running:
        answer = running.ask("GET", "/v2/")
    assert answer.status == 400
    assert b"leads back" in answer.body


def test_bytes_that_are_no_text(running: Running, registry: FakeRegistry) -> None:
    with running.connect() as connection:
        connection.send(b"GET /v2/echo HTTP/1.1\r\nHost: r\r\nX-Odd: \xff\r\n\r\n")
        assert connection.answer().status == 400
    assert not registry.calls


def test_no_cookie_is_kept(running: Running, registry: FakeRegistry) -> None:
    for _ in range(2):
        assert running.ask("GET", "/v2/cookie").headers["Set-Cookie"] == "session=1; Path=/"
    assert "cookie" not in registry.seen[1].headers


def test_a_redirect_is_the_clients_to_follow(running: Running, registry: FakeRegistry) -> None:
    answer = running.ask("GET", "/v2/away")
    assert (answer.status, answer.headers["Location"]) == (307, registry.storage + "/elsewhere")
    assert len(registry.seen) == 1
    assert registry.stored == []


# -------------------------------------------------------------------------------------------------- the final PUT


def push(running: Running, body: bytes) -> str:
    assert running.ask("PATCH", TARGET, body).status == 202
    return f"{TARGET}&digest={digest_of(body)}"


def test_the_final_put_waits_for_the_proof(running: Running, registry: FakeRegistry) -> None:
    target = push(running, content(100_000))
    registry.proving = 3
    assert running.ask("PUT", target).status == 201
    assert registry.calls["PUT"] == 4


def test_a_large_put_waits_for_its_proof(running: Running, registry: FakeRegistry) -> None:
    body = content(100_000)
    registry.proving = 3
    assert running.ask("PUT", f"{TARGET}&digest={digest_of(body)}", body).status == 201
    assert registry.calls["end"] == 4


def test_the_wait_has_an_end(registry: FakeRegistry) -> None:
    registry.proving = 1_000_000
    with relay(registry.origin, quicker(settle=0.3)) as running:
        answer = running.ask("PUT", push(running, content(100_000)))
    assert (answer.status, answer.headers["Retry-After"]) == (429, "0")
    assert registry.calls["PUT"] > 2


def test_nobody_waits_for_a_client_that_left(registry: FakeRegistry) -> None:
    registry.proving = 1_000_000
    with relay(registry.origin, quicker(settle_pause=0.05)) as running:
        target = push(running, content(100_000))
        connection: RawConnection = running.connect()
        connection.send_head("PUT", target, {"Authorization": TOKEN, "Content-Length": "0"})
        registry.wait_for(lambda: registry.calls["PUT"] >= 2)
        connection.break_off()
        running.stop()
        running.join()  # at once: nothing is under way any more


def test_other_429s_are_not_repeated(running: Running, registry: FakeRegistry) -> None:
    registry.plan["PATCH"] = [429]
    assert running.ask("PATCH", TARGET, b"small").status == 429
    assert registry.calls["PATCH"] == 1
    assert hashlib.sha256(registry.content[UPLOAD]).digest() == hashlib.sha256(b"").digest()
