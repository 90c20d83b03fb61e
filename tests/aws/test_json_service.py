"""Calls without an SDK: signed as botocore signs them, and repeated, against a server with a script."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as Theirs

from chalicelib.aws.environment import Environment
from chalicelib.aws.json_service import JsonService, ServiceError
from chalicelib.aws.secrets_manager import read_secret
from chalicelib.aws.signing import Credentials, signed_post
from tests.aws.counting import counting
from tests.emulator import Emulator

Answer = tuple[int, bytes] | None
"""Status and body; None closes the connection without a word."""

BUSY = (400, b'{"__type": "com.amazonaws.kms#ThrottlingException", "message": "slow"}')
REFUSED = (400, b'{"__type": "com.amazonaws.kms#DisabledException", "message": "no"}')
GOOD = (200, b'{"a": 1}')


class Service(ThreadingHTTPServer):
    """Answers by a script, the last answer for ever, and counts requests and connections. It ends a connection after
    ``each`` requests, as one does that was idle for long: the client learns of it when it sends the next."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Answer] = [GOOD]
        self.each = 1_000
        self.requests: list[dict[str, str]] = []
        self.connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1
        self.served = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.server.requests.append({"path": self.path, **dict(self.headers.items())})
        self.served += 1
        self.close_connection = answer is None or self.served >= self.server.each
        if answer is None:
            return
        status, body = answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Service]:
    with Service() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def service(url: str, *, repeats: int = 1, variables: dict[str, str] | None = None) -> JsonService:
    environment = Environment({"AWS_REGION": "eu-west-1", **(variables or {})})
    credentials = Credentials("id", "secret")
    return JsonService(
        "kms", "TrentService", "1.1", environment=environment, endpoint=url, credentials=credentials, repeats=repeats
    )


@pytest.mark.parametrize("token", ["", "to+k/en=="])
@pytest.mark.parametrize("url", ["https://kms.eu-west-1.amazonaws.com", "http://127.0.0.1:4566", "https://a:443/b c/"])
def test_it_is_signed_as_botocore_signs(url: str, token: str) -> None:
    headers, body = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "TrentService.Sign"}, b'{"a": "b"}'
    ours = signed_post(
        url,
        headers,
        body,
        credentials=Credentials("id", "secret", token),
        region="eu-west-1",
        service="kms",
        moment=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
    request = AWSRequest("POST", url, headers, body)
    request.context["timestamp"] = ours["X-Amz-Date"]
    signer = SigV4Auth(Theirs("id", "secret", token or None), "kms", "eu-west-1")
    request.headers["X-Amz-Date"] = ours["X-Amz-Date"]
    if token:
        request.headers["X-Amz-Security-Token"] = token
    canonical = signer.canonical_request(request)
    text = signer.string_to_sign(request, canonical)
    assert ours["Authorization"].endswith(f"Signature={signer.signature(text, request)}")
    assert ours.get("X-Amz-Security-Token", "") == token


def test_what_is_sent(server: Service) -> None:
    asked = service(f"{server.url}/below", variables={"AWS_SDK_UA_APP_ID": "slipway-api_handler"})
    assert asked.call("Sign", {"Message": b"\x00"}) == {"a": 1}
    (request,) = server.requests
    assert request["path"] == "/below"
    assert request["Host"] == urlsplit(server.url).netloc
    assert request["Content-Type"] == "application/x-amz-json-1.1"
    assert request["X-Amz-Target"] == "TrentService.Sign"
    assert request["User-Agent"] == "slipway app/slipway-api_handler"


@pytest.mark.parametrize("failure", [None, (500, b"{}"), (503, b"<html>"), (429, b"{}"), BUSY, (200, b"<html>")])
def test_what_passes_is_sent_again(server: Service, failure: Answer) -> None:
    server.answers = [failure, GOOD]
    with counting() as counted:
        assert service(server.url).call("Sign", {}) == {"a": 1}
        assert counted.operations() == {"kms Sign": 2}


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (None, ConnectionError),
        ((503, b"<html>"), ServiceError),
        (BUSY, ServiceError),
        ((200, b"<html>"), HTTPException),
    ],
)
def test_what_does_not_pass_is_raised(server: Service, failure: Answer, raised: type[Exception]) -> None:
    server.answers = [failure]
    with pytest.raises(raised):
        service(server.url).call("Sign", {})
    assert len(server.requests) == 2


def test_a_refusal_is_raised_at_once(server: Service) -> None:
    server.answers = [REFUSED]
    with pytest.raises(ServiceError, match="Sign: 400 DisabledException: no") as caught:
        service(server.url, repeats=3).call("Sign", {})
    assert (caught.value.status, caught.value.code, caught.value.message) == (400, "DisabledException", "no")
    assert len(server.requests) == 1


def test_connections_are_kept_and_ended_ones_cost_no_repetition(server: Service) -> None:
    asked = service(server.url, repeats=0)
    for _ in range(3):
        asked.call("Sign", {})
    assert server.connections == 1
    server.each = 1
    for _ in range(3):
        asked.call("Sign", {})
    assert server.connections == 3
    assert len(server.requests) == 6


def test_what_json_cannot_say_is_refused(server: Service) -> None:
    with pytest.raises(TypeError, match="set"):
        service(server.url).call("Sign", {"a": {1}})
    assert server.requests == []


def test_no_trust_in_strangers(server: Service, tmp_path: Path) -> None:
    """An https endpoint is held to the authorities, AWS_CA_BUNDLE's if it is set; plain HTTP is no answer to it."""
    with pytest.raises(ssl.SSLError):
        service(server.url.replace("http:", "https:"), repeats=0).call("Sign", {})
    missing = {"AWS_CA_BUNDLE": str(tmp_path / "missing.pem")}
    with pytest.raises(FileNotFoundError):
        service(server.url.replace("http:", "https:"), repeats=0, variables=missing).call("Sign", {})


def test_authorities_are_botocore_s() -> None:
    context = ssl.create_default_context(cafile=Environment({}).authorities())
    assert context.get_ca_certs()
    assert context.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("eu-west-1", "https://secretsmanager.eu-west-1.amazonaws.com"),
        ("us-gov-east-1", "https://secretsmanager.us-gov-east-1.amazonaws.com"),
        ("cn-north-1", "https://secretsmanager.cn-north-1.amazonaws.com.cn"),
        ("us-isob-east-1", "https://secretsmanager.us-isob-east-1.sc2s.sgov.gov"),
    ],
)
def test_where_a_service_is(region: str, url: str) -> None:
    assert Environment({}).endpoint("secrets_manager", region) == url
    given = {"AWS_ENDPOINT_URL": "http://a/", "AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://b"}
    assert Environment(given).endpoint("secrets_manager", region) == "http://b"
    assert Environment(given).endpoint("kms", region) == "http://a"


def test_who_calls_is_where_botocore_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = tmp_path / "config"
    profile.write_text("[profile p]\nregion = eu-north-1\naws_access_key_id = id\naws_secret_access_key = secret\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(profile))
    monkeypatch.setenv("AWS_PROFILE", "p")
    found = Environment()
    assert found.region() == "eu-north-1"
    assert found.credentials() == Credentials("id", "secret")
    given = {"AWS_ACCESS_KEY_ID": "other", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t", "AWS_REGION": "eu-west-1"}
    assert Environment(given).credentials() == Credentials("other", "s", "t")
    assert Environment(given).region() == "eu-west-1"


def test_without_a_region_nothing_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(RuntimeError, match="AWS_REGION"):
        Environment().region()


def test_the_emulator_takes_the_signature(emulator: Emulator) -> None:
    environment = emulator.environment()
    wrong = Environment({**environment, "AWS_SECRET_ACCESS_KEY": "wrong"})
    with pytest.raises(ServiceError, match="Signature"):
        JsonService("kms", "TrentService", "1.1", environment=wrong, repeats=0).call("ListKeys", {})
    right = JsonService("kms", "TrentService", "1.1", environment=Environment(environment))
    assert "Keys" in right.call("ListKeys", {})


def test_a_secret_is_read(server: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers = [(200, json.dumps({"SecretString": "s"}).encode())]
    given = {"ENDPOINT_URL": server.url, "REGION": "eu-west-1", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}
    for name, value in given.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    assert read_secret("name") == "s"
    assert server.requests[0]["X-Amz-Target"] == "secretsmanager.GetSecretValue"
    assert "/eu-west-1/secretsmanager/aws4_request" in server.requests[0]["Authorization"]
