"""Tokens: what a caller carries from the token service to the registry.

An access token is a JWT (distribution's token specification, ``spec/auth/jwt``) that lives for five minutes. It says who
calls, what was granted and, in a claim of our own, what was asked for and refused. It is signed with a key of the ring
(``TokenSigner``, ``TokenVerifier``, made in ``chalicelib/crypto``) and needs no table and no root key. What brings a new one
when it has expired is in refresh_tokens.py.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from chalicelib.registry import access
from chalicelib.registry.errors import Unauthenticated
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.ports import Clock
from chalicelib.registry.recent import Recent

LIFETIME = 300
"""Seconds that an access token lives; the specification asks for 60 at least."""

LEEWAY = 30
"""Seconds that clocks may differ by."""

MAX_TOKEN = 6_000
"""Characters of a token at most: a gateway takes 10,240 bytes of request line and headers together."""

_VERIFIED = 256  # tokens; anybody can fetch anonymous ones that hold as much as a token may
_ACTIONS = (access.PULL, access.PUSH, access.DELETE, "*")


class TokenSigner(Protocol):
    """Signs claims with the ring's key of the present."""

    def room(self, limit: int) -> int:
        """How many bytes of claims a token of ``limit`` characters carries."""

    def sign(self, claims: bytes, limit: int) -> str:
        """The claims, a JSON object, as a signed compact JWT of at most ``limit`` characters. It carries the signing key's
        certificate if there is room for it. Raises ValueError if it is longer even without; Busy."""


class TokenVerifier(Protocol):
    """Knows the ring's keys, and trusts no other."""

    def open(self, text: str) -> bytes:
        """The claims of a token that a key of the ring signed. What they say is for the caller to judge.

        Raises Unauthenticated."""


class PublicKeys(Protocol):
    """What everybody may know of the ring."""

    def jwks(self) -> Mapping[str, object]:
        """The public keys that tokens may be signed with now and next, a JSON Web Key Set (RFC 7517 section 5)."""

    def ca_certificate(self) -> str:
        """The certificate of the root that certifies these keys, PEM."""


class Rights(Protocol):
    """Knows how accounts stand to repositories; ``rights.py``."""

    def everywhere(
        self, account: access.Account | None, names: Iterable[RepositoryName]
    ) -> Mapping[RepositoryName, access.Where]:
        """How the account (None: anonymous) stands to each of them, as things are now."""


class StillActive(Protocol):
    """Knows which accounts are still there."""

    def still_active(self, name: str, issued_at: int, identity: str) -> bool:
        """Whether the account that a token was issued for at that time may still use it. ``identity`` is the account's id, ""
        for one that the token does not say."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a token is asked for: actions by repository, in the order asked, and whether the catalogue is among it."""

    repositories: Mapping[RepositoryName, frozenset[str]]
    catalog: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What of it is granted and what is refused, in the order asked."""

    granted: tuple[access.Grant, ...]
    refused: tuple[access.Grant, ...]


def decide(account: access.Account | None, asked: Asked, rights: Rights) -> Decision:
    """What of ``asked`` the account (None: anonymous) gets.

    ``*`` asks for whatever is allowed: it is granted as the actions allowed, and as ``*`` besides when those are all, since
    other verifiers compare words.
    """
    wheres = rights.everywhere(account, asked.repositories)
    granted, refused = [], []
    for name, actions in asked.repositories.items():
        allowed = access.allowed_actions(account, wheres[name])
        wanted = access.EVERY_ACTION if "*" in actions else actions
        given = wanted & allowed
        star = {"*"} if "*" in actions and allowed == access.EVERY_ACTION else set[str]()
        granted.append(access.Grant(access.REPOSITORY, str(name), given | star))
        refused.append(access.Grant(access.REPOSITORY, str(name), wanted - given))
    if asked.catalog:
        catalog = access.Grant(access.REGISTRY, access.CATALOG, frozenset("*"))
        (granted if access.may_list_catalog(account) else refused).append(catalog)
    return Decision(tuple(g for g in granted if g.actions), tuple(g for g in refused if g.actions))


def ordered(actions: Iterable[str]) -> list[str]:
    """Actions in the order that specifications write them in: pull, push, delete, ``*``."""
    present = set(actions)
    return [action for action in _ACTIONS if action in present]


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token, its lifetime in seconds, when it was made, and what it grants: maybe less than was decided, see ``issue``."""

    text: str
    expires_in: int
    issued_at: datetime
    granted: tuple[access.Grant, ...]


class Tokens:
    """The access tokens of one registry: ``issuer`` makes them, for ``service``."""

    def __init__(
        self,
        *,
        issuer: str,
        service: str,
        signer: TokenSigner,
        verifier: TokenVerifier,
        keys: PublicKeys,
        accounts: StillActive,
        clock: Clock,
    ) -> None:
        self.issuer = issuer
        self.service = service
        self._signer = signer
        self._verifier = verifier
        self._keys = keys
        self._accounts = accounts
        self._clock = clock
        self._verified: Recent[str, _Claims] = Recent(_VERIFIED)

    def issue(self, account: access.Account | None, decision: Decision) -> IssuedToken:
        """A token for the account (None: anonymous). Raises Busy.

        Where not all has room, refusals are left out first, then grants to pull only, then others, the last asked first:
        without a pull a mount misses and content is pushed again, without a push nothing works.
        """
        now = self._clock.now().replace(microsecond=0)
        issued_at = int(now.timestamp())
        claims: dict[str, object] = {
            "iss": self.issuer,
            "sub": "" if account is None else account.name,
            "aud": self.service,
            "exp": issued_at + LIFETIME,
            "nbf": issued_at,
            "iat": issued_at,
            "jti": secrets.token_hex(16),
            "access": [],
            "refused": [],
        }
        if account is not None and account.id:
            claims["account_id"] = account.id
        if account is not None and account.limits is not None:
            claims["limits"] = _limits_claim(account.limits)
        fitting = _fit(decision, self._signer.room(MAX_TOKEN) - len(_json(claims)))
        claims["access"] = [_entry(grant) for grant in fitting.granted]
        claims["refused"] = [_entry(grant) for grant in fitting.refused]
        return IssuedToken(self._signer.sign(_json(claims), MAX_TOKEN), LIFETIME, now, fitting.granted)

    def verify(self, text: str) -> access.Caller:
        """Who carries the token, and what it grants. Raises Unauthenticated, saying what is wrong with it.

        A signature is checked once and remembered by the exact text; times, and whether the account is still there, are looked
        at every time.
        """
        claims = self._verified.get(text)
        if claims is None:
            if len(text) > MAX_TOKEN:  # this registry made none so long
                raise Unauthenticated("the token is too long")
            claims = _claims(self._verifier.open(text))
            if claims.issuer != self.issuer:
                raise Unauthenticated("the token was issued by another token service")
            if claims.audience != self.service:
                raise Unauthenticated("the token is meant for another service")
            self._verified.put(text, claims)
        now = self._clock.now().timestamp()
        if now >= claims.expires_at + LEEWAY:
            raise Unauthenticated("the token has expired")
        if now < max(claims.not_before, claims.issued_at) - LEEWAY:
            raise Unauthenticated("the token is not valid yet")
        name = claims.caller.account
        if name and not self._accounts.still_active(name, claims.issued_at, claims.account_id):
            raise Unauthenticated("the account is gone or locked")
        return claims.caller

    def jwks(self) -> Mapping[str, object]:
        """The public keys, a JSON Web Key Set."""
        return self._keys.jwks()

    def ca_certificate(self) -> str:
        """The root's certificate, PEM."""
        return self._keys.ca_certificate()


@dataclass(frozen=True, slots=True)
class _Claims:
    issuer: str
    audience: str
    expires_at: int
    not_before: int
    issued_at: int
    account_id: str
    caller: access.Caller


def _claims(payload: bytes) -> _Claims:
    """Read claims that a key of the ring has signed; this code wrote them, unless another release did."""
    try:
        claims: Any = json.loads(payload)
        return _Claims(
            issuer=str(claims["iss"]),
            audience=str(claims["aud"]),
            expires_at=int(claims["exp"]),
            not_before=int(claims["nbf"]),
            issued_at=int(claims["iat"]),
            account_id=str(claims.get("account_id", "")),
            caller=access.Caller(
                str(claims["sub"]),
                tuple(_grants(claims["access"])),
                tuple(_grants(claims.get("refused", ()))),
                _limits(claims["limits"]) if "limits" in claims else None,
            ),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise Unauthenticated("the token lacks a claim that it must have") from error


def _grants(entries: Sequence[Mapping[str, Any]]) -> Iterator[access.Grant]:
    for entry in entries:
        yield access.Grant(str(entry["type"]), str(entry["name"]), frozenset(str(action) for action in entry["actions"]))


def _limits(claim: Mapping[str, Any]) -> access.Limits:
    return access.Limits(tuple(map(str, claim["repositories"])), frozenset(map(str, claim["actions"])))


def _limits_claim(limits: access.Limits) -> Mapping[str, object]:
    return {"repositories": list(limits.repositories), "actions": ordered(limits.actions)}


def _entry(grant: access.Grant) -> Mapping[str, object]:
    return {"type": grant.kind, "name": grant.name, "actions": ordered(grant.actions)}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _fit(decision: Decision, room: int) -> Decision:
    """As much of the decision as its entries have room for, in bytes."""
    first = [grant for grant in decision.granted if grant.actions != {access.PULL}]
    then = [grant for grant in decision.granted if grant.actions == {access.PULL}]
    granted, room = _kept((*first, *then), room)
    refused, room = _kept(decision.refused, room)
    return Decision(
        tuple(grant for grant in decision.granted if grant in granted),
        tuple(grant for grant in decision.refused if grant in refused),
    )


def _kept(grants: Sequence[access.Grant], room: int) -> tuple[frozenset[access.Grant], int]:
    kept = []
    for grant in grants:
        size = len(_json(_entry(grant))) + 1  # and a comma
        if size > room:
            break
        room -= size
        kept.append(grant)
    return frozenset(kept), room
