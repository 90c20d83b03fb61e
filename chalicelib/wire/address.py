"""Where a request comes from, for the throttling of wrong passwords (registry/throttle.py)."""

from __future__ import annotations

from ipaddress import ip_address

from chalicelib.wire.http import Request

VIEWER = "x-slipway-viewer"
"""Behind CloudFront every request comes from an address of CloudFront's. Its own CloudFront-Viewer-Address reaches no origin
under a policy that keeps Host back, so infra/edge/viewer-request.js says the viewer's address in this header, in place of any
that a viewer sent."""


def address_of(request: Request) -> str:
    """The caller's address as the edge saw it, or, without an edge, as the gateway did.

    Who calls the API past the edge can forge it: try passwords from ever new addresses, or wear out one that belongs to
    somebody else. The bound over all addresses holds for the first, and for the second that of the one address.
    """
    said = request.header(VIEWER)
    try:
        return str(ip_address(said)) if said else request.source
    except ValueError:
        return request.source
