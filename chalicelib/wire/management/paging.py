"""Pages of lists: ``pageSize``, and ``pageStart`` as the page before told it in ``X-Next-Page-Start``.

What stands in ``pageStart`` is the key of the last entry in base64url, so that nobody makes one up by hand; whatever is in it
is looked at like any other input.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from chalicelib.registry.errors import PaginationInvalid
from chalicelib.wire.http import Request

DEFAULT_SIZE = 10
NEXT = "X-Next-Page-Start"

_KEY = re.compile(r"[a-z0-9][a-zA-Z0-9._+:/-]{0,254}", re.ASCII)
"""Names of accounts, teams and repositories, and the ids of events and of what was removed."""

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list: up to ``size`` entries beyond the key ``after`` ("" for the first ones)."""

    after: str = ""
    size: int = DEFAULT_SIZE

    @property
    def one_more(self) -> int:
        """How many to read, so that it shows whether there are more."""
        return self.size + 1

    def cut(self, entries: Sequence[Entry], key: Callable[[Entry], str]) -> tuple[Sequence[Entry], str]:
        """The page out of ``one_more`` entries, and what the next one goes on from: "" on the last page."""
        shown = entries[: self.size]
        return shown, key(shown[-1]) if len(entries) > self.size else ""

    def part(self, entries: Sequence[Entry], key: Callable[[Entry], str]) -> tuple[Sequence[Entry], str]:
        """The same out of a whole list in order of key."""
        return self.cut([entry for entry in entries if key(entry) > self.after][: self.one_more], key)


@dataclass(frozen=True, slots=True)
class Whole:
    """A query parameter that is a whole number within bounds."""

    name: str
    about: str
    default: int
    least: int
    most: int

    def of(self, request: Request) -> int:
        """What a request says. Raises PaginationInvalid."""
        text = request.first(self.name, str(self.default))
        is_number = text.isascii() and text.isdigit() and len(text) <= len(str(self.most))
        if not (is_number and self.least <= int(text) <= self.most):
            raise PaginationInvalid(f"{self.name} must be a whole number from {self.least} to {self.most}")
        return int(text)


SIZE = Whole("pageSize", "Entries at most.", DEFAULT_SIZE, 1, 100)


def page_of(request: Request) -> Page:
    """Raises PaginationInvalid."""
    size = SIZE.of(request)
    start = request.first("pageStart")
    return Page(_decoded(start) if start else "", size)


def encoded(key: str) -> str:
    """A key as ``pageStart`` has it."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def _decoded(start: str) -> str:
    try:
        key = base64.urlsafe_b64decode(start + "=" * (-len(start) % 4)).decode("ascii")
    except ValueError:
        key = ""
    if not _KEY.fullmatch(key) or encoded(key) != start:
        raise PaginationInvalid(f"pageStart must be what the page before told in {NEXT}")
    return key
