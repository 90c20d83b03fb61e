"""A place of its own for each client: folders, settings and search path, and the way to run it.

Clients keep credentials, caches and images in a dozen places below the home folder and the system's state folders. Each
sandbox gives them all of these anew, so that no test reads what another left, nor what belongs to the person running it.
The search path is fixed: what the install step provides, not another version that happens to be found first.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.registry_process import CACHE, RunningRegistry, stop

SEARCH_PATH = f"{CACHE / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
COMMAND_SECONDS = 300.0
DAEMON_SECONDS = 60.0
REFUSALS = ("unauthorized", "401", "authentication", "invalid username", "denied", "403 forbidden")


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder of its own until the block ends. ``tempfile`` puts underscores where some clients take them for a bad name."""
    folder = Path(tempfile.gettempdir()) / f"slipway-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class ClientMissing(RuntimeError):
    """A client program is not installed: a failure, since a skipped client would prove nothing."""


class ClientFailed(RuntimeError):
    """A client program ended with an error; the message is its output."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    name: str
    folder: Path
    registry: RunningRegistry

    def repository(self, name: str) -> str:
        """A repository below the account's namespace that only this sandbox uses."""
        return f"{self.registry.user}/clients/{self.name}/{name}"

    def reference(self, name: str, tag: str) -> str:
        return f"{self.registry.host}/{self.repository(name)}:{tag}"

    @property
    def environment(self) -> Mapping[str, str]:
        home = self.folder / "home"
        return {
            "PATH": SEARCH_PATH,
            "LC_ALL": "C.UTF-8",
            "HOME": str(home),
            "DOCKER_CONFIG": str(home / ".docker"),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "XDG_DATA_HOME": str(home / ".local"),
            "XDG_RUNTIME_DIR": str(self.folder / "runtime"),
            "REGISTRY_AUTH_FILE": str(home / "auth.json"),
            "CONTAINERS_REGISTRIES_CONF": str(home / "registries.conf"),
            "TMPDIR": str(self.folder / "tmp"),
            "COSIGN_PASSWORD": "",
        }

    def run(self, *words: str, stdin: str = "") -> str:
        """Runs a client and returns what it printed; raises ClientFailed when it fails."""
        done = self._execute(words, stdin)
        if done.returncode != 0:
            raise ClientFailed(f"{' '.join(words)}\nended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def is_refused(self, *words: str, stdin: str = "") -> None:
        """Runs a client that must fail, and must say that the credentials are the reason."""
        done = self._execute(words, stdin)
        output = (done.stdout + done.stderr).lower()
        assert done.returncode != 0, f"{' '.join(words)} succeeded:\n{output}"
        assert any(word in output for word in REFUSALS), f"{' '.join(words)} does not say why:\n{output}"

    def _execute(self, words: Sequence[str], stdin: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [located(words[0]), *words[1:]], cwd=self.folder, env=self.environment, input=stdin,
            capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False,
        )  # fmt: skip

    @contextmanager
    def daemon(self, *words: str, ready: Callable[[], object]) -> Iterator[None]:
        """Runs a background program until the block is left; `ready` raises ClientFailed while it is not up."""
        log = self.folder / f"{words[0]}.log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [located(words[0]), *words[1:]], env=self.environment, stdout=sink, stderr=sink,
                start_new_session=True,
            )  # fmt: skip
        try:
            wait_for_daemon(process, ready, log)
            yield
        finally:
            stop(process)


def located(program: str) -> str:
    found = shutil.which(program, path=SEARCH_PATH)
    if found is None:
        raise ClientMissing(f"{program} is not installed; tests/clients/install.sh installs the clients")
    return found


def wait_for_daemon(process: subprocess.Popen[bytes], ready: Callable[[], object], log: Path) -> None:
    deadline = time.monotonic() + DAEMON_SECONDS
    while True:
        try:
            ready()
        except ClientFailed as reason:
            if process.poll() is not None or time.monotonic() > deadline:
                raise ClientFailed(f"{reason}\n{log.read_text(errors='replace')}") from reason
        else:
            return
        time.sleep(0.1)  # the poll's own interval


def new_sandbox(name: str, folder: Path, registry: RunningRegistry) -> Sandbox:
    """Makes the folders, and the policy and registry settings that container libraries refuse to do without."""
    settings = folder / "home" / ".config" / "containers"
    for wanted in (settings, folder / "home" / ".docker", folder / "runtime", folder / "tmp"):
        wanted.mkdir(parents=True)
    (settings / "policy.json").write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    plain = f'[[registry]]\nlocation = "{registry.host}"\ninsecure = true\n'
    (folder / "home" / "registries.conf").write_text(plain)
    return Sandbox(name, folder, registry)
