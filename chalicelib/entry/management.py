"""The door of the management API: /_ping, /health, /api/v0, /enzi/v0."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from chalicelib.registry.ports import Key, Table
from chalicelib.wire.http import Request, Response

if TYPE_CHECKING:
    from chalicelib.wire.management.services import Management

_PROBE = Key("health", "probe")


def management_door(services: Callable[[], Management], table: Table) -> Callable[[Request], Response | None]:
    """Answers health checks to everybody, and the management API. ``services`` is asked for them at each request."""

    def door(request: Request) -> Response | None:
        if request.path in {"/_ping", "/health"}:
            return _health(_answers(table))
        if not request.path.startswith(("/api/v0/", "/enzi/v0/")):
            return None
        # Late: a function that only serves images starts without any of it.
        from chalicelib.wire.management.dispatch import answer

        return answer(request, services())

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
