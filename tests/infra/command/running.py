"""``slipway`` run in this process, and at a terminal of its own; a user's folder that holds what it keeps."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from infra.command.main import main

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass
class User:
    """Somebody with a home folder. ``environ`` is all of the environment; ``waited`` is how long commands waited (s)."""

    home: Path
    environ: dict[str, str] = field(default_factory=dict)
    waited: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.environ = {"HOME": str(self.home), "PATH": os.environ["PATH"], **self.environ}

    @property
    def docker_file(self) -> Path:
        return self.home / ".docker" / "config.json"

    def docker(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.docker_file.read_bytes())
        return found

    def write_docker(self, content: str | Mapping[str, object]) -> None:
        self.docker_file.parent.mkdir(exist_ok=True)
        self.docker_file.write_text(content if isinstance(content, str) else json.dumps(content))

    def run(self, *words: str, stdin: str = "", **environ: str) -> Done:
        with CliRunner().isolation(stdin) as (out, err, _):
            code = main(words, self.environ | environ, self.waited.append)
            sys.stdout.flush()
            return Done(code, out.getvalue().decode(), err.getvalue().decode())

    def at_terminal(self, *words: str, typed: str = "", secrets: Sequence[str] = ()) -> Done:
        """The same in a process whose stdin and controlling terminal are a terminal. ``typed`` is typed at once, each of
        ``secrets`` when getpass asks, which throws away what was typed before. What the terminal shows comes behind err."""
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "infra.command", *words]
        process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *command],
            cwd=ROOT, env=self.environ, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        os.close(theirs)
        shown = bytearray()
        reader = threading.Thread(target=_drain, args=(ours, shown, list(secrets)))
        reader.start()
        os.write(ours, typed.encode())
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
            reader.join()
            os.close(ours)
        return Done(process.returncode, out.decode(), err.decode() + shown.decode())


_TAKE_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def _drain(terminal: int, shown: bytearray, secrets: list[str]) -> None:
    """Read all that the terminal shows, and answer each question."""
    while True:
        try:
            more = os.read(terminal, 4096)
        except OSError:  # EIO: nobody has the other end open any more
            return
        shown += more
        if secrets and more.endswith(b": "):
            os.write(terminal, f"{secrets.pop(0)}\n".encode())


@dataclass(frozen=True)
class Asked:
    """A request as it came in; ``body`` is JSON, None for none."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass
class Planned:
    """An answer: content is sent as JSON unless it is bytes. ``cut`` closes the connection before the end."""

    status: int = 200
    content: object = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass
class Scripted:
    """A server that answers what it is told to, in order, and the last of it for ever."""

    port: int
    plan: list[Planned] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def answer(self, status: int = 200, content: object = None, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.plan.append(Planned(status, {} if content is None else content, named))

    def next(self) -> Planned:
        return self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]


@contextmanager
def scripted() -> Iterator[Scripted]:
    """The server on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(length)
            script.asked.append(Asked(self.command, self.path, dict(self.headers), json.loads(body) if body else None))
            planned = script.next()
            content = planned.content if isinstance(planned.content, bytes) else json.dumps(planned.content).encode()
            self.send_response(planned.status)
            for name, value in planned.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content) + (10 if planned.cut else 0)))
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = planned.cut

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = handle_one  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script = Scripted(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
