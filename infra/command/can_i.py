"""``slipway can-i``: one question, answered by the exit code and in a sentence."""

from __future__ import annotations

import click

from infra.command.client import Json
from infra.command.failures import Refused, Unreachable
from infra.command.names import ACCOUNT, REPOSITORY, Place
from infra.command.options import RegistryCommand
from infra.command.output import echo_json, escaped
from infra.command.session import Session, segments, with_session

OPERATIONS = (
    "view",
    "pull",
    "push",
    "scan",
    "delete-tags",
    "edit-description",
    "set-visibility",
    "manage-access",
    "delete-repository",
    "create",
)


@click.command("can-i", cls=RegistryCommand)
@click.argument("operation", type=click.Choice(OPERATIONS), metavar="OPERATION")
@click.argument("which", metavar="NS/REPO", type=REPOSITORY)
@click.option("--as", "account", type=ACCOUNT, help="Ask for another account, which needs the right to know.")
@with_session
def can_i(session: Session, operation: str, which: Place, account: str | None) -> int:
    """Ask whether you may do something with a repository. The exit code is 0 for yes and 1 for no.

    OPERATION is view, pull, push, scan, delete-tags, edit-description, set-visibility, manage-access, delete-repository or
    create.
    """
    name = account or session.whoami()
    found = _access(session, operation, name, which)
    operations = found.get("operations")
    verdict = operations.get(operation) if isinstance(operations, dict) else None
    if not isinstance(verdict, dict) or not isinstance(verdict.get("allowed"), bool):
        raise Unreachable(
            f"{session.client.address.host} does not say whether {name} may {operation}: is it a Slipway registry?"
        )
    if session.as_json:
        echo_json(found)
    else:
        reason = verdict.get("reason") or found.get("reason")
        click.echo(escaped(("yes" if verdict["allowed"] else "no") + (f": {reason}" if reason else "")))
    return 0 if verdict["allowed"] else 1


def _access(session: Session, operation: str, name: str, which: Place) -> Json:
    """What an account may do there. Raises Refused; Unreachable where nothing is said of what is not there yet, and ``create``
    is about just that: it is not a no."""
    path = f"/api/v0/accounts/{segments(name)}/repositoryAccess/{segments(which.namespace, which.repository)}"
    try:
        return session.get(path)
    except Refused as refused:
        if operation == "create" and refused.code == "NO_SUCH_REPOSITORY":
            raise Unreachable(f"there is no repository {which} yet, and nobody says who may create it") from refused
        raise
