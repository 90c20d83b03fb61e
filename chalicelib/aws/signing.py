"""AWS signature version 4, made without a client, so that a cold start need not build one: in the query of a URL, and in the
headers of a request.

Beside the query of a URL only the host is signed: whoever holds the URL may add headers such as Range or Content-MD5.
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import SplitResult, quote, urlsplit

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who signs; ``token`` is "" for lasting keys. The representation shows nothing, so that no traceback or log can."""

    access_key: str
    secret_key: str
    token: str = ""

    def __repr__(self) -> str:
        return "Credentials(...)"


def signed_url(
    method: str,
    address: str,
    key: str,
    query: Mapping[str, str],
    *,
    credentials: Credentials,
    region: str,
    moment: datetime,
    seconds: int,
) -> str:
    """The URL of the object ``key`` below ``address`` (a bucket's URL, no slash at its end) that answers ``method`` with
    these ``query`` parameters, for so many ``seconds`` (a week at most) from ``moment`` (UTC), or as long as the credentials
    live."""
    time = moment.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{time[:8]}/{region}/s3/aws4_request"
    url = urlsplit(address)
    host = _host(url)
    path = f"{url.path}/{quote(key)}"
    fields = {
        **query,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": time,
        "X-Amz-Expires": str(seconds),
        "X-Amz-SignedHeaders": "host",
    }
    if credentials.token:
        fields["X-Amz-Security-Token"] = credentials.token
    pairs = sorted((quote(name, safe=""), quote(value, safe="")) for name, value in fields.items())
    encoded = "&".join(f"{name}={value}" for name, value in pairs)
    request = f"{method}\n{path}\n{encoded}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    signature = _signature(request, time, scope, credentials)
    return f"{url.scheme}://{host}{path}?{encoded}&X-Amz-Signature={signature}"


def signed_post(
    address: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    credentials: Credentials,
    region: str,
    service: str,
    moment: datetime,
) -> dict[str, str]:
    """The ``headers`` of a POST to the URL ``address``, which has no query, and those that sign it, its ``body`` and
    them at the ``moment`` (UTC). Headers that someone in between may change are not for here."""
    time = moment.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{time[:8]}/{region}/{service}/aws4_request"
    url = urlsplit(address)
    sent = {**headers, "X-Amz-Date": time}
    if credentials.token:
        sent["X-Amz-Security-Token"] = credentials.token
    signed = sorted({"host": _host(url), **{name.lower(): value.strip() for name, value in sent.items()}}.items())
    names = ";".join(name for name, _ in signed)
    lines = "".join(f"{name}:{value}\n" for name, value in signed)
    request = f"POST\n{quote(url.path) or '/'}\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    signature = _signature(request, time, scope, credentials)
    sent["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return sent


def _host(url: SplitResult) -> str:
    """A client leaves the port out of its Host header if it is the scheme's own."""
    return url.netloc.removesuffix(_DEFAULT_PORTS.get(url.scheme, ""))


def _signature(request: str, time: str, scope: str, credentials: Credentials) -> str:
    text = f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    return _keyed(_signing_key(credentials.secret_key, scope), text).hex()


def _keyed(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _signing_key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = _keyed(key, part)
    return key
