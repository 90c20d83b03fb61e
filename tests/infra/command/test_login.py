"""Logging in and out, which registry a command calls, and by what credentials."""

from __future__ import annotations

import base64
import json
import stat

import pytest

from tests.infra.command.running import Scripted, User

ME = {"name": "bob", "kind": "user", "isAdmin": False, "narrowed": None}
WRONG = {"errors": [{"code": "NOT_AUTHENTICATED", "message": "the user name or the password is wrong", "detail": {}}]}


def basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def login(user: User, server: Scripted) -> None:
    server.answer(200, ME)
    assert user.run("login", "-u", "bob", "--password-stdin", server.host, stdin="secret\n").code == 0


def test_a_wrong_password_is_not_kept(user: User, server: Scripted) -> None:
    server.answer(401, WRONG)
    done = user.run("login", "-u", "bob", "--password-stdin", server.host, stdin="wrong\n")
    assert (done.code, done.out) == (3, "")
    assert done.err == f"slipway: {server.host} does not take the credentials: the user name or the password is wrong\n"
    assert list(user.home.iterdir()) == []


def test_nobody_answers(user: User) -> None:
    done = user.run("login", "-u", "bob", "--password-stdin", "registry.invalid", stdin="x")
    assert done.code == 4
    assert done.err.startswith("slipway: cannot reach https://registry.invalid: ")
    assert list(user.home.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "stdin", "told"),
    [
        (("login", "-u", "bob", "HOST"), "", "there is no terminal to ask for a password"),
        (("login", "--password-stdin", "HOST"), "x", "say who logs in"),
        (("login", "-u", "bob", "--password-stdin", "HOST"), "", "stdin must hold a password"),
        (("login", "-u", "bob", "--password-stdin", "HOST"), "a\nb\n", "stdin must hold a password"),
        (("login", "-u", "a:b", "--password-stdin", "HOST"), "x", "not a user's name"),
        (("login", "-u", "bob", "--password-stdin", "http://registry.test"), "x", "--insecure-http"),
        (("login", "-u", "bob", "--password", "x", "HOST"), "", "No such option"),
        (("login", "-u", "bob", "--password-stdin", "no host"), "x", "is not a registry's address"),
    ],
)
def test_wrong_use(user: User, server: Scripted, words: tuple[str, ...], stdin: str, told: str) -> None:
    server.answer(200, ME)
    done = user.run(*(server.host if word == "HOST" else word for word in words), stdin=stdin)
    assert done.code == 2
    assert told in done.err
    assert server.asked == []


def test_login_proves_then_keeps(user: User, server: Scripted) -> None:
    server.answer(200, ME)
    done = user.run("login", "-u", "bob", "--password-stdin", server.host, stdin=" s:cret \r\n")
    assert (done.code, done.out) == (0, f"logged in to {server.url} as bob\n")
    assert (
        done.err
        == f"slipway: the password is kept unencrypted in {user.docker_file}; credsStore in that file names a better place\n"
    )
    assert user.docker() == {"auths": {server.host: {"auth": basic("bob: s:cret ")}}}
    profile = user.home / ".config/slipway/config.json"
    assert json.loads(profile.read_text()) == {"registry": server.url}
    assert stat.S_IMODE(profile.stat().st_mode) == 0o600
    assert "s:cret" not in profile.read_text()
    assert user.run("whoami").code == 0
    assert server.asked[-1].headers["Authorization"] == f"Basic {basic('bob: s:cret ')}"


def test_login_keeps_nothing_where_docker_cannot(user: User, server: Scripted) -> None:
    server.answer(200, ME)
    user.write_docker("not JSON")
    done = user.run("login", "-u", "bob", "--password-stdin", server.host, stdin="secret")
    assert (done.code, done.out) == (3, "")
    assert done.err == f"slipway: cannot read {user.docker_file}: it is not JSON\n"
    assert user.docker_file.read_text() == "not JSON"


def test_a_login_of_docker_serves(user: User, server: Scripted) -> None:
    server.answer(200, ME)
    user.write_docker({"auths": {server.host: {"auth": basic("bob:secret")}}})
    done = user.run("--registry", server.host, "whoami")
    assert done.code == 0
    assert done.out.splitlines() == [
        f"registry  {server.url}",
        "name      bob",
        "kind      user",
        "isAdmin   no",
        "narrowed  -",
    ]
    assert server.asked[0].headers["Authorization"] == f"Basic {basic('bob:secret')}"


def test_logout(user: User, server: Scripted) -> None:
    login(user, server)
    assert user.run("logout").out == f"logged out of {server.host}\n"
    assert user.docker() == {"auths": {}}
    done = user.run("whoami")
    assert (done.code, done.err) == (
        3,
        "slipway: no registry is known: say slipway login HOST, --registry URL or SLIPWAY_REGISTRY\n",
    )
    assert user.run("logout", server.url).out == f"was not logged in to {server.host}\n"
    assert user.run("whoami", "--registry", server.host).err == (
        f"slipway: not logged in to {server.host}: say slipway login {server.host}\n"
    )


def test_which_registry(user: User, server: Scripted) -> None:
    login(user, server)
    elsewhere = {"SLIPWAY_REGISTRY": "127.0.0.1:1"}
    assert user.run("whoami").code == 0
    assert user.run("whoami", **elsewhere).code == 3
    assert user.run("whoami", "--registry", server.host, **elsewhere).code == 0
    assert user.run("--registry", server.host, "whoami", **elsewhere).code == 0
    assert user.run("--registry", "127.0.0.1:1", "whoami", "--registry", server.host, **elsewhere).code == 0


def test_the_environments_token_goes_first(user: User, server: Scripted) -> None:
    login(user, server)
    user.run("whoami", SLIPWAY_TOKEN="slt_x", SLIPWAY_USER="acme+ci")
    user.run("whoami", SLIPWAY_TOKEN="slt_x")
    assert [each.headers["Authorization"] for each in server.asked[1:]] == [f"Basic {basic('acme+ci:slt_x')}", "Bearer slt_x"]
    done = user.run("login", "-u", "bob", "--password-stdin", server.host, stdin="secret", SLIPWAY_TOKEN="slt_x")
    assert "SLIPWAY_TOKEN is set" in done.err


def test_http_to_others_is_meant_each_time(user: User) -> None:
    done = user.run("whoami", "--registry", "http://registry.test", SLIPWAY_TOKEN="slt_x")
    assert done.code == 2
    assert "--insecure-http" in done.err


def test_at_a_terminal(user: User, server: Scripted) -> None:
    server.answer(200, ME)
    done = user.at_terminal("login", server.host, typed="bob\n", secrets=["secret"])
    assert (done.code, done.out) == (0, f"logged in to {server.url} as bob\n")
    assert "secret" not in done.err
    assert user.docker()["auths"][server.host] == {"auth": basic("bob:secret")}


def test_what_the_registry_says_is_not_obeyed(user: User, server: Scripted) -> None:
    server.answer(403, {"errors": [{"code": "X", "message": "\x1b[2J", "detail": {"reason": "\u202e\n"}}]})
    done = user.run("whoami", "--registry", server.host, SLIPWAY_TOKEN="slt_x")
    assert (done.code, done.err) == (1, "slipway: \\x1b[2J: \\u202e\\x0a\n")


def test_it_says_that_it_waits(user: User, server: Scripted) -> None:
    server.answer(
        429, {"errors": [{"code": "TOO_MANY_REQUESTS", "message": "too many wrong passwords", "detail": {}}]}, Retry_After="3"
    )
    server.answer(200, ME)
    done = user.run("whoami", "--output", "json", "--registry", server.host, SLIPWAY_TOKEN="slt_x")
    assert (done.code, done.json(), user.waited) == (0, ME, [3])
    assert done.err == f"slipway: {server.host} says to wait: too many wrong passwords; trying again in 3 s\n"


def test_the_profile_lies_where_xdg_says(user: User, server: Scripted) -> None:
    user.environ["XDG_CONFIG_HOME"] = str(user.home / "xdg")
    login(user, server)
    assert [each.name for each in (user.home / "xdg/slipway").iterdir()] == ["config.json"]
