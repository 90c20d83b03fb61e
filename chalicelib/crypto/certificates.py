"""Certificates: the root key as an authority, and the token-signing keys that it certifies (RFC 5280)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chalicelib.crypto.jose import thumbprint
from chalicelib.registry.ports import Signer

BACKDATED = timedelta(hours=1)
"""Certificates begin to be valid a little before they are made, for those whose clocks are behind."""

_AUTHORITY_LIFETIME = timedelta(days=20 * 365)


class Untrusted(Exception):
    """A certificate that the root did not make, or made for something else. Somebody has written into the table."""


class RootKey(ec.EllipticCurvePrivateKey):
    """The Signer's key in the shape that certificate builders want: it signs by a call of the port, and has no secret."""

    def __init__(self, signer: Signer) -> None:
        """Raises ValueError if the Signer's key is not on P-256."""
        self._signer = signer
        self._public_key = p256_key(serialization.load_der_public_key(signer.public_key()))

    def sign(self, data: bytes | bytearray | memoryview, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        if not isinstance(signature_algorithm, ec.ECDSA) or not isinstance(signature_algorithm.algorithm, hashes.SHA256):
            raise TypeError("the root key signs with ECDSA over SHA-256 only")
        return self._signer.sign(bytes(data))

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public_key

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public_key.curve

    @property
    def key_size(self) -> int:
        return self._public_key.key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        raise NotImplementedError("the root key only signs")

    def private_numbers(self) -> NoReturn:
        raise NotImplementedError("the root key never leaves its store")

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,  # noqa: A002 - the parent's name
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> NoReturn:
        raise NotImplementedError("the root key never leaves its store")

    def __copy__(self) -> RootKey:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> RootKey:
        return self


def p256_key(key: object) -> ec.EllipticCurvePublicKey:
    """The same key, known to be a public one on P-256. Raises ValueError if it is another."""
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("not a public key on the curve P-256")  # noqa: TRY004 - what is wrong is the stored value
    return key


def make_authority(root: RootKey, now: datetime) -> x509.Certificate:
    """The root's own, self-signed certificate."""
    name = _name(f"Slipway root {thumbprint(root.public_key())[:16]}")
    usage = _usage(key_cert_sign=True)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(root.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + _AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(root.public_key()), critical=False)
        .sign(root, hashes.SHA256())
    )


def certify(
    root: RootKey, authority: x509.Certificate, key: ec.EllipticCurvePublicKey, *, purpose: str, now: datetime, until: datetime
) -> x509.Certificate:
    """A certificate of the root for a key that signs; ``purpose``, its common name, says what for."""
    return (
        x509.CertificateBuilder()
        .subject_name(_name(purpose))
        .issuer_name(authority.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
        .sign(root, hashes.SHA256())
    )


def read_authority(root: RootKey, der: bytes) -> x509.Certificate:
    """The root's certificate from where it was kept. Raises Untrusted if it is another key's: the Signer is what is
    trusted, and the table only remembers."""
    authority = _load(der)
    if authority.public_key() != root.public_key():
        raise Untrusted("the stored CA certificate is not the root key's")
    _check_issued(authority, authority)
    return authority


def read_certified(authority: x509.Certificate, der: bytes, purpose: str) -> x509.Certificate:
    """A certificate of the authority for that purpose, from where it was kept. Raises Untrusted. Times are not looked at."""
    certificate = _load(der)
    _check_issued(certificate, authority)
    # The same root certifies keys for other ends, none of which may sign tokens.
    if certificate.subject != _name(purpose):
        raise Untrusted(f"a certificate that is not for {purpose}")
    return certificate


def _load(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise Untrusted("not a certificate") from error


def _check_issued(certificate: x509.Certificate, authority: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise Untrusted("a certificate that the root did not make") from error


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
