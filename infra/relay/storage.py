"""Parts on their way to S3 by presigned URLs: each in memory until S3 has it, sent again with a growing pause until then."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from infra.relay.begun import Begun, pause
from infra.relay.settings import Pace
from infra.relay.upstream import Bytes

log = logging.getLogger("slipway.relay")


class StorageFailed(Exception):
    """S3 did not take a part, however often it was sent."""


class Storage:
    """One instance serves all uploads."""

    def __init__(self, session: aiohttp.ClientSession, pace: Pace) -> None:
        self._session = session
        self._pace = pace

    async def put(self, begun: Begun, number: int, content: memoryview, md5: bytes) -> str:
        """The part's ETag. Raises StorageFailed, and what ``Begun.url`` raises."""
        checksum = b64encode(md5).decode("ascii")
        for tried in range(1, self._pace.attempts + 1):
            url = await begun.url(number)
            if urlsplit(url).scheme not in {"http", "https"}:
                break
            told = await self._put_once(url, content, checksum)
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

    async def _put_once(self, url: str, content: memoryview, checksum: str) -> str:
        """The ETag, in its quotes; else in a word what happened."""
        try:
            async with (
                asyncio.timeout(self._pace.stall) as deadline,
                self._session.put(
                    URL(url, encoded=True),
                    data=Bytes(content, deadline, self._pace.stall),
                    headers={"Content-MD5": checksum},
                    allow_redirects=False,
                ) as response,
            ):
                if response.status != 200:
                    response.close()  # it may not have read the body, and never will
                    return str(response.status)
                await response.read()
                etag = response.headers.get("ETag", "")
                return etag if etag.startswith('"') else f'"{etag}"'
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return type(error).__name__
