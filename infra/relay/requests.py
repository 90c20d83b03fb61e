"""A request as the relay sees it: what of its head goes on to the registry, and which upload it is about."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, quote, unquote_plus

Lines: TypeAlias = "tuple[tuple[str, str], ...]"

HOP_BY_HOP = frozenset({
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
})  # fmt: skip
"""Headers between two neighbours only (RFC 9110, section 7.6.1), besides those that Connection names."""

_NOT_PASSED = HOP_BY_HOP | {"host", "content-length", "expect", "forwarded", "x-real-ip", "via"}
"""Host and length are written anew; 100-continue has been dealt with; who the caller is is nothing a client may say."""

PRODUCT = "slipway-relay"

_NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
_UPLOAD = re.compile(rf"/v2/({_NAME})/blobs/uploads/([A-Za-z0-9_-]+)\Z")
_UPLOADS = re.compile(rf"/v2/({_NAME})/blobs/uploads/?\Z")
_DIGEST = re.compile(r"(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})\Z")


class RequestInvalid(Exception):
    """A request that cannot be passed on; the message says why."""


class Request(NamedTuple):
    """A request without its body. ``path`` and ``query`` are as they came; ``headers`` are those for the registry, without
    framing; ``length`` is the body's: 0 for none, None for an unannounced one."""

    method: str
    path: str
    query: str
    headers: Lines
    length: int | None

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def upload(self) -> bool:
        """Whether it is about one upload."""
        return len(self.path) < 1024 and _UPLOAD.match(self.path) is not None

    @property
    def uploads(self) -> bool:
        """Whether it is where uploads are begun."""
        return len(self.path) < 1024 and _UPLOADS.match(self.path) is not None

    @property
    def digest(self) -> str:
        """The digest that an upload is to have, "" if none or none that is valid is named."""
        found = next((value for name, value in parse_qsl(self.query) if name == "digest"), "")
        return found if _DIGEST.match(found) else ""

    def header(self, name: str) -> str | None:
        """The value of a header, the first if there are several."""
        return next((value for each, value in self.headers if each == name), None)

    def only(self, *names: str) -> Lines:
        """Those of its headers."""
        return tuple((name, value) for name, value in self.headers if name in names)

    def parameters(self, name: str, *, others: bool = False) -> str:
        """The query with those parameters alone, as they came, or with all ``others``."""
        pairs = self.query.split("&") if self.query else []
        return "&".join(pair for pair in pairs if (unquote_plus(pair.partition("=")[0]) == name) is not others)


def request_of(scope: dict[str, Any], relay: str) -> Request:
    """``relay`` is this one's own name, by which it knows what it passed on itself. Raises RequestInvalid."""
    lines = [(name.decode("latin-1"), _text(value)) for name, value in scope["headers"]]
    named = {each.strip().lower() for name, value in lines if name == "connection" for each in value.split(",")}
    lengths = {value for name, value in lines if name == "content-length"}
    length = None if any(name == "transfer-encoding" for name, _ in lines) else int(next(iter(lengths), "0"))
    via = [value for name, value in lines if name == "via"]
    if any(relay in value for value in via):
        raise RequestInvalid("the relay's upstream leads back to the relay; it must be the API's own address")
    headers = [
        (name, value)
        for name, value in lines
        if name not in _NOT_PASSED and name not in named and not name.startswith("x-forwarded-")
    ]
    headers.append(("via", ", ".join([*via, f"1.1 {relay}"])))
    path = quote(scope["raw_path"], safe="/%:@!$&'()*+,;=-._~")
    query = quote(scope["query_string"], safe="/?%:@!$&'()*+,;=-._~[]\"|{}^`\\")
    if not path.startswith("/"):
        raise RequestInvalid("the request's target is no path")
    return Request(scope["method"], path, query, tuple(headers), length)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise RequestInvalid("a header holds bytes that are no text") from None
