"""The request log: one JSON object a line, with what an operator asks for and nothing that would let its reader in.

    {"request": "JKJaXmPLvHcESHA=", "invocation": "8476a536-e9f4-11e8-9739-2dfe598c3fcd", "method": "PUT",
     "path": "/v2/a/manifests/b", "source": "192.0.2.7", "agent": "docker/28", "status": 201, "received": 528, "bytes": 0,
     "ms": 41.7}

``request`` is the gateway's id, ``invocation`` Lambda's, where there is one; ``received`` and ``bytes`` are the bodies of
request and response as the program saw them, so that the lines of a push show which bytes came this way and which did not;
``ms`` is what the program took. Left out on purpose: queries (they hold upload states and digests under way), every header but
User-Agent (Authorization, and Location, which may be a signed link), and bodies. A path holds names and digests only.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from enum import Enum

from chalicelib.wire.http import Request, Response

_LONGEST = 512
"""Characters of a path or a User-Agent in a line at most; what is cut off is a stranger's."""

_SECRETS = re.compile(r"""(?<=\?)[^\s?'"<>)\]]+|(?<=Bearer )\S+|(?<=Basic )\S+""")
"""What a library's message may hold of a signed link or a header: everything behind a question mark, and credentials."""


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

    def answered(self, request: Request, response: Response, seconds: float | None = None, invocation: str = "") -> None:
        """A line for a request, if such ones are logged: who may read is not asked for each pull. ``seconds`` is what the
        answer took, ``invocation`` Lambda's id of it."""
        refused = response.status >= 400
        if self._logged is Logged.ALL or (
            self._logged is Logged.CHANGES and (refused or request.method not in {"GET", "HEAD"})
        ):
            self._logger.info(_line(request, seconds, invocation, status=response.status, bytes=len(response.body)))

    def failed(self, request: Request, seconds: float | None = None, invocation: str = "") -> None:
        """A line for the failure that is being handled, always, with where it happened."""
        failure = _SECRETS.sub("...", traceback.format_exc())
        self._logger.error(_line(request, seconds, invocation, status=500, failure=failure))


def _line(request: Request, seconds: float | None, invocation: str, **told: object) -> str:
    """JSON escapes line breaks and control characters, so no request writes a line of its own."""
    return json.dumps(
        {
            "request": request.request_id,
            **({"invocation": invocation} if invocation else {}),
            "method": request.method[:_LONGEST],
            "path": request.path[:_LONGEST],
            "source": request.source,
            "agent": request.header("user-agent")[:_LONGEST],
            "received": len(request.body),
            **({} if seconds is None else {"ms": round(1e3 * seconds, 1)}),
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
