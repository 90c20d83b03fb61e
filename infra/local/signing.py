"""Signature version 4 for requests to S3, by headers: what origin access control does, to which the body is unknown."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote, unquote

UNSIGNED = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True, slots=True)
class Signer:
    """A principal's credentials, for one region."""

    region: str
    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)

    def signed(self, method: str, path: str, headers: Mapping[str, str], now: datetime | None = None) -> dict[str, str]:
        """The headers (lower case, ``host`` among them) with those that sign the request: all ``x-amz-*``, and the content's
        hash as it stands there, UNSIGNED for none. ``path`` is percent-encoded as ``encoded`` has it; there is no query."""
        stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
        told = {**headers, "x-amz-date": stamp}
        told.setdefault("x-amz-content-sha256", UNSIGNED)
        if self.token:
            told["x-amz-security-token"] = self.token
        names = sorted(name for name in told if name == "host" or name.startswith("x-amz-"))
        lines = "".join(f"{name}:{' '.join(told[name].split())}\n" for name in names)
        request = "\n".join((method, path, "", lines, ";".join(names), told["x-amz-content-sha256"]))
        scope = f"{stamp[:8]}/{self.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(request.encode()).hexdigest()}"
        key = f"AWS4{self.secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), sha256)
        signature = hmac.digest(key, text.encode(), sha256).hex()
        credential = f"Credential={self.access_key}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
        return {**told, "authorization": f"AWS4-HMAC-SHA256 {credential}"}


def encoded(path: str) -> str:
    """A path as it is signed: everything but unreserved characters and slashes percent-encoded, once."""
    return quote(unquote(path), safe="/-_.~")
