"""``slipway repo``: repositories, who sees them, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping

import click

from infra.command.failures import WrongUse
from infra.command.grant import show_grants
from infra.command.names import REPOSITORY, Place
from infra.command.options import LIMIT, YES, RegistryGroup
from infra.command.session import Session, given, segments, with_session

REPOSITORIES = "/api/v0/repositories"
_VISIBILITY = click.option("--public/--private", default=None, help="Whether everybody may pull.")
_DESCRIPTION = click.option("--description", help="What it is, in a line.")
_LONG = click.option("--long-description", help="What it is, at length.")


@click.group(cls=RegistryGroup)
def repo() -> None:
    """Repositories. A name is NS/REPO, and REPO may have slashes."""


@repo.command("list")
@click.option("--prefix", default="", help="Those whose names begin so, such as acme/.")
@LIMIT
@with_session
def list_repositories(session: Session, prefix: str, limit: int | None) -> None:
    """The repositories that you may see."""
    columns = {"name": "NAME", "visibility": "VISIBILITY", "shortDescription": "DESCRIPTION"}
    session.show_list(REPOSITORIES, columns, query={"prefix": prefix}, limit=limit, shown=_whole_name)


@repo.command("create")
@click.argument("which", metavar="NS/REPO", type=REPOSITORY)
@_VISIBILITY
@_DESCRIPTION
@_LONG
@with_session
def create_repository(
    session: Session, which: Place, public: bool | None, description: str | None, long_description: str | None
) -> None:
    """Make a repository; a private one, if nothing else is said."""
    body = _body(public, description, long_description)
    answer = session.send("POST", f"{REPOSITORIES}/{segments(which.namespace)}", {"name": which.repository, **body})
    session.done(answer.content, f"created the repository {which}")


@repo.command("show")
@click.argument("which", metavar="NS/REPO", type=REPOSITORY)
@with_session
def show_repository(session: Session, which: Place) -> None:
    """One repository."""
    session.show(session.get(_path(which)))


@repo.command("edit")
@click.argument("which", metavar="NS/REPO", type=REPOSITORY)
@_VISIBILITY
@_DESCRIPTION
@_LONG
@with_session
def edit_repository(
    session: Session, which: Place, public: bool | None, description: str | None, long_description: str | None
) -> None:
    """Change who sees a repository, or what is said of it."""
    body = _body(public, description, long_description)
    if not body:
        raise WrongUse("say what to change: --public, --private, --description or --long-description")
    session.done(session.send("PATCH", _path(which), body).content, f"changed the repository {which}")


@repo.command("delete")
@click.argument("which", metavar="NS/REPO", type=REPOSITORY)
@YES
@with_session
def delete_repository(session: Session, which: Place, yes: bool) -> None:
    """Delete a repository with all its images."""
    session.confirm(f"Delete the repository {which} and all its images?", yes=yes)
    session.done(session.send("DELETE", _path(which)).content, f"deleted the repository {which}")


@repo.command("removed")
@click.argument("which", metavar="NS/REPO", type=REPOSITORY)
@LIMIT
@with_session
def list_removed(session: Session, which: Place, limit: int | None) -> None:
    """What was deleted in a repository and may be restored."""
    columns = {"kind": "KIND", "tags": "TAGS", "digest": "DIGEST", "removedAt": "REMOVED", "removedBy": "BY"}
    columns |= {"restorableUntil": "RESTORABLE UNTIL"}
    session.show_list(f"{_path(which)}/removed", columns, limit=limit, shown=_with_tags)


@repo.command("restore")
@click.argument("which", metavar="NS/REPO", type=REPOSITORY)
@click.argument("reference", metavar="TAG|DIGEST|TAG@DIGEST")
@with_session
def restore(session: Session, which: Place, reference: str) -> None:
    """Bring back a tag that was deleted by itself, as it was last or as it was on one image; or an image with its tags."""
    restored = session.send("POST", f"{_path(which)}/restore", {"reference": reference}).content
    tags = restored.get("tags")
    tagged = f", tagged {', '.join(map(str, tags))}" if isinstance(tags, list) and tags else ""
    session.done(restored, f"restored {restored.get('digest', reference)}{tagged}")


@repo.command("access")
@click.argument("which", metavar="NS/REPO", type=REPOSITORY)
@LIMIT
@with_session
def list_access(session: Session, which: Place, limit: int | None) -> None:
    """The teams that were granted something on a repository."""
    show_grants(session, which, limit)


def _whole_name(found: Mapping[str, object]) -> dict[str, object]:
    """A repository with the name that other commands and docker take."""
    names = [str(found[part]) for part in ("namespace", "name") if found.get(part)]
    return {**found, "name": "/".join(names)}


def _with_tags(found: Mapping[str, object]) -> dict[str, object]:
    """A tag that was deleted alone beside those that went with their image."""
    return {**found, "tags": [found["tag"]] if found.get("tag") else found.get("tags")}


def _body(public: bool | None, description: str | None, long_description: str | None) -> dict[str, object]:
    visibility = None if public is None else "public" if public else "private"
    return given(visibility=visibility, shortDescription=description, longDescription=long_description)


def _path(which: Place) -> str:
    return f"{REPOSITORIES}/{segments(which.namespace, which.repository)}"
