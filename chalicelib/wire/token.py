"""The token service: distribution's ``spec/auth/token`` (GET) and ``spec/auth/oauth`` (POST), the root's certificate, the keys.

Paths: ``GET, POST /auth/token``, ``GET /ca``, ``GET /.well-known/jwks.json``. What an endpoint knows how to refuse it
answers itself; other RegistryErrors (Busy) are the door's to answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from chalicelib.registry import access
from chalicelib.registry.credentials import Credentials, SignedIn
from chalicelib.registry.errors import NameInvalid, RequestInvalid, TooManyAttempts, Unauthenticated
from chalicelib.registry.events import Actor, Event, Events
from chalicelib.registry.federation import Federation, ProvenIdentity
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.refresh_tokens import RefreshTokens
from chalicelib.registry.tokens import Asked, IssuedToken, Rights, Tokens, decide, ordered
from chalicelib.wire.address import address_of
from chalicelib.wire.basic import name_and_secret
from chalicelib.wire.http import Request, Response

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - the name of a kind (RFC 8693 section 2.1)

ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a kind (section 3)

FEDERATED_SECONDS = 3600
"""How long a refresh token lives that was had for somebody else's proof: a job's time."""

MAX_SCOPES = 100
"""Scopes answered in one request; the rest is not granted. More would not fit into a token anyway."""

_MAX_BODY = 65_536
_MAX_FIELDS = 200
_MAX_CLIENT_ID = 200
_TRUE = frozenset({"1", "t", "T", "true", "True", "TRUE"})  # Go's strconv.ParseBool, which clients write for
_FALSE = frozenset({"", "0", "f", "F", "false", "False", "FALSE"})
_CLIENT_ID = re.compile(r"[\x20-\x7e]+", re.ASCII)  # RFC 6749 appendix A.1
_UNQUOTABLE = re.compile(r"[^\x20-\x7e]")

_WRONG = "the user name or the password is wrong"
_NOT_BASIC = "the Authorization header does not hold Basic credentials"


@dataclass(frozen=True, slots=True)
class TokenServices:
    """What the endpoints work with. ``realm`` is this service's own absolute URL, from settings."""

    credentials: Credentials
    tokens: Tokens
    refresh_tokens: RefreshTokens
    rights: Rights
    realm: str
    federation: Callable[[], Federation]
    """Built when somebody first comes with another's proof: it takes a library that no other request needs."""
    events: Events


class _Refused(Exception):
    """An answer other than a token: status, OCI code, OAuth code (RFC 6749 section 5.2), a sentence, and in how many seconds to
    try again (0: that would not help)."""

    def __init__(self, status: int, code: str, oauth: str, message: str, retry_after: int = 0) -> None:
        super().__init__(message)
        self.status, self.code, self.oauth, self.message = status, code, oauth, message
        self.retry_after = retry_after


# ------------------------------------------------------------------------------------------------------------ endpoints


def get_token(request: Request, services: TokenServices) -> Response:
    """``GET /auth/token?service=&scope=&scope=&client_id=&offline_token=``, with Basic credentials or none.

    200 with ``token``, ``access_token``, ``expires_in`` (seconds), ``issued_at`` (RFC 3339) and, for
    ``offline_token=true``, ``refresh_token``; 400 for parameters, 401 for credentials, 429 after too many wrong ones.
    ``account`` is ignored, as distribution's does: who calls is said by the credentials. Without credentials the token is an
    anonymous one, good for what everybody may do.
    """
    try:
        _check_service(request.first("service"), services)
        offline = _flag(request.first("offline_token"))
        signed_in = _by_basic(request, services)
    except _Refused as refused:
        return _error(refused, services)
    identity = None if signed_in is None else signed_in.identity
    issued = _issue(identity, request.query.get("scope", ()), services)
    answer = {"token": issued.text, **_answer(issued)}
    if offline and signed_in is not None:
        refresh_token = services.refresh_tokens.issue(signed_in, _client_id(request.first("client_id")))
        answer |= {"refresh_token": refresh_token} if refresh_token else {}
    return _json(200, answer)


def post_token(request: Request, services: TokenServices) -> Response:
    """``POST /auth/token`` with a form: ``grant_type`` (password, refresh_token, or RFC 8693's token exchange), ``service`` and
    ``client_id``, then ``username`` and ``password``, or ``refresh_token``, or ``username`` (a robot's), ``subject_token`` and
    ``subject_token_type``; and maybe ``scope`` and ``access_type=offline``, which brings a new refresh token, also in place of
    one.

    200 as for GET, and ``scope``: what the token grants. 400, 401 and 429 hold both OAuth's ``error`` and OCI's ``errors``;
    401 where RFC 6749 says 400 for wrong credentials, since clients of registries expect it. Never 403: containerd gives
    up on one, where it goes on with GET otherwise.
    """
    try:
        form = _form(request)
        _check_form(form, services)
        identity, refresh_token = _by_grant(form, address_of(request), services)
    except _Refused as refused:
        return _error(refused, services, oauth=True)
    issued = _issue(identity, (form.get("scope", ""),), services)
    answer = {"token": issued.text, **_answer(issued), "scope": _scope(issued.granted)}
    answer |= {"issued_token_type": ACCESS_TOKEN_TYPE} if form["grant_type"] == TOKEN_EXCHANGE else {}
    return _json(200, answer | ({"refresh_token": refresh_token} if refresh_token else {}))


def get_ca_certificate(request: Request, services: TokenServices) -> Response:  # noqa: ARG001 - every endpoint's shape
    """``GET /ca``: the root's certificate, PEM."""
    headers = {"Content-Type": "application/x-pem-file", "Cache-Control": "public, max-age=300"}
    return Response(200, headers, services.tokens.ca_certificate().encode("ascii"))


def get_keys(request: Request, services: TokenServices) -> Response:  # noqa: ARG001 - every endpoint's shape
    """``GET /.well-known/jwks.json``: the keys of tokens, a JSON Web Key Set (RFC 7517). A key stands in it a day before its
    first use, so that minutes of caching do no harm."""
    body = json.dumps(services.tokens.jwks(), separators=(",", ":")).encode()
    return Response(200, {"Content-Type": "application/jwk-set+json", "Cache-Control": "public, max-age=300"}, body)


def challenge(realm: str, service: str, scope: str = "", error: str = "") -> str:
    """The value of a ``WWW-Authenticate`` header that sends a client here (RFC 6750 section 3): ``scope`` is what the request
    needs, in scope syntax, ``error`` such as ``invalid_token`` or ``insufficient_scope``; empty ones are left out."""
    named = {"realm": realm, "service": service, "scope": scope, "error": error}
    return "Bearer " + ",".join(f"{name}={_quoted(value)}" for name, value in named.items() if value)


# --------------------------------------------------------------------------------------------------------------- asking


def parse_scopes(values: Iterable[str]) -> Asked:
    """What ``scope`` parameters ask for; each may hold several scopes between spaces (distribution's ``spec/auth/scope``).

    A scope is ``type:name:actions``, its type maybe followed by a class in parentheses, which changes nothing here. What
    cannot be read, unknown types and unknown actions are left out, not refused, as distribution's token server does: a
    client may ask for what a newer registry would know, and gets what this one can give.
    """
    repositories: dict[RepositoryName, frozenset[str]] = {}
    catalog = False
    for scope in [scope for value in values for scope in value.split(" ") if scope][:MAX_SCOPES]:
        kind, _, rest = scope.partition(":")
        name, _, listed = rest.rpartition(":")
        actions = frozenset(listed.split(",")) & (access.EVERY_ACTION | {"*"})
        match kind.partition("(")[0]:
            case access.REPOSITORY if actions:
                try:
                    repository = RepositoryName.parse(name)
                except NameInvalid:
                    continue
                repositories[repository] = repositories.get(repository, access.NO_ACTION) | actions
            case access.REGISTRY if name == access.CATALOG and "*" in actions:
                catalog = True
    return Asked(repositories, catalog)


def _issue(identity: access.Account | None, scopes: Iterable[str], services: TokenServices) -> IssuedToken:
    return services.tokens.issue(identity, decide(identity, parse_scopes(scopes), services.rights))


def _by_basic(request: Request, services: TokenServices) -> SignedIn | None:
    """Whose Basic credentials a request brings (RFC 7617), None without any. Raises _Refused."""
    header = request.header("authorization")
    if not header:
        return None
    name, secret = _basic(header)
    return _signed_in(name, secret, address_of(request), services)


def _basic(header: str) -> tuple[str, str]:
    """Name and password of Basic credentials (RFC 7617), which are UTF-8. Raises _Refused."""
    scheme, _, encoded = header.strip().partition(" ")
    found = name_and_secret(encoded) if scheme.lower() == "basic" else None
    if found is None:
        raise _Refused(401, "UNAUTHORIZED", "invalid_client", _NOT_BASIC)
    return found


def _by_grant(form: Mapping[str, str], source: str, services: TokenServices) -> tuple[access.Account, str | None]:
    """The account that a form stands for, and the refresh token that is answered. Raises _Refused."""
    offline = form.get("access_type") == "offline"
    match form["grant_type"]:
        case "password":
            _require(form, "username", "password")
            signed_in = _signed_in(form["username"], form["password"], source, services)
            token = services.refresh_tokens.issue(signed_in, _client_id(form["client_id"])) if offline else None
            return signed_in.identity, token
        case "refresh_token":
            _require(form, "refresh_token")
            refreshed = services.refresh_tokens.exchange(form["refresh_token"], rotate=offline)
            if refreshed is None:
                raise _Refused(
                    401, "UNAUTHORIZED", "invalid_grant", "the refresh token is unknown, has expired or was withdrawn"
                )
            return refreshed.identity, refreshed.successor or form["refresh_token"]
        case _ if form["grant_type"] == TOKEN_EXCHANGE:
            _require(form, "username", "subject_token", "subject_token_type")
            signed_in = _federated(form, source, services)
            client_id = _client_id(form["client_id"])
            token = services.refresh_tokens.issue(signed_in, client_id, FEDERATED_SECONDS) if offline else None
            return signed_in.identity, token
        case _:
            told = f"grant_type is password, refresh_token or {TOKEN_EXCHANGE}"
            raise _Refused(400, "UNSUPPORTED_VALUE", "unsupported_grant_type", told)


def _federated(form: Mapping[str, str], source: str, services: TokenServices) -> SignedIn:
    """The robot that somebody else's proof stands for; who it was is an event. Raises _Refused."""

    def admit(robot: str | None) -> ProvenIdentity:
        return services.federation().admit(robot, form["subject_token_type"], form["subject_token"])

    try:
        signed_in, identity = services.credentials.federated(form["username"], admit)
    except RequestInvalid as invalid:
        raise _Refused(400, "UNSUPPORTED_VALUE", "invalid_request", str(invalid)) from None
    except Unauthenticated as refused:
        raise _Refused(401, "UNAUTHORIZED", "invalid_grant", str(refused)) from None
    name, told = signed_in.account.name, {"issuer": identity.issuer, "subject": identity.subject}
    services.events.record(Event("ROBOT_LOGIN", name, Actor(name, source), detail=told))
    return signed_in


def _signed_in(name: str, secret: str, source: str, services: TokenServices) -> SignedIn:
    """Raises _Refused."""
    try:
        signed_in = services.credentials.authenticate(name, secret, source)
    except TooManyAttempts as many:
        raise _Refused(429, "TOOMANYREQUESTS", "temporarily_unavailable", str(many), many.retry_after) from None
    if signed_in is None:
        raise _Refused(401, "UNAUTHORIZED", "invalid_grant", _WRONG)
    return signed_in


def _form(request: Request) -> Mapping[str, str]:
    """The fields of the body, the first of each name (RFC 6749 section 3.2 allows no second). Raises _Refused."""
    kind = request.header("content-type").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise _Refused(400, "UNSUPPORTED", "invalid_request", "the body must be application/x-www-form-urlencoded")
    if len(request.body) > _MAX_BODY:
        raise _Refused(400, "UNSUPPORTED", "invalid_request", f"the body is longer than {_MAX_BODY} bytes")
    try:
        fields = parse_qsl(request.body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise _Refused(400, "UNSUPPORTED", "invalid_request", "the body is not a readable form") from error
    return dict(reversed(fields))


def _check_form(form: Mapping[str, str], services: TokenServices) -> None:
    _require(form, "grant_type", "service", "client_id")
    _check_service(form["service"], services)
    if not _client_id(form["client_id"]):
        raise _Refused(400, "UNSUPPORTED_VALUE", "invalid_request", "client_id has characters that it must not have")
    if form.get("access_type", "") not in ("", "online", "offline"):
        raise _Refused(400, "UNSUPPORTED_VALUE", "invalid_request", "access_type is online or offline")


def _require(form: Mapping[str, str], *names: str) -> None:
    for name in names:
        if not form.get(name):
            raise _Refused(400, "MISSING_REQUIRED_FIELD", "invalid_request", f"{name} is missing")


def _check_service(service: str, services: TokenServices) -> None:
    """A token for another service would be no good there. GET may leave it out, since there is but one."""
    if service and service != services.tokens.service:
        raise _Refused(400, "UNSUPPORTED_VALUE", "invalid_request", "service is not one that this token service knows")


def _flag(value: str) -> bool:
    if value not in _TRUE | _FALSE:
        raise _Refused(400, "BAD_TOKEN_OPTION", "invalid_request", "offline_token is true or false")
    return value in _TRUE


def _client_id(value: str) -> str:
    """What the client calls itself, or "" if that is nothing to keep."""
    return value[:_MAX_CLIENT_ID] if _CLIENT_ID.fullmatch(value) else ""


# ------------------------------------------------------------------------------------------------------------ answering


def _answer(issued: IssuedToken) -> dict[str, object]:
    return {
        "access_token": issued.text,
        "token_type": "Bearer",
        "expires_in": issued.expires_in,
        "issued_at": issued.issued_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _scope(granted: Iterable[access.Grant]) -> str:
    return " ".join(f"{grant.kind}:{grant.name}:{','.join(ordered(grant.actions))}" for grant in granted)


def _error(refused: _Refused, services: TokenServices, *, oauth: bool = False) -> Response:
    body: dict[str, object] = {"errors": [{"code": refused.code, "message": refused.message, "detail": None}]}
    if oauth:
        body |= {"error": refused.oauth, "error_description": refused.message}
    headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after else {}
    if refused.status == 401:
        headers["WWW-Authenticate"] = f'Basic realm={_quoted(services.realm)},charset="UTF-8"'
    return _json(refused.status, body, headers)


def _json(status: int, body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Response:
    """Answers hold secrets, so nobody may keep them (RFC 6749 section 5.1)."""
    fixed = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return Response(status, {**fixed, **(headers or {})}, json.dumps(body, separators=(",", ":")).encode())


def _quoted(value: str) -> str:
    """A quoted-string (RFC 9110 section 5.6.4). What is not printable ASCII has no business in a header and is left out."""
    return '"' + _UNQUOTABLE.sub("", value).replace("\\", "\\\\").replace('"', '\\"') + '"'
