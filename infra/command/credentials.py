"""Credentials where docker keeps them, so that ``docker login`` serves ``slipway`` and the reverse.

``$DOCKER_CONFIG/config.json``, else ``~/.docker/config.json``. A registry's credentials lie with the program
``docker-credential-<name>`` that ``credHelpers`` names for its host, else with the one that ``credsStore`` names, else in
``auths``, base64 and not encrypted. Sources: docker/cli ``cli/config/credentials``, docker-credential-helpers ``client``.

    store = CredentialStore.of(os.environ)
    store.find("registry.example.org")  # Credentials("bob", ...) or None
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.command.failures import NotLoggedIn, WrongUse
from infra.command.files import read_object, write_object
from infra.command.profile import home

IDENTITY_TOKEN = "<token>"  # noqa: S105 - the user name by which docker says that the secret is an identity token
_HELPER = re.compile(r"[A-Za-z0-9_.-]+")
_NOT_FOUND = "credentials not found in native keychain"  # docker-credential-helpers credentials/error.go
_HELPER_SECONDS = 300
"""As long as somebody may need to unlock a keychain."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's name and what proves it. The name IDENTITY_TOKEN says that ``secret`` alone names the user."""

    user: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CredentialStore:
    """Docker's configuration file and the helper programs that it names, found on ``search_path``."""

    path: Path
    search_path: str

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> CredentialStore:
        """The store of whoever has this environment."""
        folder = Path(environ["DOCKER_CONFIG"]) if environ.get("DOCKER_CONFIG") else home(environ) / ".docker"
        return cls(folder / "config.json", environ.get("PATH", ""))

    def find(self, host: str) -> Credentials | None:
        """The credentials for a host, None if there are none. Raises NotLoggedIn if nobody can tell."""
        config = read_object(self.path)
        helper = _helper(config, host)
        return self._ask_helper(helper, host) if helper else self._in_file(config, host)

    def keep(self, host: str, credentials: Credentials) -> str:
        """Store them; the helper that has them now, or "" if the file does. Raises NotLoggedIn."""
        config = read_object(self.path)
        entries = _entries(config)
        old = entries.get(host)
        entry = {name: value for name, value in (old if isinstance(old, dict) else {}).items() if name not in _SECRETS}
        helper = _helper(config, host)
        if helper:
            told = {"ServerURL": host, "Username": credentials.user, "Secret": credentials.secret}
            self._run(helper, "store", json.dumps(told))
        else:
            entry["auth"] = base64.b64encode(f"{credentials.user}:{credentials.secret}".encode()).decode()
        # An empty entry beside a helper is how docker notes that it has something for this host.
        write_object(self.path, {**config, "auths": {**entries, host: entry}})
        return helper

    def forget(self, host: str) -> bool:
        """Remove them; whether there were any. Raises NotLoggedIn."""
        config = read_object(self.path)
        entries = _entries(config)
        helper = _helper(config, host)
        held = helper and self._ask_helper(helper, host) is not None
        if held:
            self._run(helper, "erase", host)
        left = {name: entry for name, entry in entries.items() if _host(name) != host}
        if left != entries:
            write_object(self.path, {**config, "auths": left})
        return bool(held) or left != entries

    def _in_file(self, config: Mapping[str, Any], host: str) -> Credentials | None:
        entries = _entries(config)
        entry = entries.get(host) or next((entry for name, entry in entries.items() if _host(name) == host), None)
        if not isinstance(entry, dict):
            return None
        if isinstance(token := entry.get("identitytoken"), str) and token:
            return Credentials(IDENTITY_TOKEN, token)
        encoded = entry.get("auth")
        if not encoded:
            return None
        try:
            user, colon, secret = base64.b64decode(encoded, validate=True).decode().rstrip("\0").partition(":")
        except (ValueError, TypeError):
            user = colon = secret = ""
        if not (user and colon):
            raise NotLoggedIn(f"cannot read {self.path}: the credentials for {host} are not base64 of user:password")
        return Credentials(user, secret)

    def _ask_helper(self, helper: str, host: str) -> Credentials | None:
        answer = self._run(helper, "get", host, missing_is_fine=True)
        if answer is None:
            return None
        try:
            found = json.loads(answer)
            user, secret = found["Username"], found["Secret"]
        except (ValueError, TypeError, KeyError) as error:
            raise NotLoggedIn(f"docker-credential-{helper} does not answer in its protocol") from error
        if not isinstance(user, str) or not isinstance(secret, str):
            raise NotLoggedIn(f"docker-credential-{helper} does not answer in its protocol")
        return Credentials(user, secret) if secret else None

    def _run(self, helper: str, action: str, told: str, *, missing_is_fine: bool = False) -> str | None:
        """What a helper prints; None where it has nothing and that ``missing_is_fine``. Raises NotLoggedIn."""
        name = f"docker-credential-{helper}"
        program = shutil.which(name, path=self.search_path) if _HELPER.fullmatch(helper) else None
        if program is None:
            raise NotLoggedIn(f"{self.path} names the credential helper {name!r}, which is not on the PATH")
        try:
            done = subprocess.run(  # noqa: S603 - the user's own helper, by the user's own file
                [program, action], input=told.encode(), stdout=subprocess.PIPE, check=False, timeout=_HELPER_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise NotLoggedIn(f"{name} {action} did not end within {_HELPER_SECONDS} s") from error
        except OSError as error:
            raise NotLoggedIn(f"{name} cannot be run: {error.strerror}") from error
        answer = done.stdout.decode(errors="replace").strip()
        if done.returncode == 0:
            return answer
        if missing_is_fine and _NOT_FOUND in answer.lower():
            return None
        raise NotLoggedIn(f"{name} {action} failed" + (f": {answer[:200]}" if answer else f" with code {done.returncode}"))


def from_environment(environ: Mapping[str, str]) -> Credentials | None:
    """SLIPWAY_TOKEN, with SLIPWAY_USER where it is not an access token that names its account itself; None without it.

    Raises WrongUse for what no header can hold.
    """
    token = environ.get("SLIPWAY_TOKEN", "").strip()
    if not token:
        return None
    user = environ.get("SLIPWAY_USER", "").strip() or IDENTITY_TOKEN
    if ":" in user or not (user + token).isprintable() or (user == IDENTITY_TOKEN and not token.isascii()):
        raise WrongUse("SLIPWAY_USER and SLIPWAY_TOKEN must hold a user's name and an access token")
    return Credentials(user, token)


_SECRETS = frozenset({"auth", "identitytoken", "registrytoken", "username", "password"})


def _entries(config: Mapping[str, Any]) -> dict[str, Any]:
    found = config.get("auths")
    return found if isinstance(found, dict) else {}


def _helper(config: Mapping[str, Any], host: str) -> str:
    """The helper that has a host's credentials, "" if the file has them."""
    helpers = config.get("credHelpers")
    for named in (helpers.get(host) if isinstance(helpers, dict) else None, config.get("credsStore")):
        if isinstance(named, str) and named:
            return named
    return ""


def _host(name: str) -> str:
    """The host of an entry's name, which may be a URL in files that old versions wrote (docker's ConvertToHostname)."""
    return name.removeprefix("https://").removeprefix("http://").partition("/")[0]
