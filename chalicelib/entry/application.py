"""The Chalice application: one catch-all route for packaging, and a dispatch by our own route tables.

Chalice's own routing is left aside because repository names have slashes; its packaging, its schedules and event sources
are what it is here for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from chalice.app import Chalice

from chalicelib.entry.gateway import EventInvalid, event_response, request_of
from chalicelib.entry.log import RequestLog
from chalicelib.registry.errors import EndpointUnknown, OutOfSpace, UploadInvalid
from chalicelib.registry.ports import StoreFull
from chalicelib.wire.distribution.errors import failure, refusal
from chalicelib.wire.http import Request, Response

Door = Callable[[Request], Response | None]
"""Answers the requests that are its own, and None to others."""

_CHALLENGE_COPY = "X-Slipway-WWW-Authenticate"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class Application(Chalice):
    """Opens the doors, in order, to each request."""

    def __init__(self, name: str, doors: tuple[Door, ...], log: RequestLog) -> None:
        # Chalice would take the logger of that name, the parent of all of ours, and let it pass nothing on.
        super().__init__(app_name=name, configure_logs=False)
        self._doors = doors
        self._request_log = log
        for path in ("/", "/{proxy+}"):
            self.route(path, methods=_METHODS, content_types=[])(self._packaged)

    def __call__(self, event: Mapping[str, Any], context: object) -> dict[str, Any]:
        """Answer one event of API Gateway. To a context with ``takes_bytes`` (ours, on one machine) the body goes as it is."""
        try:
            request = request_of(event)
        except EventInvalid as invalid:
            return event_response(refusal(UploadInvalid(str(invalid))))
        answer = self.answer(request, getattr(context, "aws_request_id", ""))
        return event_response(_challenged_twice(answer), as_bytes=getattr(context, "takes_bytes", False))

    def answer(self, request: Request, invocation: str = "") -> Response:
        """The one exit: whatever happens inside, the caller gets an answer in the protocol's form, and the log its line."""
        began = time.perf_counter()
        try:
            response = self._answer(request)
        except Exception:  # noqa: BLE001 - the one exit, and it is logged
            self._request_log.failed(request, time.perf_counter() - began, invocation)
            return failure(request.request_id)
        self._request_log.answered(request, response, time.perf_counter() - began, invocation)
        return response

    def _answer(self, request: Request) -> Response:
        try:
            for door in self._doors:
                response = door(request)
                if response is not None:
                    return response
            return refusal(EndpointUnknown())
        except StoreFull:
            return refusal(OutOfSpace())

    def _packaged(self) -> None:
        """What the catch-all route stands for; ``__call__`` answers before Chalice would come here."""


def _challenged_twice(response: Response) -> Response:
    """API Gateway may rename a function's WWW-Authenticate, without which no docker client logs in. So each goes twice, and the
    HTTP API puts the copy in its place (infra/stack/http_api.py)."""
    told = response.headers.get("WWW-Authenticate")
    return replace(response, headers={**response.headers, _CHALLENGE_COPY: told}) if told else response
