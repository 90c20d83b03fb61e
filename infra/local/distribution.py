"""What CloudFront does besides running functions: errors it keeps, requests it refuses, headers that functions never see.

errors = KeptErrors(TTLS)
errors.get(head) or answer_of_the_origin
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from infra.local.answers import refused
from infra.local.events import Answer, Head

URL = 8_192
"""Bytes of path and query."""

REQUEST = 20_480
"""Bytes of a request but its body. An account may have 32,768 yet."""

ADDED = 512
"""Bytes of the headers that CloudFront adds for an origin (Via, X-Amz-Cf-Id, X-Forwarded-For): generously, as nothing says how
long they may be."""

DEFAULT_TTL = 10.0
"""Seconds that an error is kept if the distribution says nothing of its code."""

ALWAYS = frozenset({404, 414, 500, 501, 502, 503, 504})
IF_TOLD = frozenset({400, 403, 405, 412, 415})
"""Kept only where the origin's Cache-Control has an age. Other codes are never kept; 413 is one, and has no page of its own."""

HIDDEN = frozenset(
    {
        "connection", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "trailer",
        "upgrade", "x-accel-buffering", "x-accel-charset", "x-accel-limit-rate", "x-accel-redirect", "x-amzn-auth",
        "x-amzn-cf-billing",
        "x-amzn-cf-id", "x-amzn-cf-xff", "x-amzn-errortype", "x-amzn-fle-profile", "x-amzn-header-count", "x-amzn-header-order",
        "x-amzn-lambda-integration-tag", "x-amzn-requestid", "x-cache", "x-forwarded-proto", "x-real-ip",
    }
)  # fmt: skip
HIDDEN_PREFIXES = ("x-amz-cf-", "x-edge-")
"""Functions do not see these headers and may not add them: a request or an answer with one becomes a 502."""

READ_ONLY = ("content-length", "host", "transfer-encoding", "via")
READ_ONLY_ANSWER = ("content-encoding", "content-length", "transfer-encoding", "via", "warning")
"""Functions may leave these out of account, but not change, add or take them away."""

BODY = 40_960
"""Bytes of an answer that a function makes, all of it."""

SOURCE = 10_240
"""Bytes of a function."""

TTLS: Mapping[int, float] = dict.fromkeys((400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504), 0.0)
"""Seconds by code, for `make run`: what the template's distribution says (``ttls_of``; a server need not load the template, and
a test compares them)."""


def ttls_of(distribution: Mapping[str, Any]) -> dict[int, float]:
    """Seconds by code that a template's AWS::CloudFront::Distribution has errors kept for."""
    told = distribution["Properties"]["DistributionConfig"].get("CustomErrorResponses", [])
    return {int(each["ErrorCode"]): float(each.get("ErrorCachingMinTTL", DEFAULT_TTL)) for each in told}


def is_hidden(name: str) -> bool:
    """Whether functions do not see a header (lower case)."""
    return name in HIDDEN or name.startswith(HIDDEN_PREFIXES)


def refusal_of(head: Head, *, has_body: bool) -> Answer | None:
    """CloudFront's own refusal of a viewer's request, before any function."""
    target = len(head.path) + len(head.query) + 1
    if target > URL or size_of(head) > REQUEST:
        return refused(413, "SIZE_INVALID", "the request's address or headers are longer than CloudFront takes")
    if has_body and head.method == "GET":
        return refused(403, "DENIED", "CloudFront takes no GET with a body")
    return None


def size_of(head: Head) -> int:
    """Bytes of the request line and all headers."""
    lines = sum(len(name) + len(value) + 4 for name, value in head.headers.items())
    cookies = sum(map(len, head.cookies)) + 2 * len(head.cookies) + (8 if head.cookies else 0)
    return len(head.method) + len(head.path) + len(head.query) + 12 + lines + cookies


class KeptErrors:
    """Errors on GET and HEAD that are answered again without asking the origin. The worst case of a cache policy that keeps
    nothing else: only the path counts, neither the query nor who asks, and a HEAD is answered by what a GET was told."""

    def __init__(self, ttls: Mapping[int, float] = TTLS, now: Callable[[], float] = time.monotonic, most: int = 10_000) -> None:
        self._ttls = ttls
        self._now = now
        self._most = most
        self._held: OrderedDict[str, tuple[float, Answer]] = OrderedDict()

    def get(self, head: Head) -> Answer | None:
        """What the last one was told, if that is still kept."""
        if not self._held or head.method not in {"GET", "HEAD"}:
            return None
        until, answer = self._held.get(head.path, (0.0, None))
        if answer is None or until <= self._now():
            return None
        return answer._replace(body=b"") if head.method == "HEAD" else answer._replace(length=len(answer.body))

    def keep(self, head: Head, answer: Answer) -> None:
        """Note an origin's answer."""
        if answer.status < 400 or head.method not in {"GET", "HEAD"}:
            return
        ttl = self._ttl(answer)
        if ttl > 0:
            self._held[head.path] = (self._now() + ttl, answer)
            if len(self._held) > self._most:
                self._held.popitem(last=False)

    def _ttl(self, answer: Answer) -> float:
        age = max((_age(value) for name, value in answer.headers if name == b"cache-control"), default=0.0)
        if answer.status in ALWAYS or (answer.status in IF_TOLD and age > 0):
            return max(self._ttls.get(answer.status, DEFAULT_TTL), age)
        return 0.0


def _age(told: bytes) -> float:
    for directive in told.decode("latin-1").lower().split(","):
        name, _, value = directive.strip().partition("=")
        if name in {"max-age", "s-maxage"} and value.isascii() and value.isdigit():
            return float(value)
    return 0.0
