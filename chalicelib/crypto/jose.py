"""Signed tokens (compact JWS, RFC 7515 section 7.1) by PyJWT, held to ES256 and to one spelling of each token.

PyJWT's checks of claims are left aside: they read the system's clock, where everything here goes by the Clock port. This
module decides nothing about trust either: which key, and whether the claims are good, are its callers' matter.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import ec
from jwt import InvalidTokenError, PyJWS

ALGORITHM = "ES256"
_COORDINATE = 32  # bytes of a P-256 coordinate, of r and of s
_JWS = PyJWS(algorithms=[ALGORITHM])


def encode(content: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """What ``encode`` was given. Raises ValueError for every text that ``encode`` would not write, so that one content has
    one spelling and no character of a token can be altered unnoticed."""
    content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if encode(content) != text:
        raise ValueError("not the one spelling of its content")
    return content


def encoded_length(size: int) -> int:
    """Characters that ``encode`` makes of so many bytes."""
    return -(-size * 4 // 3)


SIGNATURE_LENGTH = encoded_length(2 * _COORDINATE)
"""Characters of an encoded signature."""


def header_length(header: Mapping[str, object]) -> int:
    """Characters of a header in a token."""
    return encoded_length(len(json.dumps(header, separators=(",", ":")).encode()))


def sign(key: ec.EllipticCurvePrivateKey, header: Mapping[str, object], payload: bytes) -> str:
    """The compact JWS of a header and a payload."""
    return _JWS.encode(payload, key, algorithm=ALGORITHM, headers=dict(header))


def read_header(text: str) -> Mapping[str, object]:
    """What a compact JWS says of itself, nothing of it verified. Raises ValueError for anything that is none; no input
    makes it raise another thing."""
    parts = text.split(".")
    if len(parts) != 3:
        raise ValueError("not three parts")
    header = decode(parts[0])
    for part in parts[1:]:
        decode(part)
    try:
        told: object = json.loads(header)
    except RecursionError as error:
        raise ValueError("the header is nested too deep") from error
    if not isinstance(told, dict):
        raise ValueError("the header is no object")  # noqa: TRY004 - one kind of failure for whatever a stranger sends
    return told


def verified(key: ec.EllipticCurvePublicKey, text: str) -> bytes | None:
    """The payload if the key signed this token with ES256, else None."""
    try:
        payload: bytes = _JWS.decode(text, key, algorithms=[ALGORITHM])
    except InvalidTokenError:
        return None
    return payload


def public_jwk(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    """The required members of the key's JWK (RFC 7518 section 6.2.1), in the order that a thumbprint wants."""
    point = key.public_numbers()
    x, y = (encode(coordinate.to_bytes(_COORDINATE, "big")) for coordinate in (point.x, point.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def thumbprint(key: ec.EllipticCurvePublicKey) -> str:
    """The key's JWK SHA-256 thumbprint (RFC 7638), 43 characters: its one name."""
    return encode(hashlib.sha256(json.dumps(public_jwk(key), separators=(",", ":")).encode()).digest())
