"""The server as its own process with fake parts: what the tests of starting and stopping, and the load tool, talk to."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from infra.local.application import Parts
from infra.local.server import main
from tests.local_server.fakes import FakeApp, MemoryBlobs, refusal
from tests.local_server.running import local_edge


def load() -> Parts:
    blobs = MemoryBlobs()
    blobs.keep = "FORGETFUL" not in os.environ
    blobs.put("data/big", bytes(64 << 20))
    app = FakeApp(blobs)
    ensure_admin = first_time(Path(os.environ["SLIPWAY_DATA"]) / "metadata.sqlite")
    return Parts(app=app, blobs=blobs, refusal=refusal, edge=local_edge(), ensure_admin=ensure_admin)


def first_time(marker: Path) -> Callable[[str], bool]:
    def ensure(password: str) -> bool:
        if marker.exists():
            return False
        marker.write_text(password)
        return True

    return ensure


if __name__ == "__main__":
    code = main(load)
    sys.stdout.flush()
    assert threading.current_thread() is threading.main_thread()
    os._exit(code)
