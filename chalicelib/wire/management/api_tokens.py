"""Access tokens: ``/api/v0/api_tokens``, one's own, or with ``?account=`` a robot's."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from chalicelib.registry import access_tokens as domain
from chalicelib.registry.access import Limits, decide_minting
from chalicelib.registry.access_tokens import MAX_LABEL, MAX_PATTERNS
from chalicelib.registry.errors import Denied, TokenUnknown, VersionMismatch
from chalicelib.wire.management.bodies import Input
from chalicelib.wire.management.call import NOTHING_THERE, Answer, Call
from chalicelib.wire.management.words import Moment, moment

# No control character, of which JSON Schema knows no better name; the domain refuses what else cannot be shown.
_TokenLabel = Annotated[str, Meta(min_length=1, max_length=MAX_LABEL, extra_json_schema={"pattern": r"^[ -~\u00c0-\u024f]*$"})]
_Pattern = Annotated[str, Meta(extra_json_schema={"pattern": r"^[a-z0-9]+(?:(?:[._]|__|-+|/)[a-z0-9]+)*(?:/\*)?$"})]


class Scope(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What an access token is narrowed to: repositories (``acme/*`` is all of a namespace) and actions on them."""

    repositories: Annotated[list[_Pattern], Meta(min_length=1, max_length=MAX_PATTERNS)]
    actions: Annotated[list[Literal["pull", "push", "delete"]], Meta(min_length=1, max_length=3)]


class ApiToken(Struct, frozen=True, rename="camel"):
    """An access token; ``hashedToken`` is the SHA-256 of the secret. ``scope`` null: as good as its account."""

    id: str
    hashed_token: str
    token_label: str
    is_active: bool
    last_used: datetime | None
    created_at: datetime
    expires_at: datetime | None
    scope: Scope | None


class ApiTokens(Struct, frozen=True, rename="camel"):
    """A page of access tokens, in the order in which they were made."""

    api_tokens: list[ApiToken]


class NewApiToken(Input, frozen=True):
    """An access token, narrowed to ``scope``, good until ``expiresAt``."""

    token_label: _TokenLabel
    expires_at: Moment | None = None
    scope: Scope | None = None


class MadeApiToken(ApiToken, frozen=True, rename="camel"):
    """An access token and its secret, which is shown this once."""

    token: str


class ApiTokenChange(Input, frozen=True):
    """What to change of an access token."""

    token_label: _TokenLabel | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET


def list_tokens(call: Call) -> Answer:
    read = call.services.access_tokens.page(call.account, call.page.after, call.page.one_more)
    found, more = call.page.cut(read, lambda token: token.id)
    return Answer(ApiTokens([_shown(token) for token in found]), next=more)


def create_token(call: Call) -> Answer:
    """Raises RequestInvalid, TooMany, AccountUnknown, Busy."""
    body = call.given(NewApiToken)
    expires_at = None if body.expires_at is None else int(body.expires_at.timestamp())
    limits = None if body.scope is None else Limits(tuple(body.scope.repositories), frozenset(body.scope.actions))
    made, secret = call.services.access_tokens.create(call.account, body.token_label, expires_at=expires_at, limits=limits)
    told = _shown(made)
    answer = MadeApiToken(**{name: getattr(told, name) for name in told.__struct_fields__}, token=secret)
    return Answer(answer, version=made.version, object=call.account.name, detail={"id": made.id})


def read_token(call: Call) -> Answer:
    """Raises TokenUnknown."""
    token = call.services.access_tokens.get(call.account, call.names["id"])
    return Answer(_shown(token), version=token.version)


def change_token(call: Call) -> Answer:
    """Raises TokenUnknown, VersionMismatch, RequestInvalid, Denied for switching one on by an access token, Busy."""
    body = call.given(ApiTokenChange)
    minting = decide_minting(call.signed_in)
    if body.is_active is True and not minting.allowed:
        raise Denied(reason=minting.reason)
    token = call.services.access_tokens.change(
        call.account,
        call.names["id"],
        label=None if body.token_label is UNSET else body.token_label,
        is_active=None if body.is_active is UNSET else body.is_active,
        version=call.version,
    )
    return Answer(_shown(token), version=token.version, object=call.account.name)


def delete_token(call: Call) -> Answer:
    """Raises VersionMismatch, Busy."""
    tokens = call.services.access_tokens
    try:
        tokens.get(call.account, call.names["id"])
    except TokenUnknown:
        if call.version is not None:
            raise VersionMismatch from None
        return NOTHING_THERE
    tokens.delete(call.account, call.names["id"], version=call.version)
    return Answer(object=call.account.name)


def _shown(token: domain.AccessToken) -> ApiToken:
    limits = token.limits
    scope = None if limits is None else Scope(list(limits.repositories), sorted(limits.actions))  # type: ignore[arg-type]
    return ApiToken(
        id=token.id,
        hashed_token=token.hashed,
        token_label=token.label,
        is_active=token.is_active,
        last_used=None if token.last_used is None else moment(token.last_used),
        created_at=moment(token.created_at),
        expires_at=None if token.expires_at is None else moment(token.expires_at),
        scope=scope,
    )
