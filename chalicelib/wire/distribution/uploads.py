"""Uploads: end-4 begin, end-5 chunk, end-6 finish, end-11 mount, end-13 status, end-14 cancel.

The bodies here are whole and small (the inline lane). A large or endless one is streamed into the BlobStore beside the
application by a relay, which calls ``open_relay`` before and ``close_relay`` after. Where to send the next bytes is said
with a signed state (see ``state``), without which no step is taken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from chalicelib.registry.access import PULL, PUSH, allowed_actions
from chalicelib.registry.blobs import Blob
from chalicelib.registry.errors import DigestInvalid, NameInvalid, RangeInvalid, UploadInvalid, UploadUnknown
from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.repositories import Repository
from chalicelib.registry.uploads import Chunk, Upload, check_algorithm
from chalicelib.wire.distribution.call import Call
from chalicelib.wire.distribution.state import PARAMETER, Lane, State
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
            return _created(call.name, blob)
    repository = call.registry.repositories.ensure(call.name)
    upload = call.registry.uploads.begin(repository, call.caller.account)
    if digest is None:
        return _accepted(call, upload, Lane.OPEN)
    account = call.caller.account
    blob = call.registry.uploads.finish(upload.id, call.name, account, digest, body=request.body, chunk=None)
    return _created(call.name, blob)


def _mount(call: Call, digest: Digest, source: str) -> Blob | None:
    """By the rights that the caller's account has at this moment; what may not be read is as if it were not there."""
    account = call.registry.accounts.find(call.caller.account) if call.caller.account else None

    def may(repository: Repository, blob: Blob) -> bool:
        needed = PULL if call.registry.blobs.is_referenced(blob) else PUSH
        return needed in allowed_actions(account, repository.name, public=repository.is_public)

    repository = call.registry.repositories.ensure(call.name)
    if not source:
        return call.registry.blobs.mount_from_any(repository, digest, may)
    try:
        return call.registry.blobs.mount(repository, digest, RepositoryName.parse(source), may)
    except NameInvalid:
        return None


def append_chunk(call: Call) -> Response:
    """PATCH: 202 and how much has arrived."""
    upload = _under_way(call)
    chunk = _content_range(call.request.header("content-range"), upload)
    return _accepted(call, call.registry.uploads.append(upload, call.request.body, chunk), Lane.INLINE)


def finish_upload(call: Call) -> Response:
    """PUT: the last bytes, if any, and 201 if all of them hash to ``digest=``."""
    _verify_state(call)
    digest = _digest(call)
    blob = call.registry.uploads.finish(
        call.reference,
        call.name,
        call.caller.account,
        digest,
        body=call.request.body,
        chunk=_content_range(call.request.header("content-range"), None),
    )
    return _created(call.name, blob)


def _digest(call: Call) -> Digest:
    """The digest of the query; a client may append a second one to a Location that has it, but not a different one."""
    texts = set(call.request.query.get("digest", ()))
    if len(texts) != 1:
        raise DigestInvalid(", ".join(sorted(texts)))
    return Digest.parse(texts.pop())


def upload_status(call: Call) -> Response:
    """GET: 204 and how much has arrived."""
    upload = _under_way(call)
    return Response(204, _progress(call, upload, Lane.INLINE if upload.size else Lane.OPEN))


def cancel_upload(call: Call) -> Response:
    """DELETE: 204, and its bytes are dropped."""
    call.registry.uploads.cancel(_under_way(call))
    return Response(204)


def open_relay(call: Call) -> Response:
    """A relay asks to write: JSON ``{content_range, content_length}`` of the client's request, either may be null.

    200 with ``{key, offset, writer}``: append to ``key`` from ``offset`` on, and name ``writer`` when done.
    """
    asked = _json(call)
    upload = _under_way(call)
    chunk = _content_range(str(asked.get("content_range") or ""), upload)
    length = asked.get("content_length")
    opened = call.registry.uploads.open(upload, chunk, length if isinstance(length, int) else None)
    body = json.dumps({"key": opened.key, "offset": opened.size, "writer": opened.writer}).encode()
    return Response(200, {"Content-Type": "application/json"}, body)


def close_relay(call: Call) -> Response:
    """A relay has written: JSON ``{writer, size}``, and ``digest`` if that was all. The answer is the client's.

    The writer's secret stands for the client, whose token was checked when it was given: that may have expired since.
    """
    told = _json(call)
    writer, size, digest = told.get("writer"), told.get("size"), told.get("digest")
    if not isinstance(writer, str) or not isinstance(size, int) or size < 0 or not isinstance(digest, str | None):
        raise UploadInvalid
    uploads = call.registry.uploads
    upload = uploads.close(uploads.written_by(call.reference, call.name, writer), writer, size)
    if digest is None:
        return _accepted(call, upload, Lane.RELAY)
    blob = uploads.finish(upload.id, upload.name, upload.account, Digest.parse(digest), body=b"", chunk=None)
    return _created(call.name, blob)


def _json(call: Call) -> Mapping[str, Any]:
    try:
        told = json.loads(call.request.body)
    except (ValueError, RecursionError):
        raise UploadInvalid from None
    if not isinstance(told, dict):
        raise UploadInvalid
    return told


def _content_range(header: str, upload: Upload | None) -> Chunk | None:
    if not header:
        return None
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if match is None or int(match[2]) < int(match[1]):
        raise RangeInvalid(upload.size if upload else 0, "Content-Range must be <first byte>-<last byte>")
    return Chunk(int(match[1]), int(match[2]) - int(match[1]) + 1)


def _verify_state(call: Call) -> None:
    """Raises UploadUnknown unless the request's state is good for this upload, this name and this caller. Repeated it is as
    good as once."""
    texts = set(call.request.query.get(PARAMETER, ()))
    if len(texts) != 1:
        raise UploadUnknown
    state = call.registry.states.verify(texts.pop())
    if (state.upload, state.name, state.account) != (call.reference, str(call.name), call.caller.account):
        raise UploadUnknown


def _under_way(call: Call) -> Upload:
    """The upload that the request is about. Raises UploadUnknown."""
    _verify_state(call)
    return call.registry.uploads.get(call.reference, call.name, call.caller.account)


def _progress(call: Call, upload: Upload, lane: Lane) -> dict[str, str]:
    # A relay holds parts of its own: what it has begun goes on there, whatever way one small chunk came.
    lane = Lane.RELAY if upload.writer else lane
    state = State(upload.id, str(upload.name), upload.repository, upload.account, lane, upload.expires_at)
    return {
        "Location": f"/v2/{upload.name}/blobs/uploads/{upload.id}?{PARAMETER}={call.registry.states.sign(state)}",
        "Range": f"0-{max(0, upload.size - 1)}",
        "Docker-Upload-UUID": upload.id,
    }


def _accepted(call: Call, upload: Upload, lane: Lane) -> Response:
    return Response(202, _progress(call, upload, lane))


def _created(name: RepositoryName, blob: Blob) -> Response:
    return Response(201, {"Location": f"/v2/{name}/blobs/{blob.digest}", "Docker-Content-Digest": str(blob.digest)})
