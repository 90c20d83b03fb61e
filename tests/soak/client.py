"""The client of the endurance tests, with one token for many repositories, and downloads from another host."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from http.client import HTTPConnection
from urllib.parse import urlsplit

from tests.endurance.client import Answer, Client
from tests.endurance.server import SECONDS, Address


class Again(Exception):
    """A refusal after which a client begins anew; the message is its code."""


class SoakClient(Client):
    """``tokens`` is shared by the clients of one user, whichever process they ask. ``journal`` is told of each request."""

    def __init__(
        self, address: Address, repositories: Sequence[str], tokens: dict[str, str], journal: Callable[[str], None]
    ) -> None:
        super().__init__(address)
        self._repositories = repositories
        self._tokens = tokens
        self._journal = journal

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
        """Raises Again where the registry is busy, has no such upload (any more), or the token has expired."""
        told = f"{method} {repository} {target.partition('?')[0] if 'digest=' not in target else target[-80:]}"
        self._journal(told)
        answer = super().request(method, repository, target, body, length=length, **headers)
        self._journal(f"{told}: {answer.status}")
        if answer.status == 401:
            self._tokens.clear()  # expired; a body that was sent piece by piece cannot be sent again here
            raise Again("UNAUTHORIZED")
        if answer.status == 429 or (answer.status == 404 and b"BLOB_UPLOAD_UNKNOWN" in answer.body):
            raise Again(answer.code)
        return answer

    def authorization(self, repository: str) -> dict[str, str]:
        if repository not in self._tokens:
            scopes = [f"repository:{each}:pull,push,delete" for each in {*self._repositories, repository}]
            self._tokens.update(dict.fromkeys([*self._repositories, repository], self._token(" ".join(scopes))))
        return super().authorization(repository)

    def hash_blob(self, repository: str, digest: str) -> tuple[str, int] | None:
        answer = self.request("GET", repository, f"blobs/{digest}").expect(307, 404)
        if answer.status == 404:
            return None
        parts = urlsplit(answer.location)
        if not parts.netloc:
            content = self._ask("GET", answer.location, b"", None, {}).expect(200).body
        else:
            content = _downloaded(parts.netloc, f"{parts.path}?{parts.query}")
        return f"sha256:{hashlib.sha256(content).hexdigest()}", len(content)

    def delete_repository(self, name: str) -> Answer:
        """By the management API."""
        return self._manage("DELETE", name)

    def restore(self, repository: str, digest: str) -> Answer:
        """What was deleted, by the management API. Raises Again where the registry is busy."""
        answer = self._manage("POST", f"{repository}/restore", json.dumps({"reference": digest}).encode())
        if answer.status == 429:
            raise Again(answer.code)
        return answer

    def _manage(self, method: str, target: str, body: bytes = b"") -> Answer:
        self._journal(f"{method} {target}")
        account = base64.b64encode(f"{self._address.user}:{self._address.password}".encode()).decode()
        headers = {"Authorization": f"Basic {account}", "Content-Type": "application/json"}
        answer = self._ask(method, f"/api/v0/repositories/{target}", body, None, headers)
        self._journal(f"{method} {target}: {answer.status}")
        return answer


def _downloaded(host: str, target: str) -> bytes:
    connection = HTTPConnection(host, timeout=4 * SECONDS)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, f"{answer.status} from the link: {content[:300]!r}"
        return content
    finally:
        connection.close()
