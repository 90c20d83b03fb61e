"""The bound that docs/relay.md states, with more clients at once than there are buffers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.relay.throughput import certificate, free_port, push, running, status

MEBIBYTE = 1024 * 1024
BOUND = 128_000_000


def test_memory_stays_below_the_bound(tmp_path: Path) -> None:
    authority, key = certificate(tmp_path)
    port, relay_port = free_port(), free_port()
    relay = ["infra.command", "relay", "--upstream", f"https://127.0.0.1:{port}", "--port", str(relay_port)]
    with (
        running("tests.relay.sink", str(authority), str(key), str(port), environ={}),
        running(*relay, environ={"SSL_CERT_FILE": str(authority)}) as process,
        ThreadPoolExecutor(10) as pool,
    ):
        pushes = [pool.submit(push, relay_port, 40 * MEBIBYTE, chunked=bool(n % 2)) for n in range(10)]
        for pushed in pushes:
            pushed.result()
        peak = status(process, "VmHWM")
        print(f"peak {peak / 1e6:.0f} MB")
        assert peak < BOUND
