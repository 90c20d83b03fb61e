"""The key file: the contract, and who may read it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from chalicelib.local.file_signer import FileSigner
from tests.contracts.signer import SignerContract


class TestFileSigner(SignerContract):
    @pytest.fixture
    def signer(self, tmp_path: Path) -> FileSigner:
        return FileSigner(tmp_path / "keys" / "root.pem")


def _pem(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def test_nothing_is_written_before_the_first_use(tmp_path: Path) -> None:
    signer = FileSigner(tmp_path / "root.pem")
    assert list(tmp_path.iterdir()) == []
    signer.public_key()
    assert [path.name for path in tmp_path.iterdir()] == ["root.pem"]
    assert (tmp_path / "root.pem").stat().st_mode & 0o777 == 0o600


def test_a_restart_finds_the_same_key(tmp_path: Path) -> None:
    before, after = FileSigner(tmp_path / "root.pem"), FileSigner(tmp_path / "root.pem")
    assert before.public_key() == after.public_key()
    assert after.unwrap(before.wrap(b"secret", "a"), "a") == b"secret"


def test_all_who_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    signers = [FileSigner(tmp_path / "root.pem") for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(FileSigner.public_key, signers))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["root.pem"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o601])
def test_a_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "root.pem"
    FileSigner(path).public_key()
    path.chmod(mode)
    with pytest.raises(PermissionError, match="chmod 600"):
        FileSigner(path).sign(b"message")


@pytest.mark.parametrize(
    "content", [b"", b"no key", _pem(ec.generate_private_key(ec.SECP384R1()))], ids=["empty", "text", "P-384"]
)
def test_what_is_no_p256_key_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "root.pem"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(ValueError):  # noqa: PT011 (cryptography words it)
        FileSigner(path).public_key()
    assert path.read_bytes() == content


def test_another_key_unwraps_nothing(tmp_path: Path) -> None:
    wrapped = FileSigner(tmp_path / "one.pem").wrap(b"secret", "a")
    with pytest.raises(ValueError, match="not a secret"):
        FileSigner(tmp_path / "two.pem").unwrap(wrapped, "a")
