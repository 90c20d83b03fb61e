"""What the registry really holds, read by a minimal pull client of our own.

A client that pushed wrongly could well pull the same wrong thing and be content. So after each push the repository is
read here too: every manifest and blob below a reference is fetched and hashed, and the digests are compared with what
the test pushed. Answers the Bearer or the Basic challenge, whichever comes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from email.message import Message

from tests.clients.images import INDEX, MANIFEST, Json, reachable
from tests.conformance.registry_process import RunningRegistry

ACCEPTED = (
    MANIFEST,
    INDEX,
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Message
    body: bytes


@dataclass(slots=True)
class Wire:
    """Reads one registry; raises AssertionError where an answer is not what the specification promises."""

    registry: RunningRegistry
    authorizations: dict[str, str] = field(default_factory=dict)

    def request(self, method: str, repository: str, rest: str) -> Answer:
        url = f"{self.registry.url}/v2/{repository}/{rest}"
        answer = self._send(method, url, self.authorizations.get(repository))
        if answer.status == 401:
            self.authorizations[repository] = self._authorize(answer.headers["WWW-Authenticate"])
            answer = self._send(method, url, self.authorizations[repository])
        return answer

    def manifest(self, repository: str, reference: str) -> tuple[str, Json]:
        """The digest and document that a tag or digest names, with its bytes hashed."""
        answer = self.request("GET", repository, f"manifests/{reference}")
        assert answer.status == 200, f"{repository} {reference}: {answer.status} {answer.body[:300]!r}"
        digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        assert answer.headers["Docker-Content-Digest"] == digest
        document: Json = json.loads(answer.body)
        assert answer.headers["Content-Type"] == document.get("mediaType", answer.headers["Content-Type"])
        return digest, document

    def status(self, repository: str, reference: str) -> int:
        return self.request("HEAD", repository, f"manifests/{reference}").status

    def tags(self, repository: str) -> list[str]:
        answer = self.request("GET", repository, "tags/list")
        assert answer.status == 200, answer
        listed: list[str] = json.loads(answer.body)["tags"] or []
        return listed

    def referrers(self, repository: str, digest: str) -> list[Json]:
        answer = self.request("GET", repository, f"referrers/{digest}")
        assert answer.status == 200, answer
        found: list[Json] = json.loads(answer.body)["manifests"]
        return found

    def digests(self, repository: str, reference: str) -> set[str]:
        """Every digest below a reference, each fetched and hashed."""
        top, _ = self.manifest(repository, reference)
        found = set()
        for digest, is_manifest in reachable(top, lambda one: self.manifest(repository, one)[1]):
            if not is_manifest:
                self._check_blob(repository, digest)
            found.add(digest)
        return found

    def _check_blob(self, repository: str, digest: str) -> None:
        answer = self.request("GET", repository, f"blobs/{digest}")
        assert answer.status == 200, f"{repository} {digest}: {answer.status} {answer.body[:300]!r}"
        assert f"sha256:{hashlib.sha256(answer.body).hexdigest()}" == digest

    def _send(self, method: str, url: str, authorization: str | None) -> Answer:
        request = urllib.request.Request(url, method=method, headers={"Accept": ", ".join(ACCEPTED)})  # noqa: S310
        if authorization is not None:
            request.add_unredirected_header("Authorization", authorization)  # never shown to a redirect's target
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310  # a registry of ours
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as refusal:
            with refusal:
                return Answer(refusal.code, refusal.headers, refusal.read())

    def _authorize(self, challenge: str) -> str:
        """The Authorization header that a challenge asks for."""
        account = f"{self.registry.user}:{self.registry.password}".encode()
        basic = f"Basic {base64.b64encode(account).decode()}"
        if challenge.lower().startswith("basic"):
            return basic
        parameters = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = urllib.parse.urljoin(self.registry.url, parameters.pop("realm"))
        answer = self._send("GET", f"{realm}?{urllib.parse.urlencode(parameters)}", basic)
        assert answer.status == 200, f"token: {answer.status} {answer.body[:300]!r}"
        return f"Bearer {json.loads(answer.body)['token']}"
