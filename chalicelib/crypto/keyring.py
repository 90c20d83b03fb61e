"""The ring of token-signing keys: one per period, certified by the root, published before its first use.

::

    keys/<root id>              one ring per root key; the id is the root's JWK thumbprint (RFC 7638)
        ca                      certificate (DER): the root's own, made once
        key/<period>            kid, certificate (DER), wrapped, expires_at: the private half only as Signer.wrap leaves it

Periods are counted from the epoch, so everybody who needs the key of a moment looks under the same name, and a conditional
write lets one of those who make it win. A token costs no call of the Signer: the private half is unwrapped once per
instance. The table is not trusted: a key counts only if the root has certified it as this period's token-signing key.
"""

from __future__ import annotations

import base64
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from chalicelib.crypto import jose
from chalicelib.crypto.certificates import RootKey, Untrusted, certify, make_authority, p256_key, read_authority, read_certified
from chalicelib.registry.attempts import retried
from chalicelib.registry.errors import Unauthenticated
from chalicelib.registry.ports import EXPIRES, Absent, Attributes, Clock, Key, Put, Signer, Table

PERIOD = 90 * 86_400
"""Seconds that one key signs."""

PUBLISHED_BEFORE = 86_400
"""Seconds before its first use that a key is published."""

_OUTLIVES = 3_600
"""Seconds that a key is good for verifying after its period: more than any token lives, and clocks differ."""

_KEPT = 30 * 86_400
"""Seconds that a key's record is kept after that."""

_REREAD = 5
"""Seconds between two looks into the table for keys not known, whatever strangers send."""

_PUBLISHED = 60
"""Seconds that a published key set may be taken from memory."""

_TRY_AGAIN = 60
"""Seconds to wait after the next key could not be made, while the present one does."""

_MAX_HEADER = 2_000
"""Characters of a token's encoded header at most; with a certificate it has some 900."""

_HEADER = frozenset({"alg", "kid", "typ", "x5c"})

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Published:
    """One key of the ring, its certificate checked."""

    period: int
    kid: str
    certificate: x509.Certificate
    public_key: ec.EllipticCurvePublicKey
    wrapped: bytes
    valid_from: float
    valid_until: float


@dataclass(frozen=True, slots=True)
class _Held:
    """One key of the ring with its private half, and the two headers of its tokens."""

    private_key: ec.EllipticCurvePrivateKey
    bare: Mapping[str, object]
    chained: Mapping[str, object]


class KeyRing:
    """``registry.tokens.TokenSigner``, ``TokenVerifier`` and ``PublicKeys`` on a Table and a Signer. Safe between threads."""

    def __init__(self, table: Table, signer: Signer, clock: Clock) -> None:
        self._table = table
        self._signer = signer
        self._clock = clock
        self._lock = threading.RLock()
        self._held: dict[int, _Held] = {}
        self._known: dict[str, _Published] = {}
        self._authority: x509.Certificate | None = None
        self._read_at: float | None = None
        self._prepare_after = 0.0

    @cached_property
    def _root(self) -> RootKey:
        return RootKey(self._signer)

    @cached_property
    def _partition(self) -> str:
        return f"keys/{jose.thumbprint(self._root.public_key())}"

    # ------------------------------------------------------------------------------------------------------- signing

    def room(self, limit: int) -> int:
        """How many bytes of claims a token of ``limit`` characters carries, if it carries no certificate."""
        bare = jose.header_length(self._signing().bare)
        return (limit - bare - len("..") - jose.SIGNATURE_LENGTH) * 3 // 4

    def sign(self, claims: bytes, limit: int) -> str:
        """Sign claims with the present period's key, making it if it is not there; ``TokenSigner.sign``.

        The certificate (``x5c``, RFC 7515 section 4.1.6) is for distribution's verifier, which wants it or a known ``kid``;
        ours does not look at it. The root's own is left out: who trusts it has it.
        """
        held = self._signing()
        rest = len("..") + jose.encoded_length(len(claims)) + jose.SIGNATURE_LENGTH
        for header in (held.chained, held.bare):
            if jose.header_length(header) + rest <= limit:
                return jose.sign(held.private_key, header, claims)
        raise ValueError(f"{len(claims)} bytes of claims do not fit into a token of {limit} characters")

    def _signing(self) -> _Held:
        now = self._now()
        period = int(now // PERIOD)
        held = self._held.get(period)
        if held is None:
            with self._lock:
                held = self._held.get(period) or self._hold(period)
        if now >= (period + 1) * PERIOD - PUBLISHED_BEFORE and period + 1 not in self._held:
            self._prepare(period + 1, now)
        return held

    def _prepare(self, period: int, now: float) -> None:
        """Publish the next period's key and unwrap it already: at its first use the Signer need not be within reach."""
        if now < self._prepare_after or not self._lock.acquire(blocking=False):
            return
        try:
            self._hold(period)
        except Exception:
            # Whatever is wrong with the Signer or the table today, the present key signs; only tomorrow it would matter.
            logger.exception("the next token-signing key could not be prepared; trying again in %s s", _TRY_AGAIN)
            self._prepare_after = now + _TRY_AGAIN
        finally:
            self._lock.release()

    def _hold(self, period: int) -> _Held:
        published = retried(lambda: self._ensure(period))
        secret = self._signer.unwrap(published.wrapped, self._context(period, published.kid))
        private_key = serialization.load_der_private_key(secret, password=None)
        if not isinstance(private_key, ec.EllipticCurvePrivateKey) or private_key.public_key() != published.public_key:
            raise Untrusted("the wrapped private key is not the certified one's")
        certificate = base64.b64encode(published.certificate.public_bytes(serialization.Encoding.DER)).decode()
        header = {"alg": jose.ALGORITHM, "kid": published.kid, "typ": "JWT"}
        held = _Held(private_key, header, {**header, "x5c": [certificate]})
        self._known = {**self._known, published.kid: published}
        self._held = {kept: key for kept, key in self._held.items() if kept >= period - 1} | {period: held}
        return held

    def rotate(self) -> Sequence[str]:
        """Make the present key and, from two days before its first use, the next one, unless they are there; their ids.

        For a schedule: so a key has stood among the public ones for a day when it is first used, though nobody may have asked
        for a token meanwhile. Raises Busy, and what the Signer raises.
        """
        now = self._now()
        periods = [int(now // PERIOD), int((now + 2 * PUBLISHED_BEFORE) // PERIOD)]
        return [retried(partial(self._ensure, period)).kid for period in dict.fromkeys(periods)]

    # ----------------------------------------------------------------------------------------------------- verifying

    def open(self, text: str) -> bytes:
        """The claims of a token that a key of the ring signed; ``TokenVerifier.open``.

        The header names the key and nothing else of it counts. One with any member that this registry does not write
        (``jwk``, ``jku``, ``x5u``, ``crit``) is refused outright. Raises Unauthenticated.
        """
        if text.find(".") > _MAX_HEADER:
            raise Unauthenticated("the token is malformed")
        try:
            header = jose.read_header(text)
        except ValueError as error:
            raise Unauthenticated("the token is malformed") from error
        if header.get("alg") != jose.ALGORITHM:
            raise Unauthenticated("the token is not signed with ES256")
        kid = header.get("kid")
        if not _HEADER.issuperset(header) or not isinstance(kid, str):
            raise Unauthenticated("the token's header is not one that this registry writes")
        published = self._find(kid)
        if published is None:
            raise Unauthenticated("the token is signed with a key that this registry does not know")
        if not published.valid_from <= self._now() <= published.valid_until:
            raise Unauthenticated("the token is signed with a key that is not valid now")
        claims = jose.verified(published.public_key, text)
        if claims is None:
            raise Unauthenticated("the token's signature is wrong")
        return claims

    def _find(self, kid: str) -> _Published | None:
        published = self._known.get(kid)
        if published is None and not self._was_read(_REREAD):
            with self._lock:
                if not self._was_read(_REREAD):
                    self._reread()
            published = self._known.get(kid)
        return published

    def _was_read(self, seconds: int) -> bool:
        return self._read_at is not None and 0 <= self._now() - self._read_at < seconds

    def _reread(self) -> None:
        """Learn the keys of the last, the present and the next period: no token names another."""
        self._known = self._read()
        # Only now, so that who comes meanwhile waits for the read, and who comes after a failed one does not hear that a good
        # key is unknown.
        self._read_at = self._now()

    def _read(self) -> dict[str, _Published]:
        present = int(self._now() // PERIOD)
        periods = (present - 1, present, present + 1)
        found = self._table.batch_get([self._ca_key(), *map(self._key, periods)])
        known = {}
        for period in periods:
            try:
                published = self._published(found, period)
            except Untrusted:
                logger.exception("the token-signing key of period %s is not the root's; it counts for nothing", period)
                continue
            if published is not None:
                known[published.kid] = published
        return known

    # ---------------------------------------------------------------------------------------------------- publishing

    def jwks(self) -> Mapping[str, object]:
        """The keys of tokens now and next; ``PublicKeys.jwks``. It is at most a minute old."""
        self._signing()
        if not self._was_read(_PUBLISHED):
            with self._lock:
                self._reread()
        now = self._now()
        good = [published for published in self._known.values() if now <= published.valid_until]
        return {"keys": [_jwk(published) for published in sorted(good, key=lambda published: published.period)]}

    def ca_certificate(self) -> str:
        """The root's certificate, PEM; made if it is not there. ``PublicKeys.ca_certificate``."""
        authority = self._authority
        if authority is None:
            with self._lock:
                authority = retried(lambda: self._ensure_authority(self._table.batch_get([self._ca_key()])))
        return authority.public_bytes(serialization.Encoding.PEM).decode("ascii")

    # -------------------------------------------------------------------------------------------------------- making

    def _ensure(self, period: int) -> _Published:
        """The key of a period, made if there is none. Run by ``retried``: who loses a race finds the winner's."""
        keys = [self._ca_key(), self._key(period)]
        found = self._table.batch_get(keys)
        authority = self._ensure_authority(found)
        if keys[1] not in found:
            self._table.write(Put(keys[1], self._make(authority, period), Absent()))
            found = self._table.batch_get(keys)
        published = self._published(found, period)
        if published is None:
            raise Untrusted("a key just written is gone")
        return published

    def _ensure_authority(self, found: Mapping[Key, Attributes]) -> x509.Certificate:
        authority = self._read_authority(found)
        if authority is None:
            authority = make_authority(self._root, self._clock.now())
            der = authority.public_bytes(serialization.Encoding.DER)
            self._table.write(Put(self._ca_key(), {"certificate": der}, Absent()))
            self._authority = authority
        return authority

    def _make(self, authority: x509.Certificate, period: int) -> Attributes:
        private_key = ec.generate_private_key(ec.SECP256R1())
        kid = jose.thumbprint(private_key.public_key())
        until = datetime.fromtimestamp((period + 1) * PERIOD + _OUTLIVES, UTC)
        now = self._clock.now()
        certificate = certify(self._root, authority, private_key.public_key(), purpose=_purpose(period), now=now, until=until)
        secret = private_key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "kid": kid,
            "certificate": certificate.public_bytes(serialization.Encoding.DER),
            "wrapped": self._signer.wrap(secret, self._context(period, kid)),
            EXPIRES: int((until + timedelta(seconds=_KEPT)).timestamp()),
        }

    # ------------------------------------------------------------------------------------------------------- reading

    def _read_authority(self, found: Mapping[Key, Attributes]) -> x509.Certificate | None:
        if self._authority is None and self._ca_key() in found:
            self._authority = read_authority(self._root, _content(found[self._ca_key()], "certificate"))
        return self._authority

    def _published(self, found: Mapping[Key, Attributes], period: int) -> _Published | None:
        """The period's key from what was read, or None if it is not there. Raises Untrusted."""
        authority, attributes = self._read_authority(found), found.get(self._key(period))
        if authority is None or attributes is None:
            return None
        for known in self._known.values():  # its chain was checked before
            if known.period == period and known.kid == attributes.get("kid"):
                return known
        certificate = read_certified(authority, _content(attributes, "certificate"), _purpose(period))
        try:
            public_key = p256_key(certificate.public_key())
        except ValueError as error:
            raise Untrusted("a token-signing key of another kind") from error
        kid = jose.thumbprint(public_key)
        if kid != attributes.get("kid"):
            raise Untrusted("the certificate of another key")
        return _Published(
            period=period,
            kid=kid,
            certificate=certificate,
            public_key=public_key,
            wrapped=_content(attributes, "wrapped"),
            valid_from=certificate.not_valid_before_utc.timestamp(),
            valid_until=certificate.not_valid_after_utc.timestamp(),
        )

    def _ca_key(self) -> Key:
        return Key(self._partition, "ca")

    def _key(self, period: int) -> Key:
        return Key(self._partition, f"key/{period:06d}")

    def _context(self, period: int, kid: str) -> str:
        return f"{self._partition}/key/{period:06d}/{kid}"

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _purpose(period: int) -> str:
    return f"Slipway token signing {period:06d}"


def _jwk(published: _Published) -> Mapping[str, object]:
    certificate = base64.b64encode(published.certificate.public_bytes(serialization.Encoding.DER)).decode()
    return {
        **jose.public_jwk(published.public_key),
        "kid": published.kid,
        "alg": jose.ALGORITHM,
        "use": "sig",
        "x5c": [certificate],
    }


def _content(attributes: Attributes, name: str) -> bytes:
    value = attributes.get(name)
    if not isinstance(value, bytes):
        raise Untrusted(f"the ring's record has no {name}")
    return value
