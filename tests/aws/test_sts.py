"""Signed GetCallerIdentity requests: whom to ask, what was signed for whom, and what answer is believed."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import timedelta

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.aws.signing import Credentials, signed_post
from chalicelib.aws.sts import BODY, MAX_TOKEN, SignedCallerIdentities, is_sts_host
from chalicelib.registry.errors import Unauthenticated
from chalicelib.registry.federation import AWS, NOT_TRUSTED, ProvenIdentity
from chalicelib.registry.ports import WebAnswer
from tests.frozen_clock import FrozenClock
from tests.memory_web import MemoryWeb

URL = "https://sts.eu-west-1.amazonaws.com/"
SERVICE = "registry.test"
KEYS = Credentials("ASIAQWERTYUIOPASDFGH", "secret", "session+token/==")
ARN = "arn:aws:sts::123456789012:assumed-role/ci/run-1"
USER_ID = "AROAEXAMPLE:run-1"
TRUSTED = frozenset({AWS})


def answer(arn: str = ARN, account: str = "123456789012", user: str = USER_ID) -> str:
    """As STS writes it."""
    return (
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">\n  <GetCallerIdentityResult>\n'
        f"    <Arn>{arn}</Arn>\n    <UserId>{user}</UserId>\n    <Account>{account}</Account>\n  </GetCallerIdentityResult>\n"
        "  <ResponseMetadata>\n    <RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId>\n  </ResponseMetadata>\n"
        "</GetCallerIdentityResponse>\n"
    )


def packed(url: object, headers: object, **more: object) -> str:
    return base64.urlsafe_b64encode(json.dumps({"url": url, "headers": headers, **more}).encode()).decode().rstrip("=")


def signed(url: str = URL, service: str = "sts", at: float = 0, **headers: str) -> dict[str, str]:
    """The headers of a signed request, ``at`` so many seconds from now; one that is given as "" is not signed."""
    named = {"Content-Type": "application/x-www-form-urlencoded", "X-Slipway-Registry": SERVICE}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    moment = FrozenClock().now() + timedelta(seconds=at)
    sent = {name: value for name, value in named.items() if value}
    return signed_post(url, sent, BODY, credentials=KEYS, region="eu-west-1", service=service, moment=moment)


class Aws:
    def __init__(self) -> None:
        self.web = MemoryWeb()
        self.web.answers[URL] = WebAnswer(200, answer().encode())
        self.identities = SignedCallerIdentities(self.web, FrozenClock())

    def prove(self, token: str, issuers: frozenset[str] = TRUSTED) -> ProvenIdentity:
        return self.identities.prove(token, frozenset({SERVICE}), issuers)

    def refused(self, token: str, issuers: frozenset[str] = TRUSTED) -> str:
        with pytest.raises(Unauthenticated) as caught:
            self.prove(token, issuers)
        assert "Signature=" not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def aws() -> Aws:
    return Aws()


# ---------------------------------------------------------------------------------------------------------- whom to ask


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.test/",
        "https://sts.amazonaws.com.evil.test/",
        "https://evil.test/sts.amazonaws.com/",
        "https://sts.evil.amazonaws.com/",
        "https://sts.s3.amazonaws.com/",
        "https://sts.s3.eu-west-1.amazonaws.com/",
        "https://iam.amazonaws.com/",
        "https://xsts.amazonaws.com/",
        "https://sts-evil.amazonaws.com/",
        "https://sts.eu-west-1.amazonaws.com.cn/",
        "https://sts.cn-north-1.amazonaws.com/",
        "https://sts.amazonaws.com.cn/",
        "https://sts.eu-west-1.execute-api.amazonaws.com/",
        "https://sts.eu-west-1.amazonaws.co/",
        "https://stsXamazonaws.com/",
        "https://STS.amazonaws.com/",
        "http://sts.eu-west-1.amazonaws.com/",
        "https://sts.eu-west-1.amazonaws.com",
        "https://sts.eu-west-1.amazonaws.com:443/",
        "https://sts.eu-west-1.amazonaws.com:8443/",
        "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity",
        "https://sts.eu-west-1.amazonaws.com/?",
        "https://sts.eu-west-1.amazonaws.com/#",
        "https://sts.eu-west-1.amazonaws.com//",
        "https://sts.eu-west-1.amazonaws.com/path",
        "https://sts.eu-west-1.amazonaws.com/..",
        "https://sts.eu-west-1.amazonaws.com/\n",
        "https://sts.eu-west-1.amazonaws.com\\@evil.test/",
        "https://user@sts.eu-west-1.amazonaws.com/",
        "https://sts.eu-west-1.amazonaws.com@evil.test/",
        "https://sts.eu-west-1.amazonaws.com./",
        "https://169.254.169.254/",
        "https://[::1]/",
        "",
        None,
        ["https://sts.amazonaws.com/"],
    ],
    ids=str,
)
def test_nobody_but_sts_is_asked(aws: Aws, url: object) -> None:
    aws.refused(packed(url, signed(url if isinstance(url, str) and url.startswith("https://s") else URL)))
    assert aws.web.asked == []


@pytest.mark.parametrize(
    "host",
    [
        "sts.amazonaws.com",
        "sts.us-east-1.amazonaws.com",
        "sts.ap-southeast-3.amazonaws.com",
        "sts.us-gov-west-1.amazonaws.com",
        "sts.cn-north-1.amazonaws.com.cn",
        "sts.cn-northwest-1.amazonaws.com.cn",
    ],
)
def test_every_sts(aws: Aws, host: str) -> None:
    assert is_sts_host(host)
    url = f"https://{host}/"
    aws.web.answers[url] = WebAnswer(200, answer().encode())
    assert aws.prove(packed(url, signed(url))).subject == ARN


def test_what_is_sts_can_be_told(aws: Aws) -> None:
    url = "https://127.0.0.1:4566/"
    aws.web.answers[url] = WebAnswer(200, answer().encode())
    emulated = SignedCallerIdentities(aws.web, FrozenClock(), is_endpoint=lambda host: host == "127.0.0.1:4566")
    assert emulated.prove(packed(url, signed(url)), frozenset({SERVICE}), TRUSTED).subject == ARN
    with pytest.raises(Unauthenticated):
        emulated.prove(packed(URL, signed()), frozenset({SERVICE}), TRUSTED)


def test_sts_is_not_asked_for_a_robot_that_trusts_nobody_on_aws(aws: Aws) -> None:
    for issuers in (frozenset[str](), frozenset({"https://issuer.test"})):
        assert aws.refused(packed(URL, signed()), issuers) == NOT_TRUSTED
    assert aws.web.asked == []


# -------------------------------------------------------------------------------------------------------- what was signed


@pytest.mark.parametrize("name", ["", "other.test", "Registry.test", "registry.test,other.test", "registry.test "])
def test_what_was_signed_for_another_service(aws: Aws, name: str) -> None:
    assert "x-slipway-registry" in aws.refused(packed(URL, signed(X_Slipway_Registry=name)))
    assert aws.web.asked == []


def test_the_registry_s_name_must_be_among_what_was_signed(aws: Aws) -> None:
    added = {**signed(X_Slipway_Registry=""), "X-Slipway-Registry": SERVICE}
    assert "must sign the header x-slipway-registry" in aws.refused(packed(URL, added))
    twice = {**signed(X_Slipway_Registry="other.test"), "x-slipway-registry": SERVICE}
    assert "once" in aws.refused(packed(URL, twice))
    assert aws.web.asked == []


@pytest.mark.parametrize("missing", ["host", "x-amz-date", "x-slipway-registry"])
def test_what_must_be_signed(aws: Aws, missing: str) -> None:
    headers = signed()
    names = headers["Authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    fewer = ";".join(name for name in names.split(";") if name != missing)
    altered = {**headers, "Authorization": headers["Authorization"].replace(names, fewer)}
    assert f"must sign the header {missing}" in aws.refused(packed(URL, altered))
    assert aws.web.asked == []


@pytest.mark.parametrize(
    "more", [{"X_Amz_Target": "a"}, {"Accept": "application/json"}, {"X_Forwarded_Host": "a"}, {"Connection": "close"}]
)
def test_what_must_not_be_signed(aws: Aws, more: dict[str, str]) -> None:
    assert "may be signed" in aws.refused(packed(URL, signed(URL, "sts", 0, **more)))
    assert aws.web.asked == []


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic YTpi",
        "Bearer abc",
        "AWS AKIAQWERTYUIOPASDFGH:signature",
        "AWS4-ECDSA-P256-SHA256 Credential=AKIAQWERTYUIOPASDFGH/20260101/sts/aws4_request, SignedHeaders=host, Signature="
        + "0" * 64,
        "AWS4-HMAC-SHA256 Credential=AKIAQWERTYUIOPASDFGH/20260101/eu-west-1/sts/aws4_request, SignedHeaders=host",
        "AWS4-HMAC-SHA256 Credential=../20260101/eu-west-1/sts/aws4_request, SignedHeaders=host, Signature=" + "0" * 64,
    ],
)
def test_what_is_no_signature(aws: Aws, authorization: str) -> None:
    aws.refused(packed(URL, {**signed(), "Authorization": authorization}))
    assert aws.web.asked == []


@pytest.mark.parametrize("service", ["s3", "iam", "execute-api"])
def test_what_was_signed_for_another_service_of_aws(aws: Aws, service: str) -> None:
    assert "for sts" in aws.refused(packed(URL, signed(service=service)))


@pytest.mark.parametrize("at", [-901, 901, -86_400, 86_400])
def test_what_was_signed_at_another_time(aws: Aws, at: float) -> None:
    assert "15 minutes" in aws.refused(packed(URL, signed(at=at)))
    assert aws.web.asked == []


def test_what_was_signed_lately(aws: Aws) -> None:
    for at in (-900, -1, 0, 900):
        aws.prove(packed(URL, signed(at=at)))


@pytest.mark.parametrize(
    "date",
    [
        "20260101",
        "20260101T000000",
        "20261301T000000Z",
        "20260101T000000Z ",
        "2026-01-01T00:00:00Z",
        "20260101T000000ZZ",
        "\u0662\u0660\u0662\u06660101T000000Z",
    ],
)
def test_a_date_that_is_none(aws: Aws, date: str) -> None:
    aws.refused(packed(URL, {**signed(), "X-Amz-Date": date}))
    assert aws.web.asked == []


@pytest.mark.parametrize(
    "header",
    [
        {"Host": "evil.test"},
        {"Content-Type": "application/json"},
        {"Content-Type": "application/x-www-form-urlencoded, text/plain"},
        {"X-Amz-Security-Token": "a\r\nX-Evil: b"},
        {"X-Amz-Security-Token": "é"},
        {"X-Amz-Security-Token": ""},
        {"X-Amz-Security-Token": ["a"]},
        {"X-Amz-Security-Token": None},
        {"x-amz-date": "20260101T000000Z"},
        {"X-Amz-Security-Token": "a" * 8_193},
    ],
    ids=lambda header: str(header)[:60],
)
def test_headers_that_are_not_sent(aws: Aws, header: dict[str, object]) -> None:
    aws.refused(packed(URL, {**signed(), **header}))
    assert aws.web.asked == []


@pytest.mark.parametrize(
    "token",
    [
        "",
        "e30",
        "W10",
        "bnVsbA",
        "!!!!",
        "a",
        "é",
        "\ud800",
        packed(URL, []),
        packed(URL, signed(), body="Action=AssumeRole"),
        packed(URL, {}),
        base64.b64encode(b"[" * 9_000).decode(),
    ],
    ids=lambda token: repr(token)[:20],
)
def test_what_is_no_token(aws: Aws, token: str) -> None:
    aws.refused(token)
    assert aws.web.asked == []


@given(st.text(max_size=100) | st.binary(max_size=100).map(lambda content: base64.urlsafe_b64encode(content).decode()))
def test_garbage_is_unauthenticated_and_nothing_else(token: str) -> None:
    Aws().refused(token)


def test_a_token_that_is_too_long_is_not_read(aws: Aws) -> None:
    assert "longer" in aws.refused(packed(URL, {**signed(), "More": "x" * MAX_TOKEN}))


def test_path_body_and_headers_are_ours(aws: Aws) -> None:
    evil = {"X-Forwarded-For": "1.2.3.4", "Accept": "application/json", "X-Amz-Target": "a", "Transfer-Encoding": "chunked"}
    aws.prove(packed(URL, {**signed(), **evil, "Host": "sts.eu-west-1.amazonaws.com", "Content-Length": "5"}))
    [asked] = aws.web.asked
    assert (asked.url, asked.method, asked.body) == (URL, "POST", b"Action=GetCallerIdentity&Version=2011-06-15")
    assert sorted(asked.headers) == [
        "authorization",
        "content-type",
        "x-amz-date",
        "x-amz-security-token",
        "x-slipway-registry",
    ]


# ------------------------------------------------------------------------------------------------------------ the answer


@pytest.mark.parametrize("status", [301, 400, 403, 404, 500, 503])
def test_another_status_proves_nothing(aws: Aws, status: int) -> None:
    aws.web.answers[URL] = WebAnswer(status, answer().encode())
    aws.refused(packed(URL, signed()))


def test_no_answer_proves_nothing_and_tells_nothing_of_our_network(aws: Aws) -> None:
    aws.web.answers.clear()
    assert "10.0.0.7" not in aws.refused(packed(URL, signed()))


ENTITY = '<!DOCTYPE a [<!ENTITY e "arn:aws:sts::123456789012:assumed-role/ci/run-1">]>'
LAUGHS = "<!DOCTYPE a [<!ENTITY a0 'ha'>" + "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 12)) + "]>"
FILE = '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    "told",
    [
        "",
        "{}",
        "<a/>",
        "<GetCallerIdentityResponse/>",
        ENTITY + answer(arn="&e;"),
        LAUGHS + answer(arn="&a11;"),
        FILE + answer(user="&e;"),
        (ENTITY + answer()).encode("utf-16"),
        answer(arn="&e;"),
        answer().replace("<Arn>", "<Arn><![CDATA[").replace("</Arn>", "]]></Arn>"),
        answer().replace("2011-06-15", "2012-06-15"),
        answer().replace("GetCallerIdentityResponse", "AssumeRoleResponse"),
        answer().replace("GetCallerIdentityResult", "AssumeRoleResult"),
        f"<a>{answer()}</a>",
        answer().replace("<Account>", "<Arn>arn:aws:sts::999999999999:assumed-role/a/b</Arn><Account>"),
        answer().replace(
            "<ResponseMetadata>", "<GetCallerIdentityResult><Arn>a</Arn></GetCallerIdentityResult><ResponseMetadata>"
        ),
        answer().replace("<Arn>", "<Arn>arn:aws:sts::999999999999:assumed-role/a/b</Arn><Arn>"),
        answer().replace("<ResponseMetadata>", "<GetCallerIdentityResult/><ResponseMetadata>"),
        answer(account="999999999999"),
        answer(account=""),
        answer(arn="arn:aws:sts::999999999999:assumed-role/ci/run-1"),
        answer(arn="arn:aws:s3::123456789012:a"),
        answer(arn=""),
        answer(arn=ARN + "<b/>tail").replace("<b/>", "\n"),
        answer(user=""),
        answer(user="a" * 513),
        answer() + " " * 17_000,
        answer().encode() + b"\xff",
    ],
    ids=lambda told: repr(told)[:50],
)
def test_answers_that_prove_nothing(aws: Aws, told: str | bytes) -> None:
    aws.web.answers[URL] = WebAnswer(200, told.encode() if isinstance(told, str) else told)
    assert "answer" in aws.refused(packed(URL, signed()))


def test_who_it_is(aws: Aws) -> None:
    claims = {"account": "123456789012", "arn": ARN, "user_id": USER_ID}
    assert aws.prove(packed(URL, signed())) == ProvenIdentity("aws", ARN, claims)


def test_padding_and_a_charset_are_taken(aws: Aws) -> None:
    token = packed(URL, signed(Content_Type="application/x-www-form-urlencoded; charset=utf-8"))
    for padded in (token, token + "=" * (-len(token) % 4)):
        aws.prove(padded)


def test_what_botocore_signs_is_taken(aws: Aws) -> None:
    """As docs/federation.md has it. botocore signs by the system's clock, which the registry's is then."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Slipway-Registry": SERVICE}
    request = AWSRequest("POST", URL, headers=headers, data=BODY)
    SigV4Auth(BotoCredentials(KEYS.access_key, KEYS.secret_key, KEYS.token), "sts", "eu-west-1").add_auth(request)
    told: Mapping[str, str] = dict(request.headers)
    moment = told["X-Amz-Date"]
    clock = FrozenClock(FrozenClock().now().strptime(f"{moment}+0000", "%Y%m%dT%H%M%SZ%z"))
    identities = SignedCallerIdentities(aws.web, clock)
    assert identities.prove(packed(URL, told), frozenset({SERVICE}), TRUSTED).subject == ARN
