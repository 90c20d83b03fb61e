"""An HTTP request and response as plain values, free of any framework and of any cloud."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the doors hand it on.

    ``path`` is percent-decoded once; ``raw_path`` is as it came. ``headers`` have lower-case names, repeated ones joined
    with ", ". ``query`` keeps every value of a repeated parameter, in order. ``body`` is whole: what is larger than a
    function takes never comes this way. ``source`` is the caller's address as the outermost trusted hop saw it.
    """

    method: str
    path: str
    query: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    source: str = ""
    request_id: str = ""
    raw_path: str = ""

    def first(self, parameter: str, default: str = "") -> str:
        """The first value of a query parameter, or ``default``."""
        values = self.query.get(parameter)
        return values[0] if values else default

    def header(self, name: str, default: str = "") -> str:
        """A header by its lower-case name."""
        return self.headers.get(name, default)


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. ``headers`` keep the spelling given; a value may be a tuple for a header sent more than once."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
