"""Who may do what, decided in this one place.

A decision is made twice. When a token is asked for, ``allowed_actions`` says from the account and the repository what it
may carry; when a request comes, ``Caller.may`` looks whether the token carries what the route needs. A mount is decided
by ``allowed_actions`` at that moment, for the repository that it takes from.
"""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.registry.names import RepositoryName

PULL, PUSH, DELETE = "pull", "push", "delete"
EVERY_ACTION = frozenset({PULL, PUSH, DELETE})
NO_ACTION: frozenset[str] = frozenset()

REPOSITORY, REGISTRY = "repository", "registry"
"""The kinds of resource a scope names (docker token scope documentation)."""

CATALOG = "catalog"
"""The one resource of kind ``registry``: ``registry:catalog:*`` lists the repositories."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user as far as decisions go."""

    name: str
    is_admin: bool = False
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class Grant:
    """Actions on one resource, as a token's ``access`` claim and a scope carry them."""

    kind: str
    name: str
    actions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request: the account's name ("" is anonymous), what the token grants, and what was asked for when it was
    made but refused (asking again would not help: that is a 403, not a 401)."""

    account: str
    granted: tuple[Grant, ...] = ()
    refused: tuple[Grant, ...] = ()

    def may(self, action: str, kind: str, name: str) -> bool:
        return _covers(self.granted, action, kind, name)

    def was_refused(self, action: str, kind: str, name: str) -> bool:
        return _covers(self.refused, action, kind, name)


def _covers(grants: tuple[Grant, ...], action: str, kind: str, name: str) -> bool:
    return any(
        grant.kind == kind and grant.name == name and (action in grant.actions or "*" in grant.actions) for grant in grants
    )


def allowed_actions(account: Account | None, name: RepositoryName, *, public: bool) -> frozenset[str]:
    """What an account (None: anonymous) may do with a repository, whether it exists yet or not.

    An administrator may do everything, a user everything in the own namespace; whoever it is may pull a public one.
    """
    if account is not None and account.is_active and (account.is_admin or account.name == name.namespace):
        return EVERY_ACTION
    return frozenset({PULL}) if public else NO_ACTION


def may_list_catalog(account: Account | None) -> bool:
    """Only an administrator sees the names of all repositories."""
    return account is not None and account.is_active and account.is_admin
