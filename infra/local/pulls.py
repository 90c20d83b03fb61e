"""Which requests are answered on the loop itself: those that take a few table reads, and whose answer is small.

A blob's GET is a redirect and a manifest's HEAD has no body. How large a manifest is, only its answer tells; so the first GET
of one goes to a thread, and its path is remembered if that answer was small. A tag that comes to name a large manifest costs
one large answer on the loop, and whoever wants that has to push once for each.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from infra.local.events import Answer, Head

SMALL_ANSWER = 256 * 1024
REMEMBERED = 16_384
"""Paths; a few megabytes. Of more, the one that was learnt first is forgotten."""


class Pulls:
    """Learns from answers. Threads may share it."""

    def __init__(self) -> None:
        self._small: OrderedDict[str, None] = OrderedDict()
        self._learning = Lock()

    def takes(self, head: Head) -> bool:
        """Whether the loop answers. Not what may write or wait; so not HEAD of a blob, which takes a condemned one back into
        use when a pusher asks."""
        path = head.path
        if head.method == "GET" and path in self._small:
            return True
        if not path.startswith("/v2/"):
            return False
        collection, _, reference = path.rpartition("/")
        if head.method == "GET":
            return path == "/v2/" or (collection.endswith("/blobs") and reference.startswith("sha"))
        return head.method == "HEAD" and collection.endswith("/manifests")

    def learn(self, head: Head, answer: Answer) -> None:
        """Note what an answer tells about the next one to the same request."""
        if head.method != "GET" or not _is_manifest(head.path):
            return
        if len(answer.body) > SMALL_ANSWER:
            with self._learning:
                self._small.pop(head.path, None)
        elif answer.status == 200 and head.path not in self._small:
            with self._learning:
                self._small[head.path] = None
                if len(self._small) > REMEMBERED:
                    self._small.popitem(last=False)


def _is_manifest(path: str) -> bool:
    return path.startswith("/v2/") and path.rpartition("/")[0].endswith("/manifests")
