"""The management API over HTTP: one call, one answer or one Failure; lists page by page.

    client = Client(Address.parse("registry.example.org"), Credentials("bob", "slt_..."), say=tell)
    client.call("GET", "/api/v0/whoami").content  # {"name": "bob", ...}

Certificates are checked, every wait is bounded, credentials go to the one origin that was named and to no other.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed lacks it

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError, SSLError

from infra.command.address import Address
from infra.command.credentials import IDENTITY_TOKEN, Credentials
from infra.command.failures import Failure, NotLoggedIn, Refused, Unreachable, WrongUse

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
MAX_ANSWER = 32 * 1024 * 1024
PAGE_SIZE = 100
MAX_REDIRECTS = 5
MAX_ATTEMPTS = 5
LONGEST_WAIT = 300
ACCESS_TOKEN = "slt_"  # noqa: S105 - how access tokens begin
USUAL_WAIT = 5
"""Seconds to wait after a 429 that does not say how long."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """A success. ``content`` is {} for an answer without a body; ``next_page`` is "" on the last page."""

    content: Json
    next_page: str = ""


class Client:
    """Calls one registry. ``say`` tells the user why something takes a while, ``wait`` waits for seconds."""

    def __init__(
        self,
        address: Address,
        credentials: Credentials | None,
        *,
        say: Callable[[str], None],
        ca_file: str = "",
        environ: Mapping[str, str] | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """Raises WrongUse if the file of authorities cannot be read. No connection is made yet."""
        self.address = address
        self._say, self._wait = say, wait
        self._headers = {"Accept": "application/json", "User-Agent": "slipway"}
        if credentials is not None:
            self._headers["Authorization"] = _authorization(credentials)
        self._is_dockers = credentials is not None and _is_identity_token(credentials)
        self._pool = _pool(address, ca_file, environ or {})

    def call(self, method: str, path: str, body: Json | None = None, query: Mapping[str, str] | None = None) -> Answer:
        """One call's success; a 429 is waited for, a redirect within the origin followed. ``path`` is quoted already.

        Raises Refused, NotLoggedIn, Unreachable.
        """
        asked = {name: value for name, value in (query or {}).items() if value}
        url = self.address.url + path + (f"?{urlencode(asked)}" if asked else "")
        for attempt in range(1, MAX_ATTEMPTS + 1):
            status, headers, content = self._followed(method, url, body)
            if status != 429:
                break
            seconds = _retry_after(headers.get("Retry-After", ""))
            told = f"{self.address.host} says to wait: {_told(content)[0] or 'too many requests'}"
            if attempt == MAX_ATTEMPTS or seconds > LONGEST_WAIT:
                raise Unreachable(f"{told}; try again in {seconds} s")
            self._say(f"{told}; trying again in {seconds} s")
            self._wait(seconds)
        if status == 401 and self._is_dockers:
            raise NotLoggedIn(
                f"docker login left an identity token, which {self.address.host} does not take: it may have ended; "
                f"say slipway login {self.address.host}, which docker uses, too"
            )
        if status >= 400:
            raise _failure(self.address.host, status, content)
        return Answer(self._object(content), headers.get("X-Next-Page-Start", ""))

    def listing(self, path: str, query: Mapping[str, str] | None = None, limit: int | None = None) -> tuple[str, list[Json]]:
        """What the API calls the elements of a list, and at most ``limit`` of them, over as many pages as that takes.

        Raises what ``call`` does.
        """
        gathered: list[Json] = []
        start, seen = "", set[str]()
        while True:
            size = PAGE_SIZE if limit is None else min(PAGE_SIZE, limit - len(gathered))
            answer = self.call("GET", path, query={**(query or {}), "pageSize": str(size), "pageStart": start})
            name, found = self._elements(answer.content)
            gathered += found
            start = answer.next_page
            if not start or (limit is not None and len(gathered) >= limit):
                return name, gathered[:limit]
            if start in seen:
                raise Unreachable(f"{self.address.host} sends the same page of {name} again and again")
            seen.add(start)

    def _elements(self, content: Json) -> tuple[str, list[Json]]:
        """The one list in a page, with its name."""
        lists = [(name, value) for name, value in content.items() if isinstance(value, list)]
        if len(lists) != 1 or not all(isinstance(each, dict) for each in lists[0][1]):
            raise Unreachable(f"{self.address.host} did not answer with a list: is it a Slipway registry?")
        return lists[0]

    def _followed(self, method: str, url: str, body: Json | None) -> tuple[int, Mapping[str, str], bytes]:
        for _ in range(MAX_REDIRECTS + 1):
            status, headers, content = self._once(method, url, body)
            if status not in {301, 302, 303, 307, 308}:
                return status, headers, content
            url = _joined(url, headers.get("Location", ""))
            if _origin(url) != _origin(self.address.url):
                # Whoever answers there would get the password.
                raise Unreachable(f"{self.address.host} sends to {_origin(url)}; if that is right, name it by --registry")
            if method != "GET" and status not in {307, 308}:
                raise Unreachable(f"{self.address.host} answered a {method} by a redirect")
        raise Unreachable(f"{self.address.host} sends from one address to the next without an end")

    def _once(self, method: str, url: str, body: Json | None) -> tuple[int, Mapping[str, str], bytes]:
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        sent = None if body is None else json.dumps(body).encode()
        try:
            answer = self._pool.request(method, url, body=sent, headers=headers, preload_content=False, redirect=False)
            content = answer.read(MAX_ANSWER + 1, decode_content=True)
            if len(content) > MAX_ANSWER:
                answer.close()
                raise Unreachable(f"{self.address.host} answered more than {MAX_ANSWER} bytes")
            answer.release_conn()
        except SSLError as error:
            raise Unreachable(
                f"{self.address.host} does not prove who it is: {_cause(error)}; --ca-file names authorities of your own"
            ) from error
        except HTTPError as error:
            raise Unreachable(f"cannot reach {self.address.url}: {_cause(error)}") from error
        return answer.status, answer.headers, content

    def _object(self, content: bytes) -> Json:
        if not content.strip():
            return {}
        found = _parsed(content)
        if not isinstance(found, dict):
            raise Unreachable(f"{self.address.host} did not answer in the API's JSON: is it a Slipway registry?")
        return found


def _pool(address: Address, ca_file: str, environ: Mapping[str, str]) -> urllib3.PoolManager:
    """Connections with checked certificates; through the environment's proxy for https, as docker goes."""
    context = urllib3.util.create_urllib3_context()
    try:
        if ca_file:
            context.load_verify_locations(ca_file)
        elif address.scheme == "https":  # it takes a tenth of a second
            context.load_default_certs()
    except OSError as error:  # ssl.SSLError is one
        raise WrongUse(f"cannot read certificates from {ca_file}: {error.strerror or error}") from error
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    proxy = _of(environ, "https_proxy") if address.scheme == "https" and not address.is_loopback else ""
    if not proxy or proxy_bypass_environment(address.host, {"no": _of(environ, "no_proxy")}):
        return urllib3.PoolManager(ssl_context=context, timeout=timeout, retries=False)
    try:
        named = urllib3.util.parse_url(proxy if "://" in proxy else f"http://{proxy}")
        headers = urllib3.make_headers(proxy_basic_auth=named.auth) if named.auth else None
        return urllib3.ProxyManager(named.url, ssl_context=context, timeout=timeout, retries=False, proxy_headers=headers)
    except (LocationParseError, HTTPError) as error:
        raise WrongUse("the environment's proxy for https is not an address") from error


def _of(environ: Mapping[str, str], name: str) -> str:
    """A variable that is written in small letters or in capitals."""
    return environ.get(name) or environ.get(name.upper()) or ""


def _authorization(credentials: Credentials) -> str:
    if credentials.user == IDENTITY_TOKEN:
        if not (credentials.secret.isascii() and credentials.secret.isprintable()):
            raise NotLoggedIn("the identity token that docker keeps is none")
        return f"Bearer {credentials.secret}"
    return "Basic " + b64encode(f"{credentials.user}:{credentials.secret}".encode()).decode()


def _is_identity_token(credentials: Credentials) -> bool:
    """Whether they are what docker login keeps in a password's place: a refresh token of the token service."""
    return credentials.user == IDENTITY_TOKEN and not credentials.secret.startswith(ACCESS_TOKEN)


def _failure(host: str, status: int, content: bytes) -> Failure:
    """What an answer that is no success means: no, not logged in, or nothing that can be relied on."""
    sentence, code = _told(content)
    if status == 401:
        return NotLoggedIn(f"{host} does not take the credentials: {sentence or 'it answered 401'}")
    if not sentence:
        return Unreachable(f"{host} answered {status}, without an error of the API: is it a Slipway registry?")
    return Unreachable(f"{host} failed: {sentence}") if status >= 500 else Refused(sentence, code)


def _told(content: bytes) -> tuple[str, str]:
    """The API's error, ``{"errors": [{"code", "message", "detail": {"reason"}}]}``, in a sentence, and its code; both "" for
    what is none."""
    found = _parsed(content)
    entries = found.get("errors") if isinstance(found, dict) else None
    entry = entries[0] if isinstance(entries, list) and entries else None
    if not isinstance(entry, dict):
        return "", ""
    code, detail = str(entry.get("code") or ""), entry.get("detail")
    reason = detail.get("reason") if isinstance(detail, dict) else None
    message = str(entry.get("message") or code)
    if reason and not message.endswith(str(reason)):  # a refusal has its reason in the sentence as well: docker shows no detail
        message = f"{message}: {reason}"
    return message, code


def _parsed(content: bytes) -> object:
    """The JSON value, None for what is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _retry_after(value: str) -> int:
    """The seconds of a Retry-After (RFC 9110 section 10.2.3), at least one."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return max(1, int(value[:9]))
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return USUAL_WAIT
    return max(1, round((until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()))


def _origin(url: str) -> str:
    """Scheme and authority, the default port left out."""
    parts = urlsplit(url)
    default = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(default)}"


def _joined(url: str, location: str) -> str:
    """Where a Location leads; "" for nowhere."""
    try:
        found = urljoin(url, location)
        urlsplit(found)
    except ValueError:
        return ""
    return found


def _cause(error: BaseException) -> str:
    """Why, in the words of whoever found out first, without addresses of objects."""
    found: BaseException | str = error
    while isinstance(found, BaseException):
        inner = getattr(found, "reason", None) or found.__cause__ or next((each for each in found.args[1:] if each), None)
        if not isinstance(inner, BaseException):
            break
        found = inner
    if isinstance(found, OSError) and found.strerror:
        return found.strerror
    text = str(found)
    return text.rpartition(">, ")[2].strip("'\") ") if "object at 0x" in text else text
