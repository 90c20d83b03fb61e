"""A Signer in memory: a real key, and wrapping that only remembers."""

from __future__ import annotations

import secrets

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class MemorySigner:
    """``uses`` counts calls of ``sign`` and ``unwrap``, for tests of what costs a call of KMS."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        self._wrapped: dict[bytes, tuple[bytes, str]] = {}
        self.uses = 0

    def public_key(self) -> bytes:
        public = self._private.public_key()
        return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    def sign(self, message: bytes) -> bytes:
        self.uses += 1
        return self._private.sign(message, ec.ECDSA(hashes.SHA256()))

    def wrap(self, secret: bytes, context: str) -> bytes:
        if len(secret) > 4096:
            raise ValueError("a secret has 4,096 bytes at most")
        wrapped = secrets.token_bytes(32)
        self._wrapped[wrapped] = (secret, context)
        return wrapped

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        self.uses += 1
        secret, wrapped_for = self._wrapped.get(wrapped, (b"", None))
        if wrapped_for != context:
            raise ValueError("not a secret wrapped by this signer under this context")
        return secret
