"""JSON Web Signatures: one spelling, one algorithm, and nothing but refusals for everything else."""

from __future__ import annotations

import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.crypto import jose

KEY = ec.generate_private_key(ec.SECP256R1())
HEADER = {"alg": "ES256", "typ": "JWT"}


@given(st.binary(max_size=200))
def test_encoding_is_undone_and_its_length_known(content: bytes) -> None:
    text = jose.encode(content)
    assert jose.decode(text) == content
    assert len(text) == jose.encoded_length(len(content))


@pytest.mark.parametrize("text", ["QQ==", "QR", "Q", "QQ\n", " QQ", "Q+", "Q/", "++++", "////", "Q Q", "é", "\ud800"])
def test_another_spelling_of_the_same_content_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the kind is all that is promised
        jose.decode(text)


def test_pyjwt_reads_what_is_signed_here() -> None:
    token = jose.sign(KEY, HEADER, b'{"sub":"admin"}')
    assert jwt.decode(token, KEY.public_key(), algorithms=["ES256"]) == {"sub": "admin"}


def test_what_pyjwt_signs_is_read_here() -> None:
    token = jwt.encode({"sub": "admin"}, KEY, "ES256")
    assert jose.read_header(token) == HEADER
    assert json.loads(jose.verified(KEY.public_key(), token) or b"") == {"sub": "admin"}
    assert jose.verified(ec.generate_private_key(ec.SECP256R1()).public_key(), token) is None


def test_a_thumbprint_is_that_of_rfc_7638() -> None:
    jwk = {**jose.public_jwk(KEY.public_key()), "kid": "something", "use": "sig"}
    assert jose.thumbprint(KEY.public_key()) == jose.thumbprint(jwt.PyJWK(jwk).key)
    assert list(jose.public_jwk(KEY.public_key())) == ["crv", "kty", "x", "y"]  # lexicographic, as section 3.2 has it
    assert len(jose.thumbprint(KEY.public_key())) == 43


@pytest.mark.parametrize(
    "signature",
    [bytes(64), b"", bytes(63), bytes(65), b"\xff" * 64, bytes(32) + b"\x01" * 32, b"\x01" * 32 + bytes(32)],
    ids=["zero", "empty", "short", "long", "beyond the order", "r is zero", "s is zero"],
)
def test_signatures_that_are_no_numbers_of_the_curve_prove_nothing(signature: bytes) -> None:
    signed = jose.sign(KEY, HEADER, b"{}").rpartition(".")[0]
    assert jose.verified(KEY.public_key(), f"{signed}.{jose.encode(signature)}") is None


@given(st.text(max_size=300) | st.lists(st.text("abcXYZ019-_=+/", max_size=60), max_size=5).map(".".join))
def test_garbage_is_a_value_error_and_nothing_else(text: str) -> None:
    try:
        jose.read_header(text)
    except ValueError:
        return
    assert text.count(".") == 2


@pytest.mark.parametrize("content", [b"[" * 1_400, b'{"a":' * 1_400, b"[]", b"1", b'"x"', b"null", b"\xff\xfe", b"9" * 5_000])
def test_headers_that_are_no_objects_are_value_errors(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the kind is all that is promised
        jose.read_header(f"{jose.encode(content)}.e30.AA")


def test_the_length_of_a_token_is_known_beforehand() -> None:
    token = jose.sign(KEY, HEADER, b"{}" * 50)
    parts = jose.header_length(HEADER) + jose.encoded_length(100) + jose.SIGNATURE_LENGTH
    assert len(token) == parts + len("..")


@pytest.mark.parametrize("algorithm", ["HS256", "none", "ES384", "RS256"])
def test_another_algorithm_proves_nothing(algorithm: str) -> None:
    header = jose.encode(json.dumps({"alg": algorithm}).encode())
    _, payload, signature = jose.sign(KEY, HEADER, b"{}").split(".")
    for ending in (signature, ""):
        assert jose.verified(KEY.public_key(), f"{header}.{payload}.{ending}") is None
