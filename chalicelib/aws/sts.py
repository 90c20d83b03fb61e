"""Who somebody is on AWS, proven by a request that only he can sign: STS GetCallerIdentity.

Whoever has AWS credentials signs that request and, instead of sending it, hands it over; this registry sends it, and AWS says
whose it was. All that the bearer chooses is which STS of AWS is asked and the headers of an allow-list; path, method and body
are fixed here. The signed header ``x-slipway-registry`` names the registry that the request is meant for, so that what was
handed to another service is no good here, and what was handed to us is no good there.

    subject token = base64url(JSON {"url": "https://sts.eu-west-1.amazonaws.com/", "headers": {"Authorization": ..., ...}})

A signed request may be exchanged again until AWS refuses its date, 15 minutes after it was made.
https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

from chalicelib.registry.errors import Unauthenticated
from chalicelib.registry.federation import AWS, NOT_TRUSTED, ProvenIdentity
from chalicelib.registry.ports import Clock, Web, WebFailure

BODY = b"Action=GetCallerIdentity&Version=2011-06-15"

REGISTRY_HEADER = "x-slipway-registry"

MAX_TOKEN = 16 * 1024
"""Characters of a subject token at most; session tokens of AWS have some 2,000."""

MAX_AGE = timedelta(minutes=15)
"""How far from now a request may be dated, as AWS has it."""

_URL = re.compile(r"https://(?P<host>[a-z0-9.:-]+)/", re.ASCII)
_HOST = re.compile(
    r"sts\.amazonaws\.com|sts\.(?!cn-)[a-z]{2}(?:-[a-z]{1,12}){1,3}-[0-9]{1,2}\.amazonaws\.com"
    r"|sts\.cn-[a-z]{1,12}-[0-9]{1,2}\.amazonaws\.com\.cn",
    re.ASCII,
)
_PASSED_ON = frozenset(
    {"authorization", "content-type", "host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token", REGISTRY_HEADER}
)
_NEEDED = frozenset({"host", "x-amz-date", REGISTRY_HEADER})
_FORM = "application/x-www-form-urlencoded"
_CONTENT_TYPE = re.compile(re.escape(_FORM) + r"(?:; ?charset=utf-8)?", re.IGNORECASE)
_VALUE = re.compile(r"[!-~](?:[ -~]{0,8190}[!-~])?", re.ASCII)
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[A-Z0-9]{16,128}/[0-9]{8}/[a-z0-9-]{1,32}/sts/aws4_request, ?"
    r"SignedHeaders=(?P<signed>[a-z0-9;-]{1,512}), ?Signature=[0-9a-f]{64}",
    re.ASCII,
)
_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)

_NAMESPACE = "{https://sts.amazonaws.com/doc/2011-06-15/}"
_MAX_ANSWER = 16 * 1024
_ARN = re.compile(r"arn:[a-z-]{3,16}:(?:iam|sts)::(?P<account>[0-9]{12}):[!-~]{1,1024}", re.ASCII)
_USER_ID = re.compile(r"[!-~]{1,512}", re.ASCII)


def is_sts_host(host: str) -> bool:
    """Is it an endpoint of AWS STS, global or of a region, also in China and GovCloud?"""
    return bool(_HOST.fullmatch(host))


class SignedCallerIdentities:
    """An IdentityProvider for signed GetCallerIdentity requests. ``is_endpoint`` says which hosts (``host`` or ``host:port``)
    are STS."""

    def __init__(self, web: Web, clock: Clock, is_endpoint: Callable[[str], bool] = is_sts_host) -> None:
        self._web = web
        self._clock = clock
        self._is_endpoint = is_endpoint

    def prove(self, subject_token: str, audiences: frozenset[str], issuers: frozenset[str]) -> ProvenIdentity:
        """See ``IdentityProvider.prove``. Replay is allowed for as long as AWS takes the request."""
        url, headers = _read(subject_token)
        host = self._host(url)
        self._check_headers(headers, host, audiences)
        if AWS not in issuers:
            raise Unauthenticated(NOT_TRUSTED)
        return self._told(url, headers)

    def _host(self, url: str) -> str:
        found = _URL.fullmatch(url)
        if found is None or not self._is_endpoint(found["host"]):
            raise Unauthenticated("the url is none of https://sts.amazonaws.com/ and https://sts.<region>.amazonaws.com/")
        return found["host"]

    def _check_headers(self, headers: Mapping[str, str], host: str, audiences: frozenset[str]) -> None:
        """What is wrong here AWS would refuse too, but for the registry's name, which is none of its business."""
        authorization = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        if authorization is None:
            raise Unauthenticated("the Authorization header is no AWS signature version 4 for sts")
        signed = frozenset(authorization["signed"].split(";"))
        if not signed <= _PASSED_ON - {"authorization"}:
            raise Unauthenticated(f"only these headers may be signed: {', '.join(sorted(_PASSED_ON - {'authorization'}))}")
        if missing := _NEEDED - signed:
            raise Unauthenticated(f"the request must sign the header {min(missing)}")
        if headers.get("host", host).lower() != host:
            raise Unauthenticated("the Host header is not the url's host")
        if headers.get(REGISTRY_HEADER) not in audiences:
            raise Unauthenticated(f"the request is meant for another service: {REGISTRY_HEADER} must be this registry's name")
        if not _CONTENT_TYPE.fullmatch(headers.get("content-type", _FORM)):
            raise Unauthenticated(f"Content-Type must be {_FORM}")
        if abs(self._clock.now() - _moment(headers.get("x-amz-date", ""))) > MAX_AGE:
            raise Unauthenticated("the request was signed more than 15 minutes ago, or by a clock that is wrong")

    def _told(self, url: str, headers: Mapping[str, str]) -> ProvenIdentity:
        sent = {name: value for name, value in headers.items() if name != "host"}
        try:
            answer = self._web.fetch(url, method="POST", headers={"content-type": _FORM, **sent}, body=BODY)
        except WebFailure as error:
            raise Unauthenticated("AWS STS cannot be reached; try again") from error
        if answer.status in (400, 403):
            raise Unauthenticated("AWS refused the signed request: it was altered, has expired, or its credentials are no good")
        if answer.status != 200:
            raise Unauthenticated(f"AWS STS failed with status {answer.status}; try again")
        return _identity(answer.body)


def _read(subject_token: str) -> tuple[str, Mapping[str, str]]:
    """The URL, and the headers by their names in small letters. Raises Unauthenticated."""
    if len(subject_token) > MAX_TOKEN:
        raise Unauthenticated(f"the token is longer than {MAX_TOKEN} characters")
    try:
        padded = subject_token.rstrip("=") + "=" * (-len(subject_token.rstrip("=")) % 4)
        told: object = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or set(told) != {"url", "headers"}:
        raise Unauthenticated('the token is not base64url of JSON {"url": ..., "headers": {...}}')
    url, headers = told["url"], told["headers"]
    if not isinstance(url, str) or not isinstance(headers, dict):
        raise Unauthenticated("the token's url is text and its headers are an object")
    return url, _headers(headers)


def _headers(told: Mapping[str, object]) -> Mapping[str, str]:
    """Those that are passed on; the others change nothing. Raises Unauthenticated."""
    headers: dict[str, str] = {}
    for name, value in told.items():
        lowered = name.lower()
        if lowered not in _PASSED_ON:
            continue
        if lowered in headers or not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise Unauthenticated(f"the header {lowered} must be there once, and be text")
        headers[lowered] = value
    return headers


def _moment(date: str) -> datetime:
    """Raises Unauthenticated."""
    try:
        if _DATE.fullmatch(date):
            return datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        pass
    raise Unauthenticated("the header x-amz-date is not of the form 20260131T235959Z")


def _identity(answer: bytes) -> ProvenIdentity:
    """Whom the XML names, held to the one shape that STS gives it. Raises Unauthenticated."""
    try:
        text = answer.decode() if len(answer) <= _MAX_ANSWER else "<!"
        # A document type is what entities, and so expansion and fetching, need; STS writes none, nor any other "<!".
        root = None if "<!" in text else ElementTree.fromstring(text)  # noqa: S314 - see above
    except (ValueError, ElementTree.ParseError):
        root = None
    if root is None or root.tag != f"{_NAMESPACE}GetCallerIdentityResponse":
        raise Unauthenticated("AWS STS gave no readable answer")
    results = root.findall(f"{_NAMESPACE}GetCallerIdentityResult")
    told = [(field.tag.removeprefix(_NAMESPACE), field.text or "") for result in results for field in result]
    fields = dict(told)
    arn = _ARN.fullmatch(fields.get("Arn", ""))
    whole = len(results) == 1 and len(told) == len(fields)
    if not whole or arn is None or arn["account"] != fields.get("Account") or not _USER_ID.fullmatch(fields.get("UserId", "")):
        raise Unauthenticated("AWS STS gave no readable answer")
    claims = {"account": fields["Account"], "arn": fields["Arn"], "user_id": fields["UserId"]}
    return ProvenIdentity(AWS, fields["Arn"], claims)
