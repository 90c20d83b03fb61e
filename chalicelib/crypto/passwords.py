"""Password hashes: argon2id (RFC 9106) with the first choice of OWASP's password storage recommendations."""

from __future__ import annotations

import base64
import os
import threading

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

_MEMORY = 19 * 1024  # KiB
_ITERATIONS = 2
_LANES = 1
_SALT = 16  # bytes
_LENGTH = 32  # bytes

CONCURRENT = 2
"""Hashes made at once at most: each takes 19 MiB, and a login storm must not take a small function's memory. Argon2 lets
other threads run meanwhile, so without this bound there would be as many as there are requests."""


class Argon2Hasher:
    """``registry.accounts.PasswordHasher`` with argon2id, 19 MiB, two passes, one lane."""

    def __init__(self) -> None:
        self._turn = threading.BoundedSemaphore(CONCURRENT)

    def hash(self, password: str) -> str:
        kdf = Argon2id(salt=os.urandom(_SALT), length=_LENGTH, iterations=_ITERATIONS, lanes=_LANES, memory_cost=_MEMORY)
        with self._turn:
            return kdf.derive_phc_encoded(_bytes(password))

    def verify(self, password: str, encoded: str) -> bool:
        """Raises ValueError for a text that is no argon2id hash."""
        if not encoded.startswith("$argon2id$"):
            raise ValueError("not an argon2id hash")
        with self._turn:
            try:
                Argon2id.verify_phc_encoded(_bytes(password), encoded)
            except InvalidKey:
                return False
        return True

    def decoy(self) -> str:
        """Random salt and random hash: finding a password for it is a preimage of 256 bits."""
        salt, key = (base64.b64encode(os.urandom(size)).decode().rstrip("=") for size in (_SALT, _LENGTH))
        return f"$argon2id$v=19$m={_MEMORY},t={_ITERATIONS},p={_LANES}${salt}${key}"


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
