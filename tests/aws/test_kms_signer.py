"""KMS as Signer, on the emulator."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.aws.kms_signer import KmsSigner
from tests.contracts.signer import SignerContract
from tests.emulator import Emulator

ROOT = Path(__file__).resolve().parents[2]
Client: TypeAlias = Any  # boto3's have no types to import


@pytest.fixture(scope="module")
def kms(emulator: Emulator) -> Iterator[Client]:
    client = boto3.client("kms", **emulator.client_arguments())
    yield client
    client.close()


@pytest.fixture(scope="module")
def signing_key(kms: Client) -> str:
    return str(kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"])


@pytest.fixture(scope="module")
def wrapping_key(kms: Client) -> str:
    return str(kms.create_key()["KeyMetadata"]["KeyId"])


class TestKmsSigner(SignerContract):
    @pytest.fixture
    def signer(self, kms: Client, signing_key: str, wrapping_key: str) -> KmsSigner:
        return KmsSigner(signing_key, wrapping_key, kms)

    def alterations(self, wrapped: bytes) -> list[bytes]:
        """The emulator encrypts by XOR: of the altered bytes that KMS refuses it notices those that name the context."""
        return [wrapped[:40] + bytes([wrapped[40] ^ 1]) + wrapped[41:], wrapped[:60]]


class RefusingKms:
    """Refuses as KMS does where the emulator does not: it decrypts what another key encrypted, to nonsense."""

    def __init__(self, code: str) -> None:
        self._code = code

    def decrypt(self, **_: object) -> object:
        raise ClientError({"Error": {"Code": self._code, "Message": ""}}, "Decrypt")


@pytest.mark.parametrize("code", ["InvalidCiphertextException", "IncorrectKeyException"])
def test_what_kms_refuses_was_not_wrapped_here(code: str) -> None:
    with pytest.raises(ValueError, match="not a secret"):
        KmsSigner("signing", "wrapping", RefusingKms(code)).unwrap(b"x" * 100, "a")


def test_other_failures_pass(kms: Client, signing_key: str) -> None:
    with pytest.raises(ClientError, match="NotFound"):
        KmsSigner(signing_key, "00000000-0000-0000-0000-000000000000", kms).unwrap(b"x" * 100, "a")


def test_the_public_key_is_asked_for_once(signing_key: str, kms: Client) -> None:
    class Counting:
        asked = 0

        def get_public_key(self, KeyId: str) -> object:  # noqa: N803 (as boto names it)
            self.asked += 1
            return kms.get_public_key(KeyId=KeyId)

    client = Counting()
    signer = KmsSigner(signing_key, "", client)
    assert signer.public_key() == signer.public_key()
    assert client.asked == 1


def test_its_own_client_comes_from_the_environment(emulator: Emulator, kms: Client, signing_key: str) -> None:
    program = (
        "import sys; from chalicelib.aws.kms_signer import KmsSigner\n"
        "signer = KmsSigner(sys.argv[1], ''); assert 'boto3' not in sys.modules\n"
        "print(signer.public_key().hex())"
    )
    environment = {**emulator.environment(), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, signing_key]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert bytes.fromhex(printed) == kms.get_public_key(KeyId=signing_key)["PublicKey"]
