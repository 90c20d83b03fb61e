"""Counts the calls that this process makes to AWS, where botocore or a JsonService is about to send each: repeated ones count
again.

with counting() as counted:
    client = Session().client("s3")  # all of sessions that are made within, by whomever, are counted
    counted.step = "GET manifest"
    client.head_bucket(Bucket="b")
counted.total  # 1
print(counted.table())
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from botocore import handlers

from chalicelib.aws import json_service

_EVENT = "before-send"
_ADAPTERS = "chalicelib.aws."
_DOMAIN = ("chalicelib.registry.", "chalicelib.crypto.")


@dataclass(frozen=True, slots=True)
class Called:
    """One call. ``service`` and ``operation`` are botocore's names; ``asked`` is the domain's method for which it was made,
    ``adapter`` that of the port's adapter, "" where there is none; ``step`` is what the test said it was at."""

    service: str
    operation: str
    asked: str
    adapter: str
    step: str


@dataclass(slots=True)
class Counted:
    """The calls so far, in order. Threads may share it."""

    calls: list[Called] = field(default_factory=list)
    step: str = ""

    @property
    def total(self) -> int:
        return len(self.calls)

    def clear(self) -> None:
        self.calls.clear()
        self.step = ""

    def operations(self) -> Counter[str]:
        """How many of each operation."""
        return Counter(f"{call.service} {call.operation}" for call in self.calls)

    def steps(self) -> Counter[str]:
        """How many in each step."""
        return Counter(call.step for call in self.calls)

    def table(self) -> str:
        """Operation, count, and what each is for: the domain's method, and the steps in which it asked."""
        rows: dict[tuple[str, str], Counter[str]] = {}
        for call in self.calls:
            rows.setdefault((f"{call.service} {call.operation}", call.asked or call.adapter), Counter())[call.step] += 1
        lines = []
        for (operation, asked), steps in sorted(rows.items(), key=lambda row: (row[0][0], -row[1].total())):
            told = ", ".join(f"{step} {count}" for step, count in steps.most_common())
            lines.append(f"{operation:<28}{steps.total():>5}  {asked:<38}{told}")
        return "\n".join([*lines, f"{'in all':<28}{self.total:>5}"])


@contextmanager
def counting() -> Iterator[Counted]:
    """Until the block ends. botocore gives its built-in handlers to each session that is made, boto3's and PynamoDB's alike, so
    one more stands among them; sessions that were there before are not counted, ``boto3.client``'s own among them. Of a
    JsonService every call is."""
    counted = Counted()

    def calling(service: str, operation: str) -> None:
        asked, adapter = _askers(sys._getframe())
        counted.calls.append(Called(service, operation, asked, adapter, counted.step))

    def sending(event_name: str, **_: object) -> None:
        service, operation = event_name.split(".")[1:]
        calling(service, operation)

    spec = (_EVENT, sending)
    handlers.BUILTIN_HANDLERS.append(spec)
    json_service.before_send.append(calling)
    try:
        yield counted
    finally:
        json_service.before_send.remove(calling)
        handlers.BUILTIN_HANDLERS.remove(spec)


def _askers(frame: FrameType | None) -> tuple[str, str]:
    """The innermost method of the domain on the stack, and the outermost one of the adapter below it."""
    adapter = ""
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(_ADAPTERS):
            adapter = frame.f_code.co_qualname
        elif module.startswith(_DOMAIN):
            return frame.f_code.co_qualname, adapter
        frame = frame.f_back
    return "", adapter
