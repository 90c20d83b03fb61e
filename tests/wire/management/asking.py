"""Asking the management API as one account or another, over the whole program in memory.

house = House()
house.ask("GET", "/api/v0/whoami", by="bob").status
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from chalicelib.registry.access import Limits
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.repositories import Description
from chalicelib.wire.http import Response
from tests.surface import PASSWORD, Surface

ACME = "/enzi/v0/accounts/acme"
APP = "/api/v0/repositories/acme/team/app"


@dataclass
class House:
    """A registry with an organization ``acme``, whose admin is olga and whose member is mia; bob is a stranger to it.

    There are the private ``acme/team/app`` and the public ``acme/open``, the team ``devs`` with mia in it, which may read the
    first, and the robot ``acme+ci``, whose access token is ``robot``.
    """

    surface: Surface = field(default_factory=Surface)

    def __post_init__(self) -> None:
        surface = self.surface
        for name in ("olga", "mia", "bob"):
            surface.accounts.create_user(name, PASSWORD)
        self.acme = surface.accounts.create_organization("acme")
        surface.organizations.add(self.acme, "olga", is_admin=True)
        surface.organizations.add(self.acme, "mia")
        repositories = surface.registry.repositories
        self.app = repositories.create(RepositoryName("acme/team/app"), Description())
        repositories.create(RepositoryName("acme/open"), Description("public"))
        self.expect(201, "POST", f"{ACME}/teams", {"name": "devs"}, by="olga")
        self.expect(200, "PUT", f"{ACME}/teams/devs/members/mia", by="olga")
        self.expect(200, "PUT", f"{APP}/teamAccess/devs", {"accessLevel": "read-only"}, by="olga")
        made = self.expect(201, "POST", "/api/v0/accounts/acme/robots", {"name": "ci"}, by="olga")
        self.robot: str = made["token"]

    def narrowed(self, by: str, *repositories: str, actions: frozenset[str] = frozenset({"pull"})) -> str:
        """A narrowed access token of that account."""
        limits = Limits(repositories, actions)
        return self.surface.access_tokens.create(self.surface.accounts.get(by), "narrow", limits=limits)[1]

    def ask(self, method: str, url: str, body: object = None, *, by: str = "admin", **headers: str) -> Response:
        """One request by a user with the password, by an access token, or ("") by nobody. A body of bytes goes as it is."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if content:
            headers.setdefault("content_type", "application/json")
        if by:
            headers["authorization"] = bearer(by) if by.startswith("slt_") else basic(by, PASSWORD)
        return self.surface.send(method, url, content, **headers)

    def expect(self, status: int, method: str, url: str, body: object = None, *, by: str = "admin", **headers: str) -> Any:  # noqa: ANN401
        """What comes back, read; its status has to be that."""
        answer = self.ask(method, url, body, by=by, **headers)
        assert answer.status == status, (method, url, answer.status, answer.body)
        return json.loads(answer.body) if answer.body else None

    def refused(self, method: str, url: str, body: object = None, *, by: str = "admin", **headers: str) -> tuple[int, str]:
        """The status and the code of a refusal."""
        answer = self.ask(method, url, body, by=by, **headers)
        assert answer.status >= 400, (method, url, answer.status, answer.body)
        return answer.status, str(json.loads(answer.body)["errors"][0]["code"])

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The recorded events of a type, as the API tells of them."""
        told = self.expect(200, "GET", "/api/v0/events?pageSize=100")["events"]
        return [event for event in told if event["type"] == kind]


def basic(name: str, secret: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{secret}'.encode()).decode()}"


def bearer(token: str) -> str:
    return f"Bearer {token}"
