"""The registry as an operator starts it, by `make run`, on a data folder that outlives it: to be killed and started again."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.conformance.registry_process import CACHE, DEFAULT_COMMAND, REPOSITORY_ROOT, stop, wait_until_ready

SECONDS = 30.0
"""How long anything that must come about is waited for."""

_PROC = Path("/proc")


class Address(NamedTuple):
    """Where a registry listens, and the account that may do everything below `<user>/`."""

    host: str
    port: int
    user: str
    password: str


class Server:
    """A registry on ``folder``/data, logging to ``folder``/log; stopped until started. ``password`` is what the operator gives;
    with "" it makes up one, which is in the address once it has started."""

    def __init__(self, folder: Path, password: str) -> None:
        self.data = folder / "data"
        self._port = quiet_port()
        self._password = password
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> Address:
        """Where it listens, and whom it lets in."""
        password = self._password or (self.data / "admin-password").read_text().strip()
        return Address("127.0.0.1", self._port, "admin", password)

    def begin(self) -> None:
        """Start it and do not wait."""
        assert self._process is None, "it runs already"
        told = {"PORT": str(self._port), "DATA": str(self.data), "SLIPWAY_ADMIN_PASSWORD": self._password}
        words = [word.format(port=self._port, data=self.data) for word in DEFAULT_COMMAND.split()]
        with self._log.open("ab") as sink:
            self._process = subprocess.Popen(
                words, cwd=REPOSITORY_ROOT, env=os.environ | told, stdout=sink, stderr=sink, start_new_session=True
            )

    def start(self) -> None:
        """Start it; returns when it answers."""
        self.begin()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Returns when it answers, as the very process of which `kill` and `processes` speak."""
        wait_until_ready(f"http://127.0.0.1:{self._port}/_ping", self._running(), self._log)
        assert self.pid in self.processes(), "the server left the session of `make run`; kill would not hit it"

    @property
    def pid(self) -> int:
        """The server's own process: the one that holds the folder."""
        return int((self.data / "lock").read_text())

    def processes(self) -> list[int]:
        """`make run` and all below it."""
        return _session_of(self._running().pid)

    def kill(self) -> None:
        """SIGKILL for the server and everything around it, wherever it is; returns when all of it is gone."""
        leader = self._running()
        os.killpg(leader.pid, signal.SIGKILL)
        leader.wait(SECONDS)
        self._process = None
        eventually(lambda: not any(map(_is_alive, _session_of(leader.pid))), "the killed processes ended")

    def stop(self) -> None:
        """End it in good order, if it runs."""
        if self._process is not None:
            leader, self._process = self._process, None
            stop(leader)
            eventually(lambda: not any(map(_is_alive, _session_of(leader.pid))), "the stopped processes ended")

    def complaints(self) -> list[str]:
        """What its log holds of failures."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return [line for line in lines if "ERROR" in line or "Traceback" in line or "Error" in line]

    def log(self) -> str:
        """All that it wrote."""
        return self._log.read_text(errors="replace")

    def stored_bytes(self) -> int:
        """Bytes of all blobs and uploads in its folder."""
        return sum(_size(path) for path in (self.data / "blobs").rglob("*"))

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it does not run"
        return self._process


@contextmanager
def working_folder() -> Iterator[Path]:
    """An empty folder, gone with all in it at the end; on the disk of the checkout, for /tmp may lie in memory."""
    CACHE.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="endurance-", dir=CACHE))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def running_server(folder: Path, password: str | None = None) -> Iterator[Server]:
    """A started server; stopped at the end, whoever stopped, killed or started it meanwhile."""
    server = Server(folder, secrets.token_urlsafe(18) if password is None else password)
    try:
        server.start()
        yield server
    except BaseException:
        print(f"\nthe server's log:\n{server.log()}")  # it goes away with its folder
        raise
    finally:
        server.stop()


def eventually(holds: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    """Return once ``holds()``; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {what}"
        time.sleep(0.01)  # the poll's own interval


def quiet_port() -> int:
    """A free port below those the kernel gives out by itself. One of those could be taken by somebody's connection while the
    server is down, or by the poll itself: a connection from such a port to itself succeeds."""
    lowest = int((_PROC / "sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.SystemRandom().randrange(10_000, max(lowest, 10_001))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _session_of(leader: int) -> list[int]:
    """The processes of a session, which outlives its leader."""
    found = []
    for process in (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()):
        with suppress(ProcessLookupError):
            if os.getsid(process) == leader:
                found.append(process)
    return found


def _is_alive(process: int) -> bool:
    """Whether it still runs; one that only waits for its parent to look has let go of everything."""
    try:
        state = (_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0  # sealed or dropped while we looked
