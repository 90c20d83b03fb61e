"""Trying again where two callers met: the one retry loop of the domain."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import timedelta
from itertools import count
from typing import TypeVar

from chalicelib.registry.errors import Busy
from chalicelib.registry.ports import Clock, ConditionFailed, Conflict

T = TypeVar("T")

_ATTEMPTS = 14
_FIRST_PAUSE = 0.004
"""Seconds at most before the second try; it doubles up to one second. All tries together take some six seconds at most,
because dockerd does not try a manifest again itself and containerd does so without a pause."""


PAUSE: ContextVar[Callable[[float], None]] = ContextVar("PAUSE", default=time.sleep)
"""How whoever tries again waits, by seconds: another scheduler than the threads' has its own way."""


class Changed(Exception):
    """What a decision was based on has changed meanwhile; read it again and decide anew."""


def retried(operation: Callable[[], T]) -> T:
    """Run an operation that reads, decides and writes until it is not disturbed by another one.

    Conflict, ConditionFailed and Changed mean that it was, and that nothing was written. Raises Busy when that goes on.
    """
    return _until_undisturbed(operation, (Conflict, ConditionFailed, Changed))


def settled(operation: Callable[[], T]) -> T:
    """Run a single write until it meets no other one. Whether its condition holds is the caller's matter: ConditionFailed
    passes. Raises Busy when Conflict goes on."""
    return _until_undisturbed(operation, (Conflict,))


def moments(clock: Clock, seconds: float, pause: float) -> Iterator[int]:
    """The times to look at something that somebody else will bring about, numbered: at once, again at once, then with a pause
    before each, until so many seconds are over."""
    until = clock.now() + timedelta(seconds=seconds)
    for number in count():
        if number > 1:
            if clock.now() >= until:
                return
            clock.sleep(pause)
        yield number


def _until_undisturbed(operation: Callable[[], T], disturbances: tuple[type[Exception], ...]) -> T:
    for attempt in range(_ATTEMPTS):
        try:
            return operation()
        except disturbances:
            PAUSE.get()(random.uniform(0, min(1.0, _FIRST_PAUSE * 2**attempt)))  # noqa: S311 - jitter, not a secret
    raise Busy
