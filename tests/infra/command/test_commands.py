"""Each command: the requests it makes, what it prints, and what it asks before it deletes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from infra.command.main import COMMANDS
from tests.infra.command.running import Done, Scripted, User

ACCOUNTS = "/enzi/v0/accounts"
RULE = ("--issuer", "https://issuer.test", "--subject", "repo:acme/app:*")
ACCESS = {
    "operations": {"push": {"allowed": False, "reason": "it needs read-write"}, "pull": {"allowed": True, "reason": "public"}}
}
DESCRIBED = {"shortDescription": "d", "longDescription": "l"}
DELETES = [
    "user delete z",
    "org delete acme",
    "team delete acme/dev",
    "repo delete a/b",
    "robot delete acme+ci",
    "token delete 5",
    "job delete 5f",
]
NO = {"errors": [{"code": "NOT_AUTHORIZED", "message": "denied", "detail": {"reason": "only admins may"}}]}


def run(user: User, server: Scripted, *words: str, stdin: str = "") -> Done:
    return user.run(*words, stdin=stdin, SLIPWAY_REGISTRY=server.url, SLIPWAY_USER="bob", SLIPWAY_TOKEN="slt_x")


@pytest.mark.parametrize(
    ("line", "method", "path", "body"),
    [
        ("user create Zoë --admin --no-password", "POST", ACCOUNTS, {"name": "Zoë", "isAdmin": True}),
        ("user create z --inactive --no-password", "POST", ACCOUNTS, {"name": "z", "isActive": False}),
        ("user show z?x", "GET", f"{ACCOUNTS}/z%3Fx", None),
        ("user edit z --inactive --no-admin", "PATCH", f"{ACCOUNTS}/z", {"isActive": False, "isAdmin": False}),
        ("user edit z --active --full-name=", "PATCH", f"{ACCOUNTS}/z", {"isActive": True, "fullName": ""}),
        ("user delete z --yes", "DELETE", f"{ACCOUNTS}/z", None),
        ("org create acme", "POST", ACCOUNTS, {"name": "acme", "isOrg": True}),
        ("org show acme", "GET", f"{ACCOUNTS}/acme", None),
        ("org delete -y acme", "DELETE", f"{ACCOUNTS}/acme", None),
        ("org add acme z", "PUT", f"{ACCOUNTS}/acme/members/z", {}),
        ("org add acme z --admin --private", "PUT", f"{ACCOUNTS}/acme/members/z", {"isAdmin": True, "isPublic": False}),
        ("org remove acme z", "DELETE", f"{ACCOUNTS}/acme/members/z", None),
        ("team create acme/dev --description d", "POST", f"{ACCOUNTS}/acme/teams", {"name": "dev", "description": "d"}),
        ("team delete acme/dev --yes", "DELETE", f"{ACCOUNTS}/acme/teams/dev", None),
        ("team add acme/dev acme+ci", "PUT", f"{ACCOUNTS}/acme/teams/dev/members/acme%2Bci", {}),
        ("team remove acme/dev z", "DELETE", f"{ACCOUNTS}/acme/teams/dev/members/z", None),
        ("repo create acme/app/x", "POST", "/api/v0/repositories/acme", {"name": "app/x"}),
        ("repo create a/b --public", "POST", "/api/v0/repositories/a", {"name": "b", "visibility": "public"}),
        ("repo show a/b/c", "GET", "/api/v0/repositories/a/b/c", None),
        ("repo edit a/b --private", "PATCH", "/api/v0/repositories/a/b", {"visibility": "private"}),
        ("repo edit a/b --description d --long-description l", "PATCH", "/api/v0/repositories/a/b", DESCRIBED),
        ("repo delete a/b/c --yes", "DELETE", "/api/v0/repositories/a/b/c", None),
        ("repo restore a/b/c 1.0", "POST", "/api/v0/repositories/a/b/c/restore", {"reference": "1.0"}),
        ("grant set a/dev a/b/c read-only", "PUT", "/api/v0/repositories/a/b/c/teamAccess/dev", {"accessLevel": "read-only"}),
        ("grant set acme/dev acme/ admin", "PUT", "/api/v0/repositoryNamespaces/acme/teamAccess/dev", {"accessLevel": "admin"}),
        ("grant remove acme/dev acme/app", "DELETE", "/api/v0/repositories/acme/app/teamAccess/dev", None),
        ("grant remove acme/dev acme/", "DELETE", "/api/v0/repositoryNamespaces/acme/teamAccess/dev", None),
        ("robot show acme+ci", "GET", "/api/v0/accounts/acme/robots/ci", None),
        ("robot edit acme+ci --inactive", "PATCH", "/api/v0/accounts/acme/robots/ci", {"isActive": False}),
        ("robot delete acme+ci --yes", "DELETE", "/api/v0/accounts/acme/robots/ci", None),
        ("trust remove acme+ci main", "DELETE", "/api/v0/accounts/acme/robots/ci/trust/main", None),
        ("token revoke 5", "PATCH", "/api/v0/api_tokens/5", {"isActive": False}),
        ("token revoke 5 --account acme+ci", "PATCH", "/api/v0/api_tokens/5?account=acme%2Bci", {"isActive": False}),
        ("token delete 5 --yes", "DELETE", "/api/v0/api_tokens/5", None),
        ("storage", "GET", "/api/v0/meta/storage", None),
        ("settings show", "GET", "/api/v0/meta/settings", None),
        ("settings set a=true b=90 c=x=y d=", "PATCH", "/api/v0/meta/settings", {"a": True, "b": 90, "c": "x=y", "d": ""}),
        ("settings set a=yes b=no c=false", "PATCH", "/api/v0/meta/settings", {"a": True, "b": False, "c": False}),
    ],
)  # fmt: skip
def test_one_request(user: User, server: Scripted, *, line: str, method: str, path: str, body: object) -> None:
    server.answer(200, {"name": "x"})
    done = run(user, server, *line.split())
    assert (done.code, done.err) == (0, "")
    assert [(each.method, each.path, each.body) for each in server.asked] == [(method, path, body)]
    assert done.out
    assert run(user, server, *line.split(), "--output", "json").json() == {"name": "x"}
    server.plan.clear()
    server.answer(403, NO)
    assert run(user, server, *line.split()) == Done(1, "", "slipway: denied: only admins may\n")


@pytest.mark.parametrize(
    ("line", "path", "member"),
    [
        ("user list", f"{ACCOUNTS}?filter=users&", "accounts"),
        ("user list --filter admins", f"{ACCOUNTS}?filter=admins&", "accounts"),
        ("user list --filter all", f"{ACCOUNTS}?filter=all&", "accounts"),
        ("org list", f"{ACCOUNTS}?filter=orgs&", "accounts"),
        ("org members acme", f"{ACCOUNTS}/acme/members?", "members"),
        ("team list acme", f"{ACCOUNTS}/acme/teams?", "teams"),
        ("team members acme/dev", f"{ACCOUNTS}/acme/teams/dev/members?", "members"),
        ("team access acme/dev", "/api/v0/accounts/acme/teams/dev/repositoryAccess?", "repositoryAccessList"),
        ("repo list", "/api/v0/repositories?", "repositories"),
        ("repo list --prefix acme/", "/api/v0/repositories?prefix=acme%2F&", "repositories"),
        ("repo access a/b", "/api/v0/repositories/a/b/teamAccess?", "teamAccessList"),
        ("repo removed a/b/c", "/api/v0/repositories/a/b/c/removed?", "removed"),
        ("grant list a/", "/api/v0/repositoryNamespaces/a/teamAccess?", "teamAccessList"),
        ("robot list acme", "/api/v0/accounts/acme/robots?", "robots"),
        ("trust list acme+ci", "/api/v0/accounts/acme/robots/ci/trust?", "trust"),
        ("token list", "/api/v0/api_tokens?", "apiTokens"),
        ("token list --account acme+ci", "/api/v0/api_tokens?account=acme%2Bci&", "apiTokens"),
        ("events", "/api/v0/events?", "events"),
        ("events --repository a/b/c", "/api/v0/repositories/a/b/c/events?", "events"),
    ],
)
def test_lists(user: User, server: Scripted, line: str, path: str, member: str) -> None:
    server.answer(200, {member: [{"name": "one", "claims": {"a": "b"}, "time": "\x1b[2J"}]}, X_Next_Page_Start="next")
    server.answer(200, {member: [{"name": ["two"]}, {}]})
    done = run(user, server, *line.split())
    assert (done.code, done.err) == (0, "")
    assert server.asked[0].path == path + "pageSize=100"
    assert server.asked[1].path.endswith("&pageStart=next")
    assert len(done.out.splitlines()) == 4
    assert done.out.splitlines()[0].isupper()
    assert "\x1b" not in done.out
    as_json = run(user, server, *line.split(), "--output", "json", "--limit", "1")
    assert as_json.json() == {member: [{"name": ["two"]}]}
    assert "pageSize=1" in server.asked[-1].path


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nothing",
        "user",
        "user edit z",
        "user show",
        "user show a/b",
        "user show ..",
        "user show \x1b",
        "user create z --no-password --password-stdin",
        "user create z",
        "user list --limit 0",
        "user list --output xml",
        "user list --ca-file /nowhere/to/be/found",
        "team create acme",
        "team create acme/a/b",
        "team create acme/",
        "repo show app",
        "repo show a//b",
        "repo show a/../b",
        "repo show a/",
        "repo edit a/b",
        "repo removed a",
        "repo restore a/b",
        "repo restore a 1.0",
        "repo edit a/b --public=yes",
        "grant set acme/dev acme read-only",
        "grant set acme/dev other/app read-only",
        "grant set acme/dev acme/app everything",
        "grant set acme/dev acme/app none",
        "robot create ci",
        "robot create acme+c+i",
        "robot show acme+a/b",
        "robot edit acme+ci",
        "trust set acme+ci main --issuer x",
        "trust set acme+ci main --issuer x --subject y --claim z",
        "token create",
        "token create --label l --repository a/b",
        "token create --label l --action pull",
        "token create --label l --action fly --repository a/b",
        "token create --label l --expires tomorrow",
        "token create --label l --expires 2027-01-31T00:00:00",
        "token create --label l --expires -5d",
        "token create --label l --expires 0001-01-01T00:00:00+23:00",
        "token create --label l --expires 99999w",
        "settings set",
        "settings set a",
        "settings set =b",
        "can-i fly a/b",
        "can-i pull",
        "events --repository a",
        "relay --nothing",
    ],
)
def test_wrong_use(user: User, server: Scripted, line: str) -> None:
    server.answer(200, {})
    done = run(user, server, *line.split(" ") if line else [])
    assert done.code == 2
    assert done.err
    assert server.asked == []


@pytest.mark.parametrize("line", DELETES)
def test_nothing_is_deleted_unasked(user: User, server: Scripted, line: str) -> None:
    done = run(user, server, *line.split(), stdin="y\n")
    assert done == Done(2, "", "slipway: nobody can be asked here, as there is no terminal; say --yes if it is to be deleted\n")
    assert server.asked == []


@pytest.mark.parametrize(("typed", "code", "asked"), [("y\n", 0, ["DELETE"]), ("n\n", 1, []), ("\n", 1, []), ("\x04", 130, [])])
def test_a_terminal_is_asked(user: User, server: Scripted, typed: str, code: int, asked: list[str]) -> None:
    server.answer(204, b"")
    user.environ |= {"SLIPWAY_REGISTRY": server.url, "SLIPWAY_TOKEN": "slt_x"}
    done = user.at_terminal("repo", "delete", "a/b", typed=typed)
    assert (done.code, [each.method for each in server.asked]) == (code, asked)
    assert "Delete the repository a/b and all its images? [y/N]: " in done.err


@pytest.mark.parametrize("words", [("robot", "create", "acme+ci"), ("token", "create", "--label", "l")])
def test_a_token_stands_alone_on_stdout(user: User, server: Scripted, words: tuple[str, ...]) -> None:
    content = {"name": "acme+ci", "token": "slt_secret"}
    server.answer(201, content)
    done = run(user, server, *words)
    assert (done.code, done.out) == (0, "slt_secret\n")
    assert "nobody can show again" in done.err
    assert run(user, server, *words, "--output", "json").json() == content
    server.plan.clear()
    server.answer(201, {"token": 5})
    assert run(user, server, *words).code == 4


def test_a_narrow_token_that_ends(user: User, server: Scripted) -> None:
    server.answer(201, {"token": "slt_x"})
    words = (
        "token create --label l --repository a/b --repository acme/* --action pull --action push --account acme+ci --expires"
    )
    before = datetime.now(UTC)
    run(user, server, *words.split(), "30d")
    run(user, server, *words.split(), "2027-01-31T01:00:00+01:00")
    asked = server.asked[0]
    assert (asked.method, asked.path) == ("POST", "/api/v0/api_tokens?account=acme%2Bci")
    assert isinstance(asked.body, dict)
    ends = datetime.fromisoformat(asked.body.pop("expiresAt"))
    assert timedelta(days=30, seconds=-1) <= ends - before <= timedelta(days=30, minutes=1)
    assert asked.body == {"tokenLabel": "l", "scope": {"repositories": ["a/b", "acme/*"], "actions": ["pull", "push"]}}
    assert server.asked[1].body["expiresAt"] == "2027-01-31T00:00:00Z"


def test_a_rule_of_trust(user: User, server: Scripted) -> None:
    server.answer(200, {})
    run(user, server, "trust", "set", "acme+ci", "main", *RULE, "--claim", "ref=refs/heads/main", "--claim", "a=b=c")
    run(user, server, "trust", "set", "acme+ci", "main", *RULE)
    said = {"issuer": "https://issuer.test", "subject": "repo:acme/app:*"}
    assert [each.body for each in server.asked] == [{**said, "claims": {"ref": "refs/heads/main", "a": "b=c"}}, said]
    assert (server.asked[0].method, server.asked[0].path) == ("PUT", "/api/v0/accounts/acme/robots/ci/trust/main")


# ---------------------------------------------------------------------------------------------------------------- can-i


@pytest.mark.parametrize(
    ("operation", "code", "told"), [("pull", 0, "yes: public\n"), ("push", 1, "no: it needs read-write\n")]
)
def test_can_i(user: User, server: Scripted, operation: str, code: int, told: str) -> None:
    server.answer(200, ACCESS)
    done = run(user, server, "can-i", operation, "a/b/c", "--as", "acme+ci")
    assert done == Done(code, told, "")
    assert [each.path for each in server.asked] == ["/api/v0/accounts/acme%2Bci/repositoryAccess/a/b/c"]
    as_json = run(user, server, "can-i", operation, "a/b", "--as", "z", "--output", "json")
    assert (as_json.code, as_json.json()) == (code, ACCESS)


def test_can_i_asks_who_i_am(user: User, server: Scripted) -> None:
    server.answer(200, {"name": "bob"})
    server.answer(200, ACCESS)
    assert run(user, server, "can-i", "pull", "a/b").code == 0
    assert [each.path for each in server.asked] == ["/api/v0/whoami", "/api/v0/accounts/bob/repositoryAccess/a/b"]


@pytest.mark.parametrize("operations", [None, [], {}, {"pull": True}, {"pull": {"allowed": "no"}}])
def test_no_answer_is_not_a_no(user: User, server: Scripted, operations: object) -> None:
    server.answer(200, {"operations": operations})
    assert run(user, server, "can-i", "pull", "a/b", "--as", "z").code == 4
    server.plan.clear()
    server.answer(500, {})
    assert run(user, server, "can-i", "pull", "a/b", "--as", "z").code == 4
    server.plan.clear()
    server.answer(200, {"name": None})
    assert run(user, server, "can-i", "pull", "a/b").code == 4


def test_whether_it_can_be_created_is_not_said_by_its_absence(user: User, server: Scripted) -> None:
    server.answer(404, {"errors": [{"code": "NO_SUCH_REPOSITORY", "message": "no such repository", "detail": {}}]})
    assert run(user, server, "can-i", "create", "a/b", "--as", "z").code == 4
    assert run(user, server, "can-i", "pull", "a/b", "--as", "z") == Done(1, "", "slipway: no such repository\n")


# ------------------------------------------------------------------------------------------------------------ passwords


def test_a_users_password_comes_by_stdin(user: User, server: Scripted) -> None:
    server.answer(201, {"name": "z"})
    run(user, server, "user", "create", "z", "--password-stdin", stdin="s ecret\n")
    assert server.asked[0].body == {"name": "z", "password": "s ecret"}


def test_somebody_elses_password(user: User, server: Scripted) -> None:
    server.answer(200, {"name": "admin"})
    server.answer(204, b"")
    done = run(user, server, "user", "passwd", "z", "--password-stdin", stdin="new\n")
    assert (done.code, done.out) == (0, "changed the password of z\n")
    assert (server.asked[1].path, server.asked[1].body) == (f"{ACCOUNTS}/z/changePassword", {"newPassword": "new"})


def test_your_own_needs_the_old_one(user: User, server: Scripted) -> None:
    server.answer(200, {"name": "bob"})
    assert run(user, server, "user", "passwd", "--password-stdin", stdin="new\n").code == 2
    server.answer(204, b"")
    user.write_docker({"auths": {server.host: {"auth": "Ym9iOm9sZA=="}}})  # bob:old
    done = user.run("user", "passwd", "--password-stdin", "--registry", server.url, stdin="old\nnew\n")
    assert done.code == 0
    assert server.asked[-1].body == {"oldPassword": "old", "newPassword": "new"}
    assert user.docker() == {"auths": {server.host: {"auth": "Ym9iOm5ldw=="}}}  # bob:new


def test_passwords_typed_twice(user: User, server: Scripted) -> None:
    server.answer(201, {"name": "z"})
    user.environ |= {"SLIPWAY_REGISTRY": server.url, "SLIPWAY_TOKEN": "slt_x"}
    done = user.at_terminal("user", "create", "z", secrets=["one", "other"])
    assert (done.code, server.asked) == (2, [])
    assert "the two are not the same" in done.err
    assert user.at_terminal("user", "create", "z", secrets=["one", "one"]).code == 0
    assert server.asked[0].body == {"name": "z", "password": "one"}


# -------------------------------------------------------------------------------------------------------------- storage


def test_storage_in_words(user: User, server: Scripted) -> None:
    server.answer(200, {"measuredAt": "2026-01-01T00:00:00Z", "manifests": 2, "live": {"bytes": 70, "blobs": 3}})
    done = run(user, server, "storage")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[1:] == ["manifests   2", "live        70 bytes in 3 blobs"]
    server.plan.clear()
    server.answer(200, {"measuredAt": None, "manifests": 0})
    assert "no audit has counted yet" in run(user, server, "storage").err


# ----------------------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(user: User, name: str) -> None:
    done = user.run(name, "--help")
    assert (done.code, done.err) == (0, "")
    verbs = re.findall(r"^  ([a-z]+) ", done.out.partition("Commands:\n")[2], re.MULTILINE)
    for verb in verbs:
        assert "--registry" in user.run(name, verb, "-h").out
