"""What an endpoint of the management API gets, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from msgspec import Struct

from chalicelib.registry import access
from chalicelib.registry.accounts import Account
from chalicelib.registry.events import Actor
from chalicelib.registry.names import RepositoryName
from chalicelib.wire.address import address_of
from chalicelib.wire.http import Request
from chalicelib.wire.management.paging import Page
from chalicelib.wire.management.services import Management

Body = TypeVar("Body", bound=Struct)


@dataclass(frozen=True, slots=True)
class Permitted:
    """What the caller was found to be allowed to deal with: the ``account`` or the ``repository`` that the path names. Where a
    DELETE finds no account the name of it is all there is, and ``account`` is None."""

    account: Account | None = None
    repository: RepositoryName | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request after its access was decided. ``names`` are those in the path, as they came; ``version`` is the one that
    If-Match asks for, None for any."""

    request: Request
    services: Management
    caller: access.Account | None
    names: Mapping[str, str]
    permitted: Permitted
    body: Struct | None
    page: Page
    version: int | None

    @property
    def account(self) -> Account:
        """The account in the path that access was decided on."""
        if self.permitted.account is None:
            raise TypeError("the route's needs name no account")
        return self.permitted.account

    @property
    def repository(self) -> RepositoryName:
        """The repository in the path that access was decided on."""
        if self.permitted.repository is None:
            raise TypeError("the route's needs name no repository")
        return self.permitted.repository

    @property
    def signed_in(self) -> access.Account:
        """Who calls, where the route's needs leave out the anonymous."""
        if self.caller is None:
            raise TypeError("the route's needs let anonymous callers in")
        return self.caller

    @property
    def actor(self) -> Actor:
        return actor_of(self.request, self.caller)

    def given(self, kind: type[Body]) -> Body:
        """The body, which the route declares to be of this kind."""
        if not isinstance(self.body, kind):
            raise TypeError(f"the route declares no body {kind.__name__}")
        return self.body


def actor_of(request: Request, caller: access.Account | None) -> Actor:
    """Who acts, as events have it."""
    return Actor(caller.name if caller else "", address_of(request))


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back: ``body`` None for none; ``version`` for the ETag; ``next`` what the next page goes on from.

    The rest is for the event: its type ``event`` if it is not the route's, ``object`` if it is not what the path names,
    ``repository`` the id of the one that it concerns, ``detail`` what is to be told besides (no secret), ``is_recorded`` if
    there is nothing to record, or the endpoint has done so.
    """

    body: Struct | None = None
    version: int | None = None
    next: str = ""
    event: str = ""
    object: str = ""
    repository: str = ""
    is_recorded: bool = False
    detail: Mapping[str, str] = field(default_factory=dict)


NOTHING_THERE = Answer(is_recorded=True)
"""The answer of a DELETE that found nothing to take away."""
