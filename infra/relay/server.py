"""The relay in the foreground: one process, from its settings to a clean stop."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from infra.local.connections import Connection
from infra.local.settings import CannotStart, SettingInvalid
from infra.relay.application import RelayApplication
from infra.relay.settings import PREFIX, Pace, RelaySettings

KEEP_ALIVE_SECONDS = 120
"""Longer than Go's 90: the client closes first, and no request meets a connection that is just being closed."""
SWITCH_SECONDS = 0.0005
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


class RelayServer(uvicorn.Server):
    """uvicorn, with deadlines kept every second, a line when ready, and uploads ended before the process is."""

    def __init__(self, config: uvicorn.Config, application: RelayApplication, finish: float, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._application = application
        self._finish = finish
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, then say so."""
        await super().startup(sockets)
        self._ready()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if counter % 10 == 0:
            self._sweep()
        return await super().on_tick(counter)

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

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """The first signal stops; a second Ctrl-C ends the process at once, as a crash would."""
        if self.should_exit and sig == signal.SIGINT:
            os._exit(130)
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's own raises the signal again once stopped, and a clean stop would look like a killed process."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in list(self.server_state.connections):
            cast("Connection", connection).sweep(now)


def relay_server(settings: RelaySettings, pace: Pace, ready: Callable[[], None] = lambda: None) -> RelayServer:
    """A server that is not running yet."""
    application = RelayApplication(settings, pace)
    config = uvicorn.Config(
        cast("Any", application),
        loop="uvloop",
        http=RelayConnection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level=logging.CRITICAL,  # what it would log of a failed request has the failure's text in it
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=pace.stop,
    )
    return RelayServer(config, application, pace.finish, ready)


def serve(settings: RelaySettings) -> None:
    """Listen until a signal. Raises CannotStart."""
    logging.basicConfig(level=logging.WARNING, format="slipway: %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("slipway").setLevel(logging.INFO)
    listener = listen(settings.host, settings.port)
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{shown}:{listener.getsockname()[1]}"

    def ready() -> None:
        print(f"slipway: relay for {settings.upstream} listening on http://{address}", flush=True)  # noqa: T201

    _tune()
    with suppress(KeyboardInterrupt):
        relay_server(settings, Pace(), ready).run(sockets=[listener])


def _tune() -> None:
    """Process-wide settings that a server wants and a library may not touch."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()
    # glibc gives memory back and asks for it again with each block that comes and goes, which costs a fifth of the time.
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, 64 * 1024 * 1024)
        mallopt(_M_MMAP_THRESHOLD, 4 * 1024 * 1024)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 is any free one. Raises CannotStart."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise SettingInvalid(PREFIX + "HOST", f"is {host!r}, which is no address of this machine: {error.strerror}") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise CannotStart(f"cannot listen on {host} port {port}: {error.strerror}; choose another with --port") from error
    listener.setblocking(False)
    return listener
