"""Settings, read from the environment once; a missing or wrong one is an error with its name.

One machine: SLIPWAY_DATA names the folder that holds everything. AWS: SLIPWAY_TABLE, SLIPWAY_BUCKET, SLIPWAY_SIGNING_KEY
and SLIPWAY_WRAPPING_KEY name the resources, SLIPWAY_ADMIN_SECRET the first password's secret, to the one function that reads
it; which account, region and endpoint is the SDK's own environment's matter.
SLIPWAY_UPLOAD_KEYS holds the keys of upload states, ``id:base64`` with commas between, the newest last; or
SLIPWAY_UPLOAD_SECRET names the secret that holds them, since a function's environment is no place for secrets.
SLIPWAY_ADOPT_FUNCTION is the function that does long proofs, SLIPWAY_RELAY_SECRET the secret under whose key relays attest
what they sent, SLIPWAY_LANES the ways that the edge in front has for large bodies: ``direct``, ``relay``, both or none.
Both: SLIPWAY_PUBLIC_URL is where clients reach the registry; SLIPWAY_SERVICE, SLIPWAY_SPARSE_MANIFESTS and SLIPWAY_LOG may
be set. SLIPWAY_PRIVATE_ISSUERS names the issuers of identities that are not on the public internet, ``host`` or ``host:port``
with commas between. SLIPWAY_TRACING=yes sends traces to AWS X-Ray, from where there is one.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from chalicelib.registry.pushes import Sparse

_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
_KEY_BYTES = 32
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)

LANES = frozenset({"direct", "relay"})

LOGS = ("changes", "all", "none")
"""Which requests are logged: those that change something or are refused, all, or none."""


class SettingError(Exception):
    """A setting that is missing or wrong; the message begins with its name."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """The names of the AWS resources; ``admin_secret`` is "" where the first password is nobody's business, ``upload_keys`` and
    ``upload_secret`` where nothing is pushed."""

    table: str
    bucket: str
    signing_key: str
    wrapping_key: str
    admin_secret: str = ""
    upload_keys: str = field(default="", repr=False)
    upload_secret: str = ""
    adopt_function: str = ""
    relay_secret: str = ""
    lanes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Settings:
    """``store`` is the one machine's folder or the cloud's resources; ``public_url`` has no slash at its end."""

    store: Path | Cloud
    public_url: str
    service: str
    sparse: Sparse
    log: str = "changes"
    tracing: bool = False
    private_issuers: frozenset[str] = frozenset()

    @property
    def create_on_push(self) -> bool:
        """Whether a push makes the repository that is not there, as long as no administrator has said otherwise."""
        return isinstance(self.store, Path)

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
        log=_log(environment.get("SLIPWAY_LOG", "") or LOGS[0]),
        tracing=_is_yes(environment, "SLIPWAY_TRACING"),
        private_issuers=_hosts(environment, "SLIPWAY_PRIVATE_ISSUERS"),
    )


def _is_yes(environment: Mapping[str, str], name: str) -> bool:
    choice = environment.get(name, "") or "no"
    if choice not in {"yes", "no"}:
        raise SettingError(f"{name} must be yes or no, not {choice!r}")
    return choice == "yes"


def _hosts(environment: Mapping[str, str], name: str) -> frozenset[str]:
    hosts = frozenset(host.strip().lower() for host in environment.get(name, "").split(",") if host.strip())
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise SettingError(f"{name} must be of host or host:port, not {host!r}")
    return hosts


def _log(choice: str) -> str:
    if choice not in LOGS:
        raise SettingError(f"SLIPWAY_LOG must be one of {', '.join(LOGS)}, not {choice!r}")
    return choice


def _store(environment: Mapping[str, str]) -> Path | Cloud:
    if folder := environment.get("SLIPWAY_DATA", ""):
        return Path(folder)
    return Cloud(
        table=_needed(environment, "SLIPWAY_TABLE"),
        bucket=_needed(environment, "SLIPWAY_BUCKET"),
        signing_key=_needed(environment, "SLIPWAY_SIGNING_KEY"),
        wrapping_key=_needed(environment, "SLIPWAY_WRAPPING_KEY"),
        admin_secret=environment.get("SLIPWAY_ADMIN_SECRET", ""),
        upload_keys=environment.get("SLIPWAY_UPLOAD_KEYS", ""),
        upload_secret=environment.get("SLIPWAY_UPLOAD_SECRET", ""),
        adopt_function=environment.get("SLIPWAY_ADOPT_FUNCTION", ""),
        relay_secret=environment.get("SLIPWAY_RELAY_SECRET", ""),
        lanes=_lanes(environment.get("SLIPWAY_LANES", "")),
    )


def _lanes(text: str) -> frozenset[str]:
    lanes = frozenset(lane.strip() for lane in text.split(",") if lane.strip())
    if unknown := lanes - LANES:
        raise SettingError(f"SLIPWAY_LANES must be of {', '.join(sorted(LANES))}, not {sorted(unknown)[0]!r}")
    return lanes


def upload_keys(text: str) -> Mapping[str, str]:
    """The keys of upload states by id, the newest last, from ``id:base64,id:base64``. Raises SettingError, telling no key."""
    if not text:
        raise SettingError("SLIPWAY_UPLOAD_KEYS is not set")
    keys: dict[str, str] = {}
    for number, entry in enumerate(text.split(","), 1):
        identifier, _, key = entry.strip().partition(":")
        if not _KEY_ID.fullmatch(identifier) or identifier in keys or not _is_key(key):
            raise SettingError(f"SLIPWAY_UPLOAD_KEYS must be id:base64 of {_KEY_BYTES} bytes or more; entry {number} is not")
        keys[identifier] = key
    return keys


def _is_key(text: str) -> bool:
    try:
        return len(b64decode(text, validate=True)) >= _KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def _needed(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise SettingError(f"{name} is not set")
    return value
