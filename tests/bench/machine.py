"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from tests.bench.tools import Tools, package_version, version_of

_PACKAGES = ("uvicorn", "httptools", "uvloop", "chalice", "cryptography")


def facts(tools: Tools) -> dict[str, str]:
    """The machine, and the version of everything that takes part. Nothing that names the machine or who runs it."""
    return {
        "processor": f"{len(os.sched_getaffinity(0))} x {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "system": f"Linux {platform.release()}, {platform.freedesktop_os_release().get('PRETTY_NAME', 'unknown')}",
        "python": sys.version.split()[0],
        "docker-registry": package_version("docker-registry"),
        "crane": version_of(tools.crane, "version"),
        "wrk": package_version("wrk"),
        **{package: version(package) for package in _PACKAGES},
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
