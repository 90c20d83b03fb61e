"""Ways in that other registries have left open, tried on this one over HTTP; each test is named after what must hold."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from threading import Thread
from typing import Any
from urllib.parse import quote

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from chalicelib.registry.tokens import Decision, Tokens
from chalicelib.wire.http import Response
from chalicelib.wire.management.needs import Administrator
from chalicelib.wire.management.routes import ROUTES
from tests.access.expected import CALLERS, DISTRIBUTION
from tests.access.world import BLOB, LAYER, Who, World
from tests.surface import PASSWORD, code

ACME, APP = "/enzi/v0/accounts/acme", "/api/v0/repositories/acme/private"
PULL = "repository:acme/private:pull"
PUSH = "repository:acme/private:pull,push"
UPLOADS = "/v2/acme/private/blobs/uploads/"


@pytest.fixture(scope="module")
def built() -> World:
    return World.build()


@pytest.fixture
def world(built: World) -> World:
    return built.fresh()


def told(answer: Response) -> Any:  # noqa: ANN401 - JSON
    assert answer.status < 300, answer.body
    return json.loads(answer.body) if answer.body else None


def granted(world: World, who: str, scope: str) -> dict[str, frozenset[str]]:
    """The actions that a new token grants, by repository."""
    claims = jwt.decode(told(world.token(who, scope))["token"], options={"verify_signature": False})
    return {entry["name"]: frozenset(entry["actions"]) for entry in claims["access"]}


def same(*answers: Response, names: Mapping[str, str] | None = None) -> bool:
    """Are they alike, byte for byte and header for header? Each of ``names`` in an answer counts as what it stands for: a
    caller hears the name that it said."""
    seen = []
    for answer in answers:
        body = answer.body.decode()
        for name, stands_for in (names or {}).items():
            body = body.replace(name, stands_for)
        seen.append((answer.status, dict(answer.headers), body))
    return all(entry == seen[0] for entry in seen)


# ------------------------------------------------------------------------------------------------------ forged tokens


def forgeries(world: World) -> dict[str, str]:
    """Tokens that say they are the administrator's, by how they were forged."""
    genuine = world.bearer("admin", PUSH) or ""
    claims = jwt.decode(genuine, options={"verify_signature": False})
    header = jwt.get_unverified_header(genuine)
    body, signature = genuine.split(".")[1:]
    mine = ec.generate_private_key(ec.SECP256R1())
    numbers = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(mine.public_key()))
    published = json.loads(world.surface.send("GET", "/.well-known/jwks.json").body)["keys"]
    public = world.surface.send("GET", "/ca").body
    other = World.build().bearer("admin", PUSH) or ""
    forged = {
        "no algorithm": unsigned({**header, "alg": "none"}, body, ""),
        "no algorithm, with a signature": unsigned({**header, "alg": "None"}, body, signature),
        "own key under the genuine id": jwt.encode(claims, mine, "ES256", {"kid": header.get("kid", "")}),
        "own jwk": jwt.encode(claims, mine, "ES256", {"jwk": numbers}),
        "own jku": jwt.encode(claims, mine, "ES256", {"jku": "https://evil.test/keys", "kid": "x"}),
        "own x5c": jwt.encode(claims, mine, "ES256", {"x5c": [base64.b64encode(public).decode()]}),
        "a path as key id": jwt.encode(claims, mine, "ES256", {"kid": "../../dev/null"}),
        "other claims under a genuine signature": f"{genuine.split('.')[0]}.{unpadded({**claims, 'sub': 'root'})}.{signature}",
        "a genuine token without its signature": genuine.rpartition(".")[0] + ".",
        "of another registry with the same names": other,
    }
    unsealed = f"{unpadded({**header, 'alg': 'HS256'})}.{body}"
    secrets = {"certificate": public, **{f"key {key['kid']}": json.dumps(key).encode() for key in published}}
    for name, secret in secrets.items():
        seal = base64.urlsafe_b64encode(hmac.digest(secret, unsealed.encode(), "sha256")).decode().rstrip("=")
        forged[f"the public {name} as a secret"] = f"{unsealed}.{seal}"
    return forged


def unpadded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def unsigned(header: object, body: str, signature: str) -> str:
    return f"{unpadded(header)}.{body}.{signature}"


def test_no_forged_token_opens_any_route_of_the_distribution_api(world: World) -> None:
    for how, token in forgeries(world).items():
        for row in DISTRIBUTION:
            if row.grid == "writer":
                continue
            url = row.path.replace("<name>", "acme/private").replace("<reference>", str(BLOB)).removesuffix("?")
            answer = world.surface.send(row.method, url, authorization=f"Bearer {token}")
            assert (answer.status, code(answer)) == (401, "UNAUTHORIZED"), (how, row)


def test_no_token_of_the_registry_not_even_a_genuine_one_opens_the_management_api(world: World) -> None:
    tokens = {**forgeries(world), "genuine": world.bearer("admin", "registry:catalog:* repository:acme/private:*") or ""}
    for how, token in tokens.items():
        for route in ROUTES:
            url = route.path.format_map(dict.fromkeys(("name", "org", "ns", "account"), "acme") | _NAMES)
            for scheme in ("Bearer", "bearer", "Token"):
                answer = world.surface.send(route.method, url, b"{}", authorization=f"{scheme} {token}")
                assert (answer.status, code(answer)) == (401, "NOT_AUTHENTICATED"), (how, route.method, url)
            answer = world.surface.send(route.method, url, b"{}", authorization=Who("admin", token).basic)
            world.surface.clock.advance(400)  # what looks like a password counts as a wrong one
            assert answer.status == 401, (how, route.method, url)


_NAMES = {
    "user": "member",
    "team": "repo-ro",
    "robot": "ci",
    "repo": "private",
    "id": "0",
    "rule": "main",
    "job": "0",
    "action": "climb",
}


def test_no_access_token_is_a_bearer_of_the_distribution_api(world: World) -> None:
    for who in ("robot", "narrow-admin"):
        secret = world.callers[who].secret
        assert world.surface.send("GET", "/v2/", authorization=f"Bearer {secret}").status == 401


@pytest.mark.parametrize("changed", [{"url": "https://elsewhere.test"}, {"service": "elsewhere.test"}])
def test_a_token_of_another_issuer_or_for_another_service_is_none(world: World, changed: Mapping[str, str]) -> None:
    """Even if the very keys of this registry have signed it."""
    tokens, ours = world.surface.tokens, vars(world.surface.tokens)
    elsewhere = Tokens(
        issuer=changed.get("url", tokens.issuer),
        service=changed.get("service", tokens.service),
        signer=ours["_signer"],
        verifier=ours["_verifier"],
        keys=ours["_keys"],
        accounts=world.surface.accounts,
        clock=world.surface.clock,
    )
    token = elsewhere.issue(world.surface.accounts.find("admin"), Decision((), ())).text
    assert world.surface.send("GET", "/v2/", authorization=f"Bearer {token}").status == 401


# --------------------------------------------------------------------------------------- what belongs to somebody else


def test_somebody_else_s_access_token_is_reached_by_no_path_and_no_query(world: World) -> None:
    zoe = world.tokens["zoe"]
    world.changed()
    for who in ("stranger", "outsider", "member", "ns-admin", "owner", "robot", "repo-admin"):
        for query in ("", "?account=zoe", "?account=ZOE", "?account=zoe&account=" + who, "?account=acme", "?account=acme%2Bci"):
            for method, body in (("GET", None), ("PATCH", {"isActive": False}), ("DELETE", None)):
                answer = world.ask(who, method, f"/api/v0/api_tokens/{zoe}{query}", body)
                assert answer.status in {204, 403, 404}, (who, method, query, answer.body)
                assert answer.status != 204 or method == "DELETE"
    assert world.changed() == []
    assert told(world.ask("admin", "GET", f"/api/v0/api_tokens/{zoe}?account=zoe"))["isActive"] is True


def test_the_last_of_two_accounts_in_a_query_does_not_count(world: World) -> None:
    listed = told(world.ask("stranger", "GET", "/api/v0/api_tokens?account=stranger&account=admin"))["apiTokens"]
    assert [token["id"] for token in listed] == [world.tokens["stranger"]]


def test_a_body_names_no_account_that_a_token_would_be_made_for(world: World) -> None:
    for field in ("account", "owner", "user", "name", "accountId"):
        answer = world.ask("stranger", "POST", "/api/v0/api_tokens", {"tokenLabel": "x", field: "admin"})
        assert (answer.status, code(answer)) == (400, "INVALID_JSON")


def test_teams_of_one_name_are_not_each_other(world: World) -> None:
    """``other`` has a team ``repo-rw`` as ``acme`` has; its admin gets nothing at acme by it, nor acme's admin there."""
    assert granted(world, "outsider", PUSH) == {}
    for method, body in (("GET", None), ("PATCH", {"description": "x"}), ("DELETE", None)):
        assert world.ask("outsider", method, f"{ACME}/teams/repo-rw", body).status == 404
        assert world.ask("owner", method, "/enzi/v0/accounts/other/teams/repo-rw", body).status == 404
    told(world.ask("outsider", "PUT", "/api/v0/repositoryNamespaces/other/teamAccess/repo-rw", {"accessLevel": "admin"}))
    assert granted(world, "outsider", PUSH) == {}
    assert granted(world, "outsider", "repository:other/new:*")["other/new"] >= {"push"}


@pytest.mark.parametrize("team", ["other", "only-other", "other/repo-rw", "other%2Fonly-other", "..%2Fother%2Fonly-other"])
def test_another_organization_s_team_is_granted_nothing(world: World, team: str) -> None:
    told(world.ask("outsider", "POST", "/enzi/v0/accounts/other/teams", {"name": "only-other"}))
    identity = told(world.ask("outsider", "GET", "/enzi/v0/accounts/other/teams/only-other"))["id"]
    world.changed()
    for given in (team, identity):
        for url in (f"{APP}/teamAccess/{given}", f"/api/v0/repositoryNamespaces/acme/teamAccess/{given}"):
            assert world.ask("owner", "PUT", url, {"accessLevel": "admin"}).status in {400, 404, 405}
    assert world.changed() == []
    assert granted(world, "outsider", PUSH) == {}


def test_another_organization_s_robots_and_people_are_put_in_no_team(world: World) -> None:
    world.changed()
    for user in ("other%2Bci", "outsider", "zoe", "other", "acme", "nobody", "other%2Bnone"):
        answer = world.ask("owner", "PUT", f"{ACME}/teams/ns-admin/members/{user}")
        assert answer.status == 404, (user, answer.body)
    assert world.changed() == []
    assert world.ask("owner", "PUT", f"{ACME}/members/other%2Bci").status == 404


@pytest.mark.parametrize("robot", ["other%2Bci", "OTHER%2BCI", "acme%2B..%2Fother%2Bci", "zoe", "admin"])
def test_another_organization_s_robot_is_reached_by_no_path(world: World, robot: str) -> None:
    world.changed()
    for method, body in (("GET", None), ("PATCH", {"isActive": False}), ("DELETE", None)):
        answer = world.ask("owner", method, f"/api/v0/accounts/acme/robots/{robot}", body)
        assert answer.status in {204, 400, 404}
        assert answer.status != 204 or method == "DELETE"
    assert world.changed() == []


def test_another_organization_s_robot_trusts_nobody_by_this_one_s_admin(world: World) -> None:
    rule = {"issuer": "https://evil.test", "subject": "repo:evil/app"}
    world.changed()
    for robot in ("other%2Bci", "..%2F..%2Fother%2Frobots%2Fci"):
        for method, body in (("GET", None), ("PUT", rule), ("DELETE", None)):
            answer = world.ask("owner", method, f"/api/v0/accounts/acme/robots/{robot}/trust/main", body)
            assert answer.status in {204, 400, 404}
            assert answer.status != 204 or method == "DELETE"
    assert world.changed() == []


def test_a_repository_s_teams_are_its_own_organization_s(world: World) -> None:
    told(world.ask("outsider", "POST", "/api/v0/repositories/other", {"name": "app"}))
    answer = world.ask("outsider", "PUT", "/api/v0/repositories/other/app/teamAccess/repo-admin", {"accessLevel": "admin"})
    assert answer.status == 404
    told(world.ask("outsider", "PUT", "/api/v0/repositories/other/app/teamAccess/repo-rw", {"accessLevel": "admin"}))
    assert granted(world, "repo-rw", "repository:other/app:pull") == {}


# ------------------------------------------------------------------------------------------------------- enumeration


@pytest.mark.parametrize(
    ("method", "path", "there", "body"),
    [
        ("GET", "/enzi/v0/accounts/{}", "other", None),
        ("GET", "/enzi/v0/accounts/{}", "zoe", None),
        ("GET", "/enzi/v0/accounts/{}", "other%2Bci", None),
        ("PATCH", "/enzi/v0/accounts/{}", "zoe", {"isAdmin": True}),
        ("PATCH", "/enzi/v0/accounts/{}", "zoe", b"{"),
        ("DELETE", "/enzi/v0/accounts/{}", "zoe", None),
        ("POST", "/enzi/v0/accounts/{}/changePassword", "zoe", {"newPassword": "x"}),
        ("GET", "/enzi/v0/accounts/{}/organizations", "zoe", None),
        ("GET", "/enzi/v0/accounts/{}/members", "other", None),
        ("PUT", "/enzi/v0/accounts/{}/members/stranger", "other", {"isAdmin": True}),
        ("DELETE", "/enzi/v0/accounts/{}/members/stranger", "other", None),
        ("GET", "/enzi/v0/accounts/{}/members/outsider", "other", None),
        ("GET", "/enzi/v0/accounts/{}/teams", "other", None),
        ("POST", "/enzi/v0/accounts/{}/teams", "other", {"name": "repo-rw"}),
        ("GET", "/enzi/v0/accounts/{}/teams/repo-rw", "other", None),
        ("DELETE", "/enzi/v0/accounts/{}/teams/repo-rw", "other", None),
        ("GET", "/enzi/v0/accounts/{}/teams/repo-rw/members/outsider", "other", None),
        ("GET", "/enzi/v0/accounts/other/teams/{}", "repo-rw", None),
        ("GET", "/api/v0/accounts/{}/robots", "other", None),
        ("POST", "/api/v0/accounts/{}/robots", "other", {"name": "ci"}),
        ("GET", "/api/v0/accounts/other/robots/{}", "ci", None),
        ("DELETE", "/api/v0/accounts/other/robots/{}", "ci", None),
        ("GET", "/api/v0/accounts/{}/robots/ci/trust", "other", None),
        ("GET", "/api/v0/accounts/{}/robots/ci/trust/main", "other", None),
        ("PUT", "/api/v0/accounts/{}/robots/ci/trust/main", "other", {"issuer": "https://evil.test", "subject": "*"}),
        ("DELETE", "/api/v0/accounts/other/robots/ci/trust/{}", "main", None),
        ("GET", "/api/v0/accounts/{}/repositoryAccess/acme/private", "zoe", None),
        ("GET", "/api/v0/accounts/{}/repositoryAccess/acme/private", "other%2Bci", None),
        ("GET", "/api/v0/accounts/stranger/repositoryAccess/acme/{}", "private", None),
        ("GET", "/api/v0/repositories/acme/{}", "private", None),
        ("PATCH", "/api/v0/repositories/acme/{}", "private", {"visibility": "public"}),
        ("DELETE", "/api/v0/repositories/acme/{}", "private", None),
        ("GET", "/api/v0/repositories/acme/{}/events", "private", None),
        ("GET", "/api/v0/repositories/acme/{}/teamAccess", "private", None),
        ("PUT", "/api/v0/repositories/acme/{}/teamAccess/repo-rw", "private", {"accessLevel": "admin"}),
        ("POST", "/api/v0/repositories/acme", "", {"name": "{}"}),
        ("POST", "/api/v0/repositories/{}", "other", {"name": "x"}),
        ("GET", "/api/v0/repositories/{}", "zoe", None),
        ("GET", "/api/v0/repositories?prefix=acme/{}", "private", None),
        ("GET", "/api/v0/repositoryNamespaces/{}/teamAccess", "other", None),
        ("PUT", "/api/v0/repositoryNamespaces/{}/teamAccess/repo-rw", "other", {"accessLevel": "admin"}),
        ("GET", "/api/v0/api_tokens?account={}", "zoe", None),
        ("POST", "/api/v0/api_tokens?account={}", "other%2Bci", {"tokenLabel": "x"}),
        ("GET", "/api/v0/api_tokens/{}", "zoe's", None),
        ("PATCH", "/api/v0/api_tokens/{}", "zoe's", {"isActive": False}),
        ("DELETE", "/api/v0/api_tokens/{}", "zoe's", None),
    ],
)
def test_what_is_there_and_hidden_looks_like_what_is_not(world: World, method: str, path: str, there: str, body: Any) -> None:  # noqa: ANN401
    """Byte for byte and header for header, whatever If-Match says, to a stranger, and anonymously."""
    missing = "absent"
    there = world.tokens["zoe"] if there == "zoe's" else there
    for who in ("stranger", "anonymous"):
        for headers in ({}, {"if_match": '"1"'}, {"if_match": "no tag"}):
            answers = []
            for name in (there, missing):
                content = (
                    {key: value.format(name or "private") for key, value in body.items()} if path.endswith("/acme") else body
                )
                answers.append(world.ask(who, method, path.format(name), content, **headers))
            plain = there.replace("%2B", "+")
            names = {plain: missing} if plain else {}
            assert same(*answers, names=names), [(answer.status, answer.body) for answer in answers]


def test_a_refused_push_or_pull_is_the_same_whatever_there_is(world: World) -> None:
    for who in ("stranger", "anonymous", "member", "narrow-rw"):
        for row in DISTRIBUTION:
            if "<name>" not in row.path or row.grid == "writer":
                continue
            answers = []
            for name in ("acme/private", "acme/missing", "nobody/missing"):
                if who == "narrow-rw" and name == "acme/private":
                    name = "acme/other"  # noqa: PLW2901 - what its token does not cover
                url = row.path.replace("<name>", name).replace("<reference>", str(BLOB)).removesuffix("?")
                answers.append((name, world.pull_or_push(who, row.method, url, f"repository:{name}:{row.actions}")))
            bodies = {(told.status, told.body.decode().replace(name, "x")) for name, told in answers}
            assert len(bodies) == 1, (who, row, bodies)
            assert {told.status for _, told in answers} == {403}


def test_the_lists_of_a_stranger_hold_nothing_that_is_hidden(world: World) -> None:
    for who in ("stranger", "anonymous"):
        listed = told(world.ask(who, "GET", "/api/v0/repositories?pageSize=100"))["repositories"]
        assert [repository["name"] for repository in listed] == ["public"]
    accounts = told(world.ask("stranger", "GET", "/enzi/v0/accounts?pageSize=100"))["accounts"]
    assert [account["name"] for account in accounts] == ["stranger"]


def test_login_failures_are_alike_in_answer_and_in_work(world: World) -> None:
    hasher = vars(world.surface.accounts)["_hasher"]
    seen, work = [], []
    for name, secret in [
        ("zoe", "wrong"),
        ("nobody", "wrong"),
        ("acme", "wrong"),
        ("acme+ci", "wrong"),
        ("locked", PASSWORD),
        ("..", "wrong"),
        ("x" * 65, "wrong"),
        ("", "wrong"),
    ]:
        credentials = Who(name, secret).basic or f"Basic {base64.b64encode(f':{secret}'.encode()).decode()}"
        for url in ("/api/v0/whoami", "/auth/token"):
            hasher.verified.clear()
            answer = world.surface.send("GET", url, authorization=credentials)
            seen.append((url, answer.status, tuple(answer.headers.items()), answer.body))
            work.append(len(hasher.verified))
            world.surface.clock.advance(3600)
    assert len(set(seen)) == 2
    assert set(work) == {1}


def test_access_tokens_that_are_no_good_are_refused_alike(world: World) -> None:
    answers = [
        world.surface.send("GET", "/api/v0/whoami", authorization=f"Bearer {secret}")
        for secret in (world.callers["expired"].secret, world.callers["locked"].secret, "slt_" + "A" * 43, "slt_", "slr_x", "x")
    ]
    assert same(*answers)
    assert answers[0].status == 401


def test_what_an_account_may_with_one_s_own_repository_does_not_tell_whether_there_is_such_an_account(world: World) -> None:
    """Everybody has a namespace, and so a repository whose access is theirs to manage."""
    told(world.ask("stranger", "POST", "/api/v0/repositories/stranger", {"name": "app"}))
    names = ("nobody", "zoe", "locked", "other", "other+ci", "other+none")
    for visibility in ("private", "public"):
        told(world.ask("stranger", "PATCH", "/api/v0/repositories/stranger/app", {"visibility": visibility}))
        urls = [f"/api/v0/accounts/{quote(name, safe='')}/repositoryAccess/stranger/app" for name in names]
        assert same(*(world.ask("stranger", "GET", url) for url in urls))


def test_an_access_token_is_good_under_its_own_account_s_name_only(world: World) -> None:
    robot, made = world.callers["robot"].secret, told(world.ask("stranger", "POST", "/api/v0/api_tokens", {"tokenLabel": "x"}))
    answers = []
    for name, secret in (
        ("zoe", made["token"]), ("admin", made["token"]), ("nobody", made["token"]), ("acme", robot), ("other+ci", robot),
        ("stranger", made["hashedToken"]), ("stranger", f"slt_{made['hashedToken']}"), ("stranger", made["token"].swapcase()),
    ):  # fmt: skip
        answers.append(world.surface.send("GET", "/api/v0/whoami", authorization=Who(name, secret).basic))
    assert same(*answers)
    assert answers[0].status == 401


# ------------------------------------------------------------------------------------------------- privileged fields

PRIVILEGED: Mapping[str, object] = {
    "isAdmin": True,
    "isActive": True,
    "isOrg": True,
    "id": "0" * 24,
    "createdAt": "2020-01-01T00:00:00Z",
    "kind": "user",
    "hashedToken": "0" * 64,
    "token": "slt_" + "A" * 43,
    "version": 7,
    "account": "admin",
    "owner": "admin",
    "namespace": "other",
    "password_hash": "plain$x$y",
    "passwordHash": "plain$x$y",
    "lastUsed": None,
    "__proto__": {"isAdmin": True},
    "is_admin": True,
    "IsAdmin": True,
}

BELONG: Mapping[tuple[str, str], frozenset[str]] = {
    ("POST", "/enzi/v0/accounts"): frozenset({"isAdmin", "isActive", "isOrg"}),
    ("PATCH", "/enzi/v0/accounts/{name}"): frozenset({"isAdmin", "isActive"}),
    ("PUT", "/enzi/v0/accounts/{org}/members/{user}"): frozenset({"isAdmin"}),
    ("PATCH", "/api/v0/accounts/{org}/robots/{robot}"): frozenset({"isActive"}),
    ("PATCH", "/api/v0/api_tokens/{id}"): frozenset({"isActive"}),
}
"""The only bodies in which such a field means anything."""

BODIES: Mapping[str, Mapping[str, object]] = {
    "POST /enzi/v0/accounts": {"name": "new"},
    "POST /enzi/v0/accounts/{name}/changePassword": {"newPassword": "x"},
    "POST /enzi/v0/accounts/{org}/teams": {"name": "new"},
    "POST /api/v0/accounts/{org}/robots": {"name": "new"},
    "POST /api/v0/repositories/{ns}": {"name": "new"},
    "PUT /api/v0/accounts/{org}/robots/{robot}/trust/{rule}": {"issuer": "https://issuer.test", "subject": "a:b"},
    "POST /api/v0/api_tokens": {"tokenLabel": "new"},
    "POST /api/v0/jobs": {"action": "climb"},
    "PUT /api/v0/crons/{action}": {"schedule": "0 0 4 * * *"},
}


@pytest.mark.parametrize("who", ["admin", "owner"])
def test_privileged_fields_are_refused_wherever_they_do_not_belong(world: World, who: str) -> None:
    """To whom the route is open, also to administrators: as unknown, before anything is done."""
    world.changed()
    names = {"name": world.callers[who].name, **dict.fromkeys(("org", "ns"), "acme"), **_NAMES, "id": world.tokens["admin"]}
    for route in ROUTES:
        if route.body is None or (who != "admin" and isinstance(route.needs, Administrator)):
            continue
        needed = BODIES.get(f"{route.method} {route.path}", {})
        for field, value in PRIVILEGED.items():
            if field in BELONG.get((route.method, route.path), ()):
                continue
            answer = world.ask(who, route.method, route.path.format_map(names), {**needed, field: value})
            assert (answer.status, code(answer)) == (400, "INVALID_JSON"), (route.method, route.path, field)
    assert world.changed() == []


def test_nobody_but_an_administrator_promotes_or_unlocks(world: World) -> None:
    for who in set(CALLERS) - {"admin", "narrow-admin", "anonymous", "locked", "expired"}:
        name = quote(world.callers[who].name, safe="")
        for body in ({"isAdmin": True}, {"isActive": True}, {"fullName": "x", "isAdmin": True}, {"isAdmin": False}):
            world.changed()
            assert world.ask(who, "PATCH", f"/enzi/v0/accounts/{name}", body).status == 403, (who, body)
            assert world.changed() == []
    assert told(world.ask("admin", "GET", "/enzi/v0/accounts/stranger"))["isAdmin"] is False


def test_a_field_given_twice_is_refused(world: World) -> None:
    body = b'{"fullName": "x", "fullName": "y"}'
    assert code(world.ask("stranger", "PATCH", "/enzi/v0/accounts/stranger", body)) == "INVALID_JSON"


# -------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name",
    [
        "Admin", "ADMIN", "aDmIn", "admin ", " admin", "admin\n", "admin\0", "\u0430dmin", "adm\u0131n",
        "ad\u200bmin", "\uff41dmin", "\u212aim", "acme+ci", "acme+new", "library/../x", "..", ".", "", "a/b", "a%2fb",
        "a" * 65, "-a", "a-", "a.-b", "root", "Root", "api", "v2", "enzi", "anonymous", "system", "ACME", "Zoe", "\u00e4",
        "a\u0308",
    ],
)  # fmt: skip
def test_no_account_gets_a_name_that_is_taken_reserved_or_no_name(world: World, name: str) -> None:
    world.changed()
    for body in ({"name": name}, {"name": name, "isOrg": True}):
        answer = world.ask("admin", "POST", "/enzi/v0/accounts", body)
        assert answer.status in {400, 409}, (name, answer.status, answer.body)
    assert world.changed() == []


@pytest.mark.parametrize("name", ["ci", "CI", "a+b", "../x", "a/b", "", "x" * 65, "\u0441i", "ci "])
def test_no_robot_gets_a_name_that_is_taken_or_no_name(world: World, name: str) -> None:
    answer = world.ask("owner", "POST", "/api/v0/accounts/acme/robots", {"name": name})
    assert answer.status in {400, 409}, (name, answer.body)


@pytest.mark.parametrize(
    "name", ["../x", "x/../y", "X", "x//y", "/x", "x/", ".", "..", "x%2fy", "x\n", "x\0", "\u0445", "a" * 255, "", "x y", "x?y"]
)
def test_no_repository_gets_a_name_outside_the_grammar(world: World, name: str) -> None:
    answer = world.ask("owner", "POST", "/api/v0/repositories/acme", {"name": name})
    assert (answer.status, code(answer)) == (400, "INVALID_REPOSITORY_NAME"), name


@pytest.mark.parametrize(
    "path",
    [
        "/enzi/v0/accounts/..%2fzoe", "/enzi/v0/accounts/%2e%2e%2fzoe", "/enzi/v0/accounts/stranger%2F..%2Fzoe",
        "/enzi/v0/accounts/stranger/../zoe", "/enzi/v0/accounts//zoe", "/enzi/v0/accounts/zoe%00", "/enzi/v0/accounts/zoe%20",
        "/enzi/v0/accounts/%7Aoe", "/enzi/v0/accounts/ZOE", "/enzi/v0/accounts/zoe/", "/enzi/v0/accounts/zoe%0a",
        "/api/v0/repositories/stranger/../acme/private", "/api/v0/repositories/acme%2Fprivate",
        "/api/v0/repositories/acme/%70rivate", "/api/v0/repositories/acme/private%2F", "/api/v0/repositories/acme//private",
        "/api/v0/repositories/acme/public/../private", "/api/v0/repositories/ACME/private",
        "/api/v0/repositories/acme/private%00", "/api/v0/./repositories/acme/private", "//api/v0/repositories/acme/private",
        "/api/v0/repositories/acme/public/teamAccess/../../private", "/api/v0/repositories/acme/private/events/",
        "/v2/../api/v0/events", "/api/v0/events/..", "/api/v0/events%2f", "/api/v0/%65vents",
    ],
)  # fmt: skip
def test_no_spelling_of_a_path_opens_what_another_one_hides(world: World, path: str) -> None:
    for method, body in (("GET", None), ("PATCH", {"isAdmin": True}), ("PATCH", {"visibility": "public"}), ("DELETE", None)):
        world.changed()
        answer = world.ask("stranger", method, path, body)
        assert answer.status in {400, 401, 403, 404, 405}, (method, path, answer.body)
        assert world.changed() == []


def test_a_name_is_folded_and_stays_the_same_account(world: World) -> None:
    assert told(world.ask("stranger", "GET", "/enzi/v0/accounts/STRANGER"))["name"] == "stranger"
    assert (
        told(world.surface.send("GET", "/api/v0/whoami", authorization=Who("StRaNgEr", PASSWORD).basic))["name"] == "stranger"
    )
    assert world.ask("stranger", "PATCH", "/enzi/v0/accounts/STRANGER", {"isAdmin": True}).status == 403


# --------------------------------------------------------------------------------------------------- other headers


@pytest.mark.parametrize(
    "headers",
    [{"user_agent": agent} for agent in ("", "docker/20.10", "Trivy", "harbor-scanner", "Slipway-Internal", "kube-probe/1")]
    + [{"host": host} for host in ("localhost", "169.254.169.254", "registry.test:5000", "evil.test", "")]
    + [
        {"x_forwarded_for": "127.0.0.1"},
        {"x_slipway_viewer": "127.0.0.1"},
        {"x_forwarded_user": "admin", "x_remote_user": "admin", "remote_user": "admin"},
        {"x_original_url": "/_ping", "x_rewrite_url": "/_ping"},
        {"x_http_method_override": "GET"},
        {"referer": "http://registry.test:5000/", "origin": "http://registry.test:5000"},
        {"cookie": "session=admin"},
        {"x_harbor_csrf_token": "x", "x_amzn_oidc_identity": "admin"},
    ],
)
def test_no_other_header_changes_a_decision(world: World, headers: Mapping[str, str]) -> None:
    for who in ("anonymous", "stranger", "repo-ro"):
        for method, url, body in (
            ("GET", APP, None),
            ("PATCH", APP, {"visibility": "public"}),
            ("GET", "/api/v0/events", None),
            ("POST", "/enzi/v0/accounts", {"name": "new"}),
        ):
            assert same(world.ask(who, method, url, body), world.ask(who, method, url, body, **headers))
        plain = world.pull_or_push(who, "POST", UPLOADS, PUSH)
        assert plain.status == 403
        assert same(plain, world.pull_or_push(who, "POST", UPLOADS, PUSH, b"", **headers))


# --------------------------------------------------------------------------------------------- rights at the time of use


def test_a_token_grants_what_its_owner_holds_when_it_is_asked_for(world: World) -> None:
    grant = f"{APP}/teamAccess/repo-rw"
    assert granted(world, "repo-rw", f"{PUSH},delete")["acme/private"] == {"pull", "push", "delete"}
    told(world.ask("owner", "PUT", grant, {"accessLevel": "read-only"}))
    assert granted(world, "repo-rw", f"{PUSH},delete")["acme/private"] == {"pull"}
    assert granted(world, "robot", "repository:acme/private:*")["acme/private"] == {"pull"}
    told(world.ask("owner", "DELETE", grant))
    assert granted(world, "repo-rw", f"{PUSH},delete") == granted(world, "robot", PUSH) == {}


def test_a_narrowed_token_gets_no_more_by_asking_for_everything(world: World) -> None:
    scope = "repository:acme/private:* repository:acme/other:* registry:catalog:*"
    for who in ("narrow-rw", "narrow-admin"):
        assert granted(world, who, scope) == {"acme/private": {"pull"}}
    told(world.ask("owner", "DELETE", f"{APP}/teamAccess/repo-rw"))
    assert granted(world, "narrow-rw", scope) == {}


def test_a_narrowed_token_neither_makes_nor_sees_access_tokens(world: World) -> None:
    for who in ("narrow-rw", "narrow-admin"):
        assert world.ask(who, "POST", "/api/v0/api_tokens", {"tokenLabel": "wide"}).status == 403
        assert world.ask(who, "GET", "/api/v0/api_tokens").status == 403
        own = world.callers[who].name
        assert world.ask(who, "POST", f"/enzi/v0/accounts/{own}/changePassword", {"newPassword": "x"}).status == 403


def test_a_narrowed_token_stays_narrow_through_a_refresh_token(world: World) -> None:
    caller = world.callers["narrow-rw"]
    first = told(world.surface.send("GET", "/auth/token?offline_token=true&client_id=x", authorization=caller.basic))
    form = f"grant_type=refresh_token&service=registry.test:5000&client_id=x&refresh_token={first['refresh_token']}"
    answer = world.surface.send(
        "POST", "/auth/token", f"{form}&scope={PUSH}".encode(), content_type="application/x-www-form-urlencoded"
    )
    assert told(answer)["scope"] == PULL
    bearer = f"Bearer {first['refresh_token']}"
    assert told(world.surface.send("GET", "/api/v0/whoami", authorization=bearer))["narrowed"]["actions"] == ["pull"]
    for method, url in (("GET", "/api/v0/api_tokens"), ("GET", "/api/v0/meta/settings"), ("DELETE", APP)):
        assert world.surface.send(method, url, authorization=bearer).status == 403


def test_a_narrowed_token_mounts_from_nowhere_else(world: World) -> None:
    """Its token for the registry says what it is narrowed to, so that a mount is decided by that too."""
    token = told(world.ask("repo-rw", "POST", "/api/v0/api_tokens", {
        "tokenLabel": "n", "scope": {"repositories": ["acme/public"], "actions": ["pull", "push"]},
    }))["token"]  # fmt: skip
    secret = b"only in private"
    digest = world.surface.push_blob("acme/private", secret)
    world.callers["narrow"] = Who("repo-rw", token)
    url = f"/v2/acme/public/blobs/uploads/?mount={digest}&from=acme/private"
    assert world.pull_or_push("narrow", "POST", url, "repository:acme/public:pull,push").status == 202
    assert world.pull_or_push("repo-rw", "POST", url, "repository:acme/public:pull,push").status == 201


def test_who_is_removed_has_no_access_with_the_next_token(world: World) -> None:
    told(world.ask("owner", "DELETE", f"{ACME}/teams/repo-rw/members/repo-rw"))
    assert granted(world, "repo-rw", PUSH) == {}
    told(world.ask("owner", "DELETE", f"{ACME}/members/ns-admin"))
    assert granted(world, "ns-admin", PUSH) == {}
    assert world.ask("ns-admin", "GET", ACME).status == 404
    told(world.ask("owner", "PUT", f"{ACME}/members/ns-admin"))
    assert granted(world, "ns-admin", PUSH) == {}, "coming back brings no team back"
    told(world.ask("admin", "PUT", f"{ACME}/members/olga", {"isAdmin": False}))
    assert granted(world, "owner", PUSH) == {}
    assert world.ask("owner", "PUT", f"{ACME}/members/olga", {"isAdmin": True}).status == 403


def test_who_gets_the_name_of_a_deleted_account_gets_nothing_else_of_it(world: World) -> None:
    old = world.ask("repo-rw", "POST", "/api/v0/api_tokens", {"tokenLabel": "old"})
    told(world.ask("admin", "DELETE", "/enzi/v0/accounts/repo-rw"))
    told(world.ask("admin", "POST", "/enzi/v0/accounts", {"name": "repo-rw", "password": PASSWORD}))
    assert granted(world, "repo-rw", PUSH) == {}
    assert told(world.ask("repo-rw", "GET", "/api/v0/api_tokens"))["apiTokens"] == []
    assert world.surface.send("GET", "/api/v0/whoami", authorization=f"Bearer {told(old)['token']}").status == 401


def test_a_locked_account_is_out_at_once_with_all_that_is_under_way(world: World) -> None:
    token = world.bearer("repo-rw", PUSH)
    begun = world.surface.send("POST", UPLOADS, authorization=f"Bearer {token}")
    location = begun.headers["Location"]
    made = told(world.ask("repo-rw", "POST", "/api/v0/api_tokens", {"tokenLabel": "mine"}))["token"]
    told(world.ask("admin", "PATCH", "/enzi/v0/accounts/repo-rw", {"isActive": False}))
    for method, url, body in (
        ("PATCH", location, LAYER),
        ("PUT", f"{location}&digest={BLOB}", LAYER),
        ("GET", location, b""),
        ("DELETE", location, b""),
        ("POST", f"{UPLOADS}?mount={BLOB}&from=acme/public", b""),
        ("GET", f"/v2/acme/private/blobs/{BLOB}", b""),
        ("POST", f"/_relay{location.replace('?', '/open?')}", b"{}"),
        ("GET", "/v2/", b""),
    ):
        assert world.surface.send(method, str(url), body, authorization=f"Bearer {token}").status == 401, (method, url)
    assert world.surface.send("GET", "/api/v0/whoami", authorization=f"Bearer {made}").status == 401
    assert world.ask("repo-rw", "GET", "/api/v0/whoami").status == 401
    assert world.token("narrow-rw", PULL).status == 401


def test_an_upload_is_nobody_else_s_and_no_other_repository_s(world: World) -> None:
    begun = world.pull_or_push("repo-rw", "POST", UPLOADS, PUSH)
    location = begun.headers["Location"]
    for who in ("ns-rw", "owner", "admin", "robot"):
        assert world.pull_or_push(who, "PATCH", location, PUSH, LAYER).status == 404
        assert world.pull_or_push(who, "DELETE", location, PUSH).status == 404
    elsewhere = location.replace("/acme/private/", "/acme/public/")
    assert world.pull_or_push("repo-rw", "PATCH", elsewhere, "repository:acme/public:pull,push", LAYER).status == 404
    assert world.pull_or_push("repo-rw", "PATCH", location, PUSH, LAYER).status == 202


def test_a_token_that_is_switched_off_or_deleted_is_out_at_once(world: World) -> None:
    for method, body in (("PATCH", {"isActive": False}), ("DELETE", None)):
        made = told(world.ask("stranger", "POST", "/api/v0/api_tokens", {"tokenLabel": "x"}))
        bearer = f"Bearer {made['token']}"
        assert world.surface.send("GET", "/api/v0/whoami", authorization=bearer).status == 200
        told(world.ask("stranger", method, f"/api/v0/api_tokens/{made['id']}", body))
        assert world.surface.send("GET", "/api/v0/whoami", authorization=bearer).status == 401


@pytest.mark.parametrize("end", ["switched off", "deleted", "expired", "locked", "account deleted"])
def test_a_refresh_token_ends_with_the_access_token_that_it_was_given_for(world: World, end: str) -> None:
    world.callers["zoe"] = Who("zoe", PASSWORD)
    in_an_hour = {"expiresAt": "2026-01-01T01:00:00Z"} if end == "expired" else {}
    made = told(world.ask("zoe", "POST", "/api/v0/api_tokens", {"tokenLabel": "x", **in_an_hour}))
    url = "/auth/token?offline_token=true&client_id=x"
    refresh = told(world.surface.send("GET", url, authorization=Who("zoe", made["token"]).basic))["refresh_token"]
    form = f"grant_type=refresh_token&service=registry.test:5000&client_id=x&refresh_token={refresh}".encode()

    def status() -> int:
        told = world.surface.send("POST", "/auth/token", form, content_type="application/x-www-form-urlencoded").status
        assert world.surface.send("GET", "/api/v0/whoami", authorization=f"Bearer {refresh}").status == told
        return told

    assert status() == 200
    token = f"/api/v0/api_tokens/{made['id']}"
    match end:
        case "switched off":
            told(world.ask("zoe", "PATCH", token, {"isActive": False}))
        case "deleted":
            told(world.ask("zoe", "DELETE", token))
        case "expired":
            world.surface.clock.advance(3600)
        case "locked":
            told(world.ask("admin", "PATCH", "/enzi/v0/accounts/zoe", {"isActive": False}))
        case _:
            told(world.ask("admin", "DELETE", "/enzi/v0/accounts/zoe"))
    assert status() == 401


# ------------------------------------------------------------------------------------------------ paging and versions

LISTS = [
    "/enzi/v0/accounts", f"{ACME}/members", f"{ACME}/teams", f"{ACME}/teams/repo-rw/members", "/api/v0/accounts/acme/robots",
    "/api/v0/repositories", "/api/v0/repositories/acme", f"{APP}/teamAccess", f"{APP}/events", "/api/v0/events",
    "/api/v0/api_tokens", "/api/v0/repositoryNamespaces/acme/teamAccess", "/enzi/v0/accounts/admin/organizations",
    "/api/v0/accounts/acme/teams/repo-ro/repositoryAccess", "/api/v0/accounts/acme/robots/ci/trust", "/api/v0/jobs",
    "/api/v0/crons",
    f"{APP}/removed",
]  # fmt: skip


def test_every_list_is_among_those_that_are_abused() -> None:
    assert len(LISTS) == len([route for route in ROUTES if route.is_list])


@pytest.mark.parametrize("url", LISTS)
def test_pages_are_bounded_and_begin_nowhere_that_was_made_up(world: World, url: str) -> None:
    for size in ("0", "-1", "101", "1000000000", "abc", "", "1e2", "\u0661", "+5", "1.5", "10 ", "0x10"):
        answer = world.ask("admin", "GET", f"{url}?pageSize={quote(size)}")
        assert (answer.status, code(answer)) == (400, "INVALID_PAGE"), size
    for start in ("x", "!!!!", "..", "%00", "YWNtZQ=", "A" * 5000, unpadded("../x"), _start("team/../member/x"), _start("\0")):
        answer = world.ask("admin", "GET", f"{url}?pageStart={start}")
        assert answer.status in {200, 400}, (start, answer.body)
    for start in ("zzzz", "a", "0000000000000/0", "9999999999999/zz"):
        answer = world.ask("admin", "GET", f"{url}?pageStart={_start(start)}&pageSize=100")
        assert answer.status in {200, 400}


def _start(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def test_a_page_s_start_opens_nothing_to_who_may_not_see_it(world: World) -> None:
    for key in ("acme/p", "acme/private", "acme", "0", "repository/acme"):
        listed = told(world.ask("stranger", "GET", f"/api/v0/repositories?pageStart={_start(key)}&pageSize=100"))[
            "repositories"
        ]
        assert {repository["name"] for repository in listed} <= {"public"}
        accounts = told(world.ask("stranger", "GET", f"/enzi/v0/accounts?pageStart={_start(key)}"))["accounts"]
        assert {account["name"] for account in accounts} <= {"stranger"}


@pytest.mark.parametrize(
    ("url", "bodies"),
    [
        ("/enzi/v0/accounts/zoe", [{"fullName": f"n{number}"} for number in range(8)]),
        (f"{ACME}/teams/repo-ro", [{"description": f"n{number}"} for number in range(8)]),
        ("/api/v0/accounts/acme/robots/ci", [{"description": f"n{number}"} for number in range(8)]),
        (APP, [{"shortDescription": f"n{number}"} for number in range(8)]),
        ("/api/v0/meta/settings", [{"eventRetentionDays": number} for number in range(1, 9)]),
    ],
)
def test_of_many_changes_with_one_etag_exactly_one_is_made(world: World, url: str, bodies: list[Mapping[str, object]]) -> None:
    etag = str(world.ask("admin", "GET", url).headers["ETag"])
    seen: list[int] = []

    def change(body: Mapping[str, object]) -> None:
        seen.append(world.ask("admin", "PATCH", url, body, if_match=etag).status)

    threads = [Thread(target=change, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [200, *[412] * (len(bodies) - 1)]


# ------------------------------------------------------------------------------------------------------ administrators


def test_the_last_administrator_stays(world: World) -> None:
    admin = "/enzi/v0/accounts/admin"
    for method, body in (("PATCH", {"isAdmin": False}), ("PATCH", {"isActive": False}), ("DELETE", None)):
        answer = world.ask("admin", method, admin, body)
        assert (answer.status, code(answer)) == (409, "LAST_ADMIN")
    # A locked one is no other.
    told(world.ask("admin", "PATCH", "/enzi/v0/accounts/zoe", {"isAdmin": True, "isActive": False}))
    assert code(world.ask("admin", "DELETE", admin)) == "LAST_ADMIN"
    told(world.ask("admin", "PATCH", "/enzi/v0/accounts/zoe", {"isActive": True}))
    world.callers["zoe"] = Who("zoe", PASSWORD)
    told(world.ask("zoe", "DELETE", admin))
    assert world.ask("admin", "GET", "/api/v0/whoami").status == 401
    assert code(world.ask("zoe", "PATCH", "/enzi/v0/accounts/zoe", {"isAdmin": False})) == "LAST_ADMIN"


def test_two_administrators_who_end_each_other_at_once_leave_one(world: World) -> None:
    told(world.ask("admin", "PATCH", "/enzi/v0/accounts/zoe", {"isAdmin": True}))
    world.callers["zoe"] = Who("zoe", PASSWORD)
    threads = [
        Thread(target=world.ask, args=("admin", "PATCH", "/enzi/v0/accounts/zoe", {"isAdmin": False})),
        Thread(target=world.ask, args=("zoe", "PATCH", "/enzi/v0/accounts/admin", {"isAdmin": False})),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    left = [name for name in ("admin", "zoe") if (account := world.surface.accounts.find(name)) and account.is_admin]
    assert len(left) == 1


# -------------------------------------------------------------------------------------------------------------- events


def test_what_is_denied_is_recorded_with_the_reason_and_without_a_secret(world: World) -> None:
    world.recorded()
    for who, method, url, body in (
        ("stranger", "PATCH", "/enzi/v0/accounts/stranger", {"isAdmin": True}),
        ("stranger", "POST", "/enzi/v0/accounts", {"name": "x", "password": PASSWORD}),
        ("member", "PUT", f"{ACME}/members/member", {"isAdmin": True}),
        ("repo-rw", "PATCH", APP, {"visibility": "public"}),
        ("narrow-rw", "DELETE", APP, None),
    ):
        answer = world.ask(who, method, url, body)
        assert answer.status == 403
        reason = json.loads(answer.body)["errors"][0]["detail"]["reason"]
        event = told(world.ask("admin", "GET", "/api/v0/events?pageSize=1"))["events"][0]
        assert (event["actor"], event["result"]) == (world.callers[who].name, "denied")
        assert event["detail"].get("reason") == reason, (url, event)
        world.surface.clock.advance(1)
    for line in world.recorded():
        assert not [secret for secret in world.secrets if secret in line]


def test_a_push_that_is_denied_is_recorded_with_the_reason(world: World) -> None:
    world.pull_or_push("repo-ro", "POST", UPLOADS, PUSH)
    event = told(world.ask("admin", "GET", "/api/v0/events?pageSize=1"))["events"][0]
    assert (event["actor"], event["object"], event["result"]) == ("repo-ro", "acme/private", "denied")
    assert "push needs read-write" in event["detail"]["reason"]


def test_a_wrong_old_password_is_no_way_to_guess(world: World) -> None:
    """It counts like any other wrong password, and says nothing but that it is wrong."""
    url = "/enzi/v0/accounts/stranger/changePassword"
    token = told(world.ask("stranger", "POST", "/api/v0/api_tokens", {"tokenLabel": "stolen"}))["token"]
    world.callers["thief"] = Who("stranger", token)
    seen = [world.ask("thief", "POST", url, {"oldPassword": f"guess {n}", "newPassword": "mine"}).status for n in range(10)]
    assert set(seen) == {403, 429}
    assert world.ask("thief", "POST", url, {"newPassword": "mine"}).status == 400
    assert world.ask("thief", "POST", url, {"oldPassword": token, "newPassword": "mine"}).status == 403
