"""The request log: one JSON object a line, with what an operator asks for and nothing that would let its reader in.

Left out on purpose: queries (they hold upload states and digests under way), every header but User-Agent (Authorization,
and Location, which may be a signed link), and bodies. A path holds names and digests only.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from enum import Enum

from chalicelib.wire.http import Request, Response

_LONGEST = 512
"""Characters of a path or a User-Agent in a line at most; what is cut off is a stranger's."""


class Logged(Enum):
    """Which requests are logged. Pulls are by far the most, so that changes and refusals would drown in them."""

    NONE = "none"
    CHANGES = "changes"
    ALL = "all"


class RequestLog:
    """Writes the log, by default to standard output, where Lambda and service managers take it up."""

    def __init__(self, logged: Logged, logger: logging.Logger | None = None) -> None:
        self._logged = logged
        self._logger = logger or _to_standard_output()

    def answered(self, request: Request, response: Response) -> None:
        """A line for a request, if such ones are logged: who may read is not asked for each pull."""
        refused = response.status >= 400
        if self._logged is Logged.ALL or (
            self._logged is Logged.CHANGES and (refused or request.method not in {"GET", "HEAD"})
        ):
            self._logger.info(_line(request, status=response.status, bytes=len(response.body)))

    def failed(self, request: Request) -> None:
        """A line for the failure that is being handled, always, with where it happened."""
        self._logger.error(_line(request, status=500, failure=traceback.format_exc()))


def _line(request: Request, **told: object) -> str:
    """JSON escapes line breaks and control characters, so no request writes a line of its own."""
    return json.dumps(
        {
            "request": request.request_id,
            "method": request.method[:_LONGEST],
            "path": request.path[:_LONGEST],
            "source": request.source,
            "agent": request.header("user-agent")[:_LONGEST],
            **told,
        }
    )


def _to_standard_output() -> logging.Logger:
    logger = logging.getLogger("slipway.requests")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    return logger
