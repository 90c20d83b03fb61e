"""What an endpoint is given: the request, who calls, the names in the path, and the registry to act on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from chalicelib.registry.access import REPOSITORY, Account, Caller, refusal_reason
from chalicelib.registry.blobs import Blobs
from chalicelib.registry.creations import Creations
from chalicelib.registry.errors import Denied
from chalicelib.registry.events import DENIED, Actor, Event, Events
from chalicelib.registry.images import Images
from chalicelib.registry.names import RepositoryName
from chalicelib.registry.pushes import Pushes
from chalicelib.registry.referrers import Referrers
from chalicelib.registry.relays import PartsRelay, StagedRelay
from chalicelib.registry.removals import Removals
from chalicelib.registry.repositories import Repositories, Repository
from chalicelib.registry.rights import Rights
from chalicelib.registry.uploads import Uploads
from chalicelib.wire.distribution.state import UploadStates
from chalicelib.wire.http import Request


class AccountSource(Protocol):
    """Finds the account that a token speaks for."""

    def find(self, name: str) -> Account | None:
        """As it is now."""

    def recent(self, name: str) -> Account | None:
        """As it was some seconds ago at most."""


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
    rights: Rights
    creations: Creations
    events: Events
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

    @property
    def actor(self) -> Actor:
        """Who acts, and from where, for the record."""
        return Actor(self.caller.account, self.request.source)

    def pushes(self) -> bool:
        """Does the caller come with a token to push here?"""
        return self.caller.may("push", REPOSITORY, str(self.name))

    def account(self) -> Account | None:
        """The account that calls, as it is at this moment, narrowed as the token is; None is anonymous."""
        return self._narrowed(self.registry.accounts.find(self.caller.account) if self.caller.account else None)

    def recent_account(self) -> Account | None:
        """The same, as it was some seconds ago at most."""
        return self._narrowed(self.registry.accounts.recent(self.caller.account) if self.caller.account else None)

    def _narrowed(self, account: Account | None) -> Account | None:
        return None if account is None else replace(account, limits=self.caller.limits)

    def explain(self, actions: Iterable[str], name: RepositoryName) -> str:
        """Why the caller may not do these actions there, as things are now."""
        account = self.account()
        reason = refusal_reason(account, frozenset(actions), self.registry.rights.where(account, name))
        return reason or "access was granted after the token was made: get a new one"

    def record_denied(self, denied: Denied) -> None:
        """Note that the caller tried to change what it may not; but not of the anonymous, who are many and nobody."""
        if not self.caller.account:
            return
        found = self.registry.repositories.find_recent(self.name)
        told = {name: str(value) for name, value in denied.detail.items() if name in {"action", "reason"}}
        event = Event("REPOSITORY_CHANGE", str(self.name), self.actor, DENIED, told)
        self.registry.events.record(event, found.id if found else "")

    def pushed_to(self) -> Repository:
        """The repository of the path, made if there is none and the caller may; see ``Creations.ensure``."""
        return self.registry.creations.ensure(self.name, self.recent_account(), self.actor)
