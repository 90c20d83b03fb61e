"""The root key of one machine: a P-256 key in a PEM file that only its owner can read.

The file is made on first use. Wrapped secrets are ``0x01 | nonce (12 bytes) | AES-256-GCM ciphertext and tag``, under a key
derived from the private one, with the version and the context authenticated; the first byte lets a later format be told
apart. Losing the file loses the trust in all tokens and every wrapped secret: it belongs in the backup.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from threading import Lock

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from chalicelib.local.secret_file import kept

MAX_SECRET = 4096
"""Bytes of a secret at most, as KMS has it."""

_VERSION = b"\x01"
_NONCE = 12


class FileSigner:
    """The Signer of one machine. Making one does nothing; the first use reads the file, or makes it if there is none.

    Every use raises PermissionError if others may read or write the file, and ValueError if it holds no P-256 key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = Lock()
        self._loaded: tuple[ec.EllipticCurvePrivateKey, AESGCM] | None = None

    def public_key(self) -> bytes:
        """See Signer."""
        public = self._keys()[0].public_key()
        return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    def sign(self, message: bytes) -> bytes:
        """See Signer."""
        return self._keys()[0].sign(message, ec.ECDSA(hashes.SHA256()))

    def wrap(self, secret: bytes, context: str) -> bytes:
        """See Signer. Raises ValueError for a secret over 4,096 bytes."""
        if len(secret) > MAX_SECRET:
            raise ValueError(f"a secret has {MAX_SECRET} bytes at most")
        nonce = secrets.token_bytes(_NONCE)
        return _VERSION + nonce + self._keys()[1].encrypt(nonce, secret, _VERSION + context.encode())

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        """See Signer."""
        version, nonce, sealed = wrapped[:1], wrapped[1 : 1 + _NONCE], wrapped[1 + _NONCE :]
        if version != _VERSION or len(nonce) != _NONCE:
            raise ValueError("not a secret wrapped by this signer")
        try:
            return self._keys()[1].decrypt(nonce, sealed, _VERSION + context.encode())
        except InvalidTag:
            raise ValueError("not a secret wrapped by this signer under this context") from None

    def _keys(self) -> tuple[ec.EllipticCurvePrivateKey, AESGCM]:
        with self._guard:
            if self._loaded is None:
                private = _load(kept(self._path, _new_key), self._path)
                self._loaded = private, AESGCM(_wrapping_key(private))
            return self._loaded


def _wrapping_key(private: ec.EllipticCurvePrivateKey) -> bytes:
    scalar = private.private_numbers().private_value.to_bytes(32, "big")
    return HKDF(hashes.SHA256(), 32, salt=None, info=b"slipway file signer: wrap 1").derive(scalar)


def _load(pem: bytes, path: Path) -> ec.EllipticCurvePrivateKey:
    private = serialization.load_pem_private_key(pem, password=None)
    if isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, ec.SECP256R1):
        return private
    raise ValueError(f"{path} does not hold a P-256 key")


def _new_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
