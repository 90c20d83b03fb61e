"""``slipway org``: organizations and who belongs to them."""

from __future__ import annotations

import click

from infra.command.names import ACCOUNT
from infra.command.options import LIMIT, YES, RegistryGroup
from infra.command.session import Session, given, segments, with_session

ACCOUNTS = "/enzi/v0/accounts"


@click.group(cls=RegistryGroup)
def org() -> None:
    """Organizations: namespaces that several people share."""


@org.command("list")
@LIMIT
@with_session
def list_orgs(session: Session, limit: int | None) -> None:
    """The organizations that you may see."""
    columns = {"name": "NAME", "fullName": "FULL NAME", "createdAt": "CREATED"}
    session.show_list(ACCOUNTS, columns, query={"filter": "orgs"}, limit=limit)


@org.command("create")
@click.argument("name", metavar="ORG", type=ACCOUNT)
@click.option("--full-name", help="What people call it.")
@with_session
def create_org(session: Session, name: str, full_name: str | None) -> None:
    """Make an organization."""
    body = given(name=name, isOrg=True, fullName=full_name)
    session.done(session.send("POST", ACCOUNTS, body).content, f"created the organization {name}")


@org.command("show")
@click.argument("name", metavar="ORG", type=ACCOUNT)
@with_session
def show_org(session: Session, name: str) -> None:
    """One organization."""
    session.show(session.get(f"{ACCOUNTS}/{segments(name)}"))


@org.command("delete")
@click.argument("name", metavar="ORG", type=ACCOUNT)
@YES
@with_session
def delete_org(session: Session, name: str, yes: bool) -> None:
    """Delete an organization that has no repositories any more, with its teams and robots."""
    session.confirm(f"Delete the organization {name}, its teams and its robots?", yes=yes)
    session.done(session.send("DELETE", f"{ACCOUNTS}/{segments(name)}").content, f"deleted the organization {name}")


@org.command("members")
@click.argument("name", metavar="ORG", type=ACCOUNT)
@LIMIT
@with_session
def list_members(session: Session, name: str, limit: int | None) -> None:
    """Who belongs to an organization."""
    columns = {"name": "NAME", "isAdmin": "ADMIN", "isPublic": "PUBLIC"}
    session.show_list(f"{ACCOUNTS}/{segments(name)}/members", columns, limit=limit)


@org.command("add")
@click.argument("name", metavar="ORG", type=ACCOUNT)
@click.argument("member", metavar="USER", type=ACCOUNT)
@click.option("--admin/--no-admin", default=None, help="Whether the user administers the organization.")
@click.option("--public/--private", default=None, help="Whether others may see the membership.")
@with_session
def add_member(session: Session, name: str, member: str, admin: bool | None, public: bool | None) -> None:
    """Make a user a member of an organization, or change what a member is."""
    answer = session.send("PUT", _member(name, member), given(isAdmin=admin, isPublic=public))
    session.done(answer.content, f"{member} is a member of {name}")


@org.command("remove")
@click.argument("name", metavar="ORG", type=ACCOUNT)
@click.argument("member", metavar="USER", type=ACCOUNT)
@with_session
def remove_member(session: Session, name: str, member: str) -> None:
    """Take a user out of an organization and its teams."""
    session.done(session.send("DELETE", _member(name, member)).content, f"{member} is no member of {name} any more")


def _member(name: str, member: str) -> str:
    return f"{ACCOUNTS}/{segments(name)}/members/{segments(member)}"
