"""Uploads: end-4 begin, end-5 chunk, end-6 finish, end-11 mount, end-13 status, end-14 cancel.

The bodies here are whole and small (the inline lane); larger ones go by a relay (``relays.py``) or straight to the store.
Where to send the next bytes is said with a signed state (see ``state``), without which no step is taken.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from chalicelib.registry.access import Operation
from chalicelib.registry.blobs import Blob
from chalicelib.registry.errors import DigestInvalid, NameInvalid, RangeInvalid, UploadUnknown
from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.repositories import Repository
from chalicelib.registry.upload_records import Chunk, Ticket, Upload
from chalicelib.registry.uploads import check_algorithm
from chalicelib.wire.distribution.call import Call
from chalicelib.wire.distribution.state import PARAMETER, Lane
from chalicelib.wire.http import Response

_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?([0-9]{1,19})-([0-9]{1,19})(?:/(?:[0-9]+|\*))?", re.ASCII)
"""The specification's ``<start>-<end>``, and the form of RFC 9110 that some clients send."""


def begin_upload(call: Call) -> Response:
    """POST: 202 and where to send the bytes; 201 if they came along (``digest=``) or were mounted (``mount=``)."""
    request = call.request
    digest = Digest.parse(request.first("digest")) if "digest" in request.query else None
    check_algorithm(request.first("digest-algorithm", "sha256"))
    if request.first("mount"):
        blob = _mount(call, Digest.parse(request.first("mount")), request.first("from"))
        if blob is not None:
            return created(call.name, blob)
    repository = call.pushed_to()
    upload = call.registry.uploads.begin(repository, call.caller.account)
    if digest is None:
        told = accepted(call, upload, Lane.OPEN)
        return replace(told, headers={**told.headers, "Warning": call.registry.warning}) if call.registry.warning else told
    return created(call.name, call.registry.uploads.finish(upload.ticket, digest, body=request.body))


def large_bodies_warning(lanes: Collection[str]) -> str:
    """A Warning header's value (RFC 7234, 5.5) for who begins an upload where bodies over 4 MiB do not pass in every way; ""
    where they do. ``lanes`` are those that the edge has beside the inline one."""
    if "relay" in lanes:
        return ""
    whole = "a client that sends a layer as one PUT (containerd, Docker 29, oras, Helm), or " if "direct" in lanes else ""
    return f'299 - "layers over 4 MiB need {whole}slipway relay --upstream on your machine"'


def _mount(call: Call, digest: Digest, source: str) -> Blob | None:
    """By the rights that the caller's account has at this moment; what may not be read is as if it were not there."""
    account = call.account()

    def may(repository: Repository, blob: Blob) -> bool:
        needed = Operation.PULL if call.registry.blobs.is_referenced(blob) else Operation.PUSH
        return call.registry.rights.decide(account, needed, repository.name).allowed

    repository = call.pushed_to()
    if not source:
        return call.registry.blobs.mount_from_any(repository, digest, may)
    try:
        return call.registry.blobs.mount(repository, digest, RepositoryName.parse(source), may)
    except NameInvalid:
        return None


def append_chunk(call: Call) -> Response:
    """PATCH: 202 and how much has arrived."""
    ticket = verified_ticket(call)
    chunk = content_range(call.request.header("content-range"), ticket.size)
    return accepted(call, call.registry.uploads.append(ticket, call.request.body, chunk), Lane.INLINE)


def finish_upload(call: Call) -> Response:
    """PUT: the last bytes, if any, and 201 if all of them hash to ``digest=``."""
    ticket = verified_ticket(call)
    digest = _digest(call)
    chunk = content_range(call.request.header("content-range"), ticket.size)
    return created(call.name, call.registry.uploads.finish(ticket, digest, body=call.request.body, chunk=chunk))


def _digest(call: Call) -> Digest:
    """The digest of the query; a client may append a second one to a Location that has it, but not a different one."""
    texts = set(call.request.query.get("digest", ()))
    if len(texts) != 1:
        raise DigestInvalid(", ".join(sorted(texts)))
    return Digest.parse(texts.pop())


def upload_status(call: Call) -> Response:
    """GET: 204 and how much has arrived."""
    upload = call.registry.uploads.get(verified_ticket(call))
    return Response(204, _progress(call, upload, Lane.INLINE if upload.size else Lane.OPEN))


def cancel_upload(call: Call) -> Response:
    """DELETE: 204, and its bytes are dropped."""
    call.registry.uploads.cancel(verified_ticket(call))
    return Response(204)


def content_range(header: str, size: int) -> Chunk | None:
    """The place that Content-Range names, None without one; ``size`` is where the next chunk goes, for the refusal.

    Raises RangeInvalid.
    """
    if not header:
        return None
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if match is None or int(match[2]) < int(match[1]):
        raise RangeInvalid(size, "Content-Range must be <first byte>-<last byte>")
    return Chunk(int(match[1]), int(match[2]) - int(match[1]) + 1)


def verified_ticket(call: Call) -> Ticket:
    """What the request's state says, if it is good for this upload, this name and this caller; repeated it is as good as once.

    Raises UploadUnknown.
    """
    texts = set(call.request.query.get(PARAMETER, ()))
    if len(texts) != 1:
        raise UploadUnknown
    ticket = call.registry.states.verify(texts.pop())
    if (ticket.id, ticket.name, ticket.account) != (call.reference, call.name, call.caller.account):
        raise UploadUnknown
    return ticket


def _progress(call: Call, upload: Upload, lane: Lane) -> dict[str, str]:
    # What a relay has begun goes on there: it may hold the last request open for longer than an application can.
    lane = Lane.RELAY if upload.writer else lane
    state = call.registry.states.sign(upload.ticket, lane)
    return {
        "Location": f"/v2/{upload.name}/blobs/uploads/{upload.id}?{PARAMETER}={state}",
        "Range": f"0-{max(0, upload.size - 1)}",
        "Docker-Upload-UUID": upload.id,
    }


def accepted(call: Call, upload: Upload, lane: Lane) -> Response:
    """202, and where to go on."""
    return Response(202, _progress(call, upload, lane))


def created(name: RepositoryName, blob: Blob) -> Response:
    """201, and where the blob is."""
    return Response(201, {"Location": f"/v2/{name}/blobs/{blob.digest}", "Docker-Content-Digest": str(blob.digest)})
