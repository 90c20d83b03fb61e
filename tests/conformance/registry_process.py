"""The registry under test as a separate process, reached over HTTP only.

Conformance and the client programs must judge the very thing an operator starts, so nothing of the registry is imported
here: a command is started on a free loopback port with an empty data folder, and a poll of its ready path says when it
serves. `{port}` and `{data}` in the command are filled in; the same words are in its environment as PORT and DATA.

    with started_registry(DEFAULT_COMMAND, password="x") as registry:
        print(registry.host)   # 127.0.0.1:41234
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY_ROOT = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY_ROOT / ".cache"
DEFAULT_COMMAND = "make --no-print-directory run PORT={port} DATA={data}"
DEFAULT_READY_PATH = "/_ping"
START_SECONDS = 300.0  # the first start also installs what the registry needs
STOP_SECONDS = 20.0


class RegistryDidNotStart(RuntimeError):
    """The command ended, or answered nothing in time; the message holds its log."""


@dataclass(frozen=True, slots=True)
class RunningRegistry:
    """Where a registry listens, and an account that may do everything below `<user>/`."""

    host: str
    user: str
    password: str

    @property
    def url(self) -> str:
        return f"http://{self.host}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # a loopback address
            status: int = answer.status
            return status == 200
    except urllib.error.HTTPError as refusal:
        refusal.close()
        return False
    except OSError:
        return False


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Returns once `url` answers 200; raises RegistryDidNotStart when the process ends or time runs out."""
    deadline = time.monotonic() + START_SECONDS
    while not is_ready(url):
        if process.poll() is not None:
            raise RegistryDidNotStart(f"ended with code {process.returncode}\n{log.read_text(errors='replace')}")
        if time.monotonic() > deadline:
            raise RegistryDidNotStart(f"no 200 from {url} in {START_SECONDS:.0f} s\n{log.read_text(errors='replace')}")
        time.sleep(0.1)  # the poll's own interval


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the process group: `make` alone would leave the server behind."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sent)
        except ProcessLookupError:
            break
        try:
            process.wait(STOP_SECONDS)
            break
        except subprocess.TimeoutExpired:
            continue


@contextmanager
def started_registry(
    command: str = DEFAULT_COMMAND,
    *,
    ready_path: str = DEFAULT_READY_PATH,
    user: str = "admin",
    password: str | None = None,
    settings: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Iterator[RunningRegistry]:
    """Starts `command` with an empty data folder and ends it, folder included, when the block is left; `settings` are
    added to its environment."""
    folder = Path(tempfile.mkdtemp(prefix="slipway-registry-"))
    log = log or folder / "registry.log"
    port, secret = free_port(), password or secrets.token_urlsafe(18)
    data = folder / "data"
    words = [word.format(port=port, data=data) for word in shlex.split(command)]
    words_as_settings = {"PORT": str(port), "DATA": str(data), "SLIPWAY_ADMIN_PASSWORD": secret}
    environment = os.environ | dict(settings or {}) | words_as_settings
    with log.open("wb") as sink:
        process = subprocess.Popen(
            words, cwd=REPOSITORY_ROOT, env=environment, stdout=sink, stderr=sink, start_new_session=True
        )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}{ready_path}", process, log)
        yield RunningRegistry(f"127.0.0.1:{port}", user, secret)
    finally:
        stop(process)
        shutil.rmtree(folder, ignore_errors=True)
