"""The one-machine server in the foreground: one process, from the lock on its folder to a clean stop."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import uvicorn

from infra import serving
from infra.local.admin import ensure_admin
from infra.local.application import Parts
from infra.local.asgi import Gateway, Pools
from infra.local.folders import NotOurs, take
from infra.local.heads import Sources
from infra.local.housekeeping import Housekeeping
from infra.local.lock import FolderLock
from infra.local.logins import LOGIN_THREADS
from infra.local.settings import CannotStart, ServerSettings, SettingInvalid, read_settings

CALL_THREADS = 32
BLOCK_THREADS = 16
STOP_SECONDS = 10
WIND_DOWN_SECONDS = 2.0


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
        listener = serving.bind(settings.host, settings.port, "HOST", "PORT=...")
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
    server = serving.Server(configuration(gateway, settings), lambda: _say_ready(settings))
    housekeeping = Housekeeping(parts.chores)
    serving.tune()
    housekeeping.start()
    try:
        server.run(sockets=[listener])
    finally:
        listener.close()
        parts.lifetime.end()
        _wind_down(pools, housekeeping)


def configuration(gateway: Gateway, settings: ServerSettings) -> uvicorn.Config:
    """uvicorn's settings. Raises SettingInvalid for a bad certificate."""
    tls: dict[str, Any] = {}
    if settings.certificate and settings.key:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.certificate, settings.key)
        except (ssl.SSLError, OSError) as error:
            raise SettingInvalid("TLS_CERT", f"and TLS_KEY do not load as a certificate and its key: {error}") from error
        tls = {"ssl_certfile": settings.certificate, "ssl_keyfile": settings.key}
    return serving.configuration(gateway, logging.ERROR, stop=STOP_SECONDS, tls=tls)


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
