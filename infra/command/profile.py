"""The registry logged in to last: ``slipway/config.json`` below XDG_CONFIG_HOME or ``~/.config``. It holds no secret.

{"registry": "https://registry.example.org", "caFile": "/etc/ssl/own.pem"}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.command.files import read_object, write_object


@dataclass(frozen=True, slots=True)
class Profile:
    """``registry`` is a URL, ``ca_file`` an absolute path; "" for none."""

    registry: str = ""
    ca_file: str = ""


def read_profile(environ: Mapping[str, str]) -> Profile:
    """The profile, an empty one where there is none. Raises NotLoggedIn."""
    found = read_object(_path(environ))
    registry, ca_file = found.get("registry"), found.get("caFile")
    return Profile(registry if isinstance(registry, str) else "", ca_file if isinstance(ca_file, str) else "")


def write_profile(environ: Mapping[str, str], profile: Profile) -> None:
    """Keep it. Raises NotLoggedIn."""
    told = {"registry": profile.registry, "caFile": profile.ca_file}
    write_object(_path(environ), {name: value for name, value in told.items() if value})


def _path(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification: a path that is not absolute is ignored.
    folder = Path(base) if base.startswith("/") else home(environ) / ".config"
    return folder / "slipway" / "config.json"


def home(environ: Mapping[str, str]) -> Path:
    """The user's folder, by the environment first, as docker goes."""
    return Path(environ["HOME"]) if environ.get("HOME") else Path.home()
