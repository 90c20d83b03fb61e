"""A registry small enough to see through: an application, a BlobStore in memory that can be slow, full or contrary."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO
from urllib.parse import parse_qs

from chalicelib.registry.errors import OutOfSpace, RangeInvalid, RegistryError
from chalicelib.registry.names import Digest
from chalicelib.registry.ports import BlobMissing, Piece, Sealed, Shown, Stored, StoreFull, WrongOffset
from infra.local.answers import refused
from infra.local.events import Answer, Event, Head

MODIFIED = datetime(2026, 10, 1, 12, 0, 0, tzinfo=UTC)


@dataclass(frozen=True)
class FakeLinked:
    key: str
    shown: Shown


class MemoryBlobs:
    """Objects in a dict, ``held``, and what is staged in another. ``gate`` closed makes appends wait, ``limit`` is where the
    store is full, ``lie`` what ``stat`` says; ``drops`` lets what was staged disappear before a second append, ``clings`` lets
    deletes fail."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.staged: dict[str, bytearray] = {}
        self.limit = 1 << 40
        self.gate = threading.Event()
        self.gate.set()
        self.appends: list[int] = []
        self.waiting = threading.Event()
        self.keep = True
        self.drops = False
        self.clings = False
        self.lie = 0

    def append(self, key: str, offset: int, content: bytes) -> int:
        self.waiting.set()
        self.gate.wait(20)
        if self.drops and offset:
            self.staged.pop(key, None)
        staged = self.staged.get(key, bytearray())
        if self.keep and offset > len(staged):
            raise WrongOffset(len(staged))
        if offset + len(content) > self.limit:
            raise StoreFull
        self.appends.append(len(content))
        self.staged[key] = staged
        if self.keep:
            del staged[offset:]
            staged += content
        return offset + len(content)

    def seal(self, key: str) -> Sealed:
        if key not in self.staged:
            raise BlobMissing(key)
        self.held[key] = bytes(self.staged.pop(key))
        return Sealed(len(self.held[key]), hashlib.sha256(self.held[key]).hexdigest())

    def put(self, key: str, content: bytes) -> None:
        self.held[key] = content

    def check(self, key: str, digest: Digest, *, limit: int | None = None) -> int | None:
        raise NotImplementedError

    def assemble(self, pieces: Sequence[Piece], key: str, digest: Digest) -> int | None:
        raise NotImplementedError

    def stat(self, key: str) -> Stored | None:
        held = self.held.get(key)
        return None if held is None else Stored(key, self.lie or len(held), MODIFIED)

    def open(self, key: str, start: int = 0, end: int | None = None) -> IO[bytes]:
        if key not in self.held:
            raise BlobMissing(key)
        return io.BytesIO(self.held[key][start:end])

    def list(self, prefix: str, after: str = "") -> Iterator[Stored]:
        raise NotImplementedError

    def link(self, key: str, method: str, shown: Shown) -> str:
        return f"/_blobs/{key}?for={method}"

    def delete(self, key: str) -> None:
        if self.clings:
            raise OSError("on purpose")
        self.held.pop(key, None)
        self.staged.pop(key, None)

    def linked(self, method: str, path: str, query: str) -> FakeLinked | None:
        """A link is good when it names its method."""
        if query != f"for={method}":
            return None
        return FakeLinked(path.removeprefix("/_blobs/"), Shown("application/vnd.test", "sha256:" + "a" * 64))


@dataclass
class FakeApp:
    """Answers by path; keeps the events it saw and the threads it was called by. ``refuse_open`` is the status with which
    uploads are refused, ``refuse_unread`` that of bodies; uploads begin at ``offset``, the first body's key is ``data/u``."""

    blobs: MemoryBlobs
    events: list[Event] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    refuse_open: int = 0
    refuse_unread: int = 0
    manifest_size: int = 1024
    offset: int = 0
    opened: int = 0
    close_status: int = 202
    closed: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    held: threading.Event = field(default_factory=threading.Event)

    def __call__(self, event: Event, context: object) -> Mapping[str, object]:
        self.events.append(event)
        self.threads.append(threading.current_thread())
        path = str(event["rawPath"])
        special: dict[str, Callable[[], Mapping[str, object]]] = {
            "/slow": self._slow,
            "/fails": self._fail,
            "/empty": lambda: answer(204, ""),
            "/huge": lambda: answer(200, "h" * (24 << 20)),
        }
        if path in special:
            return special[path]()
        if path.startswith("/_relay/"):
            return self._open() if path.endswith("/open") else self._close(event)
        return self._distribution(event, path, method_of(event))

    def _distribution(self, event: Event, path: str, method: str) -> Mapping[str, object]:
        if "/manifests/" in path:
            return answer(200, "m" * self.manifest_size, content_type="application/vnd.oci.image.manifest.v1+json")
        if method == "POST" and path.endswith("/uploads/"):
            return answer(202, "", location="http://elsewhere.test/v2/a/blobs/uploads/new?_state=s")
        if method == "PUT" and "/uploads/" in path:
            return answer(201, "", location="/v2/a/blobs/x")
        return answer(200, json.dumps(event), content_type="application/json")

    def may_send(self, head: Head) -> Answer | None:
        return refused(self.refuse_unread, "UNAUTHORIZED", "not you") if self.refuse_unread else None

    def _slow(self) -> Mapping[str, object]:
        self.held.set()
        self.release.wait(20)
        return answer(200, "slow")

    def _fail(self) -> Mapping[str, object]:
        raise RuntimeError("on purpose")

    def _close(self, event: Event) -> Mapping[str, object]:
        told = self.told(event)
        key = self._key(int(str(told["writer"]).removeprefix("w")))
        if told["size"] == self.offset:
            self.blobs.delete(key)
        else:
            self.blobs.seal(key)
        self.closed.set()
        if "digest" in told:
            return answer(self.close_status if self.close_status != 202 else 201, "", location=f"/v2/a/blobs/{told['digest']}")
        return answer(self.close_status, "", location="/v2/a/blobs/uploads/u", range=f"0-{int(str(told['size'])) - 1}")

    def _open(self) -> Mapping[str, object]:
        if self.refuse_open:
            return answer(self.refuse_open, '{"errors":[]}', content_type="application/json")
        self.opened += 1
        return answer(200, json.dumps({"key": self._key(self.opened), "offset": self.offset, "writer": f"w{self.opened}"}))

    def _key(self, number: int) -> str:
        return "data/u" if number == 1 else f"data/u{number}"

    def seen(self, path: str) -> Event:
        """The first event whose path ends so."""
        return next(event for event in self.events if str(event["rawPath"]).endswith(path))

    def calls(self) -> list[str]:
        """What was called, in order: method and raw path."""
        return [f"{method_of(event)} {event['rawPath']}" for event in self.events]

    def told(self, event: Event) -> dict[str, object]:
        """The JSON body of an event."""
        body = str(event["body"])
        told: dict[str, object] = json.loads(b64decode(body) if event["isBase64Encoded"] else body)
        return told


def method_of(event: Event) -> str:
    context = event["requestContext"]
    assert isinstance(context, dict)
    return str(context["http"]["method"])


def answer(status: int, body: str, **headers: str) -> Mapping[str, object]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"statusCode": status, "headers": named, "body": body, "isBase64Encoded": False}


def refusal(error: RegistryError) -> Answer:
    kinds: dict[type[RegistryError], tuple[int, str]] = {OutOfSpace: (507, "TOOMANYREQUESTS"), RangeInvalid: (416, "RANGE")}
    return refused(*kinds[type(error)], str(error))


def parameters(event: Event) -> dict[str, list[str]]:
    return parse_qs(str(event["rawQueryString"]))
