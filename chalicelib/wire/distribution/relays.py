"""What relays ask, under /_relay: before they take a body's bytes, while they send them on, and after.

A relay beside the store (one machine) calls ``open`` and ``close``; one that sends parts to it by signed URLs calls
``begin``, ``parts`` and ``end`` or ``abort``. The client's token is checked once, at the beginning: after that the writer's
text, which the beginning gave, vouches for the relay, as large bodies take longer than tokens live.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib.registry.errors import EndpointUnknown, UploadInvalid, UploadUnknown
from chalicelib.registry.names import Digest
from chalicelib.registry.ports import Part
from chalicelib.registry.relays import MAX_PARTS, PART, PartsRelay, StagedRelay, Writing
from chalicelib.registry.upload_records import Upload
from chalicelib.wire.distribution.call import Call
from chalicelib.wire.distribution.state import Lane
from chalicelib.wire.distribution.uploads import accepted, content_range, created, verified_ticket
from chalicelib.wire.http import Response

ATTESTED = "slipway-relay-1"

FIRST_URLS = 4
MOST_URLS = 100

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


def open_staged(call: Call) -> Response:
    """JSON ``{content_range, content_length}`` of the client's request, either may be null.

    200 with ``{key, offset, writer}``: the body goes under ``key``, from its own first byte on; ``offset`` is its place in the
    upload; ``writer`` is to be named when done.
    """
    asked = _json(call)
    ticket = verified_ticket(call)
    chunk = content_range(str(asked.get("content_range") or ""), ticket.size)
    opened = _staged(call).open(ticket, chunk, _length(asked))
    return _answer({"key": opened.writing, "offset": opened.size, "writer": opened.writer})


def close_staged(call: Call) -> Response:
    """JSON ``{writer, size}``, with the upload's size by now, and ``digest`` if that was all. The answer is the client's."""
    told = _json(call)
    writer, size, digest = _text(told, "writer"), _number(told, "size"), told.get("digest")
    if not isinstance(digest, str | None):
        raise UploadInvalid
    upload = _staged(call).close(call.reference, call.name, writer, size)
    return _settled(call, upload, digest)


def begin_parts(call: Call) -> Response:
    """JSON ``{content_range, content_length}`` as for ``open_staged``.

    200 with ``{writer, offset, part_size, max_parts, urls}``: PUT the body there in parts of that size; the last may be less.
    """
    asked = _json(call)
    ticket = verified_ticket(call)
    relay = _parts(call)
    writing = relay.begin(ticket, content_range(str(asked.get("content_range") or ""), ticket.size), _length(asked))
    urls = relay.urls(writing, 1, FIRST_URLS)
    told = {"writer": call.registry.states.sign_writing(writing), "offset": writing.offset}
    return _answer(told | {"part_size": PART, "max_parts": MAX_PARTS, "urls": list(urls)})


def part_urls(call: Call) -> Response:
    """JSON ``{writer, first, count}``: 200 with ``{urls}`` for so many parts from number ``first`` on."""
    told = _json(call)
    first, count = _number(told, "first"), _number(told, "count")
    if not (1 <= count <= MOST_URLS and 1 <= first <= MAX_PARTS - count + 1):
        raise UploadInvalid(f"parts are numbered from 1 to {MAX_PARTS}, and {MOST_URLS} at most are asked for at once")
    return _answer({"urls": list(_parts(call).urls(_writing(call, told), first, count))})


def end_parts(call: Call) -> Response:
    """JSON ``{writer, parts: [{number, etag, size}], size, sha256, attestation, digest?}``: the piece is all there. ``size`` is
    the upload's by now, ``sha256`` the piece's. The answer is the client's."""
    told = _json(call)
    writing, size, sha256, digest = _writing(call, told), _number(told, "size"), told.get("sha256"), told.get("digest")
    if not isinstance(digest, str | None) or (sha256 is not None and not _SHA256.fullmatch(str(sha256))):
        raise UploadInvalid
    attested = call.registry.attests(_text(told, "writer"), size, str(sha256), str(told.get("attestation") or ""))
    upload = _parts(call).end(writing, _parts_of(told), size, str(sha256) if sha256 and attested else "")
    return _settled(call, upload, digest)


def abort_parts(call: Call) -> Response:
    """JSON ``{writer}``: 204, and nothing that was sent counts."""
    _parts(call).abort(_writing(call, _json(call)))
    return Response(204)


def attested(key: str, writer: str, size: int, sha256: str, attestation: str) -> bool:
    """Is this the attestation of a relay that holds ``key``: HMAC-SHA256, in hex, of what it says about the piece it sent?
    Without a key there is none."""
    told = f"{ATTESTED}\n{writer}\n{size}\n{sha256}".encode()
    return bool(key) and hmac.compare_digest(
        hmac.digest(key.encode(), told, hashlib.sha256).hex().encode(), attestation.encode()
    )


def _settled(call: Call, upload: Upload, digest: str | None) -> Response:
    if digest is None:
        return accepted(call, upload, Lane.RELAY)
    return created(call.name, call.registry.uploads.finish(upload.ticket, Digest.parse(digest)))


def _staged(call: Call) -> StagedRelay:
    if call.registry.staged_relay is None:
        raise EndpointUnknown
    return call.registry.staged_relay


def _parts(call: Call) -> PartsRelay:
    if call.registry.parts_relay is None:
        raise EndpointUnknown
    return call.registry.parts_relay


def _writing(call: Call, told: Mapping[str, Any]) -> Writing:
    writing = call.registry.states.verify_writing(_text(told, "writer"))
    if (writing.ticket.id, writing.ticket.name) != (call.reference, call.name):
        raise UploadUnknown
    return writing


def _parts_of(told: Mapping[str, Any]) -> Sequence[Part]:
    """The parts in order, numbered without a gap. Raises UploadInvalid."""
    entries = told.get("parts")
    if not isinstance(entries, list) or len(entries) > MAX_PARTS or not all(isinstance(entry, dict) for entry in entries):
        raise UploadInvalid
    parts = [Part(_number(entry, "number"), _text(entry, "etag"), _number(entry, "size")) for entry in entries]
    if [part.number for part in parts] != list(range(1, len(parts) + 1)):
        raise UploadInvalid
    return parts


def _json(call: Call) -> Mapping[str, Any]:
    try:
        told = json.loads(call.request.body)
    except (ValueError, RecursionError):
        raise UploadInvalid from None
    if not isinstance(told, dict):
        raise UploadInvalid
    return told


def _text(told: Mapping[str, Any], name: str) -> str:
    value = told.get(name)
    if not isinstance(value, str):
        raise UploadInvalid
    return value


def _number(told: Mapping[str, Any], name: str) -> int:
    value = told.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UploadInvalid
    return value


def _length(asked: Mapping[str, Any]) -> int | None:
    length = asked.get("content_length")
    return length if isinstance(length, int) else None


def _answer(told: Mapping[str, object]) -> Response:
    return Response(200, {"Content-Type": "application/json"}, json.dumps(told, separators=(",", ":")).encode())
