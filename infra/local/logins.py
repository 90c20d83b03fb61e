"""Requests that may make the application hash a password: a few threads of their own, and a short queue.

A hash takes 19 MiB and some ten milliseconds of a processor. Among the other calls a few dozen wrong passwords would hold
every thread, and leave each with a block of memory that the allocator keeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from infra.local.answers import refused
from infra.local.events import Answer, Head

LOGIN_THREADS = 2
MAX_LOGINS = LOGIN_THREADS + 64
"""At work and waiting. The last of them waits for about a second."""

_RETRY_SECONDS = 2


def proves_account(head: Head, body: bytes) -> bool:
    """Whether the application may come to check a password: by Basic credentials, or by those of a form. Only the distribution
    API, which takes tokens alone, never does; what a path decodes to makes no difference to that."""
    if head.path.startswith(("/v2/", "/_relay/")):
        return False
    return "authorization" in head.headers or body != b"" or head.path.startswith("/api/v0")


class Logins:
    """Calls by threads of their own: ``pool`` has LOGIN_THREADS."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._under_way = 0

    async def call(self, ask: Callable[[Head, bytes], Answer], head: Head, body: bytes) -> Answer:
        """The answer of ``ask``; at once a 429 if too many wait already."""
        if self._under_way >= MAX_LOGINS:
            busy = refused(429, "TOOMANYREQUESTS", "too many logins are under way; try again in a few seconds")
            return busy._replace(headers=[*busy.headers, (b"retry-after", b"%d" % _RETRY_SECONDS)])
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, ask, head, body)
        finally:
            self._under_way -= 1
