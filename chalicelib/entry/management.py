"""The door of the management API: /_ping, /health, /api/v0."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

from chalicelib.registry.errors import EndpointUnknown, RegistryError, Unsupported
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.ports import Key, Table
from chalicelib.registry.repositories import Repositories
from chalicelib.registry.rights import Rights
from chalicelib.wire.http import Request, Response
from chalicelib.wire.management.credentials import Authenticator, authenticated
from chalicelib.wire.management.errors import refusal
from chalicelib.wire.management.repositories import change_repository, read_repository

_PROBE = Key("health", "probe")
_REPOSITORIES = "/api/v0/repositories/"


def management_door(
    repositories: Repositories, credentials: Authenticator, rights: Rights, table: Table
) -> Callable[[Request], Response | None]:
    """Answers health checks to everybody, and the management API to whoever proves an account."""

    def manage(request: Request) -> Response:
        account = authenticated(request, credentials)
        if not request.path.startswith(_REPOSITORIES):
            raise EndpointUnknown
        name = RepositoryName.parse(request.path.removeprefix(_REPOSITORIES))
        if request.method == "GET":
            return read_repository(name, account, repositories, rights)
        if request.method == "PATCH":
            return change_repository(request, name, account, repositories, rights)
        raise Unsupported(("GET", "PATCH"))

    def door(request: Request) -> Response | None:
        if request.path in {"/_ping", "/health"}:
            return _health(_answers(table))
        if not request.path.startswith("/api/v0/"):
            return None
        try:
            return manage(request)
        except RegistryError as refused:
            return refusal(refused)

    return door


def _answers(table: Table) -> bool:
    """Whatever keeps the store from answering, the registry is not healthy; what it was is for the log."""
    try:
        table.get(_PROBE)
    except Exception:
        logging.getLogger("slipway").exception("the metadata store does not answer")
        return False
    return True


def _health(healthy: bool) -> Response:
    body = {"Error": "" if healthy else "the metadata store does not answer", "Healthy": healthy}
    return Response(200 if healthy else 503, {"Content-Type": "application/json"}, json.dumps(body).encode())
