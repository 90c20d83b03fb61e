"""From an ASGI scope to a Head: header joins, cookies, the size limit, and whose word about the caller's address counts."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Any

from infra.local import distribution, gateway
from infra.local.events import Head
from infra.local.settings import Network

MAX_HEAD = gateway.HEAD - distribution.ADDED
"""Bytes of the request line and all headers together that CloudFront can send on to API Gateway."""


class HeadTooLarge(Exception):
    """The request line and headers pass MAX_HEAD."""


class HeadInvalid(Exception):
    """A head that the parser takes and a careful server does not; the message says why."""


class Sources:
    """Where a request comes from: the nearest address that is not a trusted proxy's."""

    def __init__(self, trusted: tuple[Network, ...] = ()) -> None:
        self._trusted = trusted
        self._is_trusted = lru_cache(maxsize=1024)(self._look_up)

    def of(self, peer: str, forwarded: str) -> str:
        """The caller's address, for the peer's and the X-Forwarded-For header. Each hop is believed only about the one before
        it, so what a client writes itself is never reached unless every hop behind it is trusted."""
        if not self._trusted:
            return peer
        source = peer
        for hop in reversed(forwarded.split(",")):
            if not self._is_trusted(source):
                break
            address = _address(hop.strip())
            if address is None:
                break
            source = str(address)
        return source

    def _look_up(self, source: str) -> bool:
        address = _address(source)
        return address is not None and any(address in network for network in self._trusted)


def head_of(scope: dict[str, Any], sources: Sources) -> tuple[Head, int | None]:
    """The head, and the body's length: 0 for none, None when chunked. Raises HeadTooLarge, HeadInvalid."""
    headers: dict[str, str] = {}
    repeated: dict[str, tuple[str, ...]] = {}
    cookies: tuple[str, ...] = ()
    size = len(scope["method"]) + len(scope["raw_path"]) + len(scope["query_string"]) + 12
    for raw_name, raw_value in scope["headers"]:
        size += len(raw_name) + len(raw_value) + 4
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name == "cookie":
            cookies += tuple(cookie.strip() for cookie in value.split(";"))
        elif name in headers:
            if name == "host":
                raise HeadInvalid("there is more than one Host header")
            repeated[name] = (*repeated.get(name, (headers[name],)), value)
            headers[name] = f"{headers[name]},{value}"
        else:
            headers[name] = value
    if size > MAX_HEAD:
        raise HeadTooLarge(f"the request line and headers are larger than the {MAX_HEAD} bytes allowed")
    if not scope["raw_path"].startswith(b"/"):
        raise HeadInvalid("the request's target is no path")
    if "host" not in headers and scope["http_version"] == "1.1":
        raise HeadInvalid("there is no Host header")
    length = None if "transfer-encoding" in headers else int(headers.get("content-length", "0"))
    client = scope["client"]
    source = sources.of(client[0] if client else "", headers.get("x-forwarded-for", ""))
    return (
        Head(
            scope["method"],
            scope["raw_path"].decode("latin-1"),
            scope["query_string"].decode("latin-1"),
            headers,
            cookies,
            source,
            "HTTP/" + scope["http_version"],
            tuple(repeated.items()),
        ),
        length,
    )


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A dual-stack socket shows IPv4 callers as ::ffff:192.0.2.1.
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address
