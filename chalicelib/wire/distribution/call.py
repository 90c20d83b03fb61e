"""What an endpoint is given: the request, who calls, the names in the path, and the registry to act on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from chalicelib.registry.access import Account, Caller
from chalicelib.registry.blobs import Blobs
from chalicelib.registry.images import Images
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.pushes import Pushes
from chalicelib.registry.referrers import Referrers
from chalicelib.registry.removals import Removals
from chalicelib.registry.repositories import Repositories
from chalicelib.registry.uploads import Uploads
from chalicelib.wire.distribution.state import UploadStates
from chalicelib.wire.http import Request


class AccountSource(Protocol):
    """Finds the account that a token speaks for, as it is now."""

    def find(self, name: str) -> Account | None: ...


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry's parts, as the endpoints use them."""

    repositories: Repositories
    blobs: Blobs
    uploads: Uploads
    images: Images
    pushes: Pushes
    removals: Removals
    referrers: Referrers
    accounts: AccountSource
    states: UploadStates


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an endpoint; ``name`` and ``reference`` are those of the path ("" where the route has none)."""

    request: Request
    caller: Caller
    registry: Registry
    repository: RepositoryName | None = None
    reference: str = ""

    @property
    def name(self) -> RepositoryName:
        """The repository of the path; a route without one has no business to ask."""
        if self.repository is None:
            raise LookupError("the route names no repository")
        return self.repository
