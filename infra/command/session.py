"""What a command works with: the registry that was chosen, its client, and the way to show what it answers.

The options for all commands (--registry, --output, --ca-file, --insecure-http) may stand before or after a command's name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import update_wrapper
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote

import click

from infra.command import output
from infra.command.address import Address
from infra.command.client import Answer, Client, Json
from infra.command.credentials import Credentials, CredentialStore, from_environment
from infra.command.failures import NotLoggedIn, Refused, Unreachable, WrongUse
from infra.command.options import PREFIX, Surroundings
from infra.command.profile import read_profile

P = ParamSpec("P")
R = TypeVar("R")


class Session:
    """One command's dealings with one registry. Nothing is read and nobody is called before it is needed."""

    def __init__(self, surroundings: Surroundings, chosen: Mapping[str, Any]) -> None:
        self.environ = surroundings.environ
        self._wait = surroundings.wait
        self._chosen = chosen
        self._client: Client | None = None

    @property
    def as_json(self) -> bool:
        """Whether what is printed is the API's JSON."""
        return self._chosen.get("output") == "json"

    def address(self, *, insecure_http: bool = False) -> Address:
        """The registry: --registry, else SLIPWAY_REGISTRY, else the one logged in to last. Raises WrongUse, NotLoggedIn."""
        named = self._chosen.get("registry") or self.environ.get("SLIPWAY_REGISTRY", "") or read_profile(self.environ).registry
        if not named:
            raise NotLoggedIn("no registry is known: say slipway login HOST, --registry URL or SLIPWAY_REGISTRY")
        return self.parsed(named, insecure_http=insecure_http)

    def parsed(self, text: str, *, insecure_http: bool = False) -> Address:
        """An address as the user typed it; http to others only where an option or the caller allows it. Raises WrongUse."""
        return Address.parse(text, insecure_http=insecure_http or bool(self._chosen.get("insecure_http")))

    def ca_file(self, address: Address) -> str:
        """The file of authorities for a registry, an absolute path, "" for the system's."""
        if named := self._chosen.get("ca_file"):
            return str(Path(named).absolute())
        profile = read_profile(self.environ)
        return profile.ca_file if profile.registry == address.url else ""

    def credentials(self, host: str) -> Credentials | None:
        """The environment's, which are for no other registry than its SLIPWAY_REGISTRY where that is set; else the stored ones.
        Raises WrongUse, NotLoggedIn."""
        meant = self.environ.get("SLIPWAY_REGISTRY", "")
        given = from_environment(self.environ) if not meant or self.parsed(meant, insecure_http=True).host == host else None
        return given or CredentialStore.of(self.environ).find(host)

    def connected(self, address: Address, credentials: Credentials | None) -> Client:
        """A client of any registry, by any credentials."""
        authorities = self.ca_file(address)
        return Client(address, credentials, say=output.tell, ca_file=authorities, environ=self.environ, wait=self._wait)

    @property
    def client(self) -> Client:
        """The client of the chosen registry. Raises WrongUse, NotLoggedIn."""
        if self._client is None:
            address = self.address()
            credentials = self.credentials(address.host)
            if credentials is None:
                raise NotLoggedIn(f"not logged in to {address.host}: say slipway login {address.host}")
            self._client = self.connected(address, credentials)
        return self._client

    # ---------------------------------------------------------------------------------------------------------- calling

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        """What is there. Raises Refused, NotLoggedIn, Unreachable, as all of these do."""
        return self.client.call("GET", path, query=query).content

    def send(self, method: str, path: str, body: Json | None = None, query: Mapping[str, str] | None = None) -> Answer:
        """A change."""
        return self.client.call(method, path, body, query)

    def whoami(self) -> str:
        """The caller's name."""
        name = self.get("/api/v0/whoami").get("name")
        if not isinstance(name, str) or not name:
            raise Unreachable(f"{self.client.address.host} did not say who is calling: is it a Slipway registry?")
        return name

    def pause(self, seconds: float) -> None:
        """Wait before asking again."""
        self._wait(seconds)

    # ---------------------------------------------------------------------------------------------------------- showing

    def show(self, content: Json) -> None:
        """One thing: the API's JSON, or its fields one below the other."""
        output.echo_json(content) if self.as_json else output.echo_fields(content)

    def done(self, content: Json, sentence: str) -> None:
        """After a change: the API's JSON, or what was done."""
        if not self.as_json:
            click.echo(output.escaped(sentence))
        elif content:
            output.echo_json(content)

    def show_list(
        self,
        path: str,
        columns: Mapping[str, str],
        *,
        query: Mapping[str, str] | None = None,
        limit: int | None = None,
        shown: Callable[[Json], Json] = dict,
    ) -> None:
        """A list, page after page. ``columns`` has a heading for each field that a table shows, once ``shown`` has been over
        what the API tells."""
        name, found = self.client.listing(path, query, limit)
        if self.as_json:
            output.echo_json({name: found})
        else:
            output.echo_table(tuple(columns.values()), ([each.get(field) for field in columns] for each in map(shown, found)))

    def show_secret(self, content: Json, note: str) -> None:
        """What is told once: alone on stdout, so that a script can take it."""
        token = content.get("token")
        if not isinstance(token, str):
            raise Unreachable(f"{self.client.address.host} answered without a token: is it a Slipway registry?")
        output.tell(note)
        output.echo_json(content) if self.as_json else click.echo(output.escaped(token))

    # ----------------------------------------------------------------------------------------------------------- asking

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something is lost. Raises WrongUse where nobody can be asked, Refused if the user says no."""
        if yes:
            return
        if not sys.stdin.isatty():
            raise WrongUse("nobody can be asked here, as there is no terminal; say --yes if it is to be deleted")
        if not click.confirm(output.escaped(question), err=True):
            raise Refused("nothing was deleted")


def given(**fields: object) -> Json:
    """The fields that were said: a body without those that are None."""
    return {name: value for name, value in fields.items() if value is not None}


def segments(*names: str) -> str:
    """Names as a path's segments. A repository's own slashes stay."""
    return "/".join(quote(name, safe="/") for name in names)


def with_session(function: Callable[Concatenate[Session, P], R]) -> Callable[P, R]:
    """The command with a Session of its own as its first argument."""

    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        context = click.get_current_context()
        chosen = {name.removeprefix(PREFIX): value for name, value in context.meta.items() if name.startswith(PREFIX)}
        surroundings = context.find_object(Surroundings) or Surroundings()
        return function(Session(surroundings, chosen), *args, **kwargs)

    return update_wrapper(run, function)
