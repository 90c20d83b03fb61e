"""The relay in the foreground: one process, from its settings to a clean stop."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from infra import serving
from infra.local.connections import Connection
from infra.relay.application import RelayApplication
from infra.relay.settings import PREFIX, Pace, RelaySettings

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


class RelayConnection(Connection):
    """A client's connection, which the relay may close; and of whose bodies as little as possible is copied."""

    def on_body(self, body: bytes) -> None:
        """As uvicorn's, but what comes in one block is handed on as it is."""
        cycle: Any = self.cycle
        if cycle.body or cycle.response_complete:
            if isinstance(cycle.body, bytes):
                cycle.body = bytearray(cycle.body)  # which can be added to
            super().on_body(body)
            return
        super().on_body(b"")  # for all that has to be done besides
        self._content += len(body)
        cycle.body = body
        if len(body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def cut(self) -> None:
        """Close it now, whatever is still to be read or written."""
        self.transport.abort()


class RelayServer(serving.Server):
    """The server, and uploads ended before the process is."""

    def __init__(self, config: uvicorn.Config, application: RelayApplication, finish: float, ready: Callable[[], None]) -> None:
        super().__init__(config, ready)
        self._application = application
        self._finish = finish

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let uploads end by themselves for a while, then end them."""
        self._application.announce_stop()
        loop = asyncio.get_running_loop()
        stop = loop.call_later(self._finish, self._application.stop)
        try:
            await super().shutdown(sockets)
        finally:
            stop.cancel()
            await self._application.close()


def relay_server(settings: RelaySettings, pace: Pace, ready: Callable[[], None] = lambda: None) -> RelayServer:
    """A server that is not running yet."""
    application = RelayApplication(settings, pace)
    # What uvicorn would log of a failed request has the failure's text in it.
    config = serving.configuration(application, logging.CRITICAL, stop=pace.stop, connection=RelayConnection)
    return RelayServer(config, application, pace.finish, ready)


def serve(settings: RelaySettings) -> None:
    """Listen until a signal. Raises CannotStart."""
    logging.basicConfig(level=logging.WARNING, format="slipway: %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("slipway").setLevel(logging.INFO)
    listener = serving.bind(settings.host, settings.port, PREFIX + "HOST", "--port")
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{shown}:{listener.getsockname()[1]}"

    def ready() -> None:
        print(f"slipway: relay for {settings.upstream} listening on http://{address}", flush=True)  # noqa: T201

    _tune()
    with suppress(KeyboardInterrupt):
        relay_server(settings, Pace(), ready).run(sockets=[listener])


def _tune() -> None:
    serving.tune()
    # glibc gives memory back and asks for it again with each block that comes and goes, which costs a fifth of the time.
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, 64 * 1024 * 1024)
        mallopt(_M_MMAP_THRESHOLD, 4 * 1024 * 1024)
