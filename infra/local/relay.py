"""The relay lane: a large body's bytes are staged in the store beside the application, which judges it before and after.

    POST /_relay<path>/open    the client's Authorization and query, {"content_range", "content_length"}
                               -> 200 {"key", "offset", "writer"}; any other answer is the client's
    append(key, 0, block) ...  one block in flight, one being filled: a slow disk slows the client, not the memory
    POST /_relay<path>/close   {"writer", "size"}, with "digest" from a PUT -> the client's answer, 202 or 201

``<path>`` is the upload's; what comes here is the edge's choice. ``key`` is this request's alone; ``offset`` is where its body
begins in the upload, ``size`` where it ends, which is the same place if nothing is staged. The application seals what is
staged. A POST with a digest begins an upload first and goes on as a PUT. A client that is cut off leaves what was written,
closed without a digest, for it to resume; but of an upload that was begun here, which nobody else knows of, nothing is left.
Where the store is full, what came is dropped again.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import NamedTuple, Protocol, TypeAlias
from urllib.parse import parse_qsl, unquote_plus, urlsplit

from chalicelib.registry.errors import OutOfSpace, RangeInvalid, RegistryError
from chalicelib.registry.ports import BlobStore, Staging, StoreFull, WrongOffset
from infra.local.answers import refused
from infra.local.body import Body, ClientGone
from infra.local.events import Answer, Head

log = logging.getLogger("slipway.relay")

BLOCK = 1024 * 1024

Call: TypeAlias = Callable[[Head, bytes], Awaitable[Answer]]
CallNow: TypeAlias = Callable[[Head, bytes], Answer]
Refusal: TypeAlias = Callable[[RegistryError], Answer]


class StagingBlobs(BlobStore, Staging, Protocol):
    """A BlobStore that objects grow in."""


class _HandOver(Exception):
    """The application answered something that is the client's."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


class _Opened(NamedTuple):
    """``begun``: by this very request, so that nobody else knows where it is."""

    key: str
    offset: int
    writer: str
    begun: bool


class Relay:
    """Uploads by the relay lane; one instance serves all of them. ``call`` asks the application from a thread, ``call_now``
    from where it is called."""

    def __init__(self, call: Call, call_now: CallNow, blobs: StagingBlobs, pool: Executor, refusal: Refusal) -> None:
        self._call = call
        self._call_now = call_now
        self._blobs = blobs
        self._pool = pool
        self._refusal = refusal

    async def upload(self, head: Head, body: Body) -> Answer | None:
        """The answer to an upload, perhaps with the body unread (see ``body.complete``); None if the client left."""
        try:
            begun = head.method == "POST"
            if begun:
                head = await self._begin(head)
            opened = await self._open(head, body.length, begun=begun)
            size = await self._receive(head, opened, body)
            if head.method == "PATCH":
                return await self._close(head, opened, size)
            return await self._finish(head, opened, size)
        except _HandOver as over:
            return over.answer
        except ClientGone:
            return None

    async def _begin(self, head: Head) -> Head:
        """The PUT that a POST with a digest stands for, on an upload begun for it."""
        others, digest = _split_digest(head.query)
        answer = await self._call(_emptied(head)._replace(query=others), b"")
        location = next((value.decode("latin-1") for name, value in answer.headers if name == b"location"), "")
        if answer.status != 202 or not location:
            raise _HandOver(answer)
        target = urlsplit(location)
        query = f"{target.query}&{digest}" if target.query else digest
        return head._replace(method="PUT", path=target.path, query=query)

    async def _open(self, head: Head, length: int | None, *, begun: bool) -> _Opened:
        asked = {"content_range": head.headers.get("content-range"), "content_length": length}
        answer = await self._tell(head, "open", asked, with_credentials=True)
        if answer.status != 200:
            raise _HandOver(answer)
        told = json.loads(answer.body)
        return _Opened(str(told["key"]), int(told["offset"]), str(told["writer"]), begun)

    async def _receive(self, head: Head, opened: _Opened, body: Body) -> int:
        """Stage the body; where in the upload it ends. If it does not come to its end, see ``_give_up``."""
        staging = _Staged(self._blobs, self._pool, opened.key)
        try:
            await staging.take(body)
        except WrongOffset as error:
            # Somebody dropped what was staged: the upload was given up, or goes on from where this body began.
            await self._give_up(head, opened, await self._drop(opened, staging.size))
            raise _HandOver(_with_range(self._refusal(RangeInvalid(opened.offset)), opened.offset)) from error
        except StoreFull as error:
            log.warning("the disk is full: an upload to %s is refused", head.path)
            await self._give_up(head, opened, await self._drop(opened, staging.size))
            raise _HandOver(self._refusal(OutOfSpace())) from error
        except ClientGone:
            await self._give_up(head, opened, _resumed_at(opened, staging.size))
            raise
        except asyncio.CancelledError:
            # The server stops, and whatever is awaited now is cancelled in its turn: so this holds up the loop.
            staging.settle_now()
            told = {"writer": opened.writer, "size": _resumed_at(opened, staging.size)}
            self._call_now(*self._told(head, "close", told))
            raise
        except Exception as error:
            log.exception("writing an upload failed")
            await self._give_up(head, opened, _resumed_at(opened, staging.size))
            raise _HandOver(refused(500, "UNKNOWN", "the registry could not store the content")) from error
        return opened.offset + staging.size

    async def _drop(self, opened: _Opened, staged: int) -> int:
        """Take back what this request staged, which a full store has better use for; where the upload ends then."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._pool, self._blobs.delete, opened.key)
        except OSError:
            log.exception("dropping what was staged failed")
            return opened.offset + staged
        return opened.offset

    async def _give_up(self, head: Head, opened: _Opened, size: int) -> None:
        """Close with ``size`` bytes, for the client to resume; and cancel what only this request knew of. Should the client's
        token have expired by now, the upload ends as forgotten ones do."""
        await self._close(head, opened, size)
        if opened.begun:
            await self._call(_emptied(head)._replace(method="DELETE"), b"")

    async def _finish(self, head: Head, opened: _Opened, size: int) -> Answer:
        """Close with the digest, which the edge saw to: by the writer's secret, as the token may have expired on the way."""
        digest = next(digest for name, digest in parse_qsl(head.query) if name == "digest")
        return await self._close(head, opened, size, digest)

    async def _close(self, head: Head, opened: _Opened, size: int, digest: str | None = None) -> Answer:
        told: dict[str, object] = {"writer": opened.writer, "size": size}
        return await self._tell(head, "close", told if digest is None else {**told, "digest": digest})

    async def _tell(self, head: Head, verb: str, told: Mapping[str, object], *, with_credentials: bool = False) -> Answer:
        return await self._call(*self._told(head, verb, told, with_credentials=with_credentials))

    def _told(self, head: Head, verb: str, told: Mapping[str, object], *, with_credentials: bool = False) -> tuple[Head, bytes]:
        """The relay's own request about an upload."""
        body = json.dumps(told, separators=(",", ":")).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        kept = ("host", "user-agent", "authorization") if with_credentials else ("host", "user-agent")
        headers.update((name, head.headers[name]) for name in kept if name in head.headers)
        query = head.query if with_credentials else ""
        return Head("POST", f"/_relay{head.path}/{verb}", query, headers, (), head.source, head.protocol), body


class _Staged:
    """Bytes on their way under one key; ``size`` is how many are acknowledged."""

    def __init__(self, staging: Staging, pool: Executor, key: str) -> None:
        self._staging = staging
        self._pool = pool
        self._key = key
        self._writing: Future[int] | None = None
        self.size = 0

    async def take(self, body: Body) -> None:
        """Stage the whole body. Raises ClientGone after what came was written, and whatever ``append`` raises."""
        try:
            async for block in body.blocks(BLOCK):
                await self._settle()
                self._writing = self._pool.submit(self._staging.append, self._key, self.size, block)
        finally:
            await self._settle()

    async def _settle(self) -> None:
        """Wait for the block in flight, so that no two writes meet and no close overtakes a write. If that is cancelled or the
        write fails, it stays to be settled."""
        if self._writing is not None:
            self.size = await asyncio.wrap_future(self._writing)
            self._writing = None

    def settle_now(self) -> None:
        """The same, holding up the loop, whether that write fails or not."""
        writing, self._writing = self._writing, None
        if writing is not None:
            with suppress(Exception):
                self.size = writing.result()


def _resumed_at(opened: _Opened, staged: int) -> int:
    """Where a body that did not come to its end is gone on with. A status tells one byte as it tells none, ``0-0``, so a client
    would begin anew and be refused: one byte alone does not count."""
    size = opened.offset + staged
    return opened.offset if size == 1 else size


def _split_digest(query: str) -> tuple[str, str]:
    """A raw query without its ``digest`` parameters, and those parameters, as they came."""
    pairs = query.split("&") if query else []
    digests = [pair for pair in pairs if unquote_plus(pair.partition("=")[0]) == "digest" and pair.partition("=")[2]]
    return "&".join(pair for pair in pairs if pair not in digests), "&".join(digests)


def _emptied(head: Head) -> Head:
    """The same request, its body already taken."""
    gone = {"content-range", "transfer-encoding", "content-length", "expect", "trailer"}
    headers = {name: value for name, value in head.headers.items() if name not in gone}
    headers["content-length"] = "0"
    return head._replace(headers=headers)


def _with_range(answer: Answer, size: int) -> Answer:
    """What has arrived, which a client resumes by; an empty upload is 0-0 as at its beginning."""
    if any(name == b"range" for name, _ in answer.headers):
        return answer
    return answer._replace(headers=[*answer.headers, (b"range", b"0-%d" % max(0, size - 1))])
