"""JSON Web Signatures, as little of them as is needed: compact form (RFC 7515 section 7.1), ES256 only (RFC 7518 3.4).

Why not PyJWT here: importing it adds 25 ms to each cold start, it reads the system's clock instead of the Clock port, and
it accepts more than one algorithm and more than one spelling of the same token. It is the independent second opinion in
the tests. This module decides nothing about trust: which key, and whether the claims are good, are its callers' matter.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

ALGORITHM = "ES256"
_COORDINATE = 32  # bytes of a P-256 coordinate, of r and of s
_SIGNATURE = 2 * _COORDINATE


@dataclass(frozen=True, slots=True)
class Parsed:
    """A compact JWS taken apart, nothing of it verified. ``signed`` is what the signature covers."""

    header: Mapping[str, object]
    payload: bytes
    signature: bytes
    signed: bytes


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


SIGNATURE_LENGTH = encoded_length(_SIGNATURE)
"""Characters of an encoded signature."""


def encode_header(header: Mapping[str, object]) -> str:
    return encode(json.dumps(header, separators=(",", ":")).encode())


def sign(key: ec.EllipticCurvePrivateKey, header: str, payload: bytes) -> str:
    """The compact JWS of an encoded header and a payload."""
    signed = f"{header}.{encode(payload)}"
    r, s = decode_dss_signature(key.sign(signed.encode("ascii"), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{encode(r.to_bytes(_COORDINATE, 'big') + s.to_bytes(_COORDINATE, 'big'))}"


def parse(text: str) -> Parsed:
    """Take a compact JWS apart. Raises ValueError for anything else; no input makes it raise another thing."""
    parts = text.split(".")
    if len(parts) != 3:
        raise ValueError("not three parts")
    header_text, payload_text, signature_text = parts
    try:
        header: Any = json.loads(decode(header_text))
    except RecursionError as error:
        raise ValueError("the header is nested too deep") from error
    if not isinstance(header, dict):
        raise ValueError("the header is no object")  # noqa: TRY004 - one kind of failure for whatever a stranger sends
    return Parsed(header, decode(payload_text), decode(signature_text), f"{header_text}.{payload_text}".encode("ascii"))


def is_signed_by(key: ec.EllipticCurvePublicKey, parsed: Parsed) -> bool:
    """Did the key sign it, with ES256?"""
    if len(parsed.signature) != _SIGNATURE:
        return False
    r, s = (int.from_bytes(half, "big") for half in (parsed.signature[:_COORDINATE], parsed.signature[_COORDINATE:]))
    try:
        key.verify(encode_dss_signature(r, s), parsed.signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def public_jwk(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    """The required members of the key's JWK (RFC 7518 section 6.2.1), in the order that a thumbprint wants."""
    point = key.public_numbers()
    x, y = (encode(coordinate.to_bytes(_COORDINATE, "big")) for coordinate in (point.x, point.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def thumbprint(key: ec.EllipticCurvePublicKey) -> str:
    """The key's JWK SHA-256 thumbprint (RFC 7638), 43 characters: its one name."""
    return encode(hashlib.sha256(json.dumps(public_jwk(key), separators=(",", ":")).encode()).digest())
