"""From a rule to an admitted robot over a real connection: an issuer on 127.0.0.1 that the operator named."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from chalicelib.aws.sts import SignedCallerIdentities
from chalicelib.crypto.oidc import OidcTokens
from chalicelib.outgoing.public_https import PublicHttps
from chalicelib.registry.errors import Unauthenticated
from chalicelib.registry.federation import ID_TOKEN, Federation, TrustRule, TrustRules
from tests.authority import Authority
from tests.frozen_clock import FrozenClock
from tests.memory_table import MemoryTable
from tests.outgoing.test_public_https import Server

KEY = ec.generate_private_key(ec.SECP256R1())


class Issuer:
    """Speaks TLS as ``issuer.test`` and publishes one key."""

    def __init__(self, authority: Authority) -> None:
        self.server = Server(authority.server("issuer.test"), self._answer)
        self.host = f"issuer.test:{self.server.port}"
        self.url = f"https://{self.host}"

    def _answer(self, connection: socket.socket, _stopping: Event) -> None:
        path = self.server.requests[-1].split(b" ", 2)[1].decode()
        key = {**ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": "1"}
        told = {
            "/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/keys": {"keys": [key]},
        }[path]
        body = json.dumps(told).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def token(self, subject: str, clock: FrozenClock) -> str:
        now = int(clock.now().timestamp())
        claims = {"iss": self.url, "sub": subject, "aud": "registry.test", "iat": now, "exp": now + 60}
        return jwt.encode(claims, KEY, "ES256", headers={"kid": "1"})


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def issuer(authority: Authority) -> Iterator[Issuer]:
    issuer = Issuer(authority)
    yield issuer
    issuer.server.stop()


def federation(issuer: Issuer, authority: Authority, clock: FrozenClock, allowed: frozenset[str]) -> Federation:
    rules = TrustRules(MemoryTable(), clock)
    rules.put("1", TrustRule("ci", issuer.url, "job:acme/*"))
    web = PublicHttps(allowed_hosts=allowed, authorities=str(authority.certificate), resolve=lambda _host, _port: ["127.0.0.1"])
    oidc, aws = OidcTokens(web, clock), SignedCallerIdentities(web, clock)
    return Federation(rules, oidc, aws, service="registry.test", public_url="https://registry.test")


def test_an_issuer_that_the_operator_did_not_name_is_not_asked(issuer: Issuer, authority: Authority) -> None:
    clock = FrozenClock()
    with pytest.raises(Unauthenticated, match="cannot be fetched"):
        federation(issuer, authority, clock, frozenset()).admit("1", ID_TOKEN, issuer.token("job:acme/app", clock))
    assert issuer.server.requests == []


def test_a_stranger_makes_nobody_be_asked(issuer: Issuer, authority: Authority) -> None:
    clock = FrozenClock()
    admit = federation(issuer, authority, clock, frozenset({issuer.host})).admit
    for robot in ("2", None):
        with pytest.raises(Unauthenticated):
            admit(robot, ID_TOKEN, issuer.token("job:acme/app", clock))
    assert issuer.server.requests == []


def test_a_robot_is_admitted(issuer: Issuer, authority: Authority) -> None:
    clock = FrozenClock()
    admit = federation(issuer, authority, clock, frozenset({issuer.host})).admit
    assert admit("1", ID_TOKEN, issuer.token("job:acme/app", clock)).subject == "job:acme/app"
    with pytest.raises(Unauthenticated, match="no trust rule"):
        admit("1", ID_TOKEN, issuer.token("job:evil/app", clock))
    assert len(issuer.server.requests) == 2, "the keys are kept"
