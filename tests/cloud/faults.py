"""Faults of S3, DynamoDB and KMS, to be put into a strict front: at the n-th call of a kind, at every call once, or at all.

front.faults.append(Fault(Kind.SLOW_DOWN, "UploadPart", nth=3))
front.faults.append(Fault(Kind.RESET, once_each=True))  # whatever is called fails once
front.faults.append(Fault(Kind.SLOW, agent="slipway-adopt", seconds=60))

Fronts may share a list: a fault then counts the calls of all of them, in the order in which they come.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """What goes wrong. Each service has its own names for most of it; what only one of them does says so."""

    SLOW_DOWN = "503 SlowDown, or 400 ProvisionedThroughputExceededException; nothing done"
    THROTTLED = "DynamoDB: 400 ThrottlingException, nothing done"
    CONFLICT = "DynamoDB: 400, another transaction is at one of the items; nothing done"
    FAILED = "500 InternalError, nothing done"
    RESET = "the connection breaks, nothing done"
    SLOW = "S3: the call waits for ``seconds``, or until the fault's ``over`` is set, then is done"
    LATE = "S3: the connection breaks at once; done before the call that comes ``calls`` after it, or by ``S3Front.catch_up``"
    DONE_THEN_500 = "done, and answered 500 InternalError"
    DONE_THEN_RESET = "done, and the connection breaks instead of the answer"
    UNDER_WAY = "DynamoDB: done, and answered 400 TransactionInProgressException"
    FORBIDDEN = "403 or 400, as of a signature that has expired; nothing done"
    NO_CHECKSUM = "S3: HEAD and GET show no checksum"
    AGED = "S3: lists tell that all was stored, or begun, ``seconds`` earlier"


@dataclass
class Fault:
    """``operation`` as the service names it, "" for any; ``agent`` and ``key`` must be in the user agent and the path, or in
    the body of a call of DynamoDB. Without ``nth`` (counted from 1 among those that match, ``times`` of them in a row) and
    ``once_each`` (the first of each path, query and method) all of them fail. RESET comes once ``at`` bytes of the body are
    there, or all. ``met`` are the operations of the calls that matched, in their order."""

    kind: Kind
    operation: str = ""
    nth: int = 0
    times: int = 1
    once_each: bool = False
    key: str = ""
    agent: str = ""
    seconds: float = 0.0
    calls: int = 0
    at: int | None = None
    over: threading.Event = field(default_factory=threading.Event, repr=False)
    met: list[str] = field(default_factory=list)
    hits: int = 0
    _seen: set[str] = field(default_factory=set, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def strikes(self, operation: str, path: str, call: str, agent: str) -> bool:
        """Whether this call fails; ``call`` is the same for a call and its repetition."""
        if self.operation not in {"", operation} or self.key not in path or self.agent not in agent:
            return False
        with self._lock:
            self.met.append(operation)
            struck = self._is_counted() if self.nth else not self.once_each or call not in self._seen
            self._seen.add(call)
            self.hits += struck
        return struck

    def _is_counted(self) -> bool:
        return self.nth <= len(self.met) < self.nth + self.times
