"""A registry client of our own: tokens, uploads by every way there is, manifests, pulls; on the standard library.

One client is one connection and one thread's. Where the connection breaks, http.client's and the socket's own exceptions
pass (``LOST``), and the next request makes a new connection.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPResponse
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlencode, urlsplit

from tests.endurance.content import Content, digest_of
from tests.endurance.server import SECONDS, Address

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = b'{"architecture":"amd64","os":"linux"}'
LOST = (OSError, HTTPException)
"""What a request raises when there is no server, or none any more."""

_READ = 1 << 18


def arrived(told: str) -> int:
    """How many bytes of an upload are there by a status' Range. ``0-0`` means none: nobody here sends just one."""
    last = int(told.partition("-")[2])
    return last + 1 if last else 0


class Answer(NamedTuple):
    """A whole response."""

    status: int
    headers: Message
    body: bytes

    def expect(self, *statuses: int) -> Answer:
        """Itself, if it has one of these statuses."""
        assert self.status in statuses, f"{self.status}, not one of {statuses}: {self.body[:500]!r}"
        return self

    @property
    def code(self) -> str:
        """The error's code; fails unless the body is an error as the OCI defines it."""
        assert self.headers["Content-Type"] == "application/json", self
        return str(json.loads(self.body)["errors"][0]["code"])

    @property
    def location(self) -> str:
        return str(self.headers["Location"])

    @property
    def arrived(self) -> int:
        """How many bytes of an upload are there by its Range."""
        return arrived(self.headers["Range"])


class Client:
    """Speaks to one registry about any of its repositories."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: HTTPConnection | None = None
        self._tokens: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leave; the next request comes back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # ------------------------------------------------------------------------------------------------------- requests

    def request(
        self,
        method: str,
        repository: str,
        target: str,
        body: bytes | Iterable[bytes] = b"",
        *,
        length: int | None = None,
        **headers: str,
    ) -> Answer:
        """One request about a repository, with its token. ``body`` in pieces is chunked unless its ``length`` is told.

        ``target`` is what follows the repository's name, or a whole path. Header names are written with ``_``.
        """
        target = target if target.startswith("/") else f"/v2/{repository}/{target}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self._ask(method, target, body, length, named | self.authorization(repository))
        if answer.status == 401 and isinstance(body, bytes):
            del self._tokens[repository]  # expired
            answer = self._ask(method, target, body, length, named | self.authorization(repository))
        return answer

    def authorization(self, repository: str) -> dict[str, str]:
        """The header for whatever can be done in a repository."""
        if repository not in self._tokens:
            self._tokens[repository] = self._token(f"repository:{repository}:pull,push,delete")
        return {"Authorization": f"Bearer {self._tokens[repository]}"}

    def _token(self, scope: str) -> str:
        challenge = self._ask("GET", "/v2/", b"", None, {}).expect(401).headers["WWW-Authenticate"]
        told = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        account = base64.b64encode(f"{self._address.user}:{self._address.password}".encode()).decode()
        target = f"{urlsplit(told['realm']).path}?{urlencode({'service': told['service'], 'scope': scope})}"
        answer = self._ask("GET", target, b"", None, {"Authorization": f"Basic {account}"}).expect(200)
        return str(json.loads(answer.body)["token"])

    def _ask(
        self, method: str, target: str, body: bytes | Iterable[bytes], length: int | None, headers: Mapping[str, str]
    ) -> Answer:
        response = self._send(method, target, body, length, headers)
        try:
            return Answer(response.status, response.headers, response.read())
        except BaseException:
            self.close()
            raise

    def _send(
        self, method: str, target: str, body: bytes | Iterable[bytes], length: int | None, headers: Mapping[str, str]
    ) -> HTTPResponse:
        """The response, its body not yet read."""
        if self._connection is None:
            self._connection = HTTPConnection(self._address.host, self._address.port, timeout=4 * SECONDS)
        connection = self._connection
        try:
            # A server that refuses a large body closes while we send; its answer is there to be read all the same.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, target, body or None, {**headers, **_framing(body, length)}, encode_chunked=True)
            return connection.getresponse()
        except BaseException:
            self.close()
            raise

    # ---------------------------------------------------------------------------------------------------------- blobs

    def begin(self, repository: str) -> str:
        """A new upload; where to send its bytes."""
        return self.request("POST", repository, "blobs/uploads/").expect(202).location

    def finish(
        self, repository: str, location: str, digest: str, body: bytes | Iterable[bytes] = b"", length: int = 0
    ) -> Answer:
        """The PUT that ends an upload, perhaps with all its bytes."""
        return self.request("PUT", repository, with_digest(location, digest), body, length=length)

    def arrived(self, repository: str, location: str) -> int:
        """How many bytes of an upload the registry has."""
        return self.request("GET", repository, location).expect(204).arrived

    def hash_blob(self, repository: str, digest: str) -> tuple[str, int] | None:
        """The digest and size of what is pulled as this blob, through the redirect, held nowhere; None if it is unknown."""
        answer = self.request("GET", repository, f"blobs/{digest}").expect(307, 404)
        if answer.status == 404:
            return None
        algorithm = digest.partition(":")[0]
        running, size = hashlib.new(algorithm), 0
        response = self._send("GET", answer.location, b"", None, {})  # a link needs no token, and gets none
        try:
            assert response.status == 200, f"{response.status} from the link: {response.read()!r}"
            while block := response.read(_READ):
                running.update(block)
                size += len(block)
        except BaseException:
            self.close()
            raise
        return f"{algorithm}:{running.hexdigest()}", size

    # ------------------------------------------------------------------------------------------------------ manifests

    def push_manifest(self, repository: str, reference: str, manifest: bytes) -> Answer:
        """The answer to its PUT."""
        return self.request("PUT", repository, f"manifests/{reference}", manifest, Content_Type=MANIFEST)

    def pull_manifest(self, repository: str, reference: str) -> Answer:
        """The answer to its GET."""
        return self.request("GET", repository, f"manifests/{reference}", Accept=MANIFEST)

    def tags(self, repository: str) -> set[str]:
        """All tags, page by page."""
        found: set[str] = set()
        target = "tags/list"
        while target:
            answer = self.request("GET", repository, target).expect(200, 404)
            if answer.status == 404:
                return found
            found.update(json.loads(answer.body)["tags"])
            following = re.match(r"<([^>]+)>", answer.headers.get("Link", ""))
            target = following[1] if following else ""
        return found

    def check_image(self, repository: str, reference: str, manifest: bytes) -> None:
        """Pull an image whole: the manifest's very bytes, and each blob hashed."""
        assert self.pull_manifest(repository, reference).expect(200).body == manifest
        told = json.loads(manifest)
        for descriptor in (told["config"], *told["layers"]):
            expected = (descriptor["digest"], descriptor["size"])
            assert self.hash_blob(repository, descriptor["digest"]) == expected, f"{repository}: {expected}"


def _framing(body: bytes | Iterable[bytes], length: int | None) -> dict[str, str]:
    if isinstance(body, bytes):
        return {"Content-Length": str(len(body))}
    return {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": str(length)}


def with_digest(location: str, digest: str) -> str:
    """Where the PUT goes that ends an upload: its Location may have a query of its own, which has to stay."""
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def image(layers: Iterable[tuple[str, int]], note: str = "") -> bytes:
    """A manifest of layers (digest, size) with the one configuration that all images here share."""

    def descriptor(kind: str, digest: str, size: int) -> dict[str, object]:
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest, "size": size}

    told = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("config.v1+json", digest_of(CONFIG), len(CONFIG)),
        "layers": [descriptor("layer.v1.tar", digest, size) for digest, size in layers],
        "annotations": {"note": note},
    }
    return json.dumps(told).encode()


# ---------------------------------------------------------------------------------------------------------------- uploads


def push_by_post(client: Client, repository: str, content: Content) -> None:
    """All in the POST (end-4b)."""
    target = f"blobs/uploads/?digest={content.digest()}"
    client.request("POST", repository, target, content.blocks(), length=content.size).expect(201)


def push_by_put(client: Client, repository: str, content: Content) -> None:
    """POST, then one PUT with all of it: containerd, oras."""
    location = client.begin(repository)
    client.finish(repository, location, content.digest(), content.blocks(), content.size).expect(201)


def push_by_chunked_put(client: Client, repository: str, content: Content) -> None:
    """The same, its length not told."""
    location = client.begin(repository)
    client.request("PUT", repository, with_digest(location, content.digest()), content.blocks()).expect(201)


def push_by_patch(client: Client, repository: str, content: Content) -> None:
    """POST, one PATCH of known length, empty PUT: crane, skopeo."""
    answer = client.request("PATCH", repository, client.begin(repository), content.blocks(), length=content.size).expect(202)
    client.finish(repository, answer.location, content.digest()).expect(201)


def push_by_chunked_patch(client: Client, repository: str, content: Content) -> None:
    """The same, its length not told: docker with graph drivers."""
    answer = client.request("PATCH", repository, client.begin(repository), content.blocks()).expect(202)
    client.finish(repository, answer.location, content.digest()).expect(201)


WAYS: tuple[Callable[[Client, str, Content], None], ...] = (
    push_by_post,
    push_by_put,
    push_by_chunked_put,
    push_by_patch,
    push_by_chunked_patch,
)
