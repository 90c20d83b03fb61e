"""Logging in with docker, podman, helm and crane: by password, access token and robot; and what is told to who may not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.clients.engines import Docker, running_docker
from tests.clients.images import PLATFORMS, SourceImage
from tests.clients.sandbox import Sandbox
from tests.conformance.management import Administrator
from tests.conformance.registry_process import RunningRegistry

PASSWORD = "correct: hörse"


@dataclass(slots=True)
class People:
    """bob with a password and tokens, and the robot acme+ci, who may push to acme/app by their team and nowhere else."""

    registry: RunningRegistry
    secrets: dict[str, tuple[str, str]] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Mapping[str, object] | None = None, who: str = "") -> Any:  # noqa: ANN401
        """An answer of the management API, asked by the administrator unless said otherwise."""
        asking = RunningRegistry(self.registry.host, *self.secrets[who]) if who else self.registry
        return Administrator(asking).ask(method, path, body)

    def prepare(self) -> None:
        self.ask("POST", "/enzi/v0/accounts", {"name": "bob", "password": PASSWORD})
        self.ask("POST", "/enzi/v0/accounts", {"name": "acme", "isOrg": True})
        self.ask("PUT", "/enzi/v0/accounts/acme/members/bob", {})
        self.ask("POST", "/enzi/v0/accounts/acme/teams", {"name": "dev"})
        self.ask("PUT", "/enzi/v0/accounts/acme/teams/dev/members/bob")
        self.ask("POST", "/api/v0/repositories/acme", {"name": "app"})
        self.ask("PUT", "/api/v0/repositories/acme/app/teamAccess/dev", {"accessLevel": "read-write"})
        robot = self.ask("POST", "/api/v0/accounts/acme/robots", {"name": "ci"})
        self.ask("PUT", "/enzi/v0/accounts/acme/teams/dev/members/acme+ci")
        self.secrets["password"] = ("bob", PASSWORD)
        self.secrets["robot"] = ("acme+ci", robot["token"])
        self.secrets["access token"] = ("bob", self.token({"tokenLabel": "laptop"})["token"])
        narrowed = {"repositories": ["acme/app"], "actions": ["pull"]}
        self.secrets["narrowed token"] = ("bob", self.token({"tokenLabel": "reader", "scope": narrowed})["token"])
        off = self.token({"tokenLabel": "off"})
        self.ask("PATCH", f"/api/v0/api_tokens/{off['id']}", {"isActive": False}, "password")
        self.secrets["token switched off"] = ("bob", off["token"])
        self.secrets["wrong password"] = ("bob", "not the password")
        self.secrets["somebody else's token"] = ("admin", self.secrets["access token"][1])

    def token(self, body: Mapping[str, object]) -> Any:  # noqa: ANN401
        return self.ask("POST", "/api/v0/api_tokens", body, "password")


GOOD = ["password", "access token", "robot"]
BAD = ["wrong password", "token switched off", "somebody else's token"]


@pytest.fixture(scope="module")
def people(registry: RunningRegistry) -> People:
    people = People(registry)
    people.prepare()
    return people


@pytest.fixture(scope="module")
def docker(sandbox: Sandbox) -> Iterator[Docker]:
    with running_docker(sandbox) as running:
        yield running


def login_words(client: str, host: str, name: str) -> tuple[str, ...]:
    """A login that reads the secret from standard input."""
    words = {
        "podman": ("podman", "login", "--tls-verify=false", "-u", name, "--password-stdin", host),
        "helm": ("helm", "registry", "login", "--plain-http", "-u", name, "--password-stdin", host),
    }
    return words[client]


@pytest.mark.parametrize("client", ["podman", "helm"])
@pytest.mark.parametrize("kind", GOOD)
def test_a_login_is_taken(sandbox: Sandbox, people: People, client: str, kind: str) -> None:
    name, secret = people.secrets[kind]
    sandbox.run(*login_words(client, sandbox.registry.host, name), stdin=secret)


@pytest.mark.parametrize("client", ["podman", "helm"])
@pytest.mark.parametrize("kind", BAD)
def test_a_login_is_refused_and_says_why(sandbox: Sandbox, people: People, client: str, kind: str) -> None:
    name, secret = people.secrets[kind]
    sandbox.is_refused(*login_words(client, sandbox.registry.host, name), stdin=secret)


@pytest.mark.parametrize("kind", GOOD)
def test_docker(docker: Docker, people: People, kind: str, multi: SourceImage) -> None:
    """A login, a push where the team may, and a refusal where it may not."""
    host = docker.sandbox.registry.host
    name, secret = people.secrets[kind]
    docker.run("login", "-u", name, "--password-stdin", host, stdin=secret)
    remote, foreign = f"{host}/acme/app:by-{name.replace('+', '-')}", f"{host}/acme/other:1"
    docker.load(multi, PLATFORMS[0], remote)
    docker.push(remote)
    docker.run("tag", remote, foreign)
    docker.sandbox.is_refused(*docker.words("push", foreign))
    docker.run("image", "rm", "--force", remote, foreign)
    docker.run("logout", host)


@pytest.mark.parametrize("kind", BAD)
def test_docker_is_refused(docker: Docker, people: People, kind: str) -> None:
    name, secret = people.secrets[kind]
    words = docker.words("login", "-u", name, "--password-stdin", docker.sandbox.registry.host)
    docker.sandbox.is_refused(*words, stdin=secret)


def crane(sandbox: Sandbox, people: People, kind: str) -> Callable[..., str]:
    name, secret = people.secrets[kind]
    sandbox.run("crane", "auth", "login", sandbox.registry.host, "-u", name, "--password-stdin", stdin=secret)
    return sandbox.run


@pytest.mark.parametrize("kind", GOOD)
def test_crane(sandbox: Sandbox, people: People, kind: str, multi: SourceImage) -> None:
    remote = f"{sandbox.registry.host}/acme/app"
    run = crane(sandbox, people, kind)
    run("crane", "push", str(multi.layout), f"{remote}:crane")
    assert "crane" in run("crane", "ls", remote).split()
    sandbox.is_refused("crane", "push", str(multi.layout), f"{sandbox.registry.host}/admin/app:crane")


def test_crane_with_a_token_that_may_only_pull(sandbox: Sandbox, people: People, multi: SourceImage) -> None:
    remote = f"{sandbox.registry.host}/acme/app"
    crane(sandbox, people, "password")("crane", "push", str(multi.layout), f"{remote}:narrow")
    assert crane(sandbox, people, "narrowed token")("crane", "digest", f"{remote}:narrow").startswith("sha256:")
    sandbox.is_refused("crane", "push", str(multi.layout), f"{remote}:another")


@pytest.mark.parametrize("kind", BAD)
def test_crane_is_refused(sandbox: Sandbox, people: People, kind: str) -> None:
    crane(sandbox, people, kind)  # stored, not yet tried
    sandbox.is_refused("crane", "ls", f"{sandbox.registry.host}/acme/app")


def test_a_locked_account_is_refused_at_once_and_let_in_again(sandbox: Sandbox, people: People) -> None:
    run = crane(sandbox, people, "access token")
    run("crane", "ls", f"{sandbox.registry.host}/acme/app")
    people.ask("PATCH", "/enzi/v0/accounts/bob", {"isActive": False})
    sandbox.is_refused("crane", "ls", f"{sandbox.registry.host}/acme/app")
    people.ask("PATCH", "/enzi/v0/accounts/bob", {"isActive": True})
    run("crane", "ls", f"{sandbox.registry.host}/acme/app")
