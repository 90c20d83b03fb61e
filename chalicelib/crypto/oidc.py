"""OpenID Connect: who the bearer of an ID token is, by its issuer's published keys (OpenID Connect Core 1.0, Discovery 1.0).

The token's own ``iss`` proves nothing; it only selects among the issuers that the caller trusts beforehand, so that nobody is
asked whom no rule names. The keys come from the issuer's discovery document alone: a header that brings a key or says where one
lies is refused. Times are judged by the Clock port, so PyJWT checks signatures and nothing else.

A token may be exchanged as often as its bearer likes until it expires: what it brings lives for minutes, and to remember every
token would cost a write each. Issuers for jobs make theirs short-lived.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import InvalidTokenError, PyJWS
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError

from chalicelib.crypto import jose
from chalicelib.registry.errors import Unauthenticated
from chalicelib.registry.federation import NOT_TRUSTED, ProvenIdentity, is_issuer
from chalicelib.registry.ports import Clock, Web, WebFailure
from chalicelib.registry.recent import Recent

LEEWAY = 60
"""Seconds that clocks may differ by."""

MAX_AHEAD = 86_400
"""Seconds from now that a token may go on to be valid at most."""

MAX_TOKEN = 16 * 1024
"""Characters of a token at most."""

KEPT = timedelta(minutes=5)
"""How long an issuer's keys are used before they are fetched again: so long a withdrawn one is still good here."""

PAUSE = timedelta(minutes=1)
"""How long an issuer is left alone after it was asked, whatever unknown keys tokens name and whatever it answered."""

_ISSUERS = 256  # whose keys are kept at the same time
_MAX_KEYS = 100
_MAX_SUBJECT = 1024
_LAST_TIME = 253_402_300_800  # the year 10000, in seconds since the epoch
_MIN_RSA, _MAX_RSA = 2048, 8192  # bits; larger ones cost more than anybody's token is worth
_MAX_EXPONENT = 2**32
_ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
_FORBIDDEN = ("jwk", "jku", "x5u", "x5c", "crit")
_JWS = PyJWS(algorithms=_ALGORITHMS)

PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class _Key:
    """A key of an issuer, and the algorithms that it is for."""

    kid: str | None
    algorithms: frozenset[str]
    key: PublicKey


class OidcTokens:
    """An IdentityProvider for ID tokens of issuers that publish a discovery document."""

    def __init__(self, web: Web, clock: Clock) -> None:
        self._clock = clock
        self._keys = _IssuersKeys(web, clock)

    def prove(self, subject_token: str, audiences: frozenset[str], issuers: frozenset[str]) -> ProvenIdentity:
        """See ``IdentityProvider.prove``. Replay within a token's lifetime is allowed."""
        if len(subject_token) > MAX_TOKEN:
            raise Unauthenticated(f"the token is longer than {MAX_TOKEN} characters")
        header, claims = _read(subject_token)
        issuer = claims.get("iss")
        if not isinstance(issuer, str) or issuer not in issuers or not is_issuer(issuer):
            raise Unauthenticated(NOT_TRUSTED)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
            raise Unauthenticated(f"the token is signed by an algorithm that is none of {', '.join(_ALGORITHMS)}")
        if any(name in header for name in _FORBIDDEN):
            raise Unauthenticated(f"the token's header has one of {', '.join(_FORBIDDEN)}, which are not taken")
        # What costs no question first; none of it is believed before the signature is verified.
        self._check_claims(claims, audiences)
        kid = header.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise Unauthenticated("the token's kid is no text")
        keys = self._keys.of(issuer, kid)
        if not any(_signed(key, algorithm, subject_token) for key in keys):
            raise Unauthenticated("the token's signature is not by the issuer's key")
        return ProvenIdentity(issuer, claims["sub"], claims)

    def _check_claims(self, claims: Mapping[str, Any], audiences: frozenset[str]) -> None:
        subject, audience = claims.get("sub"), claims.get("aud")
        if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT:
            raise Unauthenticated("the token has no subject")
        told = audience if isinstance(audience, list) else [audience]
        # A token for somebody else too could be brought here by that one.
        if not told or not all(isinstance(entry, str) and entry in audiences for entry in told):
            raise Unauthenticated("the token is meant for another service: its audience must be this registry alone")
        now = self._clock.now().timestamp()
        expires_at, issued_at = _time(claims, "exp"), _time(claims, "iat")
        not_before = _time(claims, "nbf") if "nbf" in claims else issued_at
        if now >= expires_at + LEEWAY:
            raise Unauthenticated("the token has expired")
        if now < max(issued_at, not_before) - LEEWAY:
            raise Unauthenticated("the token is not valid yet")
        if expires_at > now + MAX_AHEAD + LEEWAY:
            raise Unauthenticated("the token is valid for longer than 24 hours from now")


def _read(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Header and claims as the token tells them, nothing verified. Raises Unauthenticated."""
    try:
        header = jose.read_header(token)
        claims = _json(jose.decode(token.split(".")[1]))
    except ValueError:
        raise Unauthenticated("the token is no signed JSON Web Token") from None
    if not isinstance(claims, dict):
        raise Unauthenticated("the token's claims are no JSON object")
    return header, claims


def _json(content: bytes) -> object:
    """Raises ValueError, also for what is no JSON but read as such by default: NaN compares as nothing does."""
    try:
        told: object = json.loads(content, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    return told


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _time(claims: Mapping[str, Any], name: str) -> float:
    """A time in seconds since the epoch (RFC 7519: NumericDate). Raises Unauthenticated."""
    value = claims.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < _LAST_TIME:
        raise Unauthenticated(f"the token has no {name} that is a time")
    return value


def _signed(key: _Key, algorithm: str, token: str) -> bool:
    if algorithm not in key.algorithms:
        return False
    try:
        _JWS.decode(token, key.key, algorithms=[algorithm])
    except (InvalidTokenError, InvalidKeyError):
        return False
    return True


# ----------------------------------------------------------------------------------------------------------------- keys


@dataclass(slots=True)
class _Asked:
    """What is known of an issuer, under its guard: when it was asked last, when it last answered, and its keys then."""

    guard: Lock = field(default_factory=Lock)
    asked_at: datetime | None = None
    fetched_at: datetime | None = None
    keys: tuple[_Key, ...] = ()
    failure: str = ""


class _IssuersKeys:
    """The keys of issuers, kept for minutes. One issuer's slowness holds nobody up who asks for another's."""

    def __init__(self, web: Web, clock: Clock) -> None:
        self._web = web
        self._clock = clock
        self._asked: Recent[str, _Asked] = Recent(_ISSUERS)
        self._guard = Lock()

    def of(self, issuer: str, kid: str | None) -> Sequence[_Key]:
        """The issuer's keys of that id; without one, its only key. Raises Unauthenticated."""
        with self._guard:
            asked = self._asked.get(issuer)
            if asked is None:
                self._asked.put(issuer, asked := _Asked())
        with asked.guard:
            now = self._clock.now()
            if not _is_within(KEPT, asked.fetched_at, now):
                asked.keys = ()
            found = _chosen(asked.keys, kid)
            if not found and not _is_within(PAUSE, asked.asked_at, now):
                self._ask(issuer, asked, now)
                found = _chosen(asked.keys, kid)
            if found:
                return found
            if asked.failure:
                raise Unauthenticated(asked.failure)
            if kid is None and asked.keys:
                raise Unauthenticated("the token names no key (kid), and its issuer has several")
            raise Unauthenticated("the issuer has no fit key of the id that the token names")

    def _ask(self, issuer: str, asked: _Asked, now: datetime) -> None:
        asked.asked_at = now
        try:
            asked.keys = self._fetched(issuer)
        except Unauthenticated as error:
            asked.failure = str(error)
        else:
            asked.fetched_at, asked.failure = now, ""

    def _fetched(self, issuer: str) -> tuple[_Key, ...]:
        document = self._document(issuer.removesuffix("/") + "/.well-known/openid-configuration", "discovery document")
        if document.get("issuer") != issuer:
            raise Unauthenticated("the issuer's discovery document is another issuer's")
        address = document.get("jwks_uri")
        if not isinstance(address, str) or not address.startswith("https://"):
            raise Unauthenticated("the issuer's discovery document names no https address of its keys")
        keys = self._document(address, "key set").get("keys")
        if not isinstance(keys, list) or len(keys) > _MAX_KEYS:
            raise Unauthenticated(f"the issuer's key set is not a list of at most {_MAX_KEYS} keys")
        return tuple(key for entry in keys if (key := _key(entry)) is not None)

    def _document(self, url: str, what: str) -> Mapping[str, Any]:
        try:
            answer = self._web.fetch(url, headers={"Accept": "application/json"})
        except WebFailure as error:  # what it says of our network is not for the caller
            raise Unauthenticated(f"the issuer's {what} cannot be fetched; try again in a minute") from error
        if answer.status != 200:
            raise Unauthenticated(f"the issuer's {what} cannot be fetched: the answer has status {answer.status}")
        try:
            document = _json(answer.body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise Unauthenticated(f"the issuer's {what} is no JSON object")
        return document


def _is_within(span: timedelta, earlier: datetime | None, now: datetime) -> bool:
    """A clock that was set back must not make anything last."""
    return earlier is not None and timedelta() <= now - earlier < span


def _chosen(keys: Sequence[_Key], kid: str | None) -> Sequence[_Key]:
    if kid is None:
        return keys if len(keys) == 1 else ()
    return [key for key in keys if key.kid == kid]


def _key(entry: object) -> _Key | None:
    """A key of a key set (RFC 7517), None if it is none to verify with: another kind, weak, private, meant for something else
    or unreadable."""
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or "d" in entry:
        return None
    if "key_ops" in entry and not (isinstance(entry["key_ops"], list) and "verify" in entry["key_ops"]):
        return None
    kid, named = entry.get("kid"), entry.get("alg")
    if not isinstance(kid, str | None) or not isinstance(named, str | None):
        return None
    try:
        key, algorithms = _public_key(entry)
    except (InvalidKeyError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    if named is not None:
        algorithms &= {named}
    return _Key(kid, algorithms, key) if algorithms else None


def _public_key(entry: dict[str, Any]) -> tuple[PublicKey, frozenset[str]]:
    """The key and what it may verify. Raises InvalidKeyError and what else a stranger's numbers lead to."""
    match entry.get("kty"):
        case "RSA":
            key = RSAAlgorithm.from_jwk(entry)
            if isinstance(key, rsa.RSAPublicKey) and _is_fit(key):
                return key, frozenset({"RS256", "PS256"})
        case "EC":
            point = ECAlgorithm(ECAlgorithm.SHA256).from_jwk(entry)
            if isinstance(point, ec.EllipticCurvePublicKey):
                curves = {"secp256r1": "ES256", "secp384r1": "ES384"}
                return point, frozenset({curves[point.curve.name]})
        case "OKP":
            edwards = OKPAlgorithm.from_jwk(entry)
            if isinstance(edwards, ed25519.Ed25519PublicKey):
                return edwards, frozenset({"EdDSA"})
    raise InvalidKeyError("not a key to verify with")


def _is_fit(key: rsa.RSAPublicKey) -> bool:
    return _MIN_RSA <= key.key_size <= _MAX_RSA and key.public_numbers().e < _MAX_EXPONENT
