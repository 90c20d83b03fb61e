"""Everything that can fail, failing: S3, the API, the client, the relay itself."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import subprocess
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import cast

import pytest

from infra.relay.begun import Api, Begun
from infra.relay.requests import Request
from infra.relay.settings import RelaySettings
from infra.relay.storage import Storage, StorageFailed
from tests.endurance.raw import RawConnection
from tests.endurance.server import Address
from tests.relay.fakes import DEAF, EARLY, RESET, SILENT, TOKEN, FakeRegistry, Writing
from tests.relay.running import PACE, TARGET, UPLOAD, Running, content, digest_of, quicker, relay

SIZE = 320_000
PARTS = 7
BODY = content(SIZE)
FAULTS: list[int | str] = [500, 503, 403, 400, 307, RESET, EARLY, DEAF]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("call", range(PARTS))
def test_each_part_fails_and_is_sent_again(
    running: Running, registry: FakeRegistry, fault: int | str, times: int, call: int
) -> None:
    # Calls that are not meant to fail pass a plan of None's.
    registry.let_pass("s3", call, [fault] * times)
    assert running.ask("PATCH", TARGET, BODY).status == 202
    assert registry.content[UPLOAD] == BODY
    assert registry.calls["s3"] == PARTS + times


def test_a_part_that_is_never_answered_is_sent_again(registry: FakeRegistry) -> None:
    registry.plan["s3"] = [SILENT, SILENT]
    with relay(registry.origin, quicker(stall=0.2)) as running:
        assert running.ask("PATCH", TARGET, BODY).status == 202
        registry.release.set()
    assert registry.content[UPLOAD] == BODY


def test_urls_that_expire_are_asked_for_again(running: Running, registry: FakeRegistry) -> None:
    registry.expire_after = 3
    assert running.ask("PATCH", TARGET, BODY).status == 202
    assert registry.content[UPLOAD] == BODY
    assert registry.generation == 1


@pytest.mark.parametrize("fault", [503, RESET, 404])
def test_storage_that_fails_for_good(running: Running, registry: FakeRegistry, fault: int | str) -> None:
    registry.plan["s3"] = [fault] * 1000
    answer = running.ask("PATCH", TARGET, BODY)
    assert (answer.status, json.loads(answer.body)["errors"][0]["code"]) == (503, "UNAVAILABLE")
    assert registry.writings["w1"].state == "aborted"
    registry.plan["s3"].clear()
    assert running.ask("PATCH", TARGET, BODY).status == 202  # and the memory is free again


@pytest.mark.parametrize("fault", [500, 503, RESET])
@pytest.mark.parametrize("kind", ["parts", "end"])
def test_the_api_fails_in_passing(running: Running, registry: FakeRegistry, kind: str, fault: int | str) -> None:
    registry.plan[kind] = [fault, fault]
    assert running.ask("PATCH", TARGET, BODY).status == 202
    assert registry.content[UPLOAD] == BODY


def test_the_answer_to_the_end_is_lost(running: Running, registry: FakeRegistry) -> None:
    """The API has done it, and is asked again."""
    registry.lose.add("end")
    assert running.ask("PATCH", TARGET, BODY).status == 202
    assert registry.content[UPLOAD] == BODY


@pytest.mark.parametrize("kind", ["begin", "parts", "end"])
@pytest.mark.parametrize("status", [401, 404, 416, 429, 500])
def test_what_the_api_refuses_is_told_to_the_client(running: Running, registry: FakeRegistry, kind: str, status: int) -> None:
    registry.plan[kind] = [status] * 20
    assert running.ask("PATCH", TARGET, BODY).status == status
    if kind == "parts":
        assert registry.writings["w1"].state == "aborted"


@pytest.mark.parametrize("told", [b"", b"[]", b"{}", b'{"writer":1}', b"\xff"])
def test_a_begin_that_makes_no_sense(running: Running, registry: FakeRegistry, told: bytes) -> None:
    registry.nonsense = told
    assert running.ask("PATCH", TARGET, BODY).status == 502


def test_parts_larger_than_a_buffer_are_not_begun(running: Running, registry: FakeRegistry) -> None:
    registry.part_size = 1_000_001
    assert running.ask("PATCH", TARGET, BODY).status == 502


@pytest.mark.parametrize("url", ["file:///etc/passwd", "gopher://127.0.0.1/", "nonsense", "http://"])
def test_urls_that_are_none(running: Running, registry: FakeRegistry, url: str) -> None:
    registry.told_url = url
    assert running.ask("PATCH", TARGET, BODY).status == 503
    assert registry.stored == []


@pytest.mark.parametrize(("upstream", "sends"), [("http://registry.test", True), ("https://registry.test", False)])
def test_parts_are_not_sent_in_the_clear_for_a_registry_that_is_not(
    registry: FakeRegistry, caplog: pytest.LogCaptureFixture, upstream: str, sends: bool
) -> None:
    registry.writings["w1"] = Writing(UPLOAD, 0)
    told = {"writer": "w1", "offset": 0, "part_size": 50_000, "max_parts": 1, "urls": registry.urls("w1", 1, 1)}
    request = Request("PATCH", UPLOAD, "", (), 5)
    begun = Begun(cast("Api", None), request, PACE, told)  # it would be asked for more URLs, of which none are wanted
    storage = Storage(RelaySettings(upstream), PACE)
    try:
        with nullcontext() if sends else pytest.raises(StorageFailed):
            asyncio.run(storage.put(begun, 1, memoryview(b"bytes")))
    finally:
        storage.close()
    assert [seen.body for seen in registry.stored] == ([b"bytes"] if sends else [])
    assert caplog.messages == ([] if sends else ["part 1: the registry told a URL that is not https"])


@pytest.mark.parametrize("sent", [0, 1, 49_999, 50_000, 50_001, 70_000, 99_999, 100_000, 250_000, SIZE - 1])
@pytest.mark.parametrize("reset", [True, False])
def test_a_client_is_cut_off_and_resumes(running: Running, registry: FakeRegistry, sent: int, reset: bool) -> None:
    connection = running.connect()
    connection.send_head("PATCH", TARGET, {"Authorization": TOKEN, "Content-Length": str(SIZE)})
    registry.wait_for(lambda: registry.calls["begin"] == 1)
    connection.send(BODY[:sent])
    if sent >= 50_000:
        registry.wait_for(lambda: len(registry.stored) >= sent // 50_000)
    connection.break_off() if reset else connection.leave()
    registry.wait_for(lambda: registry.writings["w1"].state in {"ended", "aborted"})
    kept = running.ask("GET", TARGET).arrived
    assert kept == len(registry.content[UPLOAD])
    assert sent // 50_000 * 50_000 <= kept <= sent
    assert running.ask("PATCH", TARGET, BODY[kept:], Content_Range=f"{kept}-{SIZE - 1}").status == 202
    digest = digest_of(BODY)
    assert running.ask("PUT", f"{TARGET}&digest={digest}").status == 201
    assert registry.blobs == {digest: BODY}


def test_a_post_that_is_cut_off_leaves_nothing(running: Running, registry: FakeRegistry) -> None:
    connection = running.connect()
    target = f"/v2/team/app/blobs/uploads/?digest={digest_of(BODY)}"
    connection.send_head("POST", target, {"Authorization": TOKEN, "Content-Length": str(SIZE)})
    connection.send(BODY[:200_000])
    registry.wait_for(lambda: len(registry.stored) >= 3)
    connection.break_off()
    registry.wait_for(lambda: bool(registry.cancelled))
    assert registry.writings["w1"].state == "aborted"


def test_a_client_leaves_while_storage_fails(registry: FakeRegistry) -> None:
    registry.plan["s3"] = [503] * 1000
    with relay(registry.origin) as running:
        connection = running.connect()
        connection.send_head("PATCH", TARGET, {"Authorization": TOKEN, "Content-Length": str(SIZE)})
        connection.send(BODY[:60_000])
        registry.wait_for(lambda: registry.calls["s3"] >= 1)
        connection.break_off()
        registry.wait_for(lambda: registry.calls["s3"] >= 8)
        registry.plan["s3"].clear()
        assert running.ask("PATCH", TARGET, BODY).status == 202


def test_slow_storage_holds_the_client_back(registry: FakeRegistry) -> None:
    """What the relay takes in while S3 takes nothing is bounded."""
    registry.plan["s3"] = [SILENT] * 1000
    body = content(20_000_000)
    with relay(registry.origin, quicker(stall=60), concurrency=2) as running:
        connection = running.connect()
        connection.send_head("PATCH", TARGET, {"Authorization": TOKEN, "Content-Length": str(len(body))})
        taken = _taken(connection, body)
        assert registry.calls["s3"] == 2
        # Two parts on their way, one filled, and what the connection's own buffers hold.
        assert taken < 3 * 50_000 + 6_000_000
        connection.break_off()
        registry.plan["s3"].clear()
        registry.release.set()


# ------------------------------------------------------------------------------------------- stopping and dying


def begun(running_port: int) -> RawConnection:
    """A client that has sent some of its body and goes on slowly."""
    connection = RawConnection(_address(running_port))
    connection.send_head("PATCH", TARGET, {"Authorization": TOKEN, "Content-Length": str(SIZE)})
    connection.send(BODY[:170_000])
    return connection


def test_a_stop_keeps_what_came(registry: FakeRegistry) -> None:
    with relay(registry.origin) as running:
        connection = begun(running.port)
        registry.wait_for(lambda: len(registry.stored) >= 3)
        running.stop()
        running.join()
        connection.leave()
    assert registry.content[UPLOAD] == BODY[:170_000]


def test_a_stop_lets_an_upload_finish(registry: FakeRegistry) -> None:
    with relay(registry.origin, quicker(finish=20)) as running:
        connection = begun(running.port)
        registry.wait_for(lambda: len(registry.stored) >= 3)
        running.stop()
        connection.send(BODY[170_000:])
        assert connection.answer().status == 202
        connection.leave()
        running.join()
    assert registry.content[UPLOAD] == BODY


def test_a_stop_ends_what_hangs(registry: FakeRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """S3 says nothing, and would not for a while: the parts are given up, and nothing goes on behind the stop."""
    registry.plan["s3"] = [SILENT] * 1000
    with relay(registry.origin, quicker(stop=1, stall=60)) as running:
        connection = begun(running.port)
        registry.wait_for(lambda: registry.calls["s3"] == 3)
        running.stop()
        running.join()
        connection.leave()
        registry.release.set()
    gc.collect()  # which is when a task says that nobody asked how it went
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


class Process:
    """``slipway relay`` as a user starts it."""

    def __init__(self, upstream: str, log: Path) -> None:
        words = [sys.executable, "-m", "infra.command", "relay", "--upstream", upstream, "--port", "0"]
        environ = {**os.environ, "SLIPWAY_RELAY_KEY": "relay-key", "PYTHONUNBUFFERED": "1"}
        with log.open("ab") as sink:
            self._process = subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=sink, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().rstrip().rpartition(":")[2])

    def end(self, number: signal.Signals) -> int:
        self._process.send_signal(number)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return self._process.wait(30)


@pytest.mark.parametrize("sent", [600_000, 1_700_000, 5_999_999])
def test_a_relay_killed_and_started_again(registry: FakeRegistry, tmp_path: Path, sent: int) -> None:
    registry.part_size = 500_000
    body = content(6_000_000)
    process = Process(registry.origin, tmp_path / "log")
    with RawConnection(_address(process.port)) as client:
        client.send_head("PATCH", TARGET, {"Authorization": TOKEN, "Content-Length": str(len(body))})
        client.send(body[:sent])
        registry.wait_for(lambda: bool(registry.stored))
        process.end(signal.SIGKILL)
        assert client.ended()
    again = Process(registry.origin, tmp_path / "log")
    with RawConnection(_address(again.port)) as client:
        client.send_head("GET", TARGET, {"Authorization": TOKEN})
        assert client.answer().status == 204
        kept = len(registry.content[UPLOAD])
        assert kept % 500_000 == 0
        client.send_head("PATCH", TARGET, {"Authorization": TOKEN, "Content-Length": str(len(body) - kept)})
        client.send(body[kept:])
        assert client.answer().status == 202
        digest = digest_of(body)
        client.send_head("PUT", f"{TARGET}&digest={digest}", {"Authorization": TOKEN, "Content-Length": "0"})
        assert client.answer().status == 201
    assert again.end(signal.SIGTERM) == 0
    assert registry.blobs == {digest: body}


def test_the_log_tells_no_secret(running: Running, registry: FakeRegistry, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    registry.plan.update({"s3": [503, RESET, 403, EARLY], "parts": [RESET], "end": [500]})
    assert running.ask("PATCH", TARGET, BODY).status == 202
    registry.plan["s3"] = [RESET] * 100
    assert running.ask("PATCH", TARGET, BODY).status == 503
    registry.plan["begin"] = [RESET]
    assert running.ask("PATCH", TARGET, BODY).status == 502
    assert "ServerDisconnected" in caplog.text or "ClientOSError" in caplog.text
    for secret in ("let-me-in", "X-Amz-Signature", "_state", "partNumber", "relay-key", registry.storage):
        assert secret not in caplog.text


def _address(port: int) -> Address:
    return Address("127.0.0.1", port, "", "")


def _taken(connection: RawConnection, body: bytes) -> int:
    """How much of a body is taken until nothing more is for half a second."""
    raw = connection._socket
    raw.settimeout(0.5)
    taken = 0
    with suppress(TimeoutError):
        while taken < len(body):
            taken += raw.send(body[taken : taken + 65_536])
    return taken
