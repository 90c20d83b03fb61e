"""One repository's settings: ``GET, PATCH /api/v0/repositories/{namespace}/{repository}``."""

from __future__ import annotations

import json

from chalicelib.registry.access import Account, Operation
from chalicelib.registry.errors import Denied, NameUnknown, RequestInvalid
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.repositories import PRIVATE, PUBLIC, Description, Repositories, Repository
from chalicelib.registry.rights import Rights
from chalicelib.wire.http import Request, Response


def read_repository(name: RepositoryName, account: Account, repositories: Repositories, rights: Rights) -> Response:
    """GET: what the repository is, to whoever may pull it. Raises NameUnknown, also where the caller may not know."""
    repository = repositories.find(name)
    if repository is None or not rights.decide(account, Operation.VIEW, name).allowed:
        raise NameUnknown(str(name))
    return _answer(repository)


def change_repository(
    request: Request, name: RepositoryName, account: Account, repositories: Repositories, rights: Rights
) -> Response:
    """PATCH: JSON ``{"visibility": "public" | "private"}``, by who may do everything with it.

    Raises RequestInvalid, Denied, NameUnknown, Busy.
    """
    verdict = rights.decide(account, Operation.SET_VISIBILITY, name)
    if not verdict.allowed:
        raise Denied(name=str(name), reason=verdict.reason)
    try:
        changes = json.loads(request.body)
    except (ValueError, RecursionError):
        raise RequestInvalid("the body is not JSON") from None
    if changes not in ({"visibility": PUBLIC}, {"visibility": PRIVATE}):
        raise RequestInvalid('the body must be {"visibility": "public"} or {"visibility": "private"}')
    return _answer(repositories.change(name, Description(visibility=changes["visibility"])))


def _answer(repository: Repository) -> Response:
    namespace, _, short = str(repository.name).partition("/")
    body = {
        "id": repository.id,
        "namespace": namespace if short else "",
        "name": short or namespace,
        "visibility": repository.visibility,
    }
    return Response(200, {"Content-Type": "application/json"}, json.dumps(body).encode())
