"""Docker's store: what is read from it, what is written to it, and what stays as it was."""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
from pathlib import Path

import pytest

from infra.command.credentials import IDENTITY_TOKEN, Credentials, CredentialStore, from_environment
from infra.command.failures import NotLoggedIn, WrongUse
from tests.infra.command.running import User

HOST = "registry.test:5000"
BOB = Credentials("bob", "s:cret ü")
HELPER = """#!{python}
import json, pathlib, sys
action, told = sys.argv[1], sys.stdin.read()
kept = pathlib.Path({kept!r})
held = json.loads(kept.read_text()) if kept.exists() else {{}}
with open({kept!r} + ".log", "a") as log:
    log.write(f"{{action}} {{told}}\\n")
if action == "store":
    entry = json.loads(told)
    held[entry["ServerURL"]] = entry
elif action == "erase":
    del held[told]
elif told in held:
    print(json.dumps(held[told]))
else:
    print("credentials not found in native keychain")
    sys.exit(1)
kept.write_text(json.dumps(held))
"""


def store(user: User) -> CredentialStore:
    return CredentialStore.of(user.environ)


def program(user: User, name: str, text: str) -> None:
    folder = user.home / "bin"
    folder.mkdir(exist_ok=True)
    path = folder / f"docker-credential-{name}"
    path.write_text(text)
    path.chmod(0o755)
    user.environ["PATH"] = f"{folder}:{os.environ['PATH']}"


def helper(user: User, name: str = "fake") -> Path:
    """A helper that keeps what it is given in the file returned; its calls lie beside that, in ``.log``."""
    kept = user.home / f"{name}.kept"
    program(user, name, HELPER.format(python=sys.executable, kept=str(kept)))
    return kept


def basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


# ----------------------------------------------------------------------------------------------------- what cannot be read


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '"x"', "{'auths': {}}", "[" * 100_000, '{"auths": {"registry.test:5000": {"auth": "%%%"}}}', "\udcff"],
)
def test_a_file_that_cannot_be_read_is_named_and_left_alone(user: User, content: str) -> None:
    user.docker_file.parent.mkdir()
    user.docker_file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(NotLoggedIn, match=rf"^cannot read {user.docker_file}: "):
        store(user).find(HOST)
    if "auths" not in content or "'" in content:
        with pytest.raises(NotLoggedIn):
            store(user).keep(HOST, BOB)
        assert user.docker_file.read_bytes() == content.encode(errors="surrogateescape")


@pytest.mark.parametrize("encoded", [basic("nocolon"), basic(":nobody"), 5, ["x"], base64.b64encode(b"\xff:\xff").decode()])
def test_credentials_that_are_none(user: User, encoded: object) -> None:
    user.write_docker({"auths": {HOST: {"auth": encoded}}})
    with pytest.raises(NotLoggedIn, match=f"the credentials for {HOST} are not base64"):
        store(user).find(HOST)


def test_a_folder_in_the_files_place(user: User) -> None:
    user.docker_file.mkdir(parents=True)
    with pytest.raises(NotLoggedIn, match="Is a directory"):
        store(user).find(HOST)


def test_a_folder_that_cannot_be_made(user: User) -> None:
    user.docker_file.parent.write_text("a file")
    with pytest.raises(NotLoggedIn, match=f"cannot (read|write) {user.docker_file}: Not a directory"):
        store(user).keep(HOST, BOB)


def test_what_cannot_be_written_again_unchanged(user: User) -> None:
    user.write_docker('{"limit": 1e999, "auths": {}}')
    with pytest.raises(NotLoggedIn, match="cannot be written again unchanged"):
        store(user).keep(HOST, BOB)
    assert user.docker_file.read_text() == '{"limit": 1e999, "auths": {}}'
    assert [each.name for each in (user.docker_file.parent).iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    "content", [{}, {"auths": None}, {"auths": {}}, {"auths": {HOST: None}}, {"auths": {HOST: {}}}, {"auths": []}]
)
def test_nothing_is_there(user: User, content: dict[str, object]) -> None:
    user.write_docker(content)
    assert store(user).find(HOST) is None
    assert store(user).find("other.test") is None


# ---------------------------------------------------------------------------------------------------------- in the file


def test_what_docker_wrote_is_found(user: User) -> None:
    user.write_docker(
        {
            "auths": {
                HOST: {"auth": basic("bob:s:cret")},
                "https://old.test/v1/": {"auth": basic("old:1\0\0")},
                "token.test": {"auth": basic("<token>:"), "identitytoken": "slr_x"},
            }
        }
    )
    assert store(user).find(HOST) == Credentials("bob", "s:cret")
    assert store(user).find("old.test") == Credentials("old", "1")
    assert store(user).find("token.test") == Credentials(IDENTITY_TOKEN, "slr_x")
    assert store(user).find("registry.test") is None
    assert "s:cret" not in repr(store(user).find(HOST))


def test_everything_else_in_the_file_stays(user: User) -> None:
    before = {
        "HttpHeaders": {"X": "ü\u2028"},
        "big": 123456789012345678901234567890,
        "auths": {"other.test": {"auth": basic("a:b"), "email": "x"}, HOST: {"identitytoken": "old", "email": "bob@test"}},
        "plugins": {"z": 1, "a": [None, True, 1.5]},
    }
    user.write_docker(before)
    assert store(user).keep(HOST, BOB) == ""
    after = user.docker()
    assert list(after) == list(before)
    assert after["auths"].pop(HOST) == {"email": "bob@test", "auth": basic("bob:s:cret ü")}
    del before["auths"][HOST]  # type: ignore[attr-defined]
    assert after == before
    assert store(user).find(HOST) == BOB
    assert store(user).forget(HOST)
    assert user.docker() == before
    assert not store(user).forget(HOST)


def test_the_file_is_for_its_user_alone(user: User) -> None:
    store(user).keep(HOST, BOB)
    assert stat.S_IMODE(user.docker_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(user.docker_file.parent.stat().st_mode) == 0o700
    user.docker_file.chmod(0o644)
    store(user).keep("other.test", BOB)
    assert stat.S_IMODE(user.docker_file.stat().st_mode) == 0o600
    assert [each.name for each in (user.docker_file.parent).iterdir()] == ["config.json"]


def test_a_link_stays_a_link(user: User, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere.json"
    real.write_text('{"kept": 1}')
    user.docker_file.parent.mkdir()
    user.docker_file.symlink_to(real)
    store(user).keep(HOST, BOB)
    assert user.docker_file.is_symlink()
    assert json.loads(real.read_bytes())["kept"] == 1
    assert store(user).find(HOST) == BOB


def test_docker_config_names_the_folder(user: User) -> None:
    user.environ["DOCKER_CONFIG"] = str(user.home / "own")
    store(user).keep(HOST, BOB)
    assert (user.home / "own" / "config.json").exists()
    assert not user.docker_file.exists()


# -------------------------------------------------------------------------------------------------------------- helpers


def test_a_helper_keeps_finds_and_forgets(user: User) -> None:
    kept = helper(user)
    user.write_docker({"credsStore": "fake", "auths": {}})
    assert store(user).find(HOST) is None
    assert not store(user).forget(HOST)
    assert store(user).keep(HOST, BOB) == "fake"
    assert json.loads(kept.read_text()) == {HOST: {"ServerURL": HOST, "Username": "bob", "Secret": "s:cret ü"}}
    assert user.docker() == {"credsStore": "fake", "auths": {HOST: {}}}  # as docker notes it
    assert store(user).find(HOST) == BOB
    assert store(user).forget(HOST)
    assert json.loads(kept.read_text()) == {}
    assert user.docker() == {"credsStore": "fake", "auths": {}}


def test_a_hosts_own_helper_goes_before_that_for_all(user: User) -> None:
    every, own = helper(user, "every"), helper(user, "own")
    user.write_docker({"credsStore": "every", "credHelpers": {HOST: "own"}})
    store(user).keep(HOST, BOB)
    store(user).keep("other.test", BOB)
    assert list(json.loads(own.read_text())) == [HOST]
    assert list(json.loads(every.read_text())) == ["other.test"]


def test_a_password_in_the_file_moves_to_the_helper(user: User) -> None:
    helper(user)
    user.write_docker({"credsStore": "fake", "auths": {HOST: {"auth": basic("bob:old")}}})
    assert store(user).find(HOST) is None  # docker does not look there any more either
    store(user).keep(HOST, BOB)
    assert user.docker()["auths"] == {HOST: {}}


def test_an_identity_token_of_a_helper(user: User) -> None:
    program(user, "fake", '#!/bin/sh\necho \'{"ServerURL":"x","Username":"<token>","Secret":"slr_x"}\'\n')
    user.write_docker({"credsStore": "fake"})
    assert store(user).find(HOST) == Credentials(IDENTITY_TOKEN, "slr_x")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("echo the keychain is locked; exit 1", "docker-credential-fake get failed: the keychain is locked"),
        ("exit 7", "docker-credential-fake get failed with code 7"),
        ("kill -9 $$", "docker-credential-fake get failed with code -9"),
        ("echo surprise", "docker-credential-fake does not answer in its protocol"),
        ("echo '[]'", "docker-credential-fake does not answer in its protocol"),
        ('echo \'{"Username":5,"Secret":"x"}\'', "docker-credential-fake does not answer in its protocol"),
        ('echo \'{"Username":"x"}\'', "docker-credential-fake does not answer in its protocol"),
    ],
)
def test_a_helper_that_fails(user: User, text: str, sentence: str) -> None:
    program(user, "fake", f"#!/bin/sh\n{text}\n")
    user.write_docker({"credsStore": "fake"})
    with pytest.raises(NotLoggedIn) as caught:
        store(user).find(HOST)
    assert str(caught.value) == sentence


def test_a_helper_that_does_not_keep_leaves_the_file(user: User) -> None:
    program(user, "fake", "#!/bin/sh\necho no room; exit 1\n")
    user.write_docker({"credsStore": "fake"})
    with pytest.raises(NotLoggedIn, match="docker-credential-fake store failed: no room"):
        store(user).keep(HOST, BOB)
    assert user.docker() == {"credsStore": "fake"}


def test_a_helper_that_cannot_be_run(user: User) -> None:
    program(user, "fake", "#!/nowhere/to/be/found\n")
    user.write_docker({"credsStore": "fake"})
    with pytest.raises(NotLoggedIn, match="docker-credential-fake cannot be run"):
        store(user).find(HOST)


@pytest.mark.parametrize("name", ["nowhere", "../../bin/sh", "x; rm -rf /"])
def test_a_helper_that_is_not_there(user: User, name: str) -> None:
    user.write_docker({"credsStore": name})
    with pytest.raises(NotLoggedIn, match="which is not on the PATH"):
        store(user).find(HOST)


# ---------------------------------------------------------------------------------------------------------- environment


def test_the_environments_token() -> None:
    assert from_environment({"SLIPWAY_USER": "bob"}) is None
    assert from_environment({"SLIPWAY_TOKEN": "slt_x\n"}) == Credentials(IDENTITY_TOKEN, "slt_x")
    assert from_environment({"SLIPWAY_TOKEN": "slt_x", "SLIPWAY_USER": "acme+ci"}) == Credentials("acme+ci", "slt_x")


@pytest.mark.parametrize(("user", "token"), [("a:b", "x"), ("bob\r\nX: y", "x"), ("", "x\r\nX: y"), ("", "ü")])
def test_a_token_that_no_header_holds(user: str, token: str) -> None:
    with pytest.raises(WrongUse):
        from_environment({"SLIPWAY_TOKEN": token, "SLIPWAY_USER": user})
