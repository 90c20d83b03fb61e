"""The registry as the server needs it, imported once: after the environment is set, and never by importing this module."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from chalicelib.registry.errors import RegistryError
from infra.local.asgi import ServerBlobs
from infra.local.edge import Edge, store_of
from infra.local.events import Answer, Application, Head, answer_of, event_of
from infra.local.housekeeping import Chore
from infra.local.inline import MaySend, anybody
from infra.local.relay import Refusal
from infra.local.settings import CannotStart

RUN_JOBS_SECONDS = 2.0
EXPIRE_RECORDS_SECONDS = 60.0


class Lifetime:
    """What the jobs have for Lambda's context: how long they may go on at a stretch, and that the server ends."""

    STRETCH_SECONDS = 300.0
    """A job that takes longer is left to the next turn, which begins with those that have waited longest."""

    def __init__(self) -> None:
        self._is_over = False
        self._until = 0.0

    def begin(self) -> Lifetime:
        """A new stretch."""
        self._until = time.monotonic() + self.STRETCH_SECONDS
        return self

    def end(self) -> None:
        """The server ends: a job that is being worked on is handed over at its next checkpoint, to the next start."""
        self._is_over = True

    def get_remaining_time_in_millis(self) -> int:
        return 0 if self._is_over else int(1000 * (self._until - time.monotonic()))


@dataclass(frozen=True, slots=True)
class Parts:
    """What a server is put together from."""

    app: Application
    blobs: ServerBlobs
    refusal: Refusal
    edge: Edge
    ensure_admin: Callable[[str], bool]
    lifetime: Lifetime = field(default_factory=Lifetime)
    chores: tuple[Chore, ...] = ()
    may_send: MaySend = anybody


def load() -> Parts:
    """The registry's own parts, by the environment's SLIPWAY_ variables. Raises CannotStart."""
    from chalicelib import wiring
    from chalicelib.local.sqlite_table import NewerSchema
    from chalicelib.settings import SettingError

    try:
        settings, upload_keys = wiring.settings(), wiring.upload_keys()
        table = wiring.sqlite_table()
        wiring.signer().public_key()  # a root key that cannot be used is told now, not to the first who logs in
    except (SettingError, NewerSchema, PermissionError, ValueError, sqlite3.DatabaseError) as error:
        raise CannotStart(str(error)) from error

    from app import app
    from chalicelib.entry import schedules

    wiring.disk_blobs().drop_staged()
    lifetime = Lifetime()
    return Parts(
        app=app,
        blobs=wiring.disk_blobs(),
        refusal=_refusal,
        edge=Edge(store_of(settings.realm, settings.service, upload_keys, direct=False, relay=True)),
        ensure_admin=wiring.accounts().ensure_admin,
        may_send=_may_send(),
        lifetime=lifetime,
        chores=(
            Chore("jobs", RUN_JOBS_SECONDS, lambda: schedules.run_jobs({}, lifetime.begin())),
            Chore("expiry of records", EXPIRE_RECORDS_SECONDS, lambda: table.drop_expired(int(time.time()))),
        ),
    )


def _may_send() -> MaySend:
    from chalicelib import wiring
    from chalicelib.entry.distribution import distribution_gate
    from chalicelib.entry.gateway import event_response, request_of

    gate = distribution_gate(wiring.registry(), wiring.tokens(), wiring.settings().realm, wiring.settings().service)

    def may_send(head: Head) -> Answer | None:
        response = gate(request_of(event_of(head)))
        return None if response is None else answer_of(event_response(response), head.method)

    return may_send


def _refusal(error: RegistryError) -> Answer:
    from chalicelib.wire.distribution.errors import refusal

    response = refusal(error)
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, values in response.headers.items()
        for value in ((values,) if isinstance(values, str) else values)
        if name.lower() != "content-length"
    ]
    return Answer(response.status, headers, response.body, len(response.body))
