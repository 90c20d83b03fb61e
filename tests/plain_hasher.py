"""A password hasher that costs nothing, for tests of everything but hashing."""

from __future__ import annotations

import secrets


class PlainHasher:
    """A PasswordHasher whose hashes hold the password. ``verified`` lists the hashes that passwords were held against."""

    def __init__(self) -> None:
        self.verified: list[str] = []

    def hash(self, password: str) -> str:
        return f"plain${secrets.token_hex(8)}${password}"

    def verify(self, password: str, encoded: str) -> bool:
        self.verified.append(encoded)
        return encoded.split("$", 2)[2] == password

    def decoy(self) -> str:
        return f"plain$decoy${secrets.token_hex(16)}"
