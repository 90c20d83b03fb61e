"""The management API against its own description: schemathesis makes requests of it, right and wrong ones, to a real server.

Twice: with the names of what there is, so that requests go all the way (and none of it is deleted meanwhile), and with made-up
names. The seed is fixed and examples are few: the same checkout is asked the same. It pins libraries of its own, so it gets a
virtual environment of its own, .venv-schemathesis.

    python -m tests.api_check.run
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

from tests.conformance.management import Administrator
from tests.conformance.registry_process import RunningRegistry, started_registry

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".venv-schemathesis"
REQUIREMENTS = ROOT / "requirements-schemathesis.txt"
HERE = Path(__file__).parent

SEED = 1
RUNS = (
    ("known.toml", ("--phases", "coverage,fuzzing", "--max-examples", "4", "--exclude-method", "DELETE")),
    ("unknown.toml", ("--phases", "fuzzing", "--max-examples", "2")),
)


def main() -> int:
    """The exit code: 0 if the API does as its description says."""
    program = install()
    with started_registry() as registry:
        furnish(registry)
        return max(check(program, registry, settings, options) for settings, options in RUNS)


def install() -> Path:
    """schemathesis, its virtual environment made or renewed if the pins changed."""
    stamp = HOME / "installed"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    HOME.mkdir(exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            subprocess.run([sys.executable, "-m", "venv", str(HOME)], check=True)
            pip = [str(HOME / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True)
            stamp.write_text(wanted)
    return HOME / "bin" / "schemathesis"


def furnish(registry: RunningRegistry) -> None:
    """Make what known.toml names."""
    ask = Administrator(registry).ask
    ask("POST", "/enzi/v0/accounts", {"name": "acme", "isOrg": True})
    ask("POST", "/enzi/v0/accounts", {"name": "mia"})
    ask("PUT", "/enzi/v0/accounts/acme/members/mia", {})
    ask("POST", "/enzi/v0/accounts/acme/teams", {"name": "devs"})
    ask("PUT", "/enzi/v0/accounts/acme/teams/devs/members/mia", {})
    ask("POST", "/api/v0/accounts/acme/robots", {"name": "ci"})
    ask("POST", "/api/v0/repositories/acme", {"name": "app"})


def check(program: Path, registry: RunningRegistry, settings: str, options: tuple[str, ...]) -> int:
    """One run, by the administrator's password, since an access token may not make everything; its exit code."""
    basic = base64.b64encode(f"{registry.user}:{registry.password}".encode()).decode()
    command = [str(program), "--config-file", str(HERE / settings), "run", f"{registry.url}/api/v0/openapi.json"]
    command += ["--header", f"Authorization: Basic {basic}", "--seed", str(SEED)]
    command += ["--continue-on-failure", "--generation-database", "none", "--warnings", "off", *options]
    return subprocess.run(command, check=False, cwd=HOME).returncode


if __name__ == "__main__":
    sys.exit(main())
