"""The token exchange (RFC 8693): a robot comes with what its trust rules accept, and gets what its teams may."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from chalicelib.registry.access import Level
from chalicelib.registry.accounts import Changes
from chalicelib.registry.federation import ID_TOKEN, TrustRule
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.ports import WebAnswer
from chalicelib.registry.repositories import Description
from chalicelib.wire.http import Response
from chalicelib.wire.token import TOKEN_EXCHANGE
from tests.surface import SERVICE, Surface

ISSUER = "https://ci.test"
KEY = ec.generate_private_key(ec.SECP256R1())
SUBJECT = "repo:acme/app:ref:refs/heads/main"
SCOPE = "repository:acme/app:pull,push repository:acme/secret:pull"


class House(Surface):
    """acme+ci may push to acme/app, and is whoever ci.test says runs on acme/app's main branch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        org = self.accounts.create_organization("acme")
        self.robot = self.accounts.create_robot(org, "ci")
        team = self.teams.create(org, "builders")
        self.teams.add(org, team, "acme+ci")
        for name in ("acme/app", "acme/secret"):
            self.registry.repositories.create(RepositoryName(name), Description())
        self.teams.grant(org, team, self.registry.repositories.get(RepositoryName("acme/app")), Level.READ_WRITE)
        self.trust_rules.put(self.robot.id, TrustRule("main", ISSUER, SUBJECT, {}))
        keys = {"keys": [{**ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": "1"}]}
        documents = {
            f"{ISSUER}/.well-known/openid-configuration": {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"},
            f"{ISSUER}/keys": keys,
        }
        self.web.answers = {url: WebAnswer(200, json.dumps(document).encode()) for url, document in documents.items()}

    def proof(self, **changed: object) -> str:
        now = int(self.clock.now().timestamp())
        claims = {"iss": ISSUER, "sub": SUBJECT, "aud": SERVICE, "iat": now, "exp": now + 300, **changed}
        return jwt.PyJWS().encode(json.dumps(claims).encode(), KEY, algorithm="ES256", headers={"kid": "1"})

    def exchange(self, **changed: str) -> Response:
        form = {
            "grant_type": TOKEN_EXCHANGE,
            "service": SERVICE,
            "client_id": "test",
            "username": "acme+ci",
            "subject_token": self.proof(),
            "subject_token_type": ID_TOKEN,
            "scope": SCOPE,
        }
        return self.post({name: value for name, value in {**form, **changed}.items() if value})

    def refresh(self, token: str) -> int:
        """The status that a refresh token is answered with."""
        form = {"grant_type": "refresh_token", "service": SERVICE, "client_id": "test", "refresh_token": token}
        return self.post(form).status

    def post(self, form: Mapping[str, str]) -> Response:
        return self.send("POST", "/auth/token", urlencode(form).encode(), content_type="application/x-www-form-urlencoded")


@pytest.fixture
def house() -> House:
    return House()


def told(response: Response) -> Any:  # noqa: ANN401
    return json.loads(response.body)


def test_a_proof_that_a_rule_accepts_brings_what_the_robot_may(house: House) -> None:
    answer = house.exchange()
    assert answer.status == 200
    caller = house.tokens.verify(told(answer)["access_token"])
    assert caller.account == "acme+ci"
    assert caller.may("push", "repository", "acme/app")
    assert not caller.may("pull", "repository", "acme/secret")
    assert told(answer)["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
    assert "refresh_token" not in told(answer)


def test_who_it_was_is_an_event(house: House) -> None:
    house.exchange()
    event = house.registry.events.page("", 1)[0]
    assert (event.type, event.object, event.actor.name) == ("ROBOT_LOGIN", "acme+ci", "acme+ci")
    assert event.detail == {"issuer": ISSUER, "subject": SUBJECT}


@pytest.mark.parametrize(
    "changed",
    [{"username": "acme+other"}, {"username": "acme"}, {"username": "admin"}, {"username": "NO BODY"}],
)
def test_whom_no_rule_is_about_nobody_may_be(house: House, changed: Mapping[str, str]) -> None:
    answer = house.exchange(**changed)
    assert (answer.status, told(answer)["error"]) == (401, "invalid_grant")
    assert house.web.asked == [], "a stranger makes nobody be asked"


def test_a_proof_of_somebody_else_is_refused(house: House) -> None:
    foreign = (house.proof(sub="repo:acme/app:pull_request"), house.proof(aud="another.registry"), house.proof(exp=1), "x.y.z")
    for proof in foreign:
        answer = house.exchange(subject_token=proof)
        assert (answer.status, told(answer)["error"]) == (401, "invalid_grant")
        assert proof not in answer.body.decode()


def test_a_robot_that_is_switched_off_or_deleted_is_nobody(house: House) -> None:
    refresh = told(house.exchange(access_type="offline"))["refresh_token"]
    house.accounts.change("acme+ci", Changes(is_active=False))
    assert house.exchange().status == 401
    assert house.refresh(refresh) == 401
    house.accounts.change("acme+ci", Changes(is_active=True))
    assert house.exchange().status == 200
    house.organizations.delete_account("acme+ci")
    assert house.exchange().status == 401
    assert house.refresh(refresh) == 401


def test_a_rule_that_is_gone_admits_nobody(house: House) -> None:
    house.trust_rules.delete(house.robot.id, "main")
    assert house.exchange().status == 401


def test_a_refresh_token_lives_for_an_hour(house: House) -> None:
    refresh = told(house.exchange(access_type="offline"))["refresh_token"]
    assert house.refresh(refresh) == 200
    house.clock.advance(3601)
    assert house.refresh(refresh) == 401


@pytest.mark.parametrize("lacking", ["username", "subject_token", "subject_token_type"])
def test_what_is_missing_is_named(house: House, lacking: str) -> None:
    answer = house.exchange(**{lacking: ""})
    assert (answer.status, told(answer)["error"]) == (400, "invalid_request")
    assert lacking in told(answer)["error_description"]


def test_another_kind_of_proof_is_not_read(house: House) -> None:
    answer = house.exchange(subject_token_type="urn:ietf:params:oauth:token-type:saml2")
    assert (answer.status, told(answer)["error"]) == (400, "invalid_request")
