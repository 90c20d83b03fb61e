"""The door of what is told by others than clients: the store, that bytes have come; the API, that a proof takes long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote_plus

from chalicelib import wiring
from chalicelib.registry.names import Digest


def adopt(event: Mapping[str, Any], _context: object = None) -> dict[str, int]:
    """Adopt what came by the direct lane, or do a long proof; answer how many were. An event may come twice or late.

    ``{"prove": {"upload", "digest"}}`` from the API; from the store EventBridge's ``{"detail": {"object": {"key"}}}``, or
    ``{"Records": [{"s3": {"object": {"key"}}}]}`` with keys encoded as in a query. What fails raises, to be tried again.
    """
    if asked := event.get("prove"):
        digest = Digest.parse(asked["digest"])
        return {"proven": int(wiring.prover().work(asked["upload"], digest, wiring.registry().uploads.prove))}
    return {"adopted": sum(wiring.adoption().adopt(key) is not None for key in _keys(event))}


def _keys(event: Mapping[str, Any]) -> Iterator[str]:
    if "detail" in event:
        yield event["detail"]["object"]["key"]
    for record in event.get("Records", ()):
        yield unquote_plus(record["s3"]["object"]["key"])
