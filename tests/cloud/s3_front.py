"""S3 as strict as it is, before an emulated one that is kinder and has no faults: verifies, counts, fails on purpose.

    with s3_front(emulator.url, signer) as front:
        ...  # AWS_ENDPOINT_URL=front.url for functions, relay and edge; other services pass through
        front.faults.append(Fault(Kind.SLOW_DOWN, "PutObject", nth=2))
        front.tallies["PutObject"].calls

What the emulator does itself (signatures, expiry, Content-MD5, conditional writes, the checksums of a single PUT shown on
HEAD) is left to it. Bodies lie in a temporary file until they are verified, so nothing is stored of a refused one.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import IO
from urllib.parse import parse_qs, unquote, urlsplit

from infra.local.events import Answer
from infra.local.front import Exchange, NoAnswer, Stored, sending, serving
from infra.local.signing import Signer, encoded
from tests.cloud.calls import Seen
from tests.cloud.faults import Fault, Kind

PART = 5 * 1024**2
"""Bytes of every part but the last, at least."""
SINGLE = 5 * 1024**3
"""Bytes of one PUT, one part and one copy, at most."""
PARTS = 10_000
_MEMORY = 1 << 20
_SMALL = 64 << 20
_POLL = 0.05
"""Seconds."""

_ERRORS = {
    "AccessDenied": 403, "BadDigest": 400, "EntityTooLarge": 400, "EntityTooSmall": 400, "InternalError": 500,
    "InvalidArgument": 400, "InvalidPartOrder": 400, "InvalidRequest": 400, "SlowDown": 503, "XAmzContentSHA256Mismatch": 400,
    "MissingContentLength": 411,
}  # fmt: skip


class Refused(Exception):
    """S3's refusal, by its code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Tally:
    """Calls of one operation, and the bytes of their bodies and answers."""

    calls: int = 0
    received: int = 0
    sent: int = 0


@dataclass(frozen=True)
class Call:
    """One call, read from its request."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def operation(self) -> str:
        """As S3 names it."""
        if "/" not in self.path.strip("/"):
            return _bucket_operation(self)
        upload, part = "uploadId" in self.query, "partNumber" in self.query
        copies = "x-amz-copy-source" in self.headers
        if self.method == "PUT":
            return ("UploadPart" if upload and part else "CopyObject" if copies else "PutObject") + ("Copy" * (part and copies))
        if self.method == "POST":
            return "CompleteMultipartUpload" if upload else "CreateMultipartUpload" if "uploads" in self.query else "PostObject"
        if self.method == "DELETE":
            return "AbortMultipartUpload" if upload else "DeleteObject"
        return {"HEAD": "HeadObject", "GET": "ListParts" if upload else "GetObject"}.get(self.method, self.method)

    @property
    def key(self) -> str:
        """Behind the bucket, decoded."""
        return unquote(self.path.lstrip("/").partition("/")[2])

    def same(self) -> str:
        """What a repetition of it has in common with it."""
        kept = {name: value for name, value in self.query.items() if not name.lower().startswith("x-amz-")}
        return f"{self.method} {self.path} {sorted(kept.items())} {self.headers.get('x-amz-copy-source', '')}"

    def signed_headers(self) -> set[str]:
        """Names that its signature covers."""
        found = re.search(r"SignedHeaders=([^,\s]*)", self.headers.get("authorization", ""))
        return set((found[1] if found else self.query.get("X-Amz-SignedHeaders", "")).split(";"))


@dataclass
class Body:
    """A body, spooled: its size and hashes."""

    file: IO[bytes]
    size: int = 0
    sha256: bytes = b""
    md5: bytes = b""


@dataclass
class Late:
    """What is done when ``calls`` more calls have come, the next one being the first."""

    calls: int
    do: Callable[[], None]


@dataclass
class S3Front:
    """``faults`` may be changed while it runs. ``on_stored`` is told bucket and key of each object that came to exist, from a
    thread, ``event_delay`` seconds later: instead of an emulator's notifications, which cannot be delayed."""

    target: str
    signer: Signer | None = None
    observe: Callable[[Seen], None] = lambda _: None
    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    on_stored: Callable[[str, str], None] | None = None
    event_delay: float = 0.0
    closing: threading.Event = field(default_factory=threading.Event)
    _sizes: dict[str, int] = field(default_factory=dict, repr=False)
    _parts: dict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(dict), repr=False)
    _late: list[Late] = field(default_factory=list, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __call__(self, exchange: Exchange) -> None:
        """Answer one request, of whichever service."""
        head = exchange.head
        query = {name: values[0] for name, values in parse_qs(head.query, keep_blank_values=True).items()}
        call = Call(head.method, head.path, query, head.headers)
        if _service(call) != "s3":
            return self._pass(exchange)
        with tempfile.SpooledTemporaryFile(_MEMORY) as file:
            try:
                return self._answer(exchange, call, file)
            except Refused as refusal:
                return self._finish(exchange, call, _refusal(refusal), 0)
            except NoAnswer as failure:
                return self._finish(exchange, call, _refusal(Refused("InternalError", str(failure))), 0)

    def catch_up(self, calls: int | None = None) -> None:
        """Do what was to be done when ``calls`` more calls had come; without, all that is still to be done."""
        with self._lock:
            for late in self._late:
                late.calls -= calls or late.calls
            due = [late for late in self._late if late.calls <= 0]
            self._late = [late for late in self._late if late.calls > 0]
        for late in due:
            with suppress(NoAnswer):
                late.do()

    # ----------------------------------------------------------------------------------------------------------- requests

    def _answer(self, exchange: Exchange, call: Call, file: IO[bytes]) -> None:
        self.catch_up(1)
        struck = self._struck(call)
        kinds = {fault.kind for fault in struck}
        _check_signed(call)
        if call.method == "PUT" and exchange.body.length is None:
            raise Refused("MissingContentLength", "You must provide the Content-Length HTTP header.")
        if (exchange.body.length or 0) > SINGLE:
            raise Refused("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
        cut = min((fault.at for fault in struck if fault.kind is Kind.RESET and fault.at is not None), default=None)
        body = _spooled(exchange, file, cut)
        if Kind.SLOW_DOWN in kinds:
            raise Refused("SlowDown", "Please reduce your request rate.")
        if Kind.FAILED in kinds:
            raise Refused("InternalError", "We encountered an internal error. Please try again.")
        if Kind.FORBIDDEN in kinds:
            raise Refused("AccessDenied", "Request has expired")
        if Kind.RESET in kinds:
            self._count(call, body.size, 0, 0, exchange)
            return exchange.reset()
        _check_content(call, body)
        self._check_parts(call, body)
        if Kind.LATE in kinds:
            self._put_off(exchange, call, body, max(fault.calls for fault in struck))
            return exchange.reset()
        return self._send(exchange, call, body, struck)

    def _struck(self, call: Call) -> list[Fault]:
        struck = [
            fault
            for fault in list(self.faults)
            if fault.strikes(call.operation, call.path, call.same(), call.headers.get("user-agent", ""))
        ]
        for fault in struck:
            if fault.kind is Kind.SLOW:
                self._wait(fault)
        return struck

    def _wait(self, fault: Fault) -> None:
        until = time.monotonic() + fault.seconds
        while (left := until - time.monotonic()) > 0 and not self.closing.is_set():
            if fault.over.wait(min(left, _POLL)):
                return

    def _check_parts(self, call: Call, body: Body) -> None:
        number = call.query.get("partNumber", "1")
        if "partNumber" in call.query and not (number.isdigit() and 1 <= int(number) <= PARTS):
            raise Refused("InvalidArgument", f"Part number must be an integer between 1 and {PARTS}, inclusive")
        if call.operation == "CopyObject" and self._sizes.get(_source(call), 0) > SINGLE:
            raise Refused("InvalidRequest", "The specified copy source is larger than the maximum allowable size")
        if call.operation != "CompleteMultipartUpload":
            return
        body.file.seek(0)
        named = [int(each.text or 0) for each in ET.parse(body.file).iter() if each.tag.endswith("PartNumber")]  # noqa: S314
        if named != sorted(set(named)):
            raise Refused("InvalidPartOrder", "The list of parts was not in ascending order.")
        known = self._parts[call.query["uploadId"]]
        if any(known.get(number, PART) < PART for number in named[:-1]):
            raise Refused("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")

    def _send(self, exchange: Exchange, call: Call, body: Body, struck: list[Fault]) -> None:
        kinds = {fault.kind for fault in struck}
        with self._sending(exchange, call, Stored(body.file, body.size)) as response:
            if response.status < 300:
                self._note(call, body)
            if Kind.DONE_THEN_500 in kinds:
                raise Refused("InternalError", "We encountered an internal error. Please try again.")
            if Kind.DONE_THEN_RESET in kinds:
                self._count(call, body.size, 0, response.status, exchange)
                return exchange.reset()
            age = max((fault.seconds for fault in struck if fault.kind is Kind.AGED), default=0.0)
            if age:
                told = [(b"content-type", b"application/xml")]
                return self._finish(exchange, call, Answer(response.status, told, _aged(response.read(), age)), body.size)
            return self._respond(exchange, call, body, response, kinds)

    def _put_off(self, exchange: Exchange, call: Call, body: Body, calls: int) -> None:
        body.file.seek(0)
        content = Stored(body.file.read())

        def do() -> None:
            with self._sending(exchange, call, content) as response:
                if response.status < 300:
                    self._note(call, body)

        with self._lock:
            self._late.append(Late(calls + 1, do))

    def _sending(self, exchange: Exchange, call: Call, content: Stored) -> AbstractContextManager[http.client.HTTPResponse]:
        lines = exchange.lines
        if call.operation == "CopyObject" and "x-amz-checksum-algorithm" in call.headers:
            # The emulator computes one if it is asked as for a PUT.
            lines = [*lines, ("x-amz-sdk-checksum-algorithm", call.headers["x-amz-checksum-algorithm"])]
        target = exchange.head.path + (f"?{exchange.head.query}" if exchange.head.query else "")
        return sending(self.target, call.method, target, lines, content)

    def _note(self, call: Call, body: Body) -> None:
        """What was stored by a call that succeeded."""
        key, operation = call.path.lstrip("/"), call.operation
        if operation in {"UploadPart", "UploadPartCopy"}:
            size = body.size if operation == "UploadPart" else self._copied(call)
            self._parts[call.query["uploadId"]][int(call.query["partNumber"])] = size
        elif operation == "PutObject":
            self._sizes[unquote(key)] = body.size
        elif operation == "CopyObject":
            self._sizes[unquote(key)] = self._sizes.get(_source(call), 0)
        elif operation == "CompleteMultipartUpload":
            self._sizes[unquote(key)] = sum(self._parts.pop(call.query["uploadId"], {}).values())
        if operation in {"PutObject", "CopyObject", "CompleteMultipartUpload"} and self.on_stored:
            timer = threading.Timer(self.event_delay, self.on_stored, (call.path.lstrip("/").partition("/")[0], call.key))
            timer.daemon = True
            timer.start()

    def _copied(self, call: Call) -> int:
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", call.headers.get("x-amz-copy-source-range", ""))
        return int(span[2]) - int(span[1]) + 1 if span else self._sizes.get(_source(call), PART)

    # ------------------------------------------------------------------------------------------------------------ answers

    def _respond(
        self, exchange: Exchange, call: Call, body: Body, response: http.client.HTTPResponse, kinds: set[Kind]
    ) -> None:
        if call.operation == "CopyObject" and response.status == 200 and "x-amz-checksum-algorithm" in call.headers:
            return self._finish(exchange, call, self._with_checksum(call, response), body.size)

        def changed(answer: Answer) -> Answer:
            if Kind.NO_CHECKSUM in kinds:
                answer = answer._replace(headers=[line for line in answer.headers if b"x-amz-checksum" not in line[0]])
            return answer

        self._count(call, body.size, int(response.getheader("Content-Length") or 0), response.status, exchange)
        return exchange.pass_on(response, changed)

    def _with_checksum(self, call: Call, response: http.client.HTTPResponse) -> Answer:
        """The result of a copy, with the checksum that was asked for: the emulator stores it, but does not tell."""
        content = response.read()
        headers = [(b"content-type", b"application/xml")]
        algorithm = call.headers["x-amz-checksum-algorithm"].lower()
        if self.signer is None or b"<Checksum" in content:
            return Answer(200, headers, content)
        path = encoded(call.path)
        asked = self.signer.signed("HEAD", path, {"host": urlsplit(self.target).netloc, "x-amz-checksum-mode": "ENABLED"})
        with sending(self.target, "HEAD", path, asked.items(), Stored(b"")) as shown:
            value = shown.getheader(f"x-amz-checksum-{algorithm}") or ""
        tag = f"Checksum{algorithm.upper()}"
        told = f"<{tag}>{value}</{tag}><ChecksumType>FULL_OBJECT</ChecksumType></CopyObjectResult>".encode()
        return Answer(200, headers, content.replace(b"</CopyObjectResult>", told) if value else content)

    def _finish(self, exchange: Exchange, call: Call, answer: Answer, received: int) -> None:
        self._count(call, received, len(answer.body), answer.status, exchange)
        exchange.answer(answer)

    def _count(self, call: Call, received: int, sent: int, status: int, exchange: Exchange) -> None:
        with self._lock:
            tally = self.tallies[call.operation]
            tally.calls += 1
            tally.received += received
            tally.sent += sent if call.method != "HEAD" else 0
        head = exchange.head
        target = head.path + (f"?{head.query}" if head.query else "")
        self.observe(Seen(call.method, target, dict(exchange.lines), b"", status, received))

    def _pass(self, exchange: Exchange) -> None:
        """Another service's call, whole."""
        head = exchange.head
        content = exchange.body.whole(_SMALL) or b""
        target = head.path + (f"?{head.query}" if head.query else "")
        with sending(self.target, head.method, target, exchange.lines, Stored(content)) as response:
            self.observe(Seen(head.method, target, dict(exchange.lines), content, response.status))
            exchange.pass_on(response)


@contextmanager
def s3_front(
    target: str = "", signer: Signer | None = None, observe: Callable[[Seen], None] = lambda _: None
) -> Iterator[S3Front]:
    """A front on a free loopback port until the block ends. ``signer`` may read every object; without it a copy's result tells
    no checksum. ``target`` may be set later."""
    front = S3Front(target, signer, observe)
    with serving(front) as url:
        front.url = url
        try:
            yield front
        finally:
            front.closing.set()


def _aged(listed: bytes, seconds: float) -> bytes:
    def earlier(found: re.Match[bytes]) -> bytes:
        told = datetime.fromisoformat(found[2].decode().replace("Z", "+00:00")) - timedelta(seconds=seconds)
        return found[1] + told.strftime("%Y-%m-%dT%H:%M:%S.000Z").encode()

    return re.sub(rb"(<(?:LastModified|Initiated)>)([^<]+)", earlier, listed)


def _bucket_operation(call: Call) -> str:
    if call.method == "GET":
        return (
            "ListMultipartUploads" if "uploads" in call.query else "ListObjectsV2" if "list-type" in call.query else "GetBucket"
        )
    return "DeleteObjects" if call.method == "POST" and "delete" in call.query else f"{call.method.title()}Bucket"


def _service(call: Call) -> str:
    """By the scope of its signature; "" if it has none."""
    scope = call.query.get("X-Amz-Credential", "") or call.headers.get("authorization", "")
    found = re.search(r"/([a-z0-9-]+)/aws4_request", scope)
    return found[1] if found else ""


def _source(call: Call) -> str:
    return unquote(call.headers.get("x-amz-copy-source", "")).lstrip("/")


def _check_signed(call: Call) -> None:
    signed = call.signed_headers()
    unsigned = sorted(name for name in call.headers if name.startswith("x-amz-") and name not in signed)
    if unsigned:
        raise Refused("AccessDenied", f"There were headers present in the request which were not signed: {', '.join(unsigned)}")


def _spooled(exchange: Exchange, file: IO[bytes], cut: int | None) -> Body:
    """The body in ``file``, whole or up to ``cut`` bytes. Raises Refused, ClientGone."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    size = 0
    while (cut is None or size < cut) and (block := exchange.body.read()):
        size += len(block)
        if size > SINGLE:
            raise Refused("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
        sha256.update(block)
        md5.update(block)
        file.write(block)
    return Body(file, size, sha256.digest(), md5.digest())


def _check_content(call: Call, body: Body) -> None:
    told = call.headers.get("x-amz-content-sha256", "")
    if re.fullmatch("[0-9a-f]{64}", told) and told != body.sha256.hex():
        raise Refused(
            "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed."
        )
    if call.operation in {"PutObject", "UploadPart"} and call.key.startswith("direct/") and len(told) != 64:
        raise Refused("AccessDenied", "The bucket's policy takes no unsigned payload there")
    if told.startswith("STREAMING-"):
        return  # what was hashed is framed; the emulator verifies what is in it
    for name, value in (("x-amz-checksum-sha256", body.sha256), ("content-md5", body.md5)):
        if call.method == "PUT" and name in call.headers and call.headers[name] != base64.b64encode(value).decode():
            raise Refused("BadDigest", f"The {name} you specified did not match what we received.")


def _refusal(refusal: Refused) -> Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{refusal.code}</Code><Message>{refusal}</Message></Error>'
    return Answer(_ERRORS[refusal.code], [(b"content-type", b"application/xml")], body.encode())
