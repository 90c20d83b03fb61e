"""The relay of a deployed stack: the real program, in a process of its own that may be killed and started again.

relay = RelayProcess(folder, key)
relay.start(upstream)
relay.url  # the same for each start
relay.kill()
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from infra.relay.settings import PREFIX
from tests.conformance.registry_process import REPOSITORY_ROOT, STOP_SECONDS, free_port, wait_until_ready


class RelayProcess:
    """``slipway relay`` on a loopback port; ``key`` attests hashes, "" for none. Its log is ``folder/relay.log``."""

    def __init__(self, folder: Path, key: str) -> None:
        self.key = key
        self.log = folder / "relay.log"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Raises RuntimeError where it does not run."""
        if self._process is None:
            raise RuntimeError("the relay does not run")
        return self._process.pid

    def start(self, upstream: str, **settings: str) -> None:
        """Returns once it serves; ``settings`` are of its environment (CONCURRENCY="1"). It is given no credentials of AWS."""
        given = {"UPSTREAM": upstream, "KEY": self.key, "PORT": str(self.port), **settings}
        environment = {"PATH": os.environ["PATH"], **{PREFIX + name: value for name, value in given.items()}}
        with self.log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "infra.command", "relay"], cwd=REPOSITORY_ROOT, env=environment,
                stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
            )  # fmt: skip
        wait_until_ready(f"{self.url}/_relay/health", self._process, self.log)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it as a container service does; it is no error if it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            try:
                process.wait(STOP_SECONDS + 15)
            finally:
                process.kill()

    def kill(self) -> None:
        """End it as a crash does."""
        self.stop(signal.SIGKILL)
