"""The Web in a dict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chalicelib.registry.ports import WebAnswer, WebFailure


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it was made."""

    url: str
    method: str
    headers: Mapping[str, str]
    body: bytes


class MemoryWeb:
    """A ``Web`` whose ``answers`` are there by URL; every other URL is a failure. ``asked`` are the requests, in order."""

    def __init__(self) -> None:
        self.answers: dict[str, WebAnswer] = {}
        self.asked: list[Asked] = []

    def fetch(self, url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b"") -> WebAnswer:
        """See ``Web.fetch``."""
        self.asked.append(Asked(url, method, dict(headers or {}), body))
        if url not in self.answers:
            raise WebFailure("10.0.0.7 is not a public address")
        return self.answers[url]

    @property
    def urls(self) -> list[str]:
        return [asked.url for asked in self.asked]
