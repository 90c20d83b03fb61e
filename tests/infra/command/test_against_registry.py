"""Every command against the whole program: what an administrator, an organization's admin, a member and a robot see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.infra.command.registry import served
from tests.infra.command.running import Done, User
from tests.surface import PASSWORD, Surface


class Desk:
    """Users of one registry, each with a home of its own; ``admin`` and whoever was made is logged in."""

    def __init__(self, folder: Path, host: str) -> None:
        self._folder = folder
        self.host = host
        self.users: dict[str, User] = {}

    def login(self, name: str, secret: str) -> Done:
        home = self._folder / name
        home.mkdir(exist_ok=True)
        self.users[name] = User(home)
        return self.users[name].run("login", "-u", name, "--password-stdin", self.host, stdin=secret)

    def run(self, name: str, line: str, stdin: str = "") -> Done:
        return self.users[name].run(*line.split(), stdin=stdin)

    def do(self, name: str, line: str, stdin: str = "") -> str:
        """A command that has to succeed; what it prints."""
        done = self.run(name, line, stdin)
        assert done.code == 0, (line, done)
        return done.out

    def json(self, name: str, line: str) -> dict[str, Any]:
        done = self.run(name, line + " --output json")
        assert done.code == 0, (line, done)
        return done.json()

    def person(self, name: str) -> None:
        self.do("admin", f"user create {name} --password-stdin", f"password of {name}")
        assert self.login(name, f"password of {name}").code == 0


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with served(Surface()) as host:
        found = Desk(tmp_path, host)
        assert found.login("admin", PASSWORD).code == 0
        yield found


@pytest.fixture
def acme(desk: Desk) -> Desk:
    """An organization whose admin is alice, whose member bob is in the team developers; carol is nobody there."""
    for name in ("alice", "bob", "carol"):
        desk.person(name)
    desk.do("admin", "org create acme --full-name Acme")
    desk.do("admin", "org add acme alice --admin")
    desk.do("alice", "org add acme bob")
    desk.do("alice", "team create acme/developers --description makers")
    desk.do("alice", "team add acme/developers bob")
    return desk


def names(listed: dict[str, Any], member: str, field: str = "name") -> list[str]:
    return [each[field] for each in listed[member]]


def test_a_wrong_password(desk: Desk) -> None:
    done = desk.login("mallory", "wrong")
    assert done.code == 3
    assert done.err.startswith(f"slipway: {desk.host} does not take the credentials: ")
    assert desk.run("mallory", "whoami").code == 3


def test_whoami(desk: Desk) -> None:
    assert desk.json("admin", "whoami") == {"name": "admin", "kind": "user", "isAdmin": True, "narrowed": None}


def test_users(desk: Desk) -> None:
    desk.person("alice")
    assert desk.run("admin", "user create alice --no-password").code == 1
    assert names(desk.json("admin", "user list"), "accounts") == ["admin", "alice"]
    assert names(desk.json("admin", "user list --filter admins"), "accounts") == ["admin"]
    assert names(desk.json("alice", "user list"), "accounts") == ["alice"]
    assert desk.do("admin", "user list").splitlines()[0].split() == ["NAME", "FULL", "NAME", "ADMIN", "ACTIVE"]
    desk.do("alice", "user edit alice --full-name Alice")
    assert desk.json("admin", "user show alice")["fullName"] == "Alice"
    assert desk.run("alice", "user edit alice --admin").code == 1
    assert desk.run("alice", "user show admin").code == 1
    assert desk.run("alice", "user create bob --no-password").code == 1
    desk.do("admin", "user edit alice --inactive")
    assert desk.run("alice", "whoami").code == 3
    assert desk.run("admin", "user edit admin --no-admin").code == 1
    desk.do("admin", "user delete alice --yes")
    assert desk.run("admin", "user show alice").code == 1


def test_many_users_take_several_pages(desk: Desk) -> None:
    for number in range(105):
        desk.do("admin", f"user create u{number:03} --no-password")
    found = names(desk.json("admin", "user list"), "accounts")
    assert found == ["admin", *(f"u{number:03}" for number in range(105))]
    assert len(desk.json("admin", "user list --limit 101")["accounts"]) == 101


def test_passwords(desk: Desk) -> None:
    desk.person("alice")
    assert desk.run("alice", "user passwd --password-stdin", "wrong\nnew password of alice\n").code != 0
    desk.do("alice", "user passwd --password-stdin", "password of alice\nnew password of alice\n")
    desk.do("alice", "whoami")  # what is kept was changed, too
    desk.do("admin", "user passwd alice --password-stdin", "third password of alice\n")
    assert desk.run("alice", "whoami").code == 3
    assert desk.login("alice", "third password of alice").code == 0


def test_organizations_and_teams(acme: Desk) -> None:
    assert names(acme.json("bob", "org list"), "accounts") == ["acme"]
    assert names(acme.json("carol", "org list"), "accounts") == []
    assert acme.json("bob", "org show acme")["fullName"] == "Acme"
    assert acme.run("carol", "org show acme").code == 1
    assert names(acme.json("bob", "org members acme"), "members") == ["alice", "bob"]
    assert acme.run("bob", "org add acme carol").code == 1
    assert names(acme.json("bob", "team list acme"), "teams") == ["developers"]
    assert names(acme.json("bob", "team members acme/developers"), "members") == ["bob"]
    assert acme.run("alice", "team add acme/developers carol").code == 1
    acme.do("alice", "team remove acme/developers bob")
    assert names(acme.json("bob", "team members acme/developers"), "members") == []
    acme.do("alice", "org remove acme bob")
    assert acme.run("bob", "org show acme").code == 1
    acme.do("alice", "team delete acme/developers --yes")
    acme.do("admin", "org delete acme --yes")
    assert acme.run("admin", "org show acme").code == 1


def test_repositories_and_grants(acme: Desk) -> None:
    acme.do("alice", "repo create acme/app --private --description d")
    acme.do("alice", "repo create acme/deep/er")
    assert acme.run("alice", "repo create acme/app").code == 1
    assert acme.run("bob", "repo show acme/app").code == 1
    assert acme.run("bob", "repo create acme/other").code == 1
    acme.do("alice", "grant set acme/developers acme/app read-write")
    assert names(acme.json("bob", "repo list --prefix acme/"), "repositories") == ["app"]
    assert acme.do("bob", "repo list").split()[3:5] == ["acme/app", "private"]
    acme.do("alice", "grant set acme/developers acme/ read-only")
    assert names(acme.json("bob", "repo list --prefix acme/"), "repositories") == ["app", "deep/er"]
    assert acme.json("alice", "grant list acme/") == {"teamAccessList": [{"accessLevel": "read-only", "team": "developers"}]}
    assert len(acme.json("bob", "team access acme/developers")["repositoryAccessList"]) >= 1
    acme.do("alice", "repo edit acme/app --public")
    assert acme.json("carol", "repo show acme/app")["visibility"] == "public"
    assert acme.run("bob", "repo edit acme/app --private").code == 1
    acme.do("alice", "grant remove acme/developers acme/app")
    acme.do("alice", "grant remove acme/developers acme/")
    assert names(acme.json("bob", "repo list"), "repositories") == ["app"]
    assert acme.run("admin", "org delete acme --yes").code == 1
    acme.do("alice", "repo delete acme/deep/er --yes")
    assert acme.run("alice", "repo show acme/deep/er").code == 1


def test_can_i(acme: Desk) -> None:
    acme.do("alice", "repo create acme/app")
    assert acme.run("bob", "can-i pull acme/app").code == 1
    acme.do("alice", "grant set acme/developers acme/app read-only")
    done = acme.run("bob", "can-i pull acme/app")
    assert (done.code, done.out) == (0, "yes: team acme/developers has read-only on the repository\n")
    done = acme.run("bob", "can-i push acme/app")
    assert done.code == 1
    assert done.out.startswith("no: push needs read-write, and this is read-only: ")
    assert acme.run("alice", "can-i pull acme/app --as bob").code == 0
    assert acme.run("alice", "can-i push acme/app --as bob").code == 1
    assert acme.run("bob", "can-i pull acme/app --as alice").code == 1
    assert acme.run("alice", "can-i create acme/new").code != 1
    assert acme.run("bob", "can-i create acme/new").code == 1


def test_robots_and_trust(acme: Desk) -> None:
    token = acme.do("alice", "robot create acme+ci --description builds").strip()
    assert acme.run("bob", "robot create acme+other").code == 1
    assert acme.login("acme+ci", token).code == 0
    assert acme.json("acme+ci", "whoami")["kind"] == "robot"
    assert names(acme.json("alice", "robot list acme"), "robots") == ["acme+ci"]
    assert acme.json("alice", "robot show acme+ci")["description"] == "builds"
    acme.do("alice", "repo create acme/app")
    acme.do("alice", "grant set acme/developers acme/app read-write")
    assert acme.run("acme+ci", "can-i push acme/app").code == 1
    acme.do("alice", "team add acme/developers acme+ci")
    assert acme.run("acme+ci", "can-i push acme/app").code == 0
    more = acme.do("alice", "token create --account acme+ci --label more").strip()
    assert acme.login("acme+ci", more).code == 0
    acme.do("alice", "robot edit acme+ci --inactive")
    assert acme.run("acme+ci", "whoami").code == 3
    acme.do("alice", "robot delete acme+ci --yes")
    assert acme.json("alice", "robot list acme") == {"robots": []}


def test_rules_of_trust(acme: Desk) -> None:
    acme.do("alice", "robot create acme+ci")
    if "no such endpoint" in acme.run("alice", "trust list acme+ci").err:
        pytest.skip("this registry's API has no rules of trust yet")
    issuer = "https://issuer.test"
    rule = f"trust set acme+ci main --issuer {issuer} --subject repo:acme/app:ref:refs/heads/main --claim ref=refs/heads/*"
    acme.do("alice", rule)
    (found,) = next(iter(acme.json("alice", "trust list acme+ci").values()))
    assert (found["name"], found["issuer"], found["claims"]) == ("main", issuer, {"ref": "refs/heads/*"})
    assert "main" in acme.do("alice", "trust list acme+ci")
    assert acme.run("bob", "trust list acme+ci").code == 1
    acme.do("alice", "trust remove acme+ci main")
    assert list(acme.json("alice", "trust list acme+ci").values()) == [[]]


def test_tokens(acme: Desk) -> None:
    acme.do("alice", "repo create acme/app")
    token = acme.do("alice", "token create --label laptop --expires 30d").strip()
    narrow = acme.do("alice", "token create --label narrow --repository acme/* --action pull").strip()
    listed = next(iter(acme.json("alice", "token list").values()))
    assert {each["tokenLabel"] for each in listed} == {"laptop", "narrow"}
    assert token not in str(listed)
    carol = acme.users["carol"]
    told = {"SLIPWAY_REGISTRY": acme.host, "SLIPWAY_USER": "alice"}
    assert carol.run("whoami", "--output", "json", **told, SLIPWAY_TOKEN=token).json()["name"] == "alice"
    bearer = {"SLIPWAY_REGISTRY": acme.host, "SLIPWAY_TOKEN": narrow}
    assert carol.run("whoami", "--output", "json", **bearer).json()["narrowed"] == {
        "repositories": ["acme/*"],
        "actions": ["pull"],
    }
    assert carol.run("repo", "show", "acme/app", **bearer).code == 0
    elsewhere = {**bearer, "SLIPWAY_REGISTRY": "https://registry.example.org"}
    own = carol.run("whoami", "--registry", acme.host, "--output", "json", **elsewhere).json()
    assert own["name"] == "carol", "a token goes to the registry that it is for, so this is the stored login"
    assert carol.run("user", "list", **bearer).code == 1
    laptop = next(each["id"] for each in listed if each["tokenLabel"] == "laptop")
    acme.do("alice", f"token revoke {laptop}")
    assert carol.run("whoami", **told, SLIPWAY_TOKEN=token).code == 3
    for each in listed:
        acme.do("alice", f"token delete {each['id']} --yes")
    assert carol.run("whoami", **bearer).code == 3
    assert "laptop" not in acme.do("alice", "token list")


def test_events(acme: Desk) -> None:
    acme.do("alice", "repo create acme/app")
    acme.run("bob", "org add acme carol")
    assert len(acme.json("admin", "events --limit 5")["events"]) == 5
    found = acme.json("admin", "events")["events"]
    assert "bob" in {each["actor"] for each in found}
    assert "denied" in {each["result"] for each in found}
    assert acme.json("alice", "events --repository acme/app")["events"]
    assert acme.run("bob", "events").code == 1
    assert acme.run("bob", "events --repository acme/app").code == 1


def test_settings(acme: Desk) -> None:
    assert acme.run("bob", "settings set createRepositoryOnPush=false").code == 1
    acme.do("admin", "settings set createRepositoryOnPush=false eventRetentionDays=30")
    shown = acme.json("bob", "settings show")
    assert (shown["createRepositoryOnPush"], shown["eventRetentionDays"]) == (False, 30)
    assert acme.run("admin", "settings set nothing=5").code == 1
    assert acme.run("admin", "settings set eventRetentionDays=long").code == 1


def test_logout(desk: Desk) -> None:
    desk.do("admin", "logout")
    assert desk.run("admin", "whoami").code == 3


def test_what_was_deleted_comes_back(tmp_path: Path) -> None:
    surface = Surface()
    digest = surface.push_image("admin/app", "1.0", b"layer")
    with served(surface) as host:
        desk = Desk(tmp_path, host)
        assert desk.login("admin", PASSWORD).code == 0
        assert surface.status("DELETE", "/v2/admin/app/manifests/1.0") == 202
        heading, line = desk.do("admin", "repo removed admin/app").splitlines()
        assert heading.split() == ["KIND", "TAGS", "DIGEST", "REMOVED", "BY", "RESTORABLE", "UNTIL"]
        assert line.split()[:3] == ["tag", "1.0", str(digest)]
        assert desk.do("admin", "repo restore admin/app 1.0") == f"restored {digest}, tagged 1.0\n"
        assert surface.status("DELETE", f"/v2/admin/app/manifests/{digest}") == 202
        assert desk.do("admin", "repo removed admin/app").split()[7:10] == ["manifest", "1.0", str(digest)]
        [removed] = desk.json("admin", "repo removed admin/app")["removed"]
        assert desk.json("admin", f"repo restore admin/app {removed['reference']}") == {"digest": str(digest), "tags": ["1.0"]}
        again = desk.run("admin", "repo restore admin/app 1.0")
        assert again.code == 1
        assert again.err.startswith("slipway: nothing of that name was removed, or it was too long ago; ")
