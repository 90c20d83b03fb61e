"""Basic credentials (RFC 7617), which the token service and the management API take alike."""

from __future__ import annotations

import base64

MAX_CREDENTIALS = 8_192
"""Characters of an Authorization's value at most."""


def name_and_secret(encoded: str) -> tuple[str, str] | None:
    """What stands behind ``Basic``, in UTF-8; None if that is no name, colon and secret."""
    if len(encoded) > MAX_CREDENTIALS:
        return None
    try:
        name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except ValueError:  # no ASCII, no base64, or no UTF-8 within
        return None
    return (name, secret) if colon else None
