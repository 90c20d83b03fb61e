"""A registry's address, as users type it and as docker files credentials under it.

Address.parse("registry.example.org").url     # "https://registry.example.org"
Address.parse("127.0.0.1:5000").url           # "http://127.0.0.1:5000"
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from infra.command.failures import WrongUse

_UNFIT = re.compile(r"[^\x21-\x7e]|[\\@?#]")  # blanks, controls, what is not ASCII, user names, queries
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")


@dataclass(frozen=True, slots=True)
class Address:
    """``scheme`` is ``http`` or ``https``; ``host`` has the port if one was said, and is docker's name of the registry."""

    scheme: str
    host: str

    @property
    def url(self) -> str:
        """The origin, without a slash at its end."""
        return f"{self.scheme}://{self.host}"

    @property
    def hostname(self) -> str:
        """The host without port and brackets."""
        return urlsplit(self.url).hostname or ""

    @property
    def is_loopback(self) -> bool:
        """Whether what is sent there stays on this machine."""
        return _is_loopback(self.hostname)

    @classmethod
    def parse(cls, text: str, *, insecure_http: bool = False) -> Address:
        """A host, maybe with a port, or an origin. Without a scheme it is https, and http for loopback hosts and with
        ``insecure_http``. Raises WrongUse, also for http to another machine that ``insecure_http`` does not allow."""
        scheme, separator, rest = text.partition("://")
        if not separator:
            scheme, rest = "", text
        host = rest.removesuffix("/").lower()
        parts = _split(host)
        if parts is None or scheme.lower() not in ("", "http", "https"):
            raise WrongUse(f"{text!r} is not a registry's address, such as registry.example.org or http://127.0.0.1:5000")
        loopback = _is_loopback(parts.hostname or "")
        scheme = scheme.lower() or ("http" if loopback or insecure_http else "https")
        if scheme == "http" and not (loopback or insecure_http):
            raise WrongUse(f"http to {host} would show the password to the network; say --insecure-http if that is meant")
        return cls(scheme, host)


def _split(host: str) -> SplitResult | None:
    """The parts of an authority, None for what is none."""
    if _UNFIT.search(host) or "/" in host:
        return None
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises for what is no port
        name = parts.hostname or ""
        if ":" in name:
            ipaddress.IPv6Address(name)
            return parts
    except ValueError:
        return None
    return parts if not host.endswith(":") and all(map(_LABEL.fullmatch, name.split("."))) else None


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
