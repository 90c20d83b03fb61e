"""The one-machine server in the foreground: one process, from the lock on its folder to a clean stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, cast

import uvicorn

from infra.local.admin import ensure_admin
from infra.local.application import Parts
from infra.local.asgi import Gateway, Pools
from infra.local.connections import Connection
from infra.local.folders import NotOurs, take
from infra.local.heads import Sources
from infra.local.housekeeping import Housekeeping
from infra.local.lock import FolderLock
from infra.local.logins import LOGIN_THREADS
from infra.local.settings import CannotStart, ServerSettings, SettingInvalid, read_settings

CALL_THREADS = 32
BLOCK_THREADS = 16
KEEP_ALIVE_SECONDS = 120
"""Longer than Go's 90: the client closes first, and no request meets a connection that is just being closed."""
STOP_SECONDS = 10
WIND_DOWN_SECONDS = 2.0
SWITCH_SECONDS = 0.0005
"""How long a thread of the application may compute while the loop waits for the interpreter; Python's default is ten times
as long, and every request that goes to a thread would pay it twice."""


class LocalServer(uvicorn.Server):
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


def main(load: Callable[[], Parts], environ: MutableMapping[str, str] = os.environ) -> int:
    """Run until stopped; the exit code."""
    os.umask(0o077)  # whatever makes a file, SQLite included
    logging.basicConfig(level=logging.WARNING, format="slipway: %(levelname)s %(name)s: %(message)s")
    try:
        settings = read_settings(environ)
        serve(settings, load, environ)
    except CannotStart as error:
        print(f"slipway: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def serve(settings: ServerSettings, load: Callable[[], Parts], environ: MutableMapping[str, str]) -> None:
    """Lock, bind, load, listen, until a signal. Raises CannotStart."""
    prepare(settings.data)
    lock = FolderLock(settings.data)
    lock.acquire()
    try:
        listener = bind(settings.host, settings.port)
        environ.update(application_environment(settings))
        parts = load()
        if told := ensure_admin(parts.ensure_admin, settings.data, settings.admin_password):
            print(f"slipway: {told}", flush=True)
        run(settings, parts, listener)
    finally:
        lock.release()


def run(settings: ServerSettings, parts: Parts, listener: socket.socket) -> None:
    """Serve on a bound socket until a signal, then let requests in flight end."""
    pools = Pools(
        calls=ThreadPoolExecutor(CALL_THREADS, "call"),
        blocks=ThreadPoolExecutor(BLOCK_THREADS, "block"),
        logins=ThreadPoolExecutor(LOGIN_THREADS, "login"),
    )
    gateway = Gateway(
        parts.app,
        parts.blobs,
        pools,
        Sources(settings.trusted_proxies),
        parts.refusal,
        edge=parts.edge,
        may_send=parts.may_send,
    )
    server = LocalServer(configuration(gateway, settings), lambda: _say_ready(settings))
    housekeeping = Housekeeping(parts.chores)
    tune()
    housekeeping.start()
    try:
        server.run(sockets=[listener])
    finally:
        listener.close()
        _wind_down(pools, housekeeping)


def configuration(gateway: Gateway, settings: ServerSettings) -> uvicorn.Config:
    """uvicorn's settings, nothing left to what happens to be installed. Raises SettingInvalid for a bad certificate."""
    tls: dict[str, Any] = {}
    if settings.certificate and settings.key:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.certificate, settings.key)
        except (ssl.SSLError, OSError) as error:
            raise SettingInvalid("TLS_CERT", f"and TLS_KEY do not load as a certificate and its key: {error}") from error
        tls = {"ssl_certfile": settings.certificate, "ssl_keyfile": settings.key}
    return uvicorn.Config(
        cast("Any", gateway),
        loop="uvloop",
        http=Connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level=logging.ERROR,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        **tls,
    )


def application_environment(settings: ServerSettings) -> Mapping[str, str]:
    """What the application's own settings are read from."""
    return {"SLIPWAY_DATA": str(settings.data), "SLIPWAY_PUBLIC_URL": settings.public_url}


def prepare(folder: Path) -> None:
    """The data folder, its owner's alone. Raises SettingInvalid."""
    try:
        take(folder)
    except NotOurs as error:
        raise SettingInvalid("DATA", f"names {error}") from error
    except OSError as error:
        raise SettingInvalid("DATA", f"names {folder}, which cannot be used as a folder: {error.strerror}") from error


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises CannotStart."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise SettingInvalid("HOST", f"is {host!r}, which is no address of this machine: {error.strerror}") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        listener.bind(address)
        # Listening settles whose port it is; who connects before the registry is loaded waits for it.
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise CannotStart(f"cannot listen on {host} port {port}: {error.strerror}; choose another with PORT=...") from error
    listener.setblocking(False)
    return listener


def tune() -> None:
    """Process-wide settings that a server wants and a library may not touch."""
    sys.setswitchinterval(SWITCH_SECONDS)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536) if hard > 0 else 65_536, hard))
    gc.collect()
    gc.freeze()  # what was imported stays: no collection has to look at it again


def _say_ready(settings: ServerSettings) -> None:
    told = "" if settings.public_url == settings.listening_url else f", known as {settings.public_url}"
    print(f"slipway: listening on {settings.listening_url}{told}", flush=True)


def _wind_down(pools: Pools, housekeeping: Housekeeping) -> None:
    """Give threads that are still at work a moment. What is cut off after it is what a crash would cut off."""
    ending = [threading.Thread(target=pool.shutdown, kwargs={"cancel_futures": True}, daemon=True) for pool in pools]
    for thread in ending:
        thread.start()
    deadline = time.monotonic() + WIND_DOWN_SECONDS
    housekeeping.stop(WIND_DOWN_SECONDS)
    for thread in ending:
        thread.join(max(0.0, deadline - time.monotonic()))
