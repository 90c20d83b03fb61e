"""The relay's own conversation with the API about one piece of an upload: begin, more URLs, end, abort.

    POST /_relay<upload>/begin?_state=...  {"content_range", "content_length"}, with the client's Authorization
    POST /_relay<upload>/parts             {"writer", "first", "count"}
    POST /_relay<upload>/end               {"writer", "parts", "size", "sha256", "attestation"}, with "digest" from a PUT
    POST /_relay<upload>/abort             {"writer"}

Each may be asked again when its answer was lost: ``end`` with the same writer and parts has to have the same outcome.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from infra.local.events import Answer
from infra.relay.requests import Request
from infra.relay.settings import Pace
from infra.relay.upstream import Unreachable, Upstream, json_headers

log = logging.getLogger("slipway.relay")

MAX_URLS = 100
_LEAST_URLS = 8
_TRIES = 4
_TRANSIENT = frozenset({500, 502, 503, 504})

_T = TypeVar("_T")


class HandOver(Exception):
    """The API answered something that is the client's."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Stored(NamedTuple):
    """A part that S3 has."""

    number: int
    etag: str
    size: int


class Api:
    """What the relay asks the API of its own accord."""

    def __init__(self, upstream: Upstream, pace: Pace, key: str) -> None:
        self._upstream = upstream
        self._pace = pace
        self._key = key.encode("ascii")

    async def begin(self, request: Request) -> Begun:
        """A piece begun. Raises HandOver for what is no 200, Unreachable, also for an answer that makes no sense."""
        asked = {"content_range": request.header("content-range"), "content_length": request.length}
        lines = json_headers(request.only("authorization", "user-agent"))
        target = f"/_relay{request.path}/begin?{request.parameters('_state')}"
        # Not repeated whatever it answers: a client that is refused may try again, and each begin makes something at S3.
        answer = await self._upstream.answer("POST", target, lines, _json(asked))
        if answer.status != 200:
            raise HandOver(answer)
        return Begun(self, request, self._pace, _read(answer))

    async def ask(self, request: Request, verb: str, told: Mapping[str, object]) -> Answer:
        """The answer to a request that the writer vouches for. Repeated while it fails in passing. Raises Unreachable."""
        target, lines, body = f"/_relay{request.path}/{verb}", json_headers(request.only("user-agent")), _json(told)
        for tried in range(1, _TRIES + 1):
            try:
                answer = await self._upstream.answer("POST", target, lines, body)
            except Unreachable as error:
                log.warning("%s of %s: %s", verb, request.path, error.kind)
                if tried == _TRIES:
                    raise
            else:
                if answer.status not in _TRANSIENT or tried == _TRIES:
                    return answer
                log.warning("%s of %s: the API answered %d", verb, request.path, answer.status)
            await asyncio.sleep(pause(self._pace, tried))
        raise AssertionError("unreachable")  # pragma: no cover

    def attestation(self, writer: str, size: int, sha256: str) -> str | None:
        """This relay's word for the bytes, None if it has no key."""
        if not self._key:
            return None
        told = f"slipway-relay-1\n{writer}\n{size}\n{sha256}".encode()
        return hmac.new(self._key, told, hashlib.sha256).hexdigest()


class Begun:
    """A piece under way: where it goes, and the URLs of its parts."""

    def __init__(self, api: Api, request: Request, pace: Pace, told: Mapping[str, Any]) -> None:
        try:
            self.writer = _checked(told["writer"], str)
            self.offset = _checked(told["offset"], int)
            self.part_size = _checked(told["part_size"], int)
            self.max_parts = _checked(told["max_parts"], int)
            urls = _urls(told)
        except (KeyError, TypeError):
            raise Unreachable("AnswerInvalid") from None
        if self.offset < 0 or not 0 < self.part_size <= pace.part or not 0 < self.max_parts <= 10_000:
            raise Unreachable("AnswerInvalid")
        self._api = api
        self._request = request
        self._urls = dict(enumerate(urls, 1))
        self._asking = asyncio.Lock()
        length = request.length
        self._last = self.max_parts if length is None else min(self.max_parts, max(1, -(-length // self.part_size)))

    @property
    def most(self) -> int:
        """Bytes that the piece can have."""
        return self.part_size * self.max_parts

    async def url(self, number: int) -> str:
        """Where a part is PUT. Raises HandOver, Unreachable."""
        async with self._asking:
            if number not in self._urls:
                count = min(MAX_URLS, max(_LEAST_URLS, number), max(1, self._last - number + 1))
                answer = await self._api.ask(self._request, "parts", {"writer": self.writer, "first": number, "count": count})
                if answer.status != 200:
                    raise HandOver(answer)
                try:
                    self._urls.update(enumerate(_urls(_read(answer)), number))
                except (KeyError, TypeError):
                    raise Unreachable("AnswerInvalid") from None
            if number not in self._urls:
                raise Unreachable("AnswerInvalid")
            return self._urls[number]

    def expired(self, number: int, url: str) -> None:
        """S3 does not take this URL any more: nor will it take those that came with it or before."""
        if self._urls.get(number) == url:
            self._urls.clear()

    def done(self, number: int) -> None:
        """The part is stored, its URL of no more use."""
        self._urls.pop(number, None)

    async def end(self, parts: list[Stored], size: int, sha256: str, digest: str = "") -> Answer:
        """The client's answer; ``size`` is the piece's own. Raises Unreachable."""
        end = self.offset + size
        told: dict[str, object] = {
            "writer": self.writer,
            "parts": [part._asdict() for part in parts],
            "size": end,
            "sha256": sha256,
            "attestation": self._api.attestation(self.writer, end, sha256),
        }
        return await self._api.ask(self._request, "end", {**told, "digest": digest} if digest else told)

    async def abort(self) -> None:
        """Nothing of it is to be kept. That it cannot be said is no failure: S3 drops what is unfinished in its time."""
        try:
            await self._api.ask(self._request, "abort", {"writer": self.writer})
        except Unreachable as error:
            log.warning("abort of %s: %s", self._request.path, error.kind)


def pause(pace: Pace, tried: int) -> float:
    """How long to wait after the ``tried``-th failure."""
    return float(min(pace.backoff_most, pace.backoff * 2 ** (tried - 1)))


def _json(told: Mapping[str, object]) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode()


def _read(answer: Answer) -> Mapping[str, Any]:
    try:
        told = json.loads(answer.body)
    except ValueError:
        raise Unreachable("AnswerInvalid") from None
    if not isinstance(told, dict):
        raise Unreachable("AnswerInvalid")
    return told


def _urls(told: Mapping[str, Any]) -> list[str]:
    urls = _checked(told["urls"], list)
    return [_checked(url, str) for url in urls]


def _checked(value: object, kind: type[_T]) -> _T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(kind.__name__)
    return value
