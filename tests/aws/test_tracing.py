"""What goes to X-Ray's daemon, received on a real socket from processes that run as Lambda would run them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRACE, PARENT = "1-5759e988-bd862e3fe1be46a994272793", "53995c3f42cd8ad8"
SAMPLED = f"Root={TRACE};Parent={PARENT};Sampled=1"
SECRET = "a-secret-key"

PRELUDE = """
import os, sys
from chalicelib.aws.tracing import traced
from chalicelib.registry.ports import BlobMissing, Check, Exists, Key, Put, Shown
from tests.frozen_clock import FrozenClock
from tests.memory_blobs import MemoryBlobs
from tests.memory_table import MemoryTable
plain = MemoryTable(), MemoryBlobs(FrozenClock())
table, blobs = traced(plain[0], "Table"), traced(plain[1], "BlobStore")
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a process printed, and the documents that it sent to the daemon, in order."""

    output: str
    errors: str
    sent: list[dict[str, Any]]

    def named(self) -> list[str]:
        return [document["name"] for document in self.sent]


@pytest.fixture
def daemon() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.setblocking(False)
        yield listening


def run(daemon: socket.socket, script: str, **environment: str) -> Ran:
    """On loopback a datagram is there once the sender has gone on, so that all are when the process has ended."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLIPWAY_", "AWS_"))}
    settings = {"LAMBDA_TASK_ROOT": "/var/task", "_X_AMZN_TRACE_ID": SAMPLED} | environment
    address = f"127.0.0.1:{daemon.getsockname()[1]}"
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script)],
        cwd=ROOT,
        env=inherited | {"AWS_XRAY_DAEMON_ADDRESS": address} | {name: value for name, value in settings.items() if value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Ran(done.stdout, done.stderr, [*received(daemon)])


def received(daemon: socket.socket) -> Iterator[dict[str, Any]]:
    while True:
        try:
            datagram = daemon.recv(65_536)
        except BlockingIOError:
            return
        header, _, document = datagram.partition(b"\n")
        assert json.loads(header) == {"format": "json", "version": 1}
        yield json.loads(document)


def test_a_call_is_a_subsegment_of_lambda_s_segment(daemon: socket.socket) -> None:
    ran = run(daemon, 'table.write(Put(Key("p", "s"), {"a": 1})); print(table.get(Key("p", "s")))')
    assert ran.output == "{'a': 1}\n"
    assert ran.named() == ["Table.write", "Table.get"]
    for document in ran.sent:
        assert (document["type"], document["trace_id"], document["parent_id"]) == ("subsegment", TRACE, PARENT)
        assert document["start_time"] <= document["end_time"]
        assert document["in_progress"] is False
        assert not document.keys() & {"error", "fault", "annotations"}


def test_it_says_how_many_and_never_what(daemon: socket.socket) -> None:
    script = f"""
        keys = [Key("{SECRET}", str(number)) for number in range(5)]
        table.transact([Put(key, {{"{SECRET}": "{SECRET}"}}) for key in keys[:3]])
        table.batch_get(keys)
        table.query("{SECRET}", prefix="", limit=2)
        blobs.put("data/{SECRET}", b"{SECRET}")
        blobs.link("data/{SECRET}", "GET", Shown())
        """
    ran = run(daemon, script)
    counted = {document["name"]: document.get("annotations") for document in ran.sent}
    assert counted == {
        "Table.transact": {"asked": 3},
        "Table.batch_get": {"asked": 5, "found": 3},
        "Table.query": {"found": 2},
        "BlobStore.put": None,
        "BlobStore.link": None,
    }
    assert SECRET not in json.dumps(ran.sent)


def test_an_exception_is_flagged_by_its_kind_and_passes(daemon: socket.socket) -> None:
    script = f"""
        class Broken:
            def call(self): raise RuntimeError("{SECRET}")
        for call in (
            lambda: blobs.open("data/{SECRET}"),
            lambda: table.transact([Check(Key("{SECRET}", "s"), Exists())]),
            lambda: table.transact([]),
            traced(Broken(), "Broken").call,
        ):
            try: call()
            except Exception as error: print(type(error).__name__)
        """
    ran = run(daemon, script)
    assert ran.output.split() == ["BlobMissing", "ConditionFailed", "ValueError", "RuntimeError"]
    flags = [(each["name"], each.get("error"), each.get("fault"), each["annotations"]["exception"]) for each in ran.sent]
    assert flags == [
        ("BlobStore.open", True, None, "BlobMissing"),
        ("Table.transact", True, None, "ConditionFailed"),
        ("Table.transact", True, None, "ValueError"),
        ("Broken.call", None, True, "RuntimeError"),
    ]
    assert SECRET not in json.dumps(ran.sent)


def test_a_list_is_one_subsegment_when_it_is_done_with(daemon: socket.socket) -> None:
    """Whether read to its end, left, or broken; what is called meanwhile is no part of it."""
    script = """
        class Listing:
            def list(self, fail):
                yield from range(3)
                if fail: raise BlobMissing("gone")
        for number in range(3): blobs.put(f"data/{number}", b"x")
        for stored in blobs.list("data/"): blobs.stat(stored.key)
        left = traced(Listing(), "Listing").list(False)
        print(next(left)); left.close()
        try: list(traced(Listing(), "Listing").list(True))
        except BlobMissing: print("passed on")
        """
    ran = run(daemon, script)
    assert ran.output.split() == ["0", "passed", "on"]
    assert ran.named()[3:] == ["BlobStore.stat"] * 3 + ["BlobStore.list", "Listing.list", "Listing.list"]
    assert [each["annotations"].get("found") for each in ran.sent[-3:]] == [3, 1, 3]
    assert ran.sent[-1]["error"] is True
    assert {each["parent_id"] for each in ran.sent} == {PARENT}
    assert ran.sent[6]["start_time"] <= ran.sent[3]["start_time"]


def test_each_invocation_has_its_own_trace(daemon: socket.socket) -> None:
    other = TRACE.replace("5759e988", "5759e999")
    script = f"""
        table.get(Key("p", "s"))
        kept = blobs.list("data/")
        blobs.put("data/1", b"x")
        next(kept)
        os.environ["_X_AMZN_TRACE_ID"] = os.environ["_X_AMZN_TRACE_ID"].replace("{TRACE}", "{other}")
        table.get(Key("p", "s"))
        kept.close()
        """
    ran = run(daemon, script)
    assert [(each["name"], each["trace_id"]) for each in ran.sent] == [
        ("Table.get", TRACE),
        ("BlobStore.put", TRACE),
        ("Table.get", other),
    ]


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("", id="while it starts"),
        pytest.param(SAMPLED.replace("Sampled=1", "Sampled=0"), id="not sampled"),
        pytest.param(f"Root={TRACE};Parent={PARENT}", id="undecided"),
        pytest.param("Sampled=1", id="no trace"),
        pytest.param("Root;;=;Sampled=1", id="malformed"),
    ],
)
def test_what_is_not_sampled_is_not_sent(daemon: socket.socket, header: str) -> None:
    script = """
        table.write(Put(Key("p", "s"), {"a": 1}))
        blobs.put("data/1", b"x")
        print(table.get(Key("p", "s")), [each.key for each in blobs.list("data/")])
        """
    ran = run(daemon, script, _X_AMZN_TRACE_ID=header)
    assert ran.output == "{'a': 1} ['data/1']\n"
    assert ran.sent == []


@pytest.mark.parametrize("address", ["127.0.0.1:1", "256.0.0.1:2000", "no.such.host.invalid:2000"])
def test_a_daemon_that_is_not_there_breaks_nothing(daemon: socket.socket, address: str) -> None:
    script = """
        for _ in range(3): table.write(Put(Key("p", "s"), {"a": 1}))
        print(table.get(Key("p", "s")))
        """
    assert run(daemon, script, AWS_XRAY_DAEMON_ADDRESS=address).output == "{'a': 1}\n"


def test_an_sdk_that_fails_breaks_nothing(daemon: socket.socket) -> None:
    script = """
        from aws_xray_sdk.core import xray_recorder
        xray_recorder.context = None
        blobs.put("data/1", b"x")
        print([each.key for each in blobs.list("data/")])
        """
    ran = run(daemon, script)
    assert (ran.output, ran.sent) == ("['data/1']\n", [])


def test_threads_are_recorded_too(daemon: socket.socket) -> None:
    script = """
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(4) as pool: list(pool.map(lambda n: table.get(Key("p", str(n))), range(20)))
        """
    ran = run(daemon, script)
    assert ran.named() == ["Table.get"] * 20
    assert {(each["trace_id"], each["parent_id"]) for each in ran.sent} == {(TRACE, PARENT)}


def test_anywhere_but_on_lambda_the_port_is_as_it_was(daemon: socket.socket) -> None:
    script = 'print(table is plain[0], "aws_xray_sdk" in sys.modules)'
    assert run(daemon, script, LAMBDA_TASK_ROOT="").output.split() == ["True", "False"]


def test_on_lambda_the_sdk_builds_no_client(daemon: socket.socket) -> None:
    script = 'print("aws_xray_sdk.core" in sys.modules, "botocore" in sys.modules)'
    assert run(daemon, script).output.split() == ["True", "False"]


def test_what_is_no_method_passes(daemon: socket.socket) -> None:
    script = """
        class Port:
            size = 7
            _hidden = 8
        port = traced(Port(), "Port")
        print(port.size, port._hidden, hasattr(port, "absent"))
        """
    assert run(daemon, script).output.split() == ["7", "8", "False"]
