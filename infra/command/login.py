"""``slipway login``, ``logout`` and ``whoami``: credentials where docker keeps them, proven before they are kept."""

from __future__ import annotations

import sys

import click

from infra.command.address import Address
from infra.command.credentials import Credentials, CredentialStore, from_environment
from infra.command.failures import WrongUse
from infra.command.options import RegistryCommand
from infra.command.output import escaped, tell
from infra.command.passwords import ask, from_stdin
from infra.command.profile import Profile, read_profile, write_profile
from infra.command.session import Session, with_session


@click.command(cls=RegistryCommand)
@click.argument("host", required=False, metavar="[HOST-or-URL]")
@click.option("--username", "-u", help="Your name; a robot's is acme+ci.")
@click.option("--password-stdin", is_flag=True, help="Take the password or access token from stdin.")
@with_session
def login(session: Session, host: str | None, username: str | None, password_stdin: bool) -> None:
    """Log in to a registry, with a password or an access token.

    They are proven first, and kept where docker keeps them: docker, podman and others are logged in, too.
    """
    address = session.parsed(host) if host else session.address()
    name = (username or _asked_name(password_stdin)).strip()
    if not name or ":" in name or not name.isprintable():
        raise WrongUse("that is not a user's name")
    secret = from_stdin() if password_stdin else ask("Password or access token")
    credentials = Credentials(name, secret)
    proven = session.connected(address, credentials).call("GET", "/api/v0/whoami").content
    store = CredentialStore.of(session.environ)
    if not store.keep(address.host, credentials):
        tell(f"the password is kept unencrypted in {store.path}; credsStore in that file names a better place")
    write_profile(session.environ, Profile(address.url, session.ca_file(address)))
    if from_environment(session.environ) is not None:
        tell("SLIPWAY_TOKEN is set, and goes before what was kept now")
    session.done(proven, f"logged in to {address.url} as {proven.get('name', name)}")


@click.command(cls=RegistryCommand)
@click.argument("host", required=False, metavar="[HOST-or-URL]")
@with_session
def logout(session: Session, host: str | None) -> None:
    """Remove the credentials for a registry, for docker too."""
    # Nothing is sent, so an address that needs --insecure-http is as good as any.
    address = session.parsed(host, insecure_http=True) if host else session.address(insecure_http=True)
    forgotten = CredentialStore.of(session.environ).forget(address.host)
    profile = read_profile(session.environ)
    if profile.registry and Address.parse(profile.registry, insecure_http=True).host == address.host:
        write_profile(session.environ, Profile())
    click.echo(escaped(f"logged out of {address.host}" if forgotten else f"was not logged in to {address.host}"))


@click.command(cls=RegistryCommand)
@with_session
def whoami(session: Session) -> None:
    """Show who the registry takes you for, and what an access token narrows."""
    found = session.get("/api/v0/whoami")
    session.show(found if session.as_json else {"registry": session.client.address.url, **found})


def _asked_name(password_stdin: bool) -> str:
    if password_stdin or not sys.stdin.isatty():
        raise WrongUse("say who logs in: --username")
    return str(click.prompt("Username", err=True))
