"""The token service over HTTP, asked as clients ask and as nobody should."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.registry.access import Account, Limits, Where
from chalicelib.registry.accounts import Changes
from chalicelib.registry.names import RepositoryName
from chalicelib.wire.http import Request, Response
from chalicelib.wire.token import (
    MAX_SCOPES,
    TokenServices,
    challenge,
    get_ca_certificate,
    get_keys,
    get_token,
    parse_scopes,
    post_token,
)
from tests.issuing import Instance

REALM = "https://registry.test/auth/token"
FORM = "application/x-www-form-urlencoded"
PASSWORD = "right: pässword"


class Shelf:
    """``library/open`` is public, nothing else is."""

    def everywhere(self, account: Account | None, names: Iterable[RepositoryName]) -> Mapping[RepositoryName, Where]:
        return {name: Where(name, str(name).startswith("library/"), str(name) == "library/open") for name in names}


class House:
    def __init__(self) -> None:
        self.instance = Instance()
        self.instance.accounts.ensure_admin(PASSWORD)
        self.services = services(self.instance)

    def get(self, authorization: str = "", *, source: str = "", **query: str | tuple[str, ...]) -> Response:
        values = {name: (value,) if isinstance(value, str) else value for name, value in query.items()}
        headers = {"authorization": authorization} if authorization else {}
        return get_token(Request("GET", "/auth/token", values, headers, source=source), self.services)

    def post(self, fields: Mapping[str, str], content_type: str = FORM, source: str = "") -> Response:
        return self.post_body(urlencode(fields).encode(), content_type, source)

    def post_body(self, body: bytes, content_type: str = FORM, source: str = "") -> Response:
        request = Request("POST", "/auth/token", headers={"content-type": content_type}, body=body, source=source)
        return post_token(request, self.services)

    def granted(self, response: Response) -> dict[str, set[str]]:
        caller = self.instance.tokens.verify(content(response)["access_token"])
        return {f"{grant.kind}:{grant.name}": set(grant.actions) for grant in caller.granted}


def services(instance: Instance) -> TokenServices:
    return TokenServices(
        instance.credentials,
        instance.tokens,
        instance.refresh_tokens,
        Shelf(),
        REALM,
        instance.federation,
        instance.events,
    )


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def content(response: Response) -> dict[str, Any]:
    body = json.loads(response.body)
    assert isinstance(body, dict)
    return body


def form(**changed: str) -> dict[str, str]:
    """The form of a password grant, as containerd sends it."""
    fixed = {"grant_type": "password", "service": "registry.test", "client_id": "containerd-client"}
    return {**fixed, "username": "admin", "password": PASSWORD, **changed}


HOUSE = House()
ADMIN = basic("admin", PASSWORD)


# ------------------------------------------------------------------------------------------------------------------- GET


def test_docker_login_gets_a_token_and_a_refresh_token() -> None:
    response = HOUSE.get(ADMIN, account="admin", client_id="docker", offline_token="true", service="registry.test")
    answer = content(response)
    assert response.status == 200
    assert answer["token"] == answer["access_token"]
    assert answer["expires_in"] == 300
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", answer["issued_at"])
    assert (response.headers["Content-Type"], response.headers["Cache-Control"]) == ("application/json", "no-store")
    assert HOUSE.instance.tokens.verify(answer["token"]).account == "admin"
    assert HOUSE.instance.refresh_tokens.exchange(answer["refresh_token"]) is not None


@pytest.mark.parametrize("flag", ["", "false", "0", "False"])
def test_no_refresh_token_is_given_unasked(flag: str) -> None:
    assert "refresh_token" not in content(HOUSE.get(ADMIN, offline_token=flag))


def test_scopes_may_come_apart_or_together_and_name_one_repository_twice() -> None:
    response = HOUSE.get(
        ADMIN,
        scope=("repository:admin/a:push,pull", "repository:b/b:pull repository:c:* registry:catalog:*", "repository:b/b:push"),
    )
    assert HOUSE.granted(response) == {
        "repository:admin/a": {"pull", "push"},
        "repository:b/b": {"pull", "push"},
        "repository:c": {"pull", "push", "delete", "*"},
        "registry:catalog": {"*"},
    }


def test_anonymous_pulls_what_is_public_and_nothing_else() -> None:
    scope = "repository:library/open:pull,push,delete repository:library/shut:pull repository:no/such:pull registry:catalog:*"
    response = HOUSE.get(scope=scope, offline_token="true")
    assert response.status == 200
    assert HOUSE.granted(response) == {"repository:library/open": {"pull"}}
    assert "refresh_token" not in content(response)
    caller = HOUSE.instance.tokens.verify(content(response)["token"])
    assert caller.account == ""
    assert caller.was_refused("pull", "repository", "library/shut")
    assert caller.was_refused("pull", "repository", "no/such")


def test_anonymous_without_a_scope_gets_a_token_for_nothing() -> None:
    assert HOUSE.granted(HOUSE.get()) == {}


def test_wrong_credentials_are_one_and_the_same_answer() -> None:
    answers = [
        HOUSE.get(basic(name, password), offline_token="true", scope="repository:library/open:pull")
        for name, password in [
            ("admin", "wrong"),
            ("nobody", PASSWORD),
            ("admin\u00e4", PASSWORD),
            ("", ""),
            ("admin", ""),
            ("a/b", "x"),
        ]
    ]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0].status == 401
    assert content(answers[0])["errors"][0]["code"] == "UNAUTHORIZED"
    assert answers[0].headers["WWW-Authenticate"] == f'Basic realm="{REALM}",charset="UTF-8"'


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic YQ",
        "Basic " + base64.b64encode(b"admin").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
        "Basic " + base64.b64encode(b"admin:" + b"x" * 1_000_000).decode(),
        "Basic " + "A" * 3_000_001,
        "Basic é",
        "Bearer abc",
        ADMIN.replace("Basic", "Bearer"),
        ADMIN + ", " + ADMIN,
        "Digest username=admin",
        " ",
        "\0",
    ],
)
def test_an_authorization_that_cannot_be_read_is_a_401_and_never_anonymous(authorization: str) -> None:
    assert HOUSE.get(authorization).status == 401


@given(st.text(max_size=80) | st.binary(max_size=60).map(lambda raw: "Basic " + base64.b64encode(raw).decode()))
@settings(deadline=None)
def test_no_authorization_header_breaks_the_service_or_gets_in(authorization: str) -> None:
    HOUSE.instance.clock.advance(600)  # or so many wrong names would be too many
    response = HOUSE.get(authorization, offline_token="true")
    assert response.status == (401 if authorization else 200)


@pytest.mark.parametrize("scheme", ["basic", "BASIC", "Basic", "bAsIc"])
def test_the_scheme_is_read_in_any_case(scheme: str) -> None:
    assert HOUSE.get(scheme + ADMIN.removeprefix("Basic")).status == 200


def test_another_service_is_a_bad_request_and_none_is_ours() -> None:
    assert HOUSE.get(ADMIN, service="other.test").status == 400
    assert HOUSE.get(ADMIN, service="").status == 200
    assert HOUSE.get(ADMIN, service="registry.test", offline_token="maybe").status == 400


@pytest.mark.parametrize("account", ["admin", "other", "", "x" * 10_000])
def test_the_account_parameter_makes_nobody_of_anybody(account: str) -> None:
    assert HOUSE.instance.tokens.verify(content(HOUSE.get(account=account))["token"]).account == ""
    assert HOUSE.instance.tokens.verify(content(HOUSE.get(ADMIN, account=account))["token"]).account == "admin"


# ------------------------------------------------------------------------------------------------------------------ POST


def test_a_password_brings_a_token_with_its_scope() -> None:
    response = HOUSE.post(form(scope="repository:admin/a:push,pull repository:admin/b:* unknown:x:y"))
    answer = content(response)
    assert response.status == 200
    assert answer["scope"] == "repository:admin/a:pull,push repository:admin/b:pull,push,delete,*"
    assert (answer["token"], answer["expires_in"]) == (answer["access_token"], 300)
    assert "refresh_token" not in answer


def test_a_refresh_token_brings_tokens_until_the_password_changes() -> None:
    house = House()
    first = content(house.post(form(access_type="offline")))
    again = {"grant_type": "refresh_token", "service": "registry.test", "client_id": "docker"}
    for access_type in ("online", ""):
        answer = content(house.post({**again, "refresh_token": first["refresh_token"], "access_type": access_type}))
        assert house.instance.tokens.verify(answer["access_token"]).account == "admin"
        assert answer["refresh_token"] == first["refresh_token"]  # the same one, not a new one (spec/auth/oauth)
    house.instance.accounts.set_password("admin", "new")
    response = house.post({**again, "refresh_token": first["refresh_token"]})
    assert response.status == 401
    assert content(response)["error"] == "invalid_grant"


def test_who_asks_for_another_refresh_token_gets_one_and_the_old_one_ends_all_if_it_comes_again() -> None:
    house = House()
    again = {"grant_type": "refresh_token", "service": "registry.test", "client_id": "x"}
    first = content(house.post(form(access_type="offline")))["refresh_token"]
    second = content(house.post({**again, "refresh_token": first, "access_type": "offline"}))["refresh_token"]
    assert second != first
    assert house.post({**again, "refresh_token": second}).status == 200
    house.instance.clock.advance(31)
    assert house.post({**again, "refresh_token": first}).status == 401
    assert house.post({**again, "refresh_token": second}).status == 401


def test_a_refresh_token_outlives_the_process() -> None:
    house = House()
    token = content(house.post(form(access_type="offline")))["refresh_token"]
    house.services = services(house.instance.another())
    fields = {"grant_type": "refresh_token", "service": "registry.test", "client_id": "x", "refresh_token": token}
    answer = house.post(fields)
    assert answer.status == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"password": "wrong"},
        {"username": "nobody"},
        {"username": "admin+x"},
        {"grant_type": "refresh_token", "refresh_token": "slr_made-up"},
        {"grant_type": "refresh_token", "refresh_token": "\0" * 1000},
    ],
)
def test_wrong_credentials_are_401_in_both_languages_and_never_403(changed: Mapping[str, str]) -> None:
    response = HOUSE.post(form(**changed))
    assert response.status == 401
    assert content(response)["error"] == "invalid_grant"
    assert content(response)["errors"][0]["code"] == "UNAUTHORIZED"
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "authorization_code"}, "unsupported_grant_type"),
        ({"service": ""}, "invalid_request"),
        ({"service": "other.test"}, "invalid_request"),
        ({"client_id": ""}, "invalid_request"),
        ({"client_id": "a\nb"}, "invalid_request"),
        ({"username": ""}, "invalid_request"),
        ({"password": ""}, "invalid_request"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"access_type": "forever"}, "invalid_request"),
    ],
)
def test_a_bad_form_is_a_400_in_both_languages(changed: Mapping[str, str], error: str) -> None:
    response = HOUSE.post(form(**changed))
    assert response.status == 400
    assert content(response)["error"] == error
    assert content(response)["errors"][0]["message"] == content(response)["error_description"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"grant_type=%ff",
        urlencode(form()).encode() + b"&other=%ff",
        b"&" * 100_000,
        b"a=1&" * 1000,
        b"x" * 100_000,
        b"{}",
        "grant_type=ß".encode(),
        b"%",
        b"=",
    ],
)
def test_a_body_that_is_no_form_is_a_400(body: bytes) -> None:
    assert HOUSE.post_body(body).status == 400


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/form-data; boundary=x", "text/plain"])
def test_a_form_of_another_type_is_a_400(content_type: str) -> None:
    assert HOUSE.post(form(), content_type).status == 400


def test_a_charset_beside_the_type_does_no_harm() -> None:
    assert HOUSE.post(form(), FORM.upper() + "; charset=UTF-8").status == 200


@given(
    st.binary(max_size=200)
    | st.dictionaries(st.sampled_from(list(form())), st.text(max_size=20)).map(lambda fields: urlencode(fields).encode())
)
@settings(deadline=None)
def test_no_body_breaks_the_service(body: bytes) -> None:
    HOUSE.instance.clock.advance(600)
    assert HOUSE.post_body(body).status in {400, 401}


def test_a_repeated_field_counts_once_and_the_first_time() -> None:
    body = urlencode([*form().items(), ("username", "nobody"), ("service", "other.test")]).encode()
    assert HOUSE.post_body(body).status == 200


# --------------------------------------------------------------------------------------------------------- access tokens


class Tokened(House):
    """With access tokens of ``user``, who owns the namespace ``user``."""

    def __init__(self) -> None:
        super().__init__()
        self.user = self.instance.accounts.create_user("user", PASSWORD)

    def token(self, limits: Limits | None = None, expires_at: int | None = None) -> tuple[str, str]:
        """A new token's id and secret."""
        token, secret = self.instance.access_tokens.create(self.user, "x", limits=limits, expires_at=expires_at)
        return token.id, secret

    def statuses(self, name: str, secret: str) -> list[int]:
        fields = form(username=name, password=secret)
        return [self.get(basic(name, secret)).status, self.post(fields).status]


@pytest.mark.parametrize("name", ["user", "USER", "uSer"])
def test_an_access_token_stands_for_the_password_under_its_owner_s_name_in_any_case(name: str) -> None:
    house = Tokened()
    _, secret = house.token()
    answer = house.get(basic(name, secret), scope="repository:user/a:pull,push", offline_token="true")
    assert house.granted(answer) == {"repository:user/a": {"pull", "push"}}
    assert house.instance.tokens.verify(content(answer)["token"]).account == "user"
    assert house.statuses(name, secret) == [200, 200]
    fields = {"grant_type": "refresh_token", "service": "registry.test", "client_id": "docker"}
    again = house.post({**fields, "refresh_token": content(answer)["refresh_token"], "scope": "repository:user/a:pull"})
    assert house.granted(again) == {"repository:user/a": {"pull"}}


@pytest.mark.parametrize("name", ["admin", "nobody", "", "user2", "user+x", "user/x", "\u017fuser"])
def test_an_access_token_under_another_name_is_nobody(name: str) -> None:
    house = Tokened()
    _, secret = house.token()
    assert house.get(basic(name, secret)).status == 401
    assert house.post(form(username=name or "x", password=secret)).status == 401


def test_an_access_token_ends_by_itself_by_its_switch_and_with_its_account() -> None:
    house = Tokened()
    soon = int(house.instance.clock.now().timestamp()) + 100
    (_, expiring), (switched, off), (_, good) = house.token(expires_at=soon), house.token(), house.token()
    for secret in (expiring, off, good):
        assert house.statuses("user", secret) == [200, 200]
    house.instance.access_tokens.change(house.user, switched, is_active=False)
    assert house.statuses("user", off) == [401, 401]
    house.instance.clock.advance(100)
    assert house.statuses("user", expiring) == [401, 401]
    assert house.statuses("user", good) == [200, 200]
    house.instance.accounts.change("user", Changes(is_active=False))
    assert house.statuses("user", good) == [401, 401]


@given(
    st.lists(st.sampled_from(["user/a", "user/b", "user/*", "user", "library/*", "other/x"]), min_size=1, max_size=3),
    st.frozensets(st.sampled_from(["pull", "push", "delete"]), min_size=1),
)
@settings(deadline=None, max_examples=40)
def test_a_narrowed_token_never_gets_more_than_its_limits_nor_than_its_owner(
    patterns: list[str], actions: frozenset[str]
) -> None:
    house, limits = Tokened(), Limits(tuple(patterns), actions)
    _, secret = house.token(limits)
    names = ["user/a", "user/b", "user/a/deep", "user", "usera", "library/open", "library/shut", "other/x"]
    scope = " ".join([*(f"repository:{name}:*" for name in names), "registry:catalog:*"])
    first = house.get(basic("user", secret), scope=scope, offline_token="true")
    refresh = {"grant_type": "refresh_token", "service": "registry.test", "client_id": "x", "scope": scope}
    again = house.post({**refresh, "refresh_token": content(first)["refresh_token"]})
    by_password = house.granted(house.get(basic("user", PASSWORD), scope=scope))
    for granted in (house.granted(first), house.granted(again)):
        assert all(by_password.get(resource, set()) >= had for resource, had in granted.items())
        for name in names:
            covered = limits.cover_name(RepositoryName(name))
            had = granted.get(f"repository:{name}", set())
            assert had <= (actions | {"*"} if covered else set())
            assert ("*" in had) == (had == {"pull", "push", "delete", "*"})
            if name.startswith("user/") and covered:
                assert had >= actions
        assert "registry:catalog" not in granted
    for answer in (first, again):
        assert house.instance.tokens.verify(content(answer)["token"]).limits == limits


def test_the_widest_limits_fit_into_a_token_with_scopes() -> None:
    house = Tokened()
    names = [f"user/{'x' * 44}{number}" for number in range(20)]
    _, secret = house.token(Limits(tuple(names)[:19], frozenset({"pull", "push"})))
    scope = " ".join(f"repository:{name}:pull,push" for name in names)
    answer = house.get(basic("user", secret), scope=scope)
    assert answer.status == 200
    assert len(content(answer)["token"]) <= 6_000
    assert house.granted(answer)


# -------------------------------------------------------------------------------------------------------- too many tries


def test_too_many_wrong_passwords_are_a_429_in_both_languages_even_for_the_right_one_and_then_pass() -> None:
    house = House()
    wrong = basic("admin", "wrong")
    assert [house.get(wrong, source="192.0.2.1").status for _ in range(6)] == [401] * 5 + [429]
    hashed = len(house.instance.hasher.verified)
    for answer in (
        house.get(ADMIN, source="192.0.2.1", offline_token="true"),
        house.post(form(), source="192.0.2.1"),
        house.get(basic("ADMIN", "x"), source="192.0.2.1"),
    ):
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        assert content(answer)["errors"][0]["code"] == "TOOMANYREQUESTS"
        assert "WWW-Authenticate" not in answer.headers
    assert content(house.post(form(), source="192.0.2.1"))["error"] == "temporarily_unavailable"
    assert len(house.instance.hasher.verified) == hashed  # no password was looked at
    assert house.get(ADMIN, source="192.0.2.2").status == 200
    house.instance.clock.advance(1)
    assert house.get(ADMIN, source="192.0.2.1").status == 200


def test_no_throttle_keeps_tokens_out() -> None:
    house = Tokened()
    _, secret = house.token()
    refresh = content(house.get(basic("user", secret), offline_token="true"))["refresh_token"]
    for number in range(200):
        house.get(basic("user", f"wrong {number}"), source="192.0.2.1")
    assert house.get(basic("user", PASSWORD), source="192.0.2.1").status == 429
    assert house.get(basic("user", secret), source="192.0.2.1").status == 200
    fields = {"grant_type": "refresh_token", "service": "registry.test", "client_id": "x", "refresh_token": refresh}
    assert house.post(fields, source="192.0.2.1").status == 200


def test_the_edge_says_where_a_password_is_tried_from() -> None:
    house = House()

    def status(viewer: str, tried: str = "wrong", source: str = "198.51.100.1") -> int:
        headers = {"authorization": basic("admin", tried), "x-slipway-viewer": viewer}
        return get_token(Request("GET", "/auth/token", {}, headers, source=source), house.services).status

    assert [status("192.0.2.1") for _ in range(6)] == [401] * 5 + [429]
    assert status("192.0.2.2", PASSWORD) == 200  # the same CloudFront, another viewer
    for nonsense in ("", "x", "192.0.2.1, 192.0.2.2", "é"):
        assert status(nonsense, source="203.0.113.9") in {401, 429}
    assert status("", source="203.0.113.9") == 401


# ---------------------------------------------------------------------------------------------------------------- scopes


@pytest.mark.parametrize(
    "scope",
    [
        "",
        ":",
        "::",
        "repository",
        "repository:a",
        "repository:a:",
        "repository::pull",
        "repository:A:pull",
        "repository:../x:pull",
        "repository:a//b:pull",
        "repository:a:frobnicate",
        "repository:a:PULL",
        "repository:a: pull",
        "repository:host:5000/a:pull",
        "repository:a%2fb:pull",
        "repository:" + "a" * 300 + ":pull",
        "registry:catalog:pull",
        "registry:other:*",
        "image:a:pull",
        "*:*:*",
        "repository:*:pull",
        "repository:a\0:pull",
        "repository:é:pull",
    ],
)
def test_scopes_that_mean_nothing_are_left_out(scope: str) -> None:
    asked = parse_scopes([scope])
    assert (dict(asked.repositories), asked.catalog) == ({}, False)
    assert HOUSE.granted(HOUSE.get(ADMIN, scope=f"{scope} repository:good:pull")) == {"repository:good": {"pull"}}


def test_a_class_and_an_unknown_action_change_nothing() -> None:
    asked = parse_scopes(["repository(plugin):a/b:pull,frobnicate"])
    assert asked.repositories == {RepositoryName.parse("a/b"): {"pull"}}


def test_scopes_are_bounded() -> None:
    scopes = [f"repository:r{number}:pull" for number in range(5_000)]
    assert len(parse_scopes(scopes).repositories) == len(parse_scopes([" ".join(scopes)]).repositories) == MAX_SCOPES
    response = HOUSE.get(ADMIN, scope=tuple(scopes))
    assert response.status == 200
    assert len(content(response)["token"]) < 6 * 1024


def test_the_scope_answered_is_what_the_token_holds_when_not_all_fit() -> None:
    scope = " ".join(f"repository:team/{'x' * 60}{number}:pull" for number in range(100))
    answer = HOUSE.post(form(scope=scope))
    answered = [each.rpartition(":")[0] for each in content(answer)["scope"].split(" ")]
    assert answered == list(HOUSE.granted(answer))
    assert 0 < len(answered) < 100


@given(st.lists(st.text(max_size=60), max_size=5))
@settings(deadline=None, max_examples=50)
def test_no_scope_breaks_the_service(scopes: list[str]) -> None:
    assert HOUSE.granted(HOUSE.get(scope=tuple(scopes))) == {}


# -------------------------------------------------------------------------------------------------------------- the rest


def test_the_root_and_the_keys_are_there_before_any_token() -> None:
    fresh = services(Instance())
    authority = get_ca_certificate(Request("GET", "/ca"), fresh)
    assert authority.status == 200
    assert authority.body.startswith(b"-----BEGIN CERTIFICATE-----\n")
    keys = get_keys(Request("GET", "/.well-known/jwks.json"), fresh)
    assert keys.status == 200
    assert [key["kty"] for key in content(keys)["keys"]] == ["EC"]


def test_a_challenge_names_what_it_was_given() -> None:
    assert challenge(REALM, "registry.test", "repository:a/b:pull,push", "insufficient_scope") == (
        'Bearer realm="https://registry.test/auth/token",service="registry.test",'
        'scope="repository:a/b:pull,push",error="insufficient_scope"'
    )
    assert challenge(REALM, "registry.test") == f'Bearer realm="{REALM}",service="registry.test"'


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_challenge_cannot_be_broken_out_of(service: str, scope: str) -> None:
    value = challenge(REALM, service, scope)
    assert value.isascii()
    assert value.isprintable()
    quoted = dict(re.findall(r'(?:^Bearer |,)([a-z]+)="((?:[^"\\]|\\.)*)"', value))
    assert "Bearer " + ",".join(f'{name}="{text}"' for name, text in quoted.items()) == value
    read = {name: re.sub(r"\\(.)", r"\1", text) for name, text in quoted.items()}
    given = {"realm": REALM, "service": service, "scope": scope}
    assert read == {name: re.sub(r"[^ -~]", "", text) for name, text in given.items() if text}
