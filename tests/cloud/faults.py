"""Faults of S3, to be put into a strict front: at the n-th call of a kind, at every call once, or at all of them.

front.faults.append(Fault(Kind.SLOW_DOWN, "UploadPart", nth=3))
front.faults.append(Fault(Kind.RESET, once_each=True))  # whatever is called fails once
front.faults.append(Fault(Kind.SLOW, agent="slipway-adopt", seconds=60))
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """What goes wrong."""

    SLOW_DOWN = "503 SlowDown, nothing done"
    RESET = "the connection breaks, nothing done"
    SLOW = "the call waits for ``seconds``, then is done"
    DONE_THEN_500 = "done, and answered 500 InternalError"
    DONE_THEN_RESET = "done, and the connection breaks instead of the answer"
    FORBIDDEN = "403, as of a signature that has expired; nothing done"
    NO_CHECKSUM = "HEAD and GET show no checksum"
    AGED = "lists tell that all was stored, or begun, ``seconds`` earlier"


@dataclass
class Fault:
    """``operation`` as S3 names it, "" for any; ``agent`` and ``key`` must be in the user agent and the path. Without ``nth``
    (counted from 1 among those that match) and ``once_each`` (the first of each path, query and method) all of them fail.
    RESET comes once ``at`` bytes of the body are there, or all."""

    kind: Kind
    operation: str = ""
    nth: int = 0
    once_each: bool = False
    key: str = ""
    agent: str = ""
    seconds: float = 0.0
    at: int | None = None
    met: int = 0
    hits: int = 0
    _seen: set[str] = field(default_factory=set, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def strikes(self, operation: str, path: str, call: str, agent: str) -> bool:
        """Whether this call fails; ``call`` is the same for a call and its repetition."""
        if self.operation not in {"", operation} or self.key not in path or self.agent not in agent:
            return False
        with self._lock:
            self.met += 1
            struck = self.met == self.nth if self.nth else not self.once_each or call not in self._seen
            self._seen.add(call)
            self.hits += struck
        return struck
