"""The Chalice application: one catch-all route for packaging, and a dispatch by our own route tables.

Chalice's own routing is left aside because repository names have slashes; its packaging, its schedules and event sources
are what it is here for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from chalice.app import Chalice

from chalicelib.entry.gateway import EventInvalid, event_response, request_of
from chalicelib.registry.errors import EndpointUnknown, OutOfSpace, UploadInvalid
from chalicelib.registry.ports import StoreFull
from chalicelib.wire.distribution.errors import failure, refusal
from chalicelib.wire.http import Request, Response

Door = Callable[[Request], Response | None]
"""Answers the requests that are its own, and None to others."""

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class Application(Chalice):
    """Opens the doors, in order, to each request."""

    def __init__(self, name: str, doors: tuple[Door, ...]) -> None:
        super().__init__(app_name=name)
        self._doors = doors
        for path in ("/", "/{proxy+}"):
            self.route(path, methods=_METHODS, content_types=[])(self._packaged)

    def __call__(self, event: Mapping[str, Any], _context: object) -> dict[str, Any]:
        """Answer one event of API Gateway."""
        try:
            request = request_of(event)
        except EventInvalid as invalid:
            return event_response(refusal(UploadInvalid(str(invalid))))
        return event_response(self.answer(request))

    def answer(self, request: Request) -> Response:
        """The one exit: whatever happens inside, the caller gets an answer in the protocol's form."""
        try:
            for door in self._doors:
                response = door(request)
                if response is not None:
                    return response
            return refusal(EndpointUnknown())
        except StoreFull:
            return refusal(OutOfSpace())
        except Exception:
            logging.getLogger("slipway").exception("request %s failed: %s", request.request_id, request.method)
            return failure(request.request_id)

    def _packaged(self) -> None:
        """What the catch-all route stands for; ``__call__`` answers before Chalice would come here."""
