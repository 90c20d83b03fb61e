"""The inline lane: bodies that the application takes whole, in one event.

They lie in memory from their first byte to the application's answer, so what they are bounded by is said before any of it is
read: who may send one at all, how large, how many together, and until when.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from infra.local.answers import refused
from infra.local.body import Body, BodyTooLarge, Budget
from infra.local.events import Answer, Head
from infra.local.gateway import BODY, TOO_LARGE

log = logging.getLogger("slipway.server")

INLINE_BODY = BODY
"""What the application takes in one event."""

SMALL_BODY = 65_536
"""What anybody may send, known or not: a form of the token service, a few words of JSON."""

INLINE_BUDGET = 128 * 1024 * 1024
SMALL_BUDGET = 16 * 1024 * 1024
"""Of their own, so that strangers' forms do not wait for layers, nor layers for strangers."""

SECONDS, SECONDS_PER_MEBIBYTE = 60.0, 10.0
"""How long a body may take. What comes more slowly is better sent to the relay, which holds little of it."""

Call: TypeAlias = Callable[[Head, bytes], Awaitable[Answer]]
MaySend: TypeAlias = Callable[[Head], "Answer | None"]


class Sender(Protocol):
    """The client at the other end of the connection."""

    def hold(self) -> None:
        """Read no more from it until its body is asked for."""

    def allow_body(self, seconds: float) -> None:
        """Give up on it if its body is not here within so many seconds."""


def anybody(_: Head) -> Answer | None:
    """Refuses nobody."""
    return None


class Inline:
    """One instance serves all requests. ``may_send`` has the application's refusal of a request whatever its body, None if it
    depends on that."""

    def __init__(self, call: Call, may_send: MaySend) -> None:
        self._call = call
        self._may_send = may_send
        self._budget = Budget(INLINE_BUDGET)
        self._small = Budget(SMALL_BUDGET)

    async def answer(self, head: Head, body: Body, sender: Sender) -> Answer:
        """The application's answer, or a refusal with the body unread (see ``body.complete``). Raises ClientGone."""
        if body.complete:
            return await self._call(head, b"")
        if told := self._refusal(head):
            return told
        pushes = head.path.startswith("/v2/") and head.method in {"POST", "PUT", "PATCH"}
        limit, budget = (INLINE_BODY, self._budget) if pushes else (SMALL_BODY, self._small)
        size = limit if body.length is None else body.length
        if size > limit:
            return _too_large(limit)
        if not budget.has(size):
            sender.hold()
        async with budget.share(size):
            sender.allow_body(SECONDS + SECONDS_PER_MEBIBYTE * size / (1 << 20))
            try:
                content = await body.whole(limit)
            except BodyTooLarge:
                return _too_large(limit)
            return await self._call(head, content)

    def _refusal(self, head: Head) -> Answer | None:
        if not head.path.startswith("/v2/"):
            return None
        try:
            return self._may_send(head)
        except Exception:
            log.exception("%s %s failed", head.method, head.path)
            return refused(500, "UNKNOWN", "the registry failed to answer; its log says why")


def _too_large(limit: int) -> Answer:
    if limit == INLINE_BODY:
        return TOO_LARGE
    return refused(413, "SIZE_INVALID", f"the request's body is larger than the {limit} bytes allowed here")
