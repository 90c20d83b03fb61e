"""What an endpoint is given: the request, who calls, the names in the path, and the registry to act on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from chalicelib.registry.access import Account, Caller
from chalicelib.registry.blobs import Blobs
from chalicelib.registry.images import Images
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.pushes import Pushes
from chalicelib.registry.referrers import Referrers
from chalicelib.registry.relays import PartsRelay, StagedRelay
from chalicelib.registry.removals import Removals
from chalicelib.registry.repositories import Repositories
from chalicelib.registry.uploads import Uploads
from chalicelib.wire.distribution.state import UploadStates
from chalicelib.wire.http import Request


class AccountSource(Protocol):
    """Finds the account that a token speaks for, as it is now."""

    def find(self, name: str) -> Account | None: ...


Attests: TypeAlias = Callable[[str, int, str, str], bool]
"""Whether a relay that is trusted says so: (writer's text, size, SHA-256 in hex, attestation)."""


def nobody_attests(_writer: str, _size: int, _sha256: str, _attestation: str) -> bool:
    """No relay is trusted: what it says about bytes is proven."""
    return False


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
    staged_relay: StagedRelay | None = None
    parts_relay: PartsRelay | None = None
    attests: Attests = nobody_attests
    warning: str = ""
    """What whoever begins an upload is told about bodies that will not pass here, "" for nothing."""


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
