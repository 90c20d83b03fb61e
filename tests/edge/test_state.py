"""The upload's state: Python and the edge take the same texts, and no others."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.registry.errors import UploadUnknown
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.ports import Piece
from chalicelib.registry.relays import Writing
from chalicelib.registry.upload_records import Ticket, piece_key
from chalicelib.settings import SettingError, upload_keys
from chalicelib.wire.distribution.state import Lane, UploadStates
from infra.local.edge import RELAY, Edge, store_of
from tests.edge.speaking import KEYS, REALM, SERVICE, claims, head, refusal, token
from tests.frozen_clock import FrozenClock

CLOCK = FrozenClock()
NOW = int(CLOCK.now().timestamp())
STATES = UploadStates(lambda: KEYS, CLOCK)
EDGE = Edge(store_of(REALM, SERVICE, KEYS, direct=False, relay=True), now=lambda: CLOCK.now().timestamp())

names = st.from_regex(r"[a-z0-9]{1,9}(/[a-z0-9]{1,9}){0,2}", fullmatch=True)
hexes = st.text("0123456789abcdef", min_size=32, max_size=32)


@st.composite
def tickets(draw: st.DrawFn) -> Ticket:
    upload, size = draw(hexes), draw(st.integers(0, 10**13))
    vouched = draw(st.booleans())
    return Ticket(
        upload,
        draw(hexes),
        RepositoryName.parse(draw(names)),
        draw(st.text(max_size=12)),
        draw(st.integers(NOW - 5, NOW + 5)),
        size,
        Piece(piece_key(upload, draw(hexes)), size) if vouched else None,
        draw(st.text("0123456789abcdef", min_size=64, max_size=64)) if vouched else "",
    )


def ticket(**changed: str) -> Ticket:
    return replace(Ticket("u" * 32, "r" * 24, RepositoryName.parse("a"), "admin", NOW + 5), **changed)  # type: ignore[arg-type]


def taken_at_the_edge(text: str, told: Ticket) -> bool:
    """Whether the edge lets a large chunk of that upload through."""
    bearer = f"Bearer {token(claims(str(told.name), sub=told.account))}"
    url = f"/v2/{told.name}/blobs/uploads/{told.id}?_state={text}"
    answer = refusal(EDGE.request(head("PATCH", url, bearer, content_length="9000000")))
    assert answer in {(0, RELAY), (404, "BLOB_UPLOAD_UNKNOWN"), (503, "UNAVAILABLE")}
    return answer == (0, RELAY)


def taken_by_python(text: str, told: Ticket) -> bool:
    try:
        return STATES.verify(text) == told
    except UploadUnknown:
        return False


@settings(max_examples=150, deadline=None)
@given(told=tickets(), lane=st.sampled_from(Lane))
def test_both_take_what_was_signed_until_it_expires(told: Ticket, lane: Lane) -> None:
    text = STATES.sign(told, lane)
    assert re.fullmatch(r"[A-Za-z0-9._~-]+", text)
    assert taken_by_python(text, told) == taken_at_the_edge(text, told) == (told.expires_at > NOW)


@settings(max_examples=200, deadline=None)
@given(told=tickets(), lane=st.sampled_from(Lane), data=st.data())
def test_both_refuse_what_was_changed(told: Ticket, lane: Lane, data: st.DataObject) -> None:
    text = STATES.sign(told, lane)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("ABab01-_.=").filter(lambda letter: letter != text[at]))
    for changed in (text[:at] + other + text[at + 1 :], text[:at] + text[at + 1 :], text[:at] + other + text[at:]):
        assert not taken_by_python(changed, told)
        assert not taken_at_the_edge(changed, told)


def test_a_payload_of_one_s_own_needs_a_key() -> None:
    told = ticket()
    payload, _, mac = STATES.sign(told, Lane.OPEN).partition(".")
    said = json.loads(urlsafe_b64decode(payload + "=="))
    assert said == {"k": "new", "u": "u" * 32, "n": "a", "r": "r" * 24, "a": "admin", "l": "open", "e": NOW + 5, "s": 0}
    changes: list[dict[str, object]] = [
        {"k": "old"},
        {"k": "none"},
        {"k": ["new"]},
        {"k": None},
        {"e": NOW + 9},
        {"l": "relay"},
        {"a": "eve"},
        {"s": 1},
    ]
    changes.append({"p": "0" * 16, "h": "0" * 64})
    for changed in changes:
        forged = urlsafe_b64encode(json.dumps({**said, **changed}).encode()).decode().rstrip("=")
        assert not taken_by_python(f"{forged}.{mac}", told)
        assert not taken_at_the_edge(f"{forged}.{mac}", told)


@pytest.mark.parametrize("text", ["", ".", "..", "a", "é.ü", "\ud800.x", "bnVsbA.x", "W10.x", "e30.x", "[" * 5000, "x" * 9000])
def test_what_is_none_is_unknown(text: str) -> None:
    with pytest.raises(UploadUnknown):
        STATES.verify(text)


def test_the_newest_key_signs_and_an_older_one_still_verifies() -> None:
    told = ticket()
    old = dict(list(KEYS.items())[:1])
    assert STATES.verify(UploadStates(lambda: old, CLOCK).sign(told, Lane.OPEN)) == told
    with pytest.raises(UploadUnknown):
        UploadStates(lambda: old, CLOCK).verify(STATES.sign(told, Lane.OPEN))


def test_it_expires() -> None:
    clock = FrozenClock()
    text = STATES.sign(ticket(), Lane.OPEN)
    clock.moment += timedelta(seconds=5)
    with pytest.raises(UploadUnknown):
        UploadStates(lambda: KEYS, clock).verify(text)


def test_a_writing_is_vouched_for_and_is_no_state() -> None:
    writing = Writing(ticket(), 7, "0" * 16, "multipart~id/+==", 99)
    text = STATES.sign_writing(writing)
    assert STATES.verify_writing(text) == writing
    for other in (STATES.sign(ticket(), Lane.OPEN), text[:-1], "x" + text, ""):
        with pytest.raises(UploadUnknown):
            STATES.verify_writing(other)
    with pytest.raises(UploadUnknown):
        STATES.verify(text)


GOOD = "bmV3" * 11


def test_keys_are_read_in_order() -> None:
    assert list(upload_keys(",".join(f"{name}:{key}" for name, key in KEYS.items()))) == list(KEYS)


@pytest.mark.parametrize("text", ["", "1", "1:", "1:c2hvcnQ=", f"a b:{GOOD}", f"1:!{GOOD}", f"1:{GOOD},1:{GOOD}", f"{GOOD}"])
def test_keys_that_are_none_are_an_error_that_does_not_tell_them(text: str) -> None:
    with pytest.raises(SettingError, match="SLIPWAY_UPLOAD_KEYS") as refused:
        upload_keys(text)
    assert "bmV3" not in str(refused.value)
