"""CloudFront before a deployed stack, for emulators that have none: one HTTP/1.1 server on loopback.

    origins = Origins(api=ApiOrigin(f"{emulator}/_aws/execute-api/{id}/$default"))
    front = EdgeFront(store_of(realm, service, keys, direct=True, relay=True), origins)
    with serving(front) as url: ...

infra/edge/*.js runs for every request. Bodies stream to the origin that it chose: the relay (chunks stay chunks), or S3, signed
as origin access control signs, which never sees the body; only the API's are read whole, as API Gateway reads them.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from infra.local import gateway
from infra.local.answers import refused
from infra.local.distribution import TTLS, KeptErrors, is_hidden, refusal_of, size_of
from infra.local.edge import RELAY, STORAGE, Edge, Passed
from infra.local.events import CONNECTION, FRAMING, Answer, Head, event_of
from infra.local.front import Exchange, Incoming, NoAnswer, Stored, sending
from infra.local.gateway import FAILED, HEAD_TOO_LARGE, MAPPINGS, TIMED_OUT, TOO_LARGE, Mappings, finished
from infra.local.signing import Signer, encoded

ORIGIN_SECONDS = 120.0
"""How long CloudFront waits for an origin at most; a template may say less."""


@dataclass(frozen=True, slots=True)
class ApiOrigin:
    """An emulated HTTP API, whose functions take 2.0, with what API Gateway and Lambda refuse or change put before it.
    ``target`` is the URL that its root is at."""

    target: str
    parameters: Mappings = field(default_factory=lambda: MAPPINGS)
    seconds: float = gateway.SECONDS

    def answer(self, head: Head, body: Incoming) -> Answer:
        """Its answer. Raises ClientGone."""
        if size_of(head) > gateway.HEAD:
            return HEAD_TOO_LARGE
        content = body.whole(gateway.REQUEST)
        if content is None or gateway.size_of(event_of(head, content)) > gateway.PAYLOAD:
            return TOO_LARGE
        try:
            return self._sent(head, content)
        except NoAnswer as failure:
            return TIMED_OUT if failure.late else FAILED

    def _sent(self, head: Head, content: bytes) -> Answer:
        target = re.split("%3f", head.path, maxsplit=1, flags=re.IGNORECASE)[0] + (f"?{head.query}" if head.query else "")
        lines = _lines_of(head._replace(headers={**head.headers, "host": urlsplit(self.target).netloc}))
        with sending(self.target, head.method, target, lines, Stored(content), seconds=self.seconds) as response:
            answered = response.read()
            headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.getheaders()]
            length = int(response.getheader("Content-Length") or 0) if head.method == "HEAD" else len(answered)
            status = response.status
        told = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        if gateway.result_size({"statusCode": status, "headers": told, "body": answered}) > gateway.PAYLOAD:
            return FAILED
        request_id = told.get("apigw-requestid", secrets.token_urlsafe(11)).encode("latin-1")
        headers = [line for line in headers if line[0] not in FRAMING and line[0] != b"apigw-requestid"]
        return finished(Answer(status, headers, answered, length), self.parameters, request_id)


@dataclass(slots=True)
class ApiFront:
    """A handler for ``front.serving``: the HTTP API by itself, as those see it who call its own endpoint. ``origin`` may be set
    once its address is known."""

    origin: ApiOrigin | None = None

    def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        exchange.answer(self.origin.answer(exchange.head, exchange.body) if self.origin else FAILED)


@dataclass(frozen=True, slots=True)
class StorageOrigin:
    """A bucket, its requests signed as origin access control signs. ``endpoint`` takes the bucket in the path."""

    endpoint: str
    bucket: str
    signer: Signer

    def request(self, head: Head) -> tuple[str, dict[str, str]]:
        """Target and headers."""
        path = encoded(f"/{self.bucket}{head.path}")
        named = {name: value for name, value in head.headers.items() if name not in CONNECTION}
        named.pop("authorization", None)
        return path, self.signer.signed(head.method, path, {**named, "host": urlsplit(self.endpoint).netloc})


@dataclass(slots=True)
class Origins:
    """Where requests go. ``relay`` is a URL, "" for none; set them later if their addresses come later."""

    api: ApiOrigin
    relay: str = ""
    storage: StorageOrigin | None = None


class EdgeFront:
    """A handler for ``front.serving``. ``store`` is the key-value store: what is written into the mapping counts at once."""

    def __init__(
        self,
        store: Mapping[str, str],
        origins: Origins,
        *,
        ttls: Mapping[int, float] = TTLS,
        seconds: float = ORIGIN_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.origins = origins
        self._seconds = seconds
        self._errors = KeptErrors(ttls)
        self._edge = Edge(store, now)
        self._thread = ThreadPoolExecutor(1, "edge")  # the engine is one thread's

    def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        head = exchange.head
        if told := refusal_of(head, has_body=exchange.body.length != 0):
            return exchange.answer(told)
        passed = self._thread.submit(self._edge.request, head).result()
        if isinstance(passed, Answer):
            return exchange.answer(passed)
        kept = self._errors.get(passed.head)
        return exchange.answer(kept) if kept else self._ask(exchange, passed)

    def _ask(self, exchange: Exchange, passed: Passed) -> None:
        head, origin = _viewed(passed.head), passed.origin
        try:
            if origin == STORAGE and self.origins.storage:
                target, headers = self.origins.storage.request(head)
                return self._stream(exchange, head, self.origins.storage.endpoint, target, headers)
            if origin == RELAY and self.origins.relay:
                target = head.path + (f"?{head.query}" if head.query else "")
                named = {**head.headers, "host": urlsplit(self.origins.relay).netloc}
                return self._stream(exchange, head, self.origins.relay, target, named)
            if origin in {STORAGE, RELAY}:
                return exchange.answer(refused(502, "UNAVAILABLE", f"there is no origin {origin!r}"))
            return exchange.answer(self._answered(head, self.origins.api.answer(head, exchange.body)))
        except NoAnswer as failure:
            return exchange.answer(self._answered(head, refused(504 if failure.late else 502, "UNAVAILABLE", str(failure))))

    def _stream(self, exchange: Exchange, head: Head, url: str, target: str, headers: Mapping[str, str]) -> None:
        lines = _lines_of(head._replace(headers=headers))
        with sending(url, head.method, target, lines, exchange.body, seconds=self._seconds) as response:
            exchange.pass_on(response, lambda answer: self._answered(head, answer))

    def _answered(self, head: Head, answer: Answer) -> Answer:
        self._errors.keep(head, answer)
        told = self._thread.submit(self._edge.response, head, answer).result()
        result = "Error from cloudfront" if told.status >= 400 else "Miss from cloudfront"
        added = [(b"x-cache", result.encode()), (b"via", _VIA.encode()), (b"x-amz-cf-id", secrets.token_urlsafe(40).encode())]
        return told._replace(headers=[*told.headers, *added])


_VIA = "1.1 0123456789abcdef0123456789abcdef.cloudfront.net (CloudFront)"


def _viewed(head: Head) -> Head:
    """A request with what CloudFront takes from it and adds to it for an origin."""
    headers = {name: value for name, value in head.headers.items() if not is_hidden(name) or name == "transfer-encoding"}
    before = headers.get("x-forwarded-for")
    headers["x-forwarded-for"] = f"{before}, {head.source}" if before else head.source
    headers["via"] = f"{headers['via']}, {_VIA}" if "via" in headers else _VIA
    headers["x-amz-cf-id"] = secrets.token_urlsafe(40)
    return head._replace(headers=headers)


def _lines_of(head: Head) -> list[tuple[str, str]]:
    cookies = [("cookie", "; ".join(head.cookies))] if head.cookies else []
    return [*head.headers.items(), *cookies]
