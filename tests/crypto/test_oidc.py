"""ID tokens: forged ones prove nothing, and a stranger's token makes nobody be asked."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import warnings
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from chalicelib.crypto import jose
from chalicelib.crypto.oidc import MAX_TOKEN, OidcTokens
from chalicelib.registry.errors import Unauthenticated
from chalicelib.registry.federation import NOT_TRUSTED, ProvenIdentity
from chalicelib.registry.ports import WebAnswer
from tests.frozen_clock import FrozenClock
from tests.memory_web import MemoryWeb

ISSUER, OTHER = "https://issuer.test", "https://other.test"
AUDIENCES = frozenset({"registry.test", "https://registry.test"})
TRUSTED = frozenset({ISSUER, OTHER})
DISCOVERY = "/.well-known/openid-configuration"
NOW = int(FrozenClock().now().timestamp())

RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
EC384_KEY = ec.generate_private_key(ec.SECP384R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
STRANGER = rsa.generate_private_key(65537, 2048)

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def jwk(key: PrivateKey | ed448.Ed448PrivateKey, kid: str | None, **more: object) -> dict[str, object]:
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        entry: dict[str, Any] = RSAAlgorithm.to_jwk(public, as_dict=True)
        entry.pop("key_ops")
    elif isinstance(public, ec.EllipticCurvePublicKey):
        entry = ECAlgorithm.to_jwk(public, as_dict=True)
    else:
        entry = OKPAlgorithm.to_jwk(public, as_dict=True)
    return {**entry, **({} if kid is None else {"kid": kid}), **more}


KEYS = [jwk(RSA_KEY, "rsa"), jwk(EC_KEY, "ec", use="sig"), jwk(EC384_KEY, "ec384"), jwk(ED_KEY, "ed")]
CLAIMS: dict[str, object] = {
    "iss": ISSUER,
    "sub": "repo:acme/app:ref:refs/heads/main",
    "aud": "registry.test",
    "iat": NOW,
    "nbf": NOW,
    "exp": NOW + 300,
    "ref_protected": True,
}


def signed(
    changed: Mapping[str, object] | None = None,
    *,
    key: object = RSA_KEY,
    algorithm: str = "RS256",
    without: str = "",
    **header: object,
) -> str:
    """A token of the issuer, changed; ``header`` members that are None are left out."""
    claims = {name: value for name, value in {**CLAIMS, **(changed or {})}.items() if name != without}
    told = {name: value for name, value in {"kid": "rsa", **header}.items() if value is not None}
    return jwt.PyJWS().encode(json.dumps(claims).encode(), key, algorithm=algorithm, headers=told)  # type: ignore[arg-type]


def unsigned(header: Mapping[str, object], claims: object, signature: bytes = b"") -> str:
    return ".".join(jose.encode(part) for part in (json.dumps(header).encode(), json.dumps(claims).encode(), signature))


class Issuers:
    """Tokens on a web on which the issuer publishes its keys."""

    def __init__(self, keys: object = None) -> None:
        self.web = MemoryWeb()
        self.clock = FrozenClock()
        self.tokens = OidcTokens(self.web, self.clock)
        self.publish(KEYS if keys is None else keys)

    def publish(self, keys: object, issuer: str = ISSUER, **document: object) -> None:
        told = {"issuer": issuer, "jwks_uri": f"{issuer}/keys", **document}
        self.web.answers[issuer.removesuffix("/") + DISCOVERY] = WebAnswer(200, json.dumps(told).encode())
        self.web.answers[f"{issuer}/keys"] = WebAnswer(200, json.dumps({"keys": keys}).encode())

    def prove(self, token: str, issuers: frozenset[str] = TRUSTED) -> ProvenIdentity:
        return self.tokens.prove(token, AUDIENCES, issuers)

    def refused(self, token: str, issuers: frozenset[str] = TRUSTED) -> str:
        """Why the token is refused; the sentence tells nothing of the token."""
        with pytest.raises(Unauthenticated) as caught:
            self.prove(token, issuers)
        assert not any(len(part) > 8 and part in str(caught.value) for part in token.split("."))
        return str(caught.value)


@pytest.fixture
def issuers() -> Issuers:
    return Issuers()


# --------------------------------------------------------------------------------------------------------------- forged


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "", "HS256", "RS1", "RS512", "PS384", "ES512", "ES256K", "rs256", None, 1, ["RS256"]]
)
def test_an_algorithm_that_is_not_taken(issuers: Issuers, algorithm: object) -> None:
    good = signed().rpartition(".")[2]
    for signature in (b"", jose.decode(good)):
        assert "algorithm" in issuers.refused(unsigned({"alg": algorithm, "kid": "rsa"}, CLAIMS, signature))
    assert issuers.web.asked == []


def test_the_public_key_is_no_secret(issuers: Issuers) -> None:
    public = RSA_KEY.public_key()
    secrets = [
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        json.dumps(KEYS[0]).encode(),
        str(KEYS[0]["n"]).encode(),
        b"",
    ]
    for secret in secrets:
        for told in ("HS256", "RS256"):
            text = unsigned({"alg": told, "kid": "rsa"}, CLAIMS).rpartition(".")[0]
            issuers.refused(f"{text}.{jose.encode(hmac.digest(secret, text.encode(), hashlib.sha256))}")


def test_an_issuer_s_symmetric_key_verifies_nothing() -> None:
    issuers = Issuers([{"kty": "oct", "k": jose.encode(b"s" * 32), "kid": "rsa", "alg": "HS256"}])
    issuers.refused(signed(key=b"s" * 32, algorithm="HS256"))


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": jwk(STRANGER, "rsa")},
        {"jku": "https://evil.test/keys"},
        {"x5u": "https://evil.test/certificate"},
        {"x5c": ["MIIB"]},
        {"crit": ["exp"]},
        {"jwk": None},
    ],
    ids=min,
)
def test_a_key_that_the_token_brings_is_not_used(issuers: Issuers, header: dict[str, object]) -> None:
    for key in (STRANGER, RSA_KEY):
        claims, told = json.dumps(CLAIMS).encode(), json.dumps({"alg": "RS256", "kid": "rsa", **header}).encode()
        text = f"{jose.encode(told)}.{jose.encode(claims)}"
        signature = RSAAlgorithm(RSAAlgorithm.SHA256).sign(text.encode(), key)
        assert "header" in issuers.refused(f"{text}.{jose.encode(signature)}")
    assert issuers.web.asked == []


def test_another_key_under_a_known_id(issuers: Issuers) -> None:
    assert "signature" in issuers.refused(signed(key=STRANGER))


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [
        (EC_KEY, "ES256", "rsa"),
        (RSA_KEY, "RS256", "ec"),
        (EC_KEY, "ES256", "ec384"),
        (ED_KEY, "EdDSA", "ec"),
        (RSA_KEY, "PS256", "ed"),
    ],
)
def test_an_algorithm_that_is_not_the_key_s(issuers: Issuers, key: PrivateKey, algorithm: str, kid: str) -> None:
    assert "signature" in issuers.refused(signed(key=key, algorithm=algorithm, kid=kid))


def test_a_key_is_used_for_its_own_algorithm_alone() -> None:
    issuers = Issuers([jwk(RSA_KEY, "rsa", alg="RS256")])
    issuers.refused(signed(algorithm="PS256"))
    assert issuers.prove(signed()).issuer == ISSUER


def test_the_key_of_another_issuer_proves_nothing(issuers: Issuers) -> None:
    issuers.publish([jwk(STRANGER, "theirs")], OTHER)
    issuers.prove(signed({"iss": OTHER}, key=STRANGER, kid="theirs"))
    assert "no fit key" in issuers.refused(signed(key=STRANGER, kid="theirs"))
    assert "signature" in issuers.refused(signed(key=STRANGER, kid="rsa"))
    assert "no fit key" in issuers.refused(signed({"iss": OTHER}, kid="rsa"))


def test_any_altered_character_is_noticed(issuers: Issuers) -> None:
    token = signed(key=EC_KEY, algorithm="ES256", kid="ec")
    issuers.prove(token)
    for index in range(0, len(token), 3):
        other = "A" if token[index] != "A" else "B"
        issuers.refused(token[:index] + other + token[index + 1 :])


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b.c", "a.b", "e30.e30", "e30.e30.e30.e30", "e30.W10.", "e30.MQ.", "é.é.é", "\ud800..", "e30=.e30.AA"],
)
def test_what_is_no_token(issuers: Issuers, token: str) -> None:
    issuers.refused(token)
    assert issuers.web.asked == []


@given(st.text(max_size=200) | st.lists(st.binary(max_size=40).map(jose.encode), max_size=4).map(".".join))
def test_garbage_is_unauthenticated_and_nothing_else(token: str) -> None:
    issuers = Issuers()
    with pytest.raises(Unauthenticated):
        issuers.prove(token)
    assert issuers.web.asked == []


@pytest.mark.parametrize(
    "payload", [b"[" * 5_000, b'{"a":' * 3_000, b'{"exp":' + b"9" * 5_000 + b"}", b"\xff\xfe", b"null", b'"iss"']
)
def test_payloads_that_are_hard_to_read(issuers: Issuers, payload: bytes) -> None:
    issuers.refused(f"{jose.encode(json.dumps({'alg': 'RS256', 'kid': 'rsa'}).encode())}.{jose.encode(payload)}.AA")


def test_what_is_no_json_is_no_claim(issuers: Issuers) -> None:
    assert "no signed JSON" in issuers.refused(signed({"more": float("nan")}))


def test_a_key_set_without_end_is_not_used() -> None:
    assert "at most 100" in Issuers([*KEYS, *({} for _ in range(97))]).refused(signed())
    Issuers([*KEYS, *({} for _ in range(96))]).prove(signed())


def test_a_token_that_is_too_long_is_not_read(issuers: Issuers) -> None:
    issuers.refused(signed({"more": "x" * MAX_TOKEN}))
    assert issuers.web.asked == []
    issuers.prove(signed({"more": "x" * 10_000}))


# --------------------------------------------------------------------------------------------------------------- claims


@pytest.mark.parametrize(
    "issuer",
    [
        f"{ISSUER}/",
        f"{ISSUER}:443",
        "https://ISSUER.test",
        "http://issuer.test",
        "https://evil.test",
        "",
        None,
        1,
        [ISSUER],
        {"a": 1},
        "aws",
    ],
    ids=str,
)
def test_an_issuer_that_no_rule_names_is_not_asked(issuers: Issuers, issuer: object) -> None:
    assert issuers.refused(signed({"iss": issuer})) == NOT_TRUSTED
    assert issuers.refused(signed(), frozenset()) == NOT_TRUSTED
    assert issuers.web.asked == []


def test_what_is_no_https_url_is_not_asked_even_if_a_rule_names_it(issuers: Issuers) -> None:
    for issuer in ("http://issuer.test", "file:///etc", "aws", "https://user@issuer.test", "https://issuer.test?a"):
        assert issuers.refused(signed({"iss": issuer}), frozenset({issuer})) == NOT_TRUSTED
    assert issuers.web.asked == []


@pytest.mark.parametrize(
    "audience",
    [
        "other.test",
        "",
        None,
        1,
        [],
        ["other.test"],
        ["registry.test", "other.test"],
        [["registry.test"]],
        ["registry.test", 1],
        {"registry.test": 1},
        "Registry.test",
        "https://registry.test/",
    ],
    ids=str,
)
def test_a_token_for_another_service_or_for_another_one_too(issuers: Issuers, audience: object) -> None:
    assert "audience" in issuers.refused(signed({"aud": audience}))
    assert "audience" in issuers.refused(signed(without="aud"))


@pytest.mark.parametrize(
    "audience",
    ["registry.test", "https://registry.test", ["registry.test"], ["registry.test", "https://registry.test"]],
    ids=str,
)
def test_a_token_for_this_registry(issuers: Issuers, audience: object) -> None:
    assert issuers.prove(signed({"aud": audience})).subject == CLAIMS["sub"]


@pytest.mark.parametrize("subject", ["", None, 1, ["a"], "a" * 1025], ids=lambda value: str(value)[:20])
def test_a_token_without_a_subject(issuers: Issuers, subject: object) -> None:
    assert "subject" in issuers.refused(signed({"sub": subject}))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"exp": NOW - 60}, "expired"),
        ({"exp": 0}, "expired"),
        ({"iat": NOW + 61}, "not valid yet"),
        ({"nbf": NOW + 61}, "not valid yet"),
        ({"exp": NOW + 86_400 + 61}, "24 hours"),
        ({"exp": 253_402_300_799}, "24 hours"),
    ],
    ids=str,
)
def test_a_token_of_another_time(issuers: Issuers, changed: dict[str, object], why: str) -> None:
    assert why in issuers.refused(signed(changed))
    assert issuers.web.asked == []


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize(
    "value",
    [None, "", str(NOW + 10), True, [NOW], {}, -1, 10**30, 10**400, float("nan"), float("inf"), float("-inf"), 1e300],
    ids=lambda value: str(value)[:12],
)
def test_a_time_that_is_none(issuers: Issuers, name: str, value: object) -> None:
    issuers.refused(signed({name: value}))


@pytest.mark.parametrize("name", ["exp", "iat"])
def test_a_time_that_is_missing(issuers: Issuers, name: str) -> None:
    assert name in issuers.refused(signed(without=name))


@pytest.mark.parametrize(
    "changed", [{"exp": NOW - 59}, {"iat": NOW + 60}, {"nbf": NOW + 60}, {"exp": NOW + 86_400}, {"exp": NOW + 0.5}], ids=str
)
def test_clocks_may_differ_by_a_minute(issuers: Issuers, changed: dict[str, object]) -> None:
    issuers.prove(signed(changed))


def test_a_token_is_good_until_it_expires_and_not_after(issuers: Issuers) -> None:
    token = signed(without="nbf")
    issuers.prove(token)
    issuers.clock.advance(359)
    issuers.prove(token)
    issuers.clock.advance(1)
    issuers.refused(token)


# ----------------------------------------------------------------------------------------------------------------- keys


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [
        (RSA_KEY, "RS256", "rsa"),
        (RSA_KEY, "PS256", "rsa"),
        (EC_KEY, "ES256", "ec"),
        (EC384_KEY, "ES384", "ec384"),
        (ED_KEY, "EdDSA", "ed"),
    ],
)
def test_every_algorithm_that_is_taken(issuers: Issuers, key: PrivateKey, algorithm: str, kid: str) -> None:
    identity = issuers.prove(signed(key=key, algorithm=algorithm, kid=kid))
    assert identity == ProvenIdentity(ISSUER, str(CLAIMS["sub"]), CLAIMS)


@pytest.mark.parametrize(
    "entry",
    [
        jwk(RSA_KEY, "rsa", use="enc"),
        jwk(RSA_KEY, "rsa", key_ops=["encrypt"]),
        jwk(RSA_KEY, "rsa", key_ops="verify"),
        jwk(RSA_KEY, "rsa", alg="RS512"),
        jwk(RSA_KEY, "rsa", alg=["RS256"]),
        jwk(RSA_KEY, "rsa", d="AQ"),
        jwk(RSA_KEY, "rsa", kty="rsa"),
        jwk(RSA_KEY, "rsa", n="!!"),
        jwk(RSA_KEY, "rsa", n=None),
        jwk(RSA_KEY, "rsa", n=5),
        jwk(RSA_KEY, "rsa", e="AA"),
        jwk(RSA_KEY, "rsa", e=jose.encode(b"\x01" * 5)),
        jwk(RSA_KEY, "rsa", n=jose.encode(b"\xff" * 1_025)),
        jwk(RSA_KEY, "rsa", n=jose.encode(b"\xff" * 60_000)),
        {**jwk(RSA_KEY, None), "kid": ["rsa"]},
        jwk(EC_KEY, "rsa", crv="P-521"),
        jwk(EC_KEY, "rsa", x=jose.encode(b"\x01" * 32)),
        jwk(ec.generate_private_key(ec.SECP521R1()), "rsa"),
        jwk(ec.generate_private_key(ec.SECP256K1()), "rsa"),
        jwk(ed448.Ed448PrivateKey.generate(), "rsa"),
        {"kid": "rsa"},
        {},
        "rsa",
        None,
        ["rsa"],
    ],
)
def test_keys_that_are_not_fit_are_none(entry: object) -> None:
    issuers = Issuers([entry, jwk(EC_KEY, "ec")])
    assert "no fit key" in issuers.refused(signed())
    issuers.prove(signed(key=EC_KEY, algorithm="ES256", kid="ec"))


@pytest.mark.parametrize("bits", [1024, 2047])
def test_a_weak_rsa_key_is_none(bits: int) -> None:
    weak = rsa.generate_private_key(65537, bits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        token = signed(key=weak)
    assert "no fit key" in Issuers([jwk(weak, "rsa")]).refused(token)


def test_a_token_without_a_key_s_id_is_for_an_issuer_with_one_key(issuers: Issuers) -> None:
    assert "names no key" in issuers.refused(signed(kid=None))
    assert Issuers([jwk(RSA_KEY, None)]).prove(signed(kid=None)).issuer == ISSUER
    assert Issuers([jwk(RSA_KEY, "rsa")]).prove(signed(kid=None)).issuer == ISSUER
    assert "no fit key" in Issuers([jwk(RSA_KEY, None)]).refused(signed())
    for kid in (1, ["rsa"], {"a": "b"}):
        text = unsigned({"alg": "RS256", "kid": kid}, CLAIMS)
        assert "kid" in issuers.refused(text)


def test_two_keys_of_one_id_are_both_tried() -> None:
    issuers = Issuers([jwk(STRANGER, "rsa"), jwk(RSA_KEY, "rsa")])
    assert issuers.prove(signed()).issuer == ISSUER


@pytest.mark.parametrize("told", [f"{ISSUER}/", OTHER, "", None])
def test_a_discovery_document_of_another_issuer(issuers: Issuers, told: object) -> None:
    document = {"issuer": told, "jwks_uri": f"{ISSUER}/keys"}
    issuers.web.answers[ISSUER + DISCOVERY] = WebAnswer(200, json.dumps(document).encode())
    assert "another issuer's" in issuers.refused(signed())
    assert issuers.web.urls == [ISSUER + DISCOVERY], "its keys are not even fetched"


@pytest.mark.parametrize(
    "address",
    ["http://issuer.test/keys", "file:///etc/passwd", "//issuer.test/keys", "", None, 1, ["https://issuer.test/keys"]],
)
def test_an_address_of_keys_that_is_none(issuers: Issuers, address: object) -> None:
    issuers.publish(KEYS, jwks_uri=address)
    assert "https address" in issuers.refused(signed())
    assert len(issuers.web.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        WebAnswer(404, b"{}"),
        WebAnswer(500, b""),
        WebAnswer(201, b"{}"),
        WebAnswer(200, b""),
        WebAnswer(200, b"[]"),
        WebAnswer(200, b"null"),
        WebAnswer(200, b"\xff"),
        WebAnswer(200, b"[" * 100_000),
        WebAnswer(200, b'{"keys":{}}'),
        WebAnswer(200, b'{"keys":[' + b"{}," * 100 + b"{}]}"),
        WebAnswer(200, b'{"keys":[]}'),
    ],
    ids=lambda answer: f"{answer.status} {answer.body[:20]!r}",
)
def test_answers_that_are_none(issuers: Issuers, answer: WebAnswer) -> None:
    for url in (f"{ISSUER}/keys", ISSUER + DISCOVERY):
        issuers.web.answers[url] = answer
        issuers.refused(signed())
        issuers.clock.advance(60)


def test_nothing_of_our_network_is_told(issuers: Issuers) -> None:
    issuers.web.answers.clear()
    assert "10.0.0.7" not in issuers.refused(signed())


def test_an_issuer_with_a_path_and_a_slash(issuers: Issuers) -> None:
    issuer = f"{OTHER}/realms/ci/"
    issuers.publish(KEYS, issuer)
    assert issuers.prove(signed({"iss": issuer}), frozenset({issuer})).issuer == issuer
    assert issuers.web.urls[0] == f"{OTHER}/realms/ci{DISCOVERY}"


# ------------------------------------------------------------------------------------------------------- how often asked


def test_keys_are_kept_for_five_minutes(issuers: Issuers) -> None:
    for _ in range(5):
        issuers.prove(signed())
    issuers.clock.advance(299)
    issuers.prove(signed())
    assert issuers.web.urls == [ISSUER + DISCOVERY, f"{ISSUER}/keys"]
    issuers.publish([jwk(STRANGER, "new")])
    issuers.clock.advance(1)
    assert "no fit key" in issuers.refused(signed()), "a withdrawn key is good for five minutes at most"
    assert len(issuers.web.asked) == 4


def test_unknown_keys_make_an_issuer_be_asked_once_a_minute(issuers: Issuers) -> None:
    issuers.prove(signed())
    for second in range(120):
        issuers.refused(signed({"jti": second}, kid=f"unknown-{second}"))
        issuers.prove(signed())
        issuers.clock.advance(1)
    assert len(issuers.web.asked) == 2 * 2, "at the start and after a minute; the next is at the second minute"


def test_a_new_key_is_found_after_a_minute(issuers: Issuers) -> None:
    issuers.prove(signed())
    issuers.publish([*KEYS, jwk(STRANGER, "new")])
    issuers.clock.advance(59)
    issuers.refused(signed(key=STRANGER, kid="new"))
    issuers.clock.advance(1)
    issuers.prove(signed(key=STRANGER, kid="new"))


def test_an_issuer_that_fails_is_left_alone_for_a_minute(issuers: Issuers) -> None:
    issuers.web.answers.clear()
    for _ in range(3):
        issuers.refused(signed())
        issuers.clock.advance(20)
    assert len(issuers.web.asked) == 1
    issuers.publish(KEYS)
    issuers.prove(signed())


def test_an_outage_after_an_unknown_key_costs_nobody_the_known_ones(issuers: Issuers) -> None:
    issuers.prove(signed())
    issuers.web.answers.clear()
    issuers.clock.advance(61)
    issuers.refused(signed(kid="unknown"))
    issuers.prove(signed())


def test_one_issuer_s_keys_do_not_count_for_how_often_another_is_asked(issuers: Issuers) -> None:
    issuers.publish(KEYS, OTHER)
    issuers.prove(signed())
    issuers.prove(signed({"iss": OTHER}))
    assert len(issuers.web.asked) == 4


def test_a_forged_padding_is_another_spelling(issuers: Issuers) -> None:
    token = signed()
    issuers.refused(token + "=")
    header, payload, signature = token.split(".")
    padded = base64.urlsafe_b64encode(jose.decode(payload)).decode()
    if padded != payload:
        issuers.refused(f"{header}.{padded}.{signature}")
