"""The root key in AWS KMS: an ECC_NIST_P256 key to sign with, and a symmetric one to wrap with."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from chalicelib.aws.environment import Environment
from chalicelib.aws.json_service import JsonService, ServiceError

MAX_SECRET = 4096
"""Bytes of a secret at most: what KMS encrypts in one call."""

MAX_WRAPPED = 6144
"""Bytes of a ciphertext at most, of all that KMS makes."""

_CONTEXT = "slipway:context"
_NOT_OURS = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})


def kms_service(environment: Environment | None = None) -> JsonService:
    """KMS where the environment, by default the process's, says that it is."""
    return JsonService("kms", "TrentService", "1.1", environment=environment)


class KmsSigner:
    """The Signer on AWS. Keys by id, ARN or alias; the ``service`` is by default the one that the environment names.

    The public key is asked for once: it never changes.
    """

    def __init__(self, signing_key_id: str, wrapping_key_id: str, service: JsonService | None = None) -> None:
        self._signing_key_id = signing_key_id
        self._wrapping_key_id = wrapping_key_id
        self._service = service or kms_service()
        self._public_key = b""

    def public_key(self) -> bytes:
        """See Signer."""
        if not self._public_key:
            self._public_key = self._called("GetPublicKey", "PublicKey", KeyId=self._signing_key_id)
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """See Signer. KMS is sent the hash: it takes messages of 4,096 bytes at most, and need not see ours."""
        return self._called(
            "Sign",
            "Signature",
            KeyId=self._signing_key_id,
            Message=hashlib.sha256(message).digest(),
            MessageType="DIGEST",
            SigningAlgorithm="ECDSA_SHA_256",
        )

    def wrap(self, secret: bytes, context: str) -> bytes:
        """See Signer. Raises ValueError for a secret over 4,096 bytes or an empty one."""
        if not 0 < len(secret) <= MAX_SECRET:
            raise ValueError(f"a secret has 1 to {MAX_SECRET} bytes")
        return self._called(
            "Encrypt",
            "CiphertextBlob",
            KeyId=self._wrapping_key_id,
            Plaintext=secret,
            EncryptionContext={_CONTEXT: context},
        )

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        """See Signer."""
        if not 0 < len(wrapped) <= MAX_WRAPPED:
            raise ValueError("not a secret wrapped by this signer")
        try:
            return self._called(
                "Decrypt",
                "Plaintext",
                KeyId=self._wrapping_key_id,
                CiphertextBlob=wrapped,
                EncryptionContext={_CONTEXT: context},
            )
        except ServiceError as error:
            if error.code in _NOT_OURS:
                raise ValueError("not a secret wrapped by this signer under this context") from None
            raise

    def _called(self, operation: str, wanted: str, **arguments: Any) -> bytes:  # noqa: ANN401 (as JSON has them)
        return base64.b64decode(self._service.call(operation, arguments)[wanted])
