"""The root's certificates, and those that somebody else would like to pass off as the root's."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from chalicelib.crypto.certificates import RootKey, Untrusted, certify, make_authority, p256_key, read_authority, read_certified
from tests.memory_signer import MemorySigner

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1()).public_key()


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def certified(root: RootKey, authority: x509.Certificate, purpose: str = "this") -> x509.Certificate:
    return certify(root, authority, KEY, purpose=purpose, now=NOW, until=NOW + timedelta(days=90))


def test_a_chain_made_by_calls_of_the_signer_holds() -> None:
    root = RootKey(MemorySigner())
    authority = make_authority(root, NOW)
    leaf = certified(root, authority)
    assert read_authority(root, der(authority)) == authority
    assert read_certified(authority, der(leaf), "this") == leaf
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.not_valid_before_utc < NOW < leaf.not_valid_after_utc


def test_the_certificate_of_another_root_is_not_trusted() -> None:
    root, other = RootKey(MemorySigner()), RootKey(MemorySigner())
    with pytest.raises(Untrusted):
        read_authority(root, der(make_authority(other, NOW)))


def test_a_leaf_of_another_root_with_the_same_name_is_not_trusted() -> None:
    root, other = RootKey(MemorySigner()), RootKey(MemorySigner())
    authority = make_authority(root, NOW)
    with pytest.raises(Untrusted):
        read_certified(authority, der(certified(other, authority)), "this")


def test_a_key_certified_for_another_end_is_not_trusted() -> None:
    root = RootKey(MemorySigner())
    authority = make_authority(root, NOW)
    with pytest.raises(Untrusted):
        read_certified(authority, der(certified(root, authority, "that")), "this")


def test_an_authority_altered_in_the_table_is_not_trusted() -> None:
    root = RootKey(MemorySigner())
    content = der(make_authority(root, NOW))
    altered = content[:-1] + bytes([content[-1] ^ 1])
    for stored in (altered, b"", b"garbage", content[:100]):
        with pytest.raises(Untrusted):
            read_authority(root, stored)


def test_the_root_key_shows_no_secret_and_signs_in_one_way_only() -> None:
    root = RootKey(MemorySigner())
    with pytest.raises(NotImplementedError):
        root.private_numbers()
    with pytest.raises(NotImplementedError):
        root.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with pytest.raises(NotImplementedError):
        root.exchange(ec.ECDH(), KEY)
    with pytest.raises(TypeError):
        root.sign(b"", ec.ECDSA(hashes.SHA512()))
    assert copy.copy(root) is root
    assert copy.deepcopy(root) is root
    assert (root.curve.name, root.key_size) == ("secp256r1", 256)


def test_a_root_on_another_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="P-256"):
        p256_key(ec.generate_private_key(ec.SECP384R1()).public_key())
