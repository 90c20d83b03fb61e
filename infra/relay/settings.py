"""What a relay is told, by its environment or its command line; a wrong value is an error with its name.

settings = read_settings({"SLIPWAY_RELAY_UPSTREAM": "https://registry.example.org"})
settings.port  # 5000
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from infra.local.settings import SettingInvalid

PREFIX = "SLIPWAY_RELAY_"


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """``upstream`` is an origin without a slash at its end; ``key`` is "" for a relay that attests nothing. ``concurrency`` is
    how many parts of one upload are on their way to S3 at most, ``parts`` how many there are in memory over all uploads."""

    upstream: str
    key: str = field(default="", repr=False)
    host: str = "127.0.0.1"
    port: int = 5000
    concurrency: int = 3
    parts: int = 7


@dataclass(frozen=True, slots=True)
class Pace:
    """Sizes in bytes and times in seconds that nobody sets but a test."""

    inline: int = 4 * 1024 * 1024
    """A body up to this size goes to the API whole."""
    part: int = 8 * 1024 * 1024
    """The size of a part at most, and so of a buffer."""
    unbuffered: int = 65_536
    """Bodies up to this size wait for no buffer: the connection holds as much anyway."""
    prefix: float = 10.0
    """How long an unannounced body may take to show whether it is a small one."""
    body: float = 60.0
    """How long a small body may take."""
    fill: float = 900.0
    """How long a client may take to fill one part, so that none sits on memory for ever."""
    attempts: int = 8
    """How often a part is sent before S3 counts as failing for good."""
    backoff: float = 0.1
    """The pause after a first failure; it doubles with each further one."""
    backoff_most: float = 5.0
    stall: float = 60.0
    """How long a request may stand still, sending or waiting for its answer."""
    answer: float = 130.0
    """How long the registry may take to begin its answer: an edge's 120, and some."""
    settle: float = 110.0
    """How long a final PUT is repeated while its proof is under way."""
    settle_pause: float = 1.0
    """Between two repeats, if the registry names no pause or a longer one than 5."""
    finish: float = 10.0
    """How long uploads may go on once the relay is told to stop; then what came is kept for the client to resume."""
    stop: int = 25
    """All the time a stop takes at most: container services kill after 30."""


def read_settings(environ: Mapping[str, str]) -> RelaySettings:
    """The settings in ``environ``, empty values counting as absent. Raises SettingInvalid."""

    def told(name: str, default: str = "") -> str:
        return environ.get(PREFIX + name, "").strip() or default

    key = told("KEY")
    if not key.isascii():
        raise SettingInvalid(PREFIX + "KEY", "must be ASCII text")
    return RelaySettings(
        upstream=_origin(told("UPSTREAM")),
        key=key,
        host=told("HOST", "127.0.0.1"),
        port=_number("PORT", told("PORT", "5000"), 0, 65_535),
        concurrency=_number("CONCURRENCY", told("CONCURRENCY", "3"), 1, 64),
        parts=_number("PARTS", told("PARTS", "7"), 1, 4096),
    )


def _number(name: str, text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise SettingInvalid(PREFIX + name, f"must be a number from {least} to {most}, not {text!r}")
    return int(text)


def _origin(text: str) -> str:
    try:
        parts = urlsplit(text)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username is not None:
        # What was given is not repeated: it may hold a password.
        raise SettingInvalid(PREFIX + "UPSTREAM", "must be the registry's https:// or http:// address, with nothing behind it")
    return f"{parts.scheme}://{parts.netloc}"
