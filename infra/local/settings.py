"""What the one-machine server is told by its environment, read once; a wrong value is an error with its name.

HOST, PORT, DATA, PUBLIC_URL, TLS_CERT, TLS_KEY, TRUSTED_PROXIES, and SLIPWAY_ADMIN_PASSWORD for the first start.

    settings = read_settings({"PORT": "5001"})
    settings.public_url  # "http://127.0.0.1:5001"
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

ANY_HOST = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, never bound to


class CannotStart(Exception):
    """Why the server does not start, in a sentence for its operator."""


class SettingInvalid(CannotStart):
    """A variable of the environment that the server cannot start with; the message begins with its name."""

    def __init__(self, variable: str, problem: str) -> None:
        super().__init__(f"{variable} {problem}")
        self.variable = variable


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """``certificate`` and ``key`` are both set or both None. ``admin_password`` is "" when none was given."""

    host: str
    port: int
    data: Path
    public_url: str
    certificate: Path | None = None
    key: Path | None = None
    trusted_proxies: tuple[Network, ...] = ()
    admin_password: str = field(default="", repr=False)

    @property
    def listening_url(self) -> str:
        """Where the socket is, which is not always where clients are told to go."""
        return _url(self.certificate is not None, self.host, self.port)


def read_settings(environ: Mapping[str, str]) -> ServerSettings:
    """The settings in ``environ``, empty values counting as absent. Raises SettingInvalid."""
    host = environ.get("HOST", "").strip() or "127.0.0.1"
    port = _port(environ.get("PORT", "").strip() or "5000")
    certificate, key = _tls(environ)
    return ServerSettings(
        host=host,
        port=port,
        data=Path(environ.get("DATA", "").strip() or ".slipway").expanduser().absolute(),
        public_url=_public_url(environ.get("PUBLIC_URL", "").strip(), host, port, secure=certificate is not None),
        certificate=certificate,
        key=key,
        trusted_proxies=_networks(environ.get("TRUSTED_PROXIES", "")),
        admin_password=environ.get("SLIPWAY_ADMIN_PASSWORD", ""),
    )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65_535):
        raise SettingInvalid("PORT", f"must be a number from 1 to 65535, not {text!r}")
    return int(text)


def _tls(environ: Mapping[str, str]) -> tuple[Path | None, Path | None]:
    files: dict[str, Path] = {}
    for variable in ("TLS_CERT", "TLS_KEY"):
        if value := environ.get(variable, "").strip():
            files[variable] = Path(value).expanduser()
            if not files[variable].is_file():
                raise SettingInvalid(variable, f"names {value!r}, which is not a file")
    for variable, other in (("TLS_CERT", "TLS_KEY"), ("TLS_KEY", "TLS_CERT")):
        if variable not in files and other in files:
            raise SettingInvalid(variable, f"is missing; {other} needs it beside it")
    return files.get("TLS_CERT"), files.get("TLS_KEY")


def _public_url(text: str, host: str, port: int, *, secure: bool) -> str:
    if not text:
        if host in ANY_HOST:
            raise SettingInvalid("PUBLIC_URL", f"must be set when HOST is {host}: it is the address clients are told to use")
        return _url(secure, host, port)
    try:
        parts = urlsplit(text)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username is not None:
        raise SettingInvalid("PUBLIC_URL", f"must be http:// or https:// with a host and nothing behind it, not {text!r}")
    return text.rstrip("/")


def _url(secure: bool, host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if secure else 'http'}://{shown}:{port}"


def _networks(text: str) -> tuple[Network, ...]:
    networks: list[Network] = []
    for entry in text.split(","):
        if not entry.strip():
            continue
        try:
            networks.append(ipaddress.ip_network(entry.strip(), strict=False))
        except ValueError as error:
            raise SettingInvalid("TRUSTED_PROXIES", f"must list addresses or CIDRs, not {entry.strip()!r}") from error
    return tuple(networks)
