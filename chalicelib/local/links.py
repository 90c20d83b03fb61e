"""Signed links to blobs: a path on the registry's own host that is good for some minutes, for one key and one method."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode

from chalicelib.registry.ports import Clock, Shown

LINK_PATH = "/_blobs/"
"""Where links point to on the registry's own host; no repository name begins with an underscore."""

LINK_SECONDS = 600
"""How long a link may be used to begin a download: time for a client that got 20 redirects at once and queues them, and
short enough that a leaked one is soon worthless. A download under way is not cut off."""


@dataclass(frozen=True, slots=True)
class Linked:
    """What a good link stands for: the key, and the headers its response carries."""

    key: str
    shown: Shown


class Links:
    """Makes links and reads them. ``secret`` (32 random bytes) signs them, so it has to outlive a restart."""

    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._secret = secret
        self._clock = clock

    def make(self, key: str, method: str, shown: Shown) -> str:
        """The link for a key that was checked: of characters that a path or a query has as they are."""
        return self._signed(key, method, shown, int(self._clock.now().timestamp()) + LINK_SECONDS)

    def read(self, method: str, path: str, query: str) -> Linked | None:
        """What this request's link stands for, or None if it was not made here for that method or has expired.

        ``query`` is raw, without "?". The link is made anew from what it says and compared as a whole, so that nothing
        in it can be altered, added, repeated, left out or spelt in another way.
        """
        if not (path.isascii() and query.isascii() and query.count("&") == 3):
            return None
        fields = dict(parse_qsl(query, keep_blank_values=True))
        key, expires = path.removeprefix(LINK_PATH), fields.get("expires", "")
        if not re.fullmatch(r"[0-9]{1,12}", expires, re.ASCII):
            return None
        shown = Shown(fields.get("type", ""), fields.get("digest", ""))
        good = hmac.compare_digest(self._signed(key, method, shown, int(expires)), f"{path}?{query}")
        return Linked(key, shown) if good and int(expires) > self._clock.now().timestamp() else None

    def _signed(self, key: str, method: str, shown: Shown, expires: int) -> str:
        fields = {"expires": str(expires), "type": shown.media_type, "digest": shown.digest}
        unsigned = f"{LINK_PATH}{key}?{urlencode(fields, quote_via=quote, safe='')}"
        mac = hmac.digest(self._secret, f"slipway link 1\n{method}\n{unsigned}".encode(), "sha256")
        return f"{unsigned}&mac={mac.hex()}"
