"""Parts on their way to S3 by presigned URLs: each in memory until S3 has it, sent again with a growing pause until then."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import urlsplit

from infra.relay.begun import Begun, pause
from infra.relay.sending import FAILURES, Attempt, Connections
from infra.relay.settings import Pace, RelaySettings

log = logging.getLogger("slipway.relay")


class StorageFailed(Exception):
    """S3 did not take a part, however often it was sent."""


class Storage:
    """One instance serves all uploads. Each part on its way has a thread of ``settings.parts``, which also computes its MD5.
    Where the registry is spoken to by https, parts are sent in no other way."""

    def __init__(self, settings: RelaySettings, pace: Pace) -> None:
        self._schemes = ("https",) if settings.upstream.startswith("https:") else ("http", "https")
        self._threads = ThreadPoolExecutor(settings.parts, "part")
        self._connections = Connections(pace.stall)
        self._pace = pace

    async def put(self, begun: Begun, number: int, content: memoryview) -> str:
        """The part's ETag. The content is not looked at any more once this is over, even if it is cancelled. Raises
        StorageFailed, and what ``Begun.url`` raises."""
        headers: dict[str, str] = {}
        for tried in range(1, self._pace.attempts + 1):
            url = await begun.url(number)
            if urlsplit(url).scheme not in self._schemes:
                log.warning("part %d: the registry told a URL that is not %s", number, " or ".join(self._schemes))
                break
            told = await self._put_once(url, content, headers)
            if told.startswith('"'):
                begun.done(number)
                return told
            log.warning("part %d, try %d: %s", number, tried, told)
            if told == "404":
                break  # the multipart upload is gone: cancelled, or taken up by a later request
            if told == "403" or tried > 1:
                # A connection closed with the body half sent may have lost the 403 that was its reason.
                begun.expired(number, url)
            await asyncio.sleep(pause(self._pace, tried))
        raise StorageFailed

    def close(self) -> None:
        """No part is on its way any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._connections.close()

    async def _put_once(self, url: str, content: memoryview, headers: dict[str, str]) -> str:
        """The ETag, in its quotes; else in a word what happened."""
        attempt = Attempt()
        sending = asyncio.get_running_loop().run_in_executor(self._threads, self._send, url, content, headers, attempt)
        try:
            return await asyncio.shield(sending)
        except asyncio.CancelledError:
            attempt.cut()
            while not sending.done():  # even if cancelled again: until then the thread reads from the buffer
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({sending})
            raise

    def _send(self, url: str, content: memoryview, headers: dict[str, str], attempt: Attempt) -> str:
        """In a thread. ``headers`` are filled in by the first try."""
        if not headers:
            md5 = hashlib.md5(content, usedforsecurity=False).digest()
            headers["Content-MD5"] = b64encode(md5).decode("ascii")
        try:
            told = self._connections.put(url, content, headers, attempt)
        except FAILURES as error:
            return type(error).__name__
        if told.status != 200:
            return str(told.status)
        return told.etag if told.etag.startswith('"') else f'"{told.etag}"'
