"""Settings, read from the environment once; a missing or wrong one is an error with its name.

One machine: SLIPWAY_DATA names the folder that holds everything. AWS: SLIPWAY_TABLE, SLIPWAY_BUCKET, SLIPWAY_SIGNING_KEY
and SLIPWAY_WRAPPING_KEY name the resources; which account, region and endpoint is the SDK's own environment's matter.
Both: SLIPWAY_PUBLIC_URL is where clients reach the registry, and may set SLIPWAY_SERVICE and SLIPWAY_SPARSE_MANIFESTS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from chalicelib.registry.pushes import Sparse


class SettingError(Exception):
    """A setting that is missing or wrong; the message begins with its name."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """The names of the AWS resources."""

    table: str
    bucket: str
    signing_key: str
    wrapping_key: str


@dataclass(frozen=True, slots=True)
class Settings:
    """``store`` is the one machine's folder or the cloud's resources; ``public_url`` has no slash at its end."""

    store: Path | Cloud
    public_url: str
    service: str
    sparse: Sparse

    @property
    def realm(self) -> str:
        """Where tokens are to be had: never taken from a request, or a client could be sent elsewhere."""
        return f"{self.public_url}/auth/token"


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Raises SettingError."""
    public_url = _needed(environment, "SLIPWAY_PUBLIC_URL").rstrip("/")
    parts = urlsplit(public_url)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path or parts.query:
        raise SettingError(f"SLIPWAY_PUBLIC_URL must be http(s)://host[:port], not {public_url!r}")
    sparse = environment.get("SLIPWAY_SPARSE_MANIFESTS", "") or Sparse.NONE.value
    if sparse not in {choice.value for choice in Sparse}:
        raise SettingError(f"SLIPWAY_SPARSE_MANIFESTS must be none, indexes or all, not {sparse!r}")
    return Settings(
        store=_store(environment),
        public_url=public_url,
        service=environment.get("SLIPWAY_SERVICE", "") or parts.netloc,
        sparse=Sparse(sparse),
    )


def _store(environment: Mapping[str, str]) -> Path | Cloud:
    if folder := environment.get("SLIPWAY_DATA", ""):
        return Path(folder)
    return Cloud(
        table=_needed(environment, "SLIPWAY_TABLE"),
        bucket=_needed(environment, "SLIPWAY_BUCKET"),
        signing_key=_needed(environment, "SLIPWAY_SIGNING_KEY"),
        wrapping_key=_needed(environment, "SLIPWAY_WRAPPING_KEY"),
    )


def _needed(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise SettingError(f"{name} is not set")
    return value
