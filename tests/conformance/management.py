"""The management API as an administrator asks it, over HTTP only.

admin = Administrator(registry)
admin.ask("POST", "/enzi/v0/accounts", {"name": "alice", "password": "correct horse"})
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.conformance.registry_process import RunningRegistry

SETTINGS = "/api/v0/meta/settings"


class NotDone(Exception):
    """The API refused, with this status."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body[:500]!r}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Administrator:
    """Whoever the registry's account is."""

    registry: RunningRegistry

    def ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401  # JSON
        """The answer's document, None if it is empty. Raises NotDone."""
        basic = base64.b64encode(f"{self.registry.user}:{self.registry.password}".encode()).decode()
        request = urllib.request.Request(  # noqa: S310  # a loopback address
            self.registry.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Basic {basic}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                content = response.read()
        except urllib.error.HTTPError as refused:
            with refused:
                raise NotDone(refused.code, refused.read()) from None
        return json.loads(content) if content else None

    def let_pushes_create(self) -> None:
        """Have pushes make the repositories that are not there: on AWS they do not, unless somebody says so."""
        self.ask("PATCH", SETTINGS, {"createRepositoryOnPush": True})
