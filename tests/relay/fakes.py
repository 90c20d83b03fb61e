"""The API and S3 as the relay meets them: real HTTP on loopback, and nothing is let pass that the real ones might refuse.

Faults are planned by kind of call (``Plan``): a status, a reset, an answer without reading the body, or silence.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import socket
import struct
import threading
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

KEY = "relay-key"
TOKEN = "Bearer let-me-in"
CHALLENGE = 'Bearer realm="https://auth.test/token",service="registry.test"'
S3_HEADERS = {"host", "content-length", "content-md5"}
RESET, EARLY, DEAF, SILENT = "reset", "early", "deaf", "silent"
"""EARLY and DEAF answer before they read the body; after DEAF the connection looks good for more, and nobody reads from it."""


class Seen(NamedTuple):
    """A request that arrived. ``headers`` have lower-case names."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Reply(NamedTuple):
    """A response."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""


def problem(status: int, code: str, **headers: str) -> Reply:
    """A refusal of the API."""
    body = json.dumps({"errors": [{"code": code, "message": "no"}]}).encode()
    return Reply(status, {"Content-Type": "application/json", **{n.replace("_", "-"): v for n, v in headers.items()}}, body)


@dataclass
class Writing:
    """A piece that was begun: its parts by number, and its answer once it ended."""

    upload: str
    offset: int
    parts: dict[int, bytes] = field(default_factory=dict)
    state: str = "open"
    answer: Reply | None = None


class FakeRegistry:
    """Both sides. ``part_size``, ``max_parts`` and ``first_urls`` are what the next begin tells; ``key`` is what attestations
    are checked with, "" when the relay has none."""

    def __init__(self, part_size: int = 50_000, key: str = KEY) -> None:
        self.part_size, self.max_parts, self.first_urls, self.key = part_size, 10_000, 2, key
        self.lock = threading.Lock()
        self.plan: dict[str, list[int | str | None]] = defaultdict(list)
        self.seen: list[Seen] = []
        self.stored: list[Seen] = []
        self.calls: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.writings: dict[str, Writing] = {}
        self.content: dict[str, bytes] = defaultdict(bytes)
        self.cancelled: set[str] = set()
        self.blobs: dict[str, bytes] = {}
        self.generation = 0
        self.proving = 0
        self.expire_after = 0
        self.told_url = ""
        self.nonsense: bytes | None = None
        self.lose: set[str] = set()
        self.changed = threading.Condition(self.lock)
        self.release = threading.Event()
        self._servers = [_Server(self, kind) for kind in ("api", "s3")]
        self.origin, self.storage = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self.release.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def wait_for(self, what: Callable[[], bool], seconds: float = 20) -> None:
        """Until ``what()`` holds, judged when a request comes and when it is answered."""
        with self.changed:
            assert self.changed.wait_for(what, seconds), "it did not come about"

    def let_pass(self, kind: str, calls: int, faults: Sequence[int | str]) -> None:
        """Plan faults for after so many calls of that kind."""
        self.plan[kind] = [*[None] * calls, *faults]

    def named(self, kind: str) -> list[Seen]:
        """What arrived of a kind of call: begin, parts, end, abort, or a method."""
        with self.lock:
            return [seen for seen in self.seen if kind_of(seen) == kind]

    # ------------------------------------------------------------------------------------------------------------ API

    def api(self, seen: Seen) -> Reply:
        """An answer of the API."""
        path = urlsplit(seen.target).path
        if path.startswith("/_relay"):
            return self._relay(path, seen)
        others = {
            "/v2/large": Reply(200, {"Content-Type": "text/plain"}, b"x" * 3_000_000),
            "/v2/away": Reply(307, {"Location": self.storage + "/elsewhere"}),
            "/v2/cookie": Reply(200, {"Set-Cookie": "session=1; Path=/"}),
            "/v2/echo": Reply(200, {"X-Method": seen.method, "Location": self.origin + "/v2/next"}, seen.body),
        }
        if path in others:
            return others[path]
        if seen.headers.get("authorization") != TOKEN:
            return problem(401, "UNAUTHORIZED", WWW_Authenticate=CHALLENGE)
        return self._upload(path, seen)

    def _relay(self, path: str, seen: Seen) -> Reply:
        upload, _, verb = path.removeprefix("/_relay").rpartition("/")
        if verb == "begin":
            return self._begin(upload, seen)
        if "authorization" in seen.headers:
            self.wrong.append(f"{verb} has an Authorization")
        told = json.loads(seen.body)
        writing = self.writings[told["writer"]]
        return {"parts": self._parts, "end": self._end, "abort": self._abort}[verb](writing, told)

    def _upload(self, path: str, seen: Seen) -> Reply:
        if seen.method == "POST":
            return Reply(202, {"Location": "/v2/team/app/blobs/uploads/fresh?_state=fresh", "Range": "0-0"})
        if seen.method == "GET":
            self._take_up(path)
            return Reply(204, {"Range": f"0-{max(0, len(self.content[path]) - 1)}", "Location": path + "?_state=s"})
        if seen.method == "DELETE":
            self.cancelled.add(path)
            return Reply(204)
        if seen.method == "PATCH":
            self.content[path] += seen.body
            return self._accepted(path)
        self.content[path] += seen.body
        return self._finish(path, parse_qs(urlsplit(seen.target).query)["digest"][0])

    def _accepted(self, path: str) -> Reply:
        return Reply(202, {"Location": path + "?_state=s", "Range": f"0-{len(self.content[path]) - 1}"})

    def _finish(self, path: str, digest: str) -> Reply:
        if self.proving:
            self.proving -= 1
            return problem(429, "TOOMANYREQUESTS", Retry_After="0")
        content = self.content[path]
        if digest != "sha256:" + hashlib.sha256(content).hexdigest():
            return problem(400, "DIGEST_INVALID")
        self.blobs[digest] = content
        return Reply(201, {"Location": "/v2/team/app/blobs/" + digest})

    def _begin(self, upload: str, seen: Seen) -> Reply:
        if seen.headers.get("authorization") != TOKEN:
            return problem(401, "UNAUTHORIZED", WWW_Authenticate=CHALLENGE)
        self._take_up(upload)
        told = json.loads(seen.body)
        offset = len(self.content[upload])
        if told["content_range"] and not told["content_range"].startswith(f"{offset}-"):
            return problem(416, "BLOB_UPLOAD_INVALID", Range=f"0-{max(0, offset - 1)}")
        if self.nonsense is not None:
            return Reply(200, {}, self.nonsense)
        writer = f"w{len(self.writings) + 1}"
        self.writings[writer] = Writing(upload, offset)
        answer = {"writer": writer, "offset": offset, "part_size": self.part_size, "max_parts": self.max_parts}
        return self._json({**answer, "urls": self.urls(writer, 1, self.first_urls)})

    def _parts(self, _: Writing, told: Mapping[str, Any]) -> Reply:
        if not 1 <= told["count"] <= 100 or told["first"] + told["count"] - 1 > self.max_parts:
            self.wrong.append(f"parts asks for {told}")
        return self._json({"urls": self.urls(told["writer"], told["first"], told["count"])})

    def _end(self, writing: Writing, told: Mapping[str, Any]) -> Reply:
        digest = told.get("digest")
        if writing.answer is None:
            parts = [writing.parts[part["number"]] for part in told["parts"]]
            content = b"".join(parts)
            if [part["number"] for part in told["parts"]] != list(range(1, len(parts) + 1)) or not parts:
                self.wrong.append("end does not name the parts in order")
            if [(part["etag"], part["size"]) for part in told["parts"]] != [(_etag(part), len(part)) for part in parts]:
                self.wrong.append("end names other parts than were stored")
            if any(len(part) != self.part_size for part in parts[:-1]):
                self.wrong.append("a part that is not the last has another size")
            if told["size"] != writing.offset + len(content) or told["sha256"] != hashlib.sha256(content).hexdigest():
                self.wrong.append("end names another size or hash")
            text = f"slipway-relay-1\n{told['writer']}\n{told['size']}\n{told['sha256']}"
            expected = hmac.new(self.key.encode(), text.encode(), "sha256").hexdigest() if self.key else None
            if told["attestation"] != expected:
                self.wrong.append("the attestation is not right")
            self.content[writing.upload] += content
            writing.state, writing.answer = "ended", self._accepted(writing.upload)
        return self._finish(writing.upload, digest) if digest else writing.answer

    def _abort(self, writing: Writing, _: Mapping[str, Any]) -> Reply:
        writing.state = "aborted"
        writing.parts.clear()
        return Reply(204)

    def _take_up(self, upload: str) -> None:
        """What the API does of a relay that died: whole parts from the first on."""
        for writing in self.writings.values():
            if writing.upload == upload and writing.state == "open":
                number = 1
                while number in writing.parts:
                    self.content[upload] += writing.parts[number]
                    number += 1
                writing.state = "taken up"

    def urls(self, writer: str, first: int, count: int) -> list[str]:
        """Where parts are PUT."""
        if self.told_url:
            return [self.told_url] * count
        signed = f"X-Amz-Signature=g{self.generation}&key=a%2Fb%20c"
        return [
            f"{self.storage}/data/{writer}%2Fx?partNumber={n}&uploadId={writer}&{signed}" for n in range(first, first + count)
        ]

    def _json(self, told: object) -> Reply:
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(told).encode())

    # ------------------------------------------------------------------------------------------------------------- S3

    def s3(self, seen: Seen) -> Reply:
        """An answer of S3 to a part."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(seen.target).query).items()}
        if seen.method != "PUT" or set(seen.headers) != S3_HEADERS:
            self.wrong.append(f"S3 got a {seen.method} with {sorted(seen.headers)}")
        if "%2Fx?" not in seen.target or not seen.target.endswith("key=a%2Fb%20c"):
            self.wrong.append(f"the URL was changed to {seen.target}")
        if query["X-Amz-Signature"] != f"g{self.generation}":
            return Reply(403, {}, b"<Error><Code>AccessDenied</Code></Error>")
        if seen.headers.get("content-md5") != b64encode(hashlib.md5(seen.body).digest()).decode():  # noqa: S324
            self.wrong.append("the checksum is not the part's")
            return Reply(400, {}, b"<Error><Code>BadDigest</Code></Error>")
        if self.expire_after and len(self.stored) == self.expire_after:
            self.generation += 1
        writing = self.writings[query["uploadId"]]
        if writing.state != "open":
            return Reply(404, {}, b"<Error><Code>NoSuchUpload</Code></Error>")
        writing.parts[int(query["partNumber"])] = seen.body
        return Reply(200, {"ETag": _etag(seen.body)})


def kind_of(seen: Seen) -> str:
    """begin, parts, end, abort; or the method."""
    path = urlsplit(seen.target).path
    return path.rpartition("/")[2] if path.startswith("/_relay") else seen.method


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'  # noqa: S324


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, registry: FakeRegistry, side: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.registry, self.side = registry, side

    def handle_error(self, request: object, client_address: object) -> None:
        """A relay that was killed, or gave up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        registry, side = self.server.registry, self.server.side
        headers = {name.lower(): value for name, value in self.headers.items()}
        kind = "s3" if side == "s3" else kind_of(Seen(self.command, self.path, headers, b""))
        with registry.changed:
            fault = registry.plan[kind].pop(0) if registry.plan[kind] else None
            registry.calls[kind] += 1
            registry.changed.notify_all()
        if fault in {EARLY, DEAF}:
            self.send_response(503)
            self.send_header("Content-Length", "0")
            if fault == EARLY:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.flush()
            registry.release.wait(20)  # the connection stays, and nobody reads from it
            return
        if "transfer-encoding" in headers:
            registry.wrong.append(f"{kind} came without a length")
        body = self.rfile.read(int(headers.get("content-length", "0")))
        if len(body) < int(headers.get("content-length", "0")):
            self.close_connection = True  # a relay that was killed: S3 keeps nothing of half a part
            return
        if fault == RESET:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
            self.close_connection = True
            return
        if fault == SILENT:
            registry.release.wait(20)
            self.close_connection = True
            return
        seen = Seen(self.command, self.path, headers, body)
        with registry.changed:
            (registry.stored if side == "s3" else registry.seen).append(seen)
            reply = Reply(int(fault)) if fault is not None else (registry.s3 if side == "s3" else registry.api)(seen)
            registry.changed.notify_all()
            lost = kind in registry.lose
            registry.lose.discard(kind)
        if lost:
            self.connection.close()
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)
