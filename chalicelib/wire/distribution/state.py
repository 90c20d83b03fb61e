"""The state in an upload's Location: ``_state=<payload>.<mac>``, which lets the edge judge a body that no function will see,
and a request be answered without a look at what was written before.

The payload is base64url of compact JSON, the mac base64url of HMAC-SHA256 over the payload's text, neither padded:

    k  id of the key         u  upload's id           n  repository's name     r  repository's id
    a  account, "" for none  l  lane: open, inline or relay                    e  end of its life, seconds since the epoch
    s  bytes arrived         p, h  the one piece that holds them, and their SHA-256 in hex, if that is known

``infra/edge/viewer-request.js`` reads the same. The HMAC is keyed with a key's own text: the edge's ``createHmac`` takes
strings, and so there is nothing to decode there. A relay's writing is vouched for likewise: lane "writing", and

    o  offset of its piece   w  writer's secret       m  id of the multipart upload    t  offset it announced, or -1
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from enum import StrEnum
from hashlib import sha256
from typing import Any, TypeVar

from chalicelib.registry.errors import NameInvalid, UploadUnknown
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.ports import Clock, Piece
from chalicelib.registry.relays import Writing
from chalicelib.registry.upload_records import Ticket, piece_key

PARAMETER = "_state"

_MAX_TEXT = 4_096  # longer than any that was ever signed
_WRITING = "writing"

T = TypeVar("T")


class Lane(StrEnum):
    """How an upload's bytes have come so far."""

    OPEN = "open"
    """None came yet: the one lane on which a whole blob may go straight to the store."""
    INLINE = "inline"
    RELAY = "relay"


class UploadStates:
    """Signs and verifies. ``keys`` gives the keys by id, the newest last: it signs, and all are taken, so a key can be brought
    to every verifier before it is used, and kept until what it signed has expired. It is asked when they are needed first:
    who only pulls reads no secret."""

    def __init__(self, keys: Callable[[], Mapping[str, str]], clock: Clock) -> None:
        self._keys = keys
        self._clock = clock

    def sign(self, ticket: Ticket, lane: Lane) -> str:
        """The text of a state: unreserved characters only."""
        told = {**_told(ticket), "l": lane.value}
        if ticket.piece is not None and ticket.sha256:
            told |= {"p": ticket.piece.key.rpartition("/")[2], "h": ticket.sha256}
        return self._sign(told)

    def verify(self, text: str) -> Ticket:
        """What the text says, if it is ours and has not expired. Raises UploadUnknown: a state that is not good is no better
        than an upload that is not there."""
        return self._verified(text, _ticket)

    def sign_writing(self, writing: Writing) -> str:
        """The text by which a relay shows that it may write what it was told to."""
        told = {"l": _WRITING, "o": writing.offset, "w": writing.writer, "m": writing.multipart, "t": writing.until}
        return self._sign(_told(writing.ticket) | told)

    def verify_writing(self, text: str) -> Writing:
        """See ``sign_writing``. Raises UploadUnknown."""
        return self._verified(text, _writing)

    def _sign(self, told: Mapping[str, object]) -> str:
        identifier, key = list(self._keys().items())[-1]
        payload = _base64url(json.dumps({"k": identifier, **told}, separators=(",", ":")).encode())
        return f"{payload}.{_mac(key, payload)}"

    def _verified(self, text: str, read: Callable[[Mapping[str, Any]], T]) -> T:
        payload, _, mac = text.partition(".")
        try:
            told = json.loads(_decoded(payload)) if len(text) <= _MAX_TEXT else {}
            key = self._keys()[told["k"]]
            if not hmac.compare_digest(_mac(key, payload).encode(), mac.encode()):
                raise UploadUnknown
            if self._clock.now().timestamp() >= told["e"]:
                raise UploadUnknown
            return read(told)
        except (ValueError, TypeError, KeyError, RecursionError, NameInvalid):
            raise UploadUnknown from None


def _told(ticket: Ticket) -> dict[str, object]:
    return {
        "u": ticket.id,
        "n": str(ticket.name),
        "r": ticket.repository,
        "a": ticket.account,
        "e": ticket.expires_at,
        "s": ticket.size,
    }


def _ticket(told: Mapping[str, Any]) -> Ticket:
    Lane(told["l"])
    return _read_ticket(told)


def _read_ticket(told: Mapping[str, Any]) -> Ticket:
    piece = Piece(piece_key(told["u"], told["p"]), told["s"]) if "p" in told else None
    name = RepositoryName.parse(told["n"])
    return Ticket(told["u"], told["r"], name, told["a"], told["e"], told["s"], piece, told.get("h", ""))


def _writing(told: Mapping[str, Any]) -> Writing:
    if told["l"] != _WRITING:
        raise UploadUnknown
    return Writing(_read_ticket(told), told["o"], told["w"], told["m"], told["t"])


def _mac(key: str, payload: str) -> str:
    return _base64url(hmac.digest(key.encode("ascii"), payload.encode(), sha256))


def _base64url(content: bytes) -> str:
    return urlsafe_b64encode(content).decode("ascii").rstrip("=")


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
