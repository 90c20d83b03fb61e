"""A small client that pushes and pulls images over plain HTTP, and says what each request was answered."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPMessage
from typing import IO, Any

from tests.clients.images import CONFIG, LAYER, MANIFEST
from tests.conformance.registry_process import RunningRegistry

SECONDS = 120

CONFIGURATION = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
"""Of each image."""


class Refused(Exception):
    """An answer that was not the one the specification has for success."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Message
    body: bytes


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(slots=True)
class Client:
    """One user of one repository; a token is asked for once. Nothing is ever tried again: each failure is the test's to see."""

    registry: RunningRegistry
    repository: str
    _token: str = field(default="", repr=False)

    def send(self, method: str, path: str, body: bytes | Iterator[bytes] | None = None, **headers: str) -> Answer:
        """A path below /v2/<repository>/, or any other beginning with a slash."""
        url = self.registry.url + (path if path.startswith("/") else f"/v2/{self.repository}/{path}")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(url, body, named, method=method)  # noqa: S310  # a registry of ours
        request.add_unredirected_header("Authorization", f"Bearer {self.token()}")
        return sent(request)

    def token(self) -> str:
        if not self._token:
            account = base64.b64encode(f"{self.registry.user}:{self.registry.password}".encode()).decode()
            scopes = [f"repository:{self.repository}:pull,push,delete", "registry:catalog:*"]
            query = urllib.parse.urlencode({"service": self.registry.host, "scope": scopes}, doseq=True)
            asked = urllib.request.Request(  # noqa: S310
                f"{self.registry.url}/auth/token?{query}", headers={"Authorization": f"Basic {account}"}
            )
            self._token = json.loads(expected(sent(asked), 200).body)["token"]
        return self._token

    def begin(self) -> str:
        """The Location of a fresh upload."""
        return str(expected(self.send("POST", "blobs/uploads/", b""), 202).headers["Location"])

    def append(self, location: str, content: bytes) -> str:
        """The Location after one more chunk."""
        answer = self.send("PATCH", location, content, Content_Type="application/octet-stream")
        return str(expected(answer, 202).headers["Location"])

    def finish(self, location: str, digest: str, content: bytes = b"") -> Answer:
        joined = "&" if "?" in location else "?"
        path = f"{location}{joined}digest={urllib.parse.quote(digest)}"
        return self.send("PUT", path, content, Content_Type="application/octet-stream")

    def push_blob(self, content: bytes) -> str:
        digest = digest_of(content)
        expected(self.finish(self.begin(), digest, content), 201)
        return digest

    def push_image(self, tag: str, *layers: bytes) -> str:
        """The digest of the manifest."""
        described = [_descriptor(LAYER, layer, self.push_blob(layer)) for layer in layers]
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, CONFIGURATION, self.push_blob(CONFIGURATION)),
            "layers": described,
        }
        manifest = json.dumps(document).encode()
        expected(self.send("PUT", f"manifests/{tag}", manifest, Content_Type=MANIFEST), 201)
        return digest_of(manifest)

    def pull_image(self, reference: str) -> str:
        """Everything below it fetched and hashed; the digest of the manifest."""
        manifest = expected(self.send("GET", f"manifests/{reference}", Accept=MANIFEST), 200).body
        document = json.loads(manifest)
        for wanted in (document["config"], *document["layers"]):
            content = expected(self.send("GET", f"blobs/{wanted['digest']}"), 200).body
            if digest_of(content) != wanted["digest"]:
                raise Refused(f"{wanted['digest']} has other bytes")
        return digest_of(manifest)


def _descriptor(media_type: str, content: bytes, digest: str) -> dict[str, Any]:
    return {"mediaType": media_type, "size": len(content), "digest": digest}


class _Following(urllib.request.HTTPRedirectHandler):
    """A HEAD stays one: a link is signed for its method."""

    def redirect_request(  # noqa: PLR0917  # the library's
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None:
            following.method = req.get_method()
        return following


_OPENER = urllib.request.build_opener(_Following)


def sent(request: urllib.request.Request) -> Answer:
    try:
        with _OPENER.open(request, timeout=SECONDS) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return Answer(refusal.code, refusal.headers, refusal.read())


def expected(answer: Answer, status: int) -> Answer:
    """Raises Refused for another status."""
    if answer.status != status:
        raise Refused(f"{answer.status} instead of {status}: {answer.body[:300]!r}")
    return answer
