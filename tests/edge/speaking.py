"""What the edge's tests speak with: tokens of readable claims, upload states, and an edge with settings of its own."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any

from chalicelib.local.system_clock import SystemClock
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.upload_records import Ticket
from chalicelib.wire.distribution.state import Lane, UploadStates
from infra.local.edge import API, Edge, Passed, store_of
from infra.local.events import Answer, Head
from tests.surface import UPLOAD_KEYS

REALM, SERVICE = "https://registry.test/auth/token", "registry.test"
KEYS = UPLOAD_KEYS
FAR = 4_000_000_000
"""A time that no test will see, in seconds since the epoch."""

UPLOAD, REPOSITORY = "0123456789abcdef" * 2, "aaaabbbbccccddddeeeeffff"


def claims(*names: str, **changed: object) -> dict[str, object]:
    """Of an administrator's token for all of these repositories."""
    access = [{"type": "repository", "name": name, "actions": ["pull", "push", "delete"]} for name in names]
    return {"sub": "admin", "exp": FAR, "access": access, "refused": [], **changed}


def token(told: object) -> str:
    """A token that says so. Nobody signed it: the edge reads, and leaves it to others to verify."""
    return f"e30.{urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip('=')}.c2lnbmF0dXJl"


def bearer(*names: str) -> str:
    """The Authorization header of an administrator."""
    return f"Bearer {token(claims(*names))}"


def state(upload: str = "u", name: str = "a", lane: Lane = Lane.OPEN, expires_at: int = FAR, account: str = "admin") -> str:
    """A signed one."""
    ticket = Ticket(upload, REPOSITORY, RepositoryName.parse(name), account, expires_at)
    return UploadStates(lambda: KEYS, SystemClock()).sign(ticket, lane)


def edge(*, direct: bool = True, relay: bool = True, **changed: str) -> Edge:
    """An edge with everything there is."""
    return Edge({**store_of(REALM, SERVICE, KEYS, direct=direct, relay=relay), **changed})


def head(method: str, target: str, authorization: str = "", **headers: str) -> Head:
    """A request; header names with ``_`` for ``-``."""
    path, _, query = target.partition("?")
    named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    if authorization:
        named["authorization"] = authorization
    return Head(method, path, query, {"host": "registry.test", **named})


def refusal(told: Passed | Answer) -> tuple[int, str]:
    """Status and code of the edge's own answer; 0 and the origin if it gave none."""
    if isinstance(told, Passed):
        return 0, told.origin or API
    body: dict[str, Any] = json.loads(told.body)
    return told.status, str(body["errors"][0]["code"])


def challenge(told: Passed | Answer) -> str:
    """The challenge of a 401, "" if it is none."""
    if isinstance(told, Passed):
        return ""
    return next((value.decode() for name, value in told.headers if name == b"www-authenticate"), "")
