"""KMS as Signer, on the emulator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.aws.kms_signer import KmsSigner
from tests.contracts.signer import SignerContract
from tests.emulator import Emulator


@pytest.fixture(scope="module")
def kms(emulator: Emulator) -> Iterator[Any]:
    client = boto3.client("kms", **emulator.client_arguments())
    yield client
    client.close()


@pytest.fixture(scope="module")
def signing_key(kms: Any) -> str:
    return str(kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"])


@pytest.fixture(scope="module")
def wrapping_key(kms: Any) -> str:
    return str(kms.create_key()["KeyMetadata"]["KeyId"])


class TestKmsSigner(SignerContract):
    @pytest.fixture
    def signer(self, kms: Any, signing_key: str, wrapping_key: str) -> KmsSigner:
        return KmsSigner(signing_key, wrapping_key, kms)


def test_what_another_key_wrapped_is_refused(kms: Any, signing_key: str, wrapping_key: str) -> None:
    other = str(kms.create_key()["KeyMetadata"]["KeyId"])
    wrapped = KmsSigner(signing_key, other, kms).wrap(b"secret", "a")
    with pytest.raises(ValueError, match="not a secret"):
        KmsSigner(signing_key, wrapping_key, kms).unwrap(wrapped, "a")


def test_other_failures_pass(kms: Any, signing_key: str) -> None:
    with pytest.raises(ClientError, match="NotFound"):
        KmsSigner(signing_key, "00000000-0000-0000-0000-000000000000", kms).unwrap(b"x" * 100, "a")


def test_the_public_key_is_asked_for_once(signing_key: str, kms: Any) -> None:
    class Counting:
        asked = 0

        def get_public_key(self, KeyId: str) -> object:  # noqa: N803 (as boto names it)
            self.asked += 1
            return kms.get_public_key(KeyId=KeyId)

    client = Counting()
    signer = KmsSigner(signing_key, "", client)
    assert signer.public_key() == signer.public_key()
    assert client.asked == 1
