"""What the one-machine server and the relay share: uvicorn in the foreground, from a bound socket to a clean stop.

listener = bind("127.0.0.1", 5000, "HOST", "PORT=...")
tune()
Server(configuration(application, logging.ERROR, stop=10), lambda: print("ready")).run(sockets=[listener])
"""

from __future__ import annotations

import asyncio
import gc
import os
import posixpath
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, cast

import uvicorn

from infra.local.connections import Connection
from infra.local.settings import CannotStart, SettingInvalid

KEEP_ALIVE_SECONDS = 120
"""Longer than Go's 90: the client closes first, and no request meets a connection that is just being closed."""
SWITCH_SECONDS = 0.0005
"""How long a thread may compute while the loop waits for the interpreter; Python's default is ten times as long, and every
request that goes to a thread would pay it twice."""
MAX_FILES = 65_536


class Server(uvicorn.Server):
    """uvicorn, with deadlines kept every second, a line when ready, and exit code 0 after a signal."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, then say so."""
        await super().startup(sockets)
        self._ready()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                cast("Connection", connection).sweep(now)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """The first signal stops; a second Ctrl-C ends the process at once, which loses nothing that was answered."""
        if self.should_exit and sig == signal.SIGINT:
            os._exit(130)
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's own raises the signal again once stopped, and a clean stop would look like a killed process."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are the main thread's; a test stops its server by ``should_exit``
            return
        handlers = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def configuration(
    application: object,
    log_level: int,
    *,
    stop: int,
    connection: type[Connection] = Connection,
    tls: dict[str, Any] | None = None,
) -> uvicorn.Config:
    """uvicorn's settings, nothing left to what happens to be installed. ``stop`` is the seconds that requests in flight have
    once it is told to stop."""
    return uvicorn.Config(
        cast("Any", application),
        loop="uvloop",
        http=connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level=log_level,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=stop,
        **(tls or {}),
    )


def bind(host: str, port: int, host_setting: str, port_setting: str) -> socket.socket:
    """A listening socket; port 0 is any free one. Errors call the two by their settings. Raises CannotStart."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise SettingInvalid(host_setting, f"is {host!r}, which is no address of this machine: {error.strerror}") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address[0] == "::" else 1)
        listener.bind(address)
        # Listening settles whose port it is; who connects before there is somebody to answer waits for it.
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise CannotStart(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another with {port_setting}"
        ) from error
    listener.setblocking(False)
    return listener


def tune() -> None:
    """Process-wide settings that a server wants and a library may not touch."""
    sys.setswitchinterval(SWITCH_SECONDS)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, MAX_FILES) if hard > 0 else MAX_FILES, hard))
    gc.collect()
    gc.freeze()  # what was imported stays: no collection has to look at it again


def is_internal(path: str) -> bool:
    """Whether a decoded path leads to what only the server itself may call, however it is spelt."""
    return "_relay" in path and posixpath.normpath("/" + path.lstrip("/")).split("/")[1] == "_relay"
