"""Repositories: ``/api/v0/repositories``, and what an account may do with one."""

from __future__ import annotations

import re
from datetime import datetime

from msgspec import UNSET, Struct, UnsetType

from chalicelib.registry import access
from chalicelib.registry import repositories as domain
from chalicelib.registry.access import Operation
from chalicelib.registry.errors import NameUnknown, ParameterInvalid, VersionMismatch
from chalicelib.registry.names import MAX_NAME, RepositoryName
from chalicelib.registry.repositories import Description
from chalicelib.wire.management.bodies import Input
from chalicelib.wire.management.call import NOTHING_THERE, Answer, Call
from chalicelib.wire.management.needs import namespace_in
from chalicelib.wire.management.words import AnyLevel, Label, LongText, RepositoryText, Visibility, moment

PREFIX_PATTERN = f"^[a-z0-9._/-]{{0,{MAX_NAME}}}$"
_PREFIX = re.compile(PREFIX_PATTERN[1:-1], re.ASCII)


class Repository(Struct, frozen=True, rename="camel"):
    """A repository."""

    id: str
    namespace: str
    name: str
    visibility: Visibility
    short_description: str
    long_description: str
    created_at: datetime


class Repositories(Struct, frozen=True, rename="camel"):
    """A page of repositories, in order of their full names."""

    repositories: list[Repository]


class NewRepository(Input, frozen=True):
    """A repository of the namespace in the path, private unless said otherwise."""

    name: RepositoryText
    short_description: Label = ""
    long_description: LongText = ""
    visibility: Visibility = "private"


class RepositoryChange(Input, frozen=True):
    """What to change of a repository."""

    short_description: Label | UnsetType = UNSET
    long_description: LongText | UnsetType = UNSET
    visibility: Visibility | UnsetType = UNSET


class OperationVerdict(Struct, frozen=True, rename="camel"):
    """May it be done, and why or why not."""

    allowed: bool
    reason: str


class RepositoryAccess(Struct, frozen=True, rename="camel"):
    """How far an account's rights reach in a repository; operations by name, such as push."""

    access_level: AnyLevel
    reason: str
    operations: dict[str, OperationVerdict]


def list_repositories(call: Call) -> Answer:
    """Those that the caller may view, whose names begin with ``prefix``. Raises ParameterInvalid."""
    prefix = call.request.first("prefix")
    if not _PREFIX.fullmatch(prefix):
        raise ParameterInvalid("prefix is the beginning of a repository's name", parameter="prefix")
    return _visible(call, prefix)


def list_namespace(call: Call) -> Answer:
    """Those of one namespace. Raises NameInvalid."""
    return _visible(call, f"{namespace_in(call.names)}/")


def _visible(call: Call, prefix: str) -> Answer:
    page = call.page
    read = call.services.rights.visible(call.caller, prefix=prefix, after=page.after, limit=page.one_more)
    found, more = page.cut(read, lambda repository: str(repository.name))
    return Answer(Repositories([_shown(repository) for repository in found]), next=more)


def create_repository(call: Call) -> Answer:
    """Raises NameInvalid, RepositoryExists, NameUnknown, Busy. The domain records the event in the same transaction."""
    body = call.given(NewRepository)
    name = RepositoryName.parse(f"{call.account.name}/{body.name}")
    description = Description(body.visibility, body.short_description, body.long_description)
    made = call.services.creations.create(name, description, call.actor)
    return Answer(_shown(made), version=made.version, is_recorded=True)


def read_repository(call: Call) -> Answer:
    """Raises NameUnknown."""
    repository = call.services.repositories.get(call.repository)
    return Answer(_shown(repository), version=repository.version)


def change_repository(call: Call) -> Answer:
    """Raises NameUnknown, VersionMismatch, Busy."""
    body = call.given(RepositoryChange)
    description = Description(
        visibility=None if body.visibility is UNSET else body.visibility,
        short_description=None if body.short_description is UNSET else body.short_description,
        long_description=None if body.long_description is UNSET else body.long_description,
    )
    changed = call.services.repositories.change(call.repository, description, call.version)
    return Answer(_shown(changed), version=changed.version, repository=changed.id)


def delete_repository(call: Call) -> Answer:
    """With everything in it. Raises VersionMismatch, Busy."""
    try:
        call.services.repositories.delete(call.repository, call.version)
    except NameUnknown:
        if call.version is not None:
            raise VersionMismatch from None
        return NOTHING_THERE
    return Answer()  # the event is not the repository's own: nobody could read it there, and it would come after the collector


def read_repository_access(call: Call) -> Answer:
    """What the account in the path may do with the repository, and why; also with one that is not there, which a push may make.
    One that the account may not see is answered in the same words."""
    services, name = call.services, call.repository
    account = call.permitted.account
    identity = account.identity if account is not None else access.Account(call.names["account"])
    where = services.rights.where(identity, name)
    standing = access.level(identity, where)
    verdicts = {operation.value: access.decide(identity, operation, where) for operation in Operation}
    operations = {word: OperationVerdict(verdict.allowed, verdict.reason) for word, verdict in verdicts.items()}
    return Answer(RepositoryAccess(standing.level.word, standing.reason, operations))  # type: ignore[arg-type]


def _shown(repository: domain.Repository) -> Repository:
    namespace, _, short = str(repository.name).partition("/")
    return Repository(
        id=repository.id,
        namespace=namespace if short else "",
        name=short or namespace,
        visibility=repository.visibility,  # type: ignore[arg-type]
        short_description=repository.short_description,
        long_description=repository.long_description,
        created_at=moment(repository.created_at),
    )
