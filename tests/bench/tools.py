"""The programs that the bench needs: named when missing, and installed where they are Debian's and we are root."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.registry_process import CACHE

SEARCH_PATH = f"{CACHE / 'bin'}:{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"

_PACKAGES = {"docker-registry": "docker-registry", "wrk": "wrk"}
_CRANE = "crane"
_MAKES_IMAGES = "mmdebstrap"


class ToolMissing(RuntimeError):
    """A program is not there and could not be installed; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Tools:
    """Where the programs are."""

    docker_registry: str
    wrk: str
    crane: str


def found_tools(images: Path) -> Tools:
    """The programs, installed if need be. ``images`` is where the image would lie: it is made only if it does not.

    Raises ToolMissing.
    """
    wanted = dict(_PACKAGES) if images.exists() else {**_PACKAGES, _MAKES_IMAGES: _MAKES_IMAGES}
    missing = [package for program, package in wanted.items() if _where(program) is None]
    if missing:
        _install(missing)
    if _where(_CRANE) is None:
        raise ToolMissing("crane is missing: run tests/clients/install.sh, which builds it into .cache/bin")
    return Tools(_needed("docker-registry"), _needed("wrk"), _needed(_CRANE))


def version_of(*words: str) -> str:
    """The first line that a program prints when asked for its version; some end with an error all the same."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    lines = (done.stdout or done.stderr).splitlines()
    return lines[0].strip() if lines else "unknown"


def package_version(package: str) -> str:
    """The version of a Debian package; "unknown" if dpkg does not know it."""
    return version_of("dpkg-query", "--show", "--showformat", "${Version}", package) if _where("dpkg-query") else "unknown"


def _where(program: str) -> str | None:
    return shutil.which(program, path=SEARCH_PATH)


def _needed(program: str) -> str:
    place = _where(program)
    if place is None:
        raise ToolMissing(f"{program} is missing, though its package is installed")
    return place


def _install(packages: list[str]) -> None:
    command = f"apt-get install --no-install-recommends {' '.join(packages)}"
    if _where("apt-get") is None or os.geteuid() != 0:
        raise ToolMissing(f"missing programs: as root, {command}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    # Old package lists are no reason to give up: what they name may still be there.
    subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False)
    done = subprocess.run([*command.split(), "-y", "-qq"], env=environment, check=False)
    if done.returncode != 0:
        raise ToolMissing(f"could not be installed: {command}")
