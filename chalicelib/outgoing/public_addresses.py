"""Which names and addresses belong to the public internet, and which could be a way into somebody's network.

Addresses that hold another one (IPv4 in IPv6, in its several ways) are judged by it, or refused where nobody serves anything
under them any more. https://www.iana.org/assignments/iana-ipv6-special-registry
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_NAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_MAX_NAME = 253

_REFUSED_4 = (
    IPv4Network("192.0.0.0/24"),  # protocol assignments
    IPv4Network("192.88.99.0/24"),  # once the way to 6to4
    IPv4Network("168.63.129.16/32"),  # what every machine in Azure finds Azure under
    IPv4Network("224.0.0.0/3"),  # multicast, reserved, broadcast
)
_GLOBAL_6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_REFUSED_6 = (
    IPv6Network("2001::/23"),  # protocol assignments, Teredo among them
    IPv6Network("2001:db8::/32"),  # for documents, like 3fff::/20
    IPv6Network("2002::/16"),  # 6to4
    IPv6Network("3fff::/20"),
)
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})


def is_public_name(host: str) -> bool:
    """Is it a host's full DNS name, in lower case? No address is one in any spelling, since its last label begins with a letter
    and resolvers take ``0x7f.1`` and ``2130706433`` for addresses; nor is a name without a dot, such as ``localhost``."""
    return len(host) <= _MAX_NAME and bool(_NAME.fullmatch(host)) and not host.endswith(".localhost")


def is_public_address(text: str) -> bool:
    """Is it an address that everybody on the internet may reach under that number?"""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return _is_public_4(address) if isinstance(address, IPv4Address) else _is_public_6(address)


def _is_public_4(address: IPv4Address) -> bool:
    return address.is_global and not any(address in network for network in _REFUSED_4)


def _is_public_6(address: IPv6Address) -> bool:
    if address.scope_id:
        return False
    if address.ipv4_mapped is not None:
        return _is_public_4(address.ipv4_mapped)
    number = int(address)
    if address in _NAT64:
        return _is_public_4(IPv4Address(number & 0xFFFFFFFF))
    if (number >> 32) & 0xFFFFFFFF in _ISATAP:
        return False
    return address in _GLOBAL_6 and address.is_global and not any(address in network for network in _REFUSED_6)
