"""What every Signer does. A test class of an adapter inherits this and overrides ``signer``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from chalicelib.registry.ports import Signer


class SignerContract:
    """One suite for all adapters."""

    @pytest.fixture
    def signer(self) -> Signer:
        raise NotImplementedError

    def test_the_public_key_is_p256_and_stays(self, signer: Signer) -> None:
        key = serialization.load_der_public_key(signer.public_key())
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert isinstance(key.curve, ec.SECP256R1)
        assert signer.public_key() == signer.public_key()

    @pytest.mark.parametrize("message", [b"", b"header.claims", b"m" * 10_000], ids=["empty", "short", "long"])
    def test_a_signature_verifies_by_the_public_key(self, signer: Signer, message: bytes) -> None:
        key = serialization.load_der_public_key(signer.public_key())
        assert isinstance(key, ec.EllipticCurvePublicKey)
        signature = signer.sign(message)
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        with pytest.raises(InvalidSignature):
            key.verify(signature, message + b".", ec.ECDSA(hashes.SHA256()))

    @pytest.mark.parametrize("size", [1, 32, 4096])
    def test_a_wrapped_secret_comes_back(self, signer: Signer, size: int) -> None:
        secret = bytes(range(256)) * 16
        wrapped = signer.wrap(secret[:size], "token key 7")
        assert signer.unwrap(wrapped, "token key 7") == secret[:size]
        assert secret[:size] not in wrapped or size == 1

    def test_a_secret_over_4096_bytes_is_refused(self, signer: Signer) -> None:
        with pytest.raises(ValueError, match=r"4,?096"):
            signer.wrap(b"s" * 4097, "token key 7")

    def test_wrapping_twice_gives_different_bytes(self, signer: Signer) -> None:
        assert signer.wrap(b"secret", "a") != signer.wrap(b"secret", "a")

    def test_a_secret_is_bound_to_its_context(self, signer: Signer) -> None:
        wrapped = signer.wrap(b"secret", "token key 7")
        for context in ("token key 8", "token key 7 ", "Token key 7"):
            with pytest.raises(ValueError, match="not a secret"):
                signer.unwrap(wrapped, context)

    def alterations(self, wrapped: bytes) -> list[bytes]:
        """What unwrap must refuse."""
        middle = len(wrapped) // 2
        inside = wrapped[:middle] + bytes([wrapped[middle] ^ 128]) + wrapped[middle + 1 :]
        return [wrapped[:-1] + bytes([wrapped[-1] ^ 1]), inside, wrapped[:-1], wrapped + b"."]

    def test_altered_bytes_are_refused(self, signer: Signer) -> None:
        wrapped = signer.wrap(b"secret", "a")
        for altered in (*self.alterations(wrapped), wrapped[:1], b"", b"anything else that never was wrapped"):
            with pytest.raises(ValueError, match="not a secret"):
                signer.unwrap(altered, "a")

    def test_many_threads_may_use_it(self, signer: Signer) -> None:
        def use(number: int) -> bool:
            return signer.unwrap(signer.wrap(b"%d" % number, "a"), "a") == b"%d" % number and bool(signer.sign(b"m"))

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(use, range(16)))
