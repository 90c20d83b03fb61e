"""KMS as Signer, on the emulator."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import boto3
import pytest

from chalicelib.aws.environment import Environment
from chalicelib.aws.json_service import JsonService, ServiceError
from chalicelib.aws.kms_signer import MAX_WRAPPED, KmsSigner, kms_service
from tests.aws.counting import counting
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


@pytest.fixture(scope="module")
def service(emulator: Emulator) -> JsonService:
    return kms_service(Environment(emulator.environment()))


class TestKmsSigner(SignerContract):
    @pytest.fixture
    def signer(self, service: JsonService, signing_key: str, wrapping_key: str) -> KmsSigner:
        return KmsSigner(signing_key, wrapping_key, service)

    def alterations(self, wrapped: bytes) -> list[bytes]:
        """The emulator encrypts by XOR: of the altered bytes that KMS refuses it notices those that name the context."""
        return [wrapped[:40] + bytes([wrapped[40] ^ 1]) + wrapped[41:], wrapped[:60]]


class RefusingKms(JsonService):
    """Refuses as KMS does where the emulator does not: it decrypts what another key encrypted, to nonsense."""

    def __init__(self, code: str) -> None:
        super().__init__("kms", "TrentService", "1.1")
        self._code = code

    def call(self, operation: str, _arguments: Mapping[str, object]) -> dict[str, object]:
        raise ServiceError(operation, 400, {"__type": self._code})


@pytest.mark.parametrize("code", ["InvalidCiphertextException", "IncorrectKeyException"])
def test_what_kms_refuses_was_not_wrapped_here(code: str) -> None:
    with pytest.raises(ValueError, match="not a secret"):
        KmsSigner("signing", "wrapping", RefusingKms(code)).unwrap(b"x" * 100, "a")


@pytest.mark.parametrize("size", [0, MAX_WRAPPED + 1])
def test_what_no_ciphertext_is_as_long_as_was_not_wrapped_here(size: int, service: JsonService, wrapping_key: str) -> None:
    with pytest.raises(ValueError, match="not a secret"):
        KmsSigner("", wrapping_key, service).unwrap(b"x" * size, "a")


def test_other_failures_pass(service: JsonService, signing_key: str) -> None:
    with pytest.raises(ServiceError, match="NotFound"):
        KmsSigner(signing_key, "00000000-0000-0000-0000-000000000000", service).unwrap(b"x" * 100, "a")


def test_the_public_key_is_asked_for_once(signing_key: str, service: JsonService, kms: Client) -> None:
    with counting() as counted:
        signer = KmsSigner(signing_key, "", service)
        assert signer.public_key() == signer.public_key() == kms.get_public_key(KeyId=signing_key)["PublicKey"]
        assert counted.operations() == {"kms GetPublicKey": 1}


def test_its_own_service_comes_from_the_environment(emulator: Emulator, kms: Client, signing_key: str) -> None:
    program = (
        "import sys; from chalicelib.aws.kms_signer import KmsSigner\n"
        "print(KmsSigner(sys.argv[1], '').public_key().hex()); assert 'botocore' not in sys.modules"
    )
    environment = {**emulator.environment(), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, signing_key]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert bytes.fromhex(printed) == kms.get_public_key(KeyId=signing_key)["PublicKey"]
