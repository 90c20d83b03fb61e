"""``slipway user``: accounts of people."""

from __future__ import annotations

import click

from infra.command.credentials import Credentials, CredentialStore
from infra.command.failures import WrongUse
from infra.command.names import ACCOUNT
from infra.command.options import LIMIT, YES, RegistryGroup
from infra.command.passwords import ask, from_stdin, lines_from_stdin
from infra.command.session import Session, given, segments, with_session

ACCOUNTS = "/enzi/v0/accounts"
_COLUMNS = {"name": "NAME", "fullName": "FULL NAME", "isAdmin": "ADMIN", "isActive": "ACTIVE"}


@click.group(cls=RegistryGroup)
def user() -> None:
    """Users: people with a name and a password."""


@user.command("list")
@click.option(
    "--filter", "kind", type=click.Choice(["users", "admins", "orgs", "all"]), default="users", help="Which accounts."
)
@LIMIT
@with_session
def list_users(session: Session, kind: str, limit: int | None) -> None:
    """The users that you may see."""
    columns = _COLUMNS if kind in {"users", "admins"} else {"name": "NAME", "kind": "KIND", **_COLUMNS}
    session.show_list(ACCOUNTS, columns, query={"filter": kind}, limit=limit)


@user.command("create")
@click.argument("name", type=ACCOUNT)
@click.option("--full-name", help="What people call the user.")
@click.option("--admin", is_flag=True, help="An administrator of the registry.")
@click.option("--inactive", is_flag=True, help="May not log in yet.")
@click.option("--password-stdin", is_flag=True, help="Take the password from stdin.")
@click.option("--no-password", is_flag=True, help="Give no password, so that nobody can log in by one.")
@with_session
def create_user(
    session: Session, name: str, *, full_name: str | None, admin: bool, inactive: bool, password_stdin: bool, no_password: bool
) -> None:
    """Make a user, with a password that is asked for twice."""
    if password_stdin and no_password:
        raise WrongUse("--password-stdin and --no-password exclude each other")
    password = None if no_password else from_stdin() if password_stdin else ask(f"Password of {name}", twice=True)
    active = False if inactive else None
    body = given(name=name, fullName=full_name, isAdmin=admin or None, isActive=active, password=password)
    session.done(session.send("POST", ACCOUNTS, body).content, f"created the user {name}")


@user.command("show")
@click.argument("name", type=ACCOUNT)
@with_session
def show_user(session: Session, name: str) -> None:
    """One user."""
    session.show(session.get(_path(name)))


@user.command("edit")
@click.argument("name", type=ACCOUNT)
@click.option("--full-name", help="What people call the user.")
@click.option("--active/--inactive", default=None, help="Whether the user may do anything at all.")
@click.option("--admin/--no-admin", default=None, help="Whether the user is an administrator of the registry.")
@with_session
def edit_user(session: Session, name: str, full_name: str | None, active: bool | None, admin: bool | None) -> None:
    """Change a user's name or standing."""
    body = given(fullName=full_name, isActive=active, isAdmin=admin)
    if not body:
        raise WrongUse("say what to change: --full-name, --active, --inactive, --admin or --no-admin")
    session.done(session.send("PATCH", _path(name), body).content, f"changed the user {name}")


@user.command("delete")
@click.argument("name", type=ACCOUNT)
@YES
@with_session
def delete_user(session: Session, name: str, yes: bool) -> None:
    """Delete a user who has no repositories any more."""
    session.confirm(f"Delete the user {name}?", yes=yes)
    session.done(session.send("DELETE", _path(name)).content, f"deleted the user {name}")


@user.command("passwd")
@click.argument("name", type=ACCOUNT, required=False)
@click.option("--password-stdin", is_flag=True, help="Take it from stdin; for your own, the old one in a line before it.")
@with_session
def change_password(session: Session, name: str | None, password_stdin: bool) -> None:
    """Change your password, or as an administrator somebody's."""
    me = session.whoami()
    name = name or me
    if name.lower() != me:
        old, new = None, from_stdin() if password_stdin else ask(f"New password of {name}", twice=True)
    elif password_stdin:
        old, new = lines_from_stdin(2)
    else:
        old, new = ask("Old password"), ask("New password", twice=True)
    session.send("POST", f"{_path(name)}/changePassword", given(oldPassword=old, newPassword=new))
    _keep_up(session, old, new)
    session.done({}, f"changed the password of {name}")


def _keep_up(session: Session, old: str | None, new: str) -> None:
    """If it was the password kept for this registry that changed, the new one takes its place."""
    host = session.client.address.host
    store = CredentialStore.of(session.environ)
    kept = store.find(host) if old else None
    if kept is not None and kept.secret == old:
        store.keep(host, Credentials(kept.user, new))


def _path(name: str) -> str:
    return f"{ACCOUNTS}/{segments(name)}"
