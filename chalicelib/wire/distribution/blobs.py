"""Blobs: end-2 pull, end-10 delete. Bytes never pass here: a pull is sent on to a signed link."""

from __future__ import annotations

from chalicelib.registry.access import Operation
from chalicelib.registry.errors import BlobUnknown
from chalicelib.registry.events import Event
from chalicelib.registry.names import Digest
from chalicelib.wire.distribution.call import Call
from chalicelib.wire.http import Response


def pull_blob(call: Call) -> Response:
    """GET and HEAD: 307 to a short-lived link that answers the same method."""
    digest = Digest.parse(call.reference)
    look = call.registry.blobs.look if call.request.method == "HEAD" else call.registry.blobs.get
    blob = look(call.name, digest)
    is_pushers = not call.registry.blobs.is_referenced(blob)
    if is_pushers and not _may_push(call):
        raise BlobUnknown(str(digest))
    if call.request.method == "HEAD" and (is_pushers or call.pushes()):
        blob = call.registry.blobs.keep(blob)  # a client that finds it there will not send it
    headers = {
        "Location": call.registry.blobs.url(blob, call.request.method),
        "Docker-Content-Digest": str(digest),
        "Cache-Control": "no-store",  # the link dies within minutes
    }
    return Response(307, headers)


def _may_push(call: Call) -> bool:
    """By the account's rights, not the token's: a pusher who looks what has arrived may well come with a token to pull."""
    return call.registry.rights.decide(call.account(), Operation.PUSH, call.name).allowed


def delete_blob(call: Call) -> Response:
    """DELETE: 202, and gone from this repository at once."""
    digest = Digest.parse(call.reference)
    call.registry.blobs.delete(call.name, digest)
    found = call.registry.repositories.find_recent(call.name)
    event = Event("BLOB_DELETE", str(call.name), call.actor, detail={"digest": str(digest)})
    call.registry.events.record(event, found.id if found else "")
    return Response(202)
