"""The root key in AWS KMS: an ECC_NIST_P256 key to sign with, and a symmetric one to wrap with."""

from __future__ import annotations

import hashlib
from threading import Lock
from typing import Any, TypeAlias

MAX_SECRET = 4096
"""Bytes of a secret at most: what KMS encrypts in one call."""

_CONTEXT = "slipway:context"
_NOT_OURS = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
_Client: TypeAlias = Any  # made by boto3 at run time; there are no types to import


class KmsSigner:
    """The Signer on AWS. Keys by id, ARN or alias; credentials, region and AWS_ENDPOINT_URL from the environment.

    The client is built on first use, and the public key asked for once: it never changes. ``client`` is for tests.
    """

    def __init__(self, signing_key_id: str, wrapping_key_id: str, client: _Client | None = None) -> None:
        self._signing_key_id = signing_key_id
        self._wrapping_key_id = wrapping_key_id
        self._client = client
        self._public_key = b""
        self._guard = Lock()

    def public_key(self) -> bytes:
        """See Signer."""
        if not self._public_key:
            self._public_key = bytes(self._kms.get_public_key(KeyId=self._signing_key_id)["PublicKey"])
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """See Signer. KMS is sent the hash: it takes messages of 4,096 bytes at most, and need not see ours."""
        answer = self._kms.sign(
            KeyId=self._signing_key_id,
            Message=hashlib.sha256(message).digest(),
            MessageType="DIGEST",
            SigningAlgorithm="ECDSA_SHA_256",
        )
        return bytes(answer["Signature"])

    def wrap(self, secret: bytes, context: str) -> bytes:
        """See Signer. Raises ValueError for a secret over 4,096 bytes or an empty one."""
        if not 0 < len(secret) <= MAX_SECRET:
            raise ValueError(f"a secret has 1 to {MAX_SECRET} bytes")
        answer = self._kms.encrypt(KeyId=self._wrapping_key_id, Plaintext=secret, EncryptionContext={_CONTEXT: context})
        return bytes(answer["CiphertextBlob"])

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        """See Signer."""
        from botocore.exceptions import ClientError, ParamValidationError

        try:
            answer = self._kms.decrypt(
                KeyId=self._wrapping_key_id, CiphertextBlob=wrapped, EncryptionContext={_CONTEXT: context}
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in _NOT_OURS:
                raise ValueError("not a secret wrapped by this signer under this context") from None
            raise
        except ParamValidationError:  # empty, or longer than any ciphertext of KMS
            raise ValueError("not a secret wrapped by this signer") from None
        return bytes(answer["Plaintext"])

    @property
    def _kms(self) -> _Client:
        """Two threads must not build a client at a time."""
        with self._guard:
            if self._client is None:
                from boto3.session import Session
                from botocore.config import Config

                retries = {"mode": "standard", "total_max_attempts": 4}
                self._client = Session().client("kms", config=Config(retries=retries))
            return self._client
