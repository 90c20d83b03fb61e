"""The state in an upload's Location: ``_state=<payload>.<mac>``, which lets the edge judge a body that no function will see.

The payload is base64url of compact JSON, the mac base64url of HMAC-SHA256 over the payload's text, neither padded:

    k  id of the key         u  upload's id           n  repository's name     r  repository's id
    a  account, "" for none  l  lane: open, inline or relay                    e  end of its life, seconds since the epoch

``infra/edge/viewer-request.js`` reads the same. The HMAC is keyed with a key's own text: the edge's ``createHmac`` takes
strings, and so there is nothing to decode there.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from chalicelib.registry.errors import UploadUnknown
from chalicelib.registry.ports import Clock

PARAMETER = "_state"

_MAX_TEXT = 4_096  # longer than any that was ever signed


class Lane(StrEnum):
    """How an upload's bytes have come so far."""

    OPEN = "open"
    """None came yet: the one lane on which a whole blob may go straight to the store."""
    INLINE = "inline"
    RELAY = "relay"


@dataclass(frozen=True, slots=True)
class State:
    """What is said about an upload, and vouched for."""

    upload: str
    name: str
    repository: str
    account: str
    lane: Lane
    expires_at: int


class UploadStates:
    """Signs and verifies. ``keys`` gives the keys by id, the newest last: it signs, and all are taken, so a key can be brought
    to every verifier before it is used, and kept until what it signed has expired. It is asked when they are needed first:
    who only pulls reads no secret."""

    def __init__(self, keys: Callable[[], Mapping[str, str]], clock: Clock) -> None:
        self._keys = keys
        self._clock = clock

    def sign(self, state: State) -> str:
        """The text of a state: unreserved characters only."""
        identifier, key = list(self._keys().items())[-1]
        told = {
            "k": identifier,
            "u": state.upload,
            "n": state.name,
            "r": state.repository,
            "a": state.account,
            "l": state.lane.value,
            "e": state.expires_at,
        }
        payload = _base64url(json.dumps(told, separators=(",", ":")).encode())
        return f"{payload}.{_mac(key, payload)}"

    def verify(self, text: str) -> State:
        """What the text says, if it is ours and has not expired. Raises UploadUnknown: a state that is not good is no better
        than an upload that is not there."""
        payload, _, mac = text.partition(".")
        try:
            told = json.loads(_decoded(payload)) if len(text) <= _MAX_TEXT else {}
            key = self._keys()[told["k"]]
            if not hmac.compare_digest(_mac(key, payload).encode(), mac.encode()):
                raise UploadUnknown
            state = State(told["u"], told["n"], told["r"], told["a"], Lane(told["l"]), told["e"])
        except (ValueError, TypeError, KeyError, RecursionError):
            raise UploadUnknown from None
        if self._clock.now().timestamp() >= state.expires_at:
            raise UploadUnknown
        return state


def _mac(key: str, payload: str) -> str:
    return _base64url(hmac.digest(key.encode("ascii"), payload.encode(), sha256))


def _base64url(content: bytes) -> str:
    return urlsafe_b64encode(content).decode("ascii").rstrip("=")


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
