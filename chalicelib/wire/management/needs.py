"""What a route needs of its caller: decided in one step between routing and endpoint, for all routes in the same words.

Who calls without credentials and is not let in is told to give some (401), whatever there is. Who may not even see the thing
is told that there is none (404), as if that were so. Who sees it, but may not do this with it, is told why (403).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from chalicelib.registry import access
from chalicelib.registry.access import AccountOperation, Operation, Verdict, Whom
from chalicelib.registry.accounts import Account, Kind
from chalicelib.registry.errors import (
    AccountUnknown,
    Denied,
    NameInvalid,
    NameUnknown,
    ParameterInvalid,
    RegistryError,
    Unauthenticated,
)
from chalicelib.registry.names import RepositoryName, parse_account_name
from chalicelib.wire.http import Request
from chalicelib.wire.management.call import Permitted
from chalicelib.wire.management.services import Management

NARROWED = "the access token is narrowed to repositories"

EVERY_KIND = frozenset(Kind)
ORGANIZATIONS = frozenset({Kind.ORGANIZATION})


class Refused(Exception):
    """The caller may not; ``error`` is what it is told."""

    def __init__(self, error: RegistryError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks for what; ``names`` are those in the path."""

    caller: access.Account | None
    names: Mapping[str, str]
    request: Request
    services: Management


class Needs(Protocol):
    """A route's access."""

    def permit(self, asked: Asked) -> Permitted:
        """What the caller may deal with. Raises Refused; RegistryError for what is not there, to who may know."""

    def for_field(self, operation: AccountOperation | Operation) -> Needs:
        """What a field of the body needs beyond that."""


class _Plain:
    """Needs that say nothing of a thing in the path."""

    def for_field(self, operation: AccountOperation | Operation) -> Needs:
        raise TypeError(f"{operation} is of a thing that this route does not name")


@dataclass(frozen=True, slots=True)
class Anybody(_Plain):
    """Also the anonymous; what they see is the endpoint's to narrow."""

    def permit(self, asked: Asked) -> Permitted:  # noqa: ARG002 - whoever asks
        return Permitted()


@dataclass(frozen=True, slots=True)
class SignedIn(_Plain):
    """Any account; ``narrowed`` is whether a narrowed access token will do."""

    narrowed: bool = False

    def permit(self, asked: Asked) -> Permitted:
        _signed_in(asked, narrowed=self.narrowed)
        return Permitted()


@dataclass(frozen=True, slots=True)
class Administrator(_Plain):
    """An administrator of the registry."""

    def permit(self, asked: Asked) -> Permitted:
        caller = _signed_in(asked)
        verdict = access.decide_account(caller, AccountOperation.ADMINISTER)
        if not verdict.allowed:
            raise Refused(Denied(reason=verdict.reason))
        return Permitted()


@dataclass(frozen=True, slots=True)
class OfAccount:
    """May do ``operation`` with the account that the path names as ``parameter``, which is of one of the ``kinds``.

    ``own_place`` is the parameter of a member who may do it with the own membership. ``if_gone`` lets those who may know that
    there is no such account go on. ``mints`` is whether something comes of it that signs in: no access token makes that.
    """

    operation: AccountOperation
    parameter: str
    kinds: frozenset[Kind] = EVERY_KIND
    own_place: str = ""
    if_gone: bool = False
    mints: bool = False

    def permit(self, asked: Asked) -> Permitted:
        caller = _signed_in(asked)
        given = asked.names[self.parameter]
        found = asked.services.accounts.read(given)
        if found is not None and (found.kind not in self.kinds or (found.is_deleting and not self.if_gone)):
            found = None
        whom = _whom(asked, found)
        verdict = access.decide_account(caller, self.operation, whom)
        if not verdict.allowed and not self._is_own_place(asked, caller):
            raise Refused(_hidden_or_denied(caller, whom, given, verdict))
        if not verdict.allowed and not access.decide_account(caller, AccountOperation.VIEW, whom).allowed:
            raise Refused(AccountUnknown(given))
        if found is None and not self.if_gone:
            raise AccountUnknown(given)
        minting = access.decide_minting(caller)
        if self.mints and not minting.allowed:
            raise Refused(Denied(reason=minting.reason))
        return Permitted(account=found)

    def _is_own_place(self, asked: Asked, caller: access.Account) -> bool:
        return bool(self.own_place) and asked.names[self.own_place].lower() == caller.name

    def for_field(self, operation: AccountOperation | Operation) -> Needs:
        if not isinstance(operation, AccountOperation):
            raise TypeError(f"{operation} is nothing that is done with accounts")
        return replace(self, operation=operation)


@dataclass(frozen=True, slots=True)
class OfTokenOwner(_Plain):
    """May deal with the access tokens of the account that the query's ``account`` names, or of the own one: the account itself,
    for a robot the admins of its organization, and administrators. ``mints`` is whether a token comes of it that was none."""

    mints: bool = False

    def permit(self, asked: Asked) -> Permitted:
        named = replace(asked, names={"account": token_owner(asked)})
        return OfAccount(AccountOperation.USE, "account", mints=self.mints).permit(named)


def token_owner(asked: Asked) -> str:
    """Whose access tokens a request is about. Raises Refused where it may be about none; ParameterInvalid for nobody's."""
    caller = _signed_in(asked)
    if "account" not in asked.request.query:
        return caller.name
    # In a query a + that is not encoded is a space, which is in no name.
    given = asked.request.first("account").replace(" ", "+")
    if not given:  # a variable that was not set is not meant to be the own account
        raise ParameterInvalid("account must be the name of an account", parameter="account")
    return given


@dataclass(frozen=True, slots=True)
class OfRepository:
    """May do ``operation`` with the repository ``{ns}/{repo}``."""

    operation: Operation

    def permit(self, asked: Asked) -> Permitted:
        name = repository_in(asked.names)
        caller = asked.caller
        if self.operation is not Operation.VIEW:
            caller = _signed_in(asked)
        where = asked.services.rights.where(caller, name)
        verdict = access.decide(caller, self.operation, where)
        if verdict.allowed:
            return Permitted(repository=name)
        if caller is None:
            raise Refused(Unauthenticated())
        if access.decide(caller, Operation.VIEW, where).allowed:
            raise Refused(Denied(reason=verdict.reason))
        raise Refused(NameUnknown(str(name)))

    def for_field(self, operation: AccountOperation | Operation) -> Needs:
        if not isinstance(operation, Operation):
            raise TypeError(f"{operation} is nothing that is done with repositories")
        return OfRepository(operation)


@dataclass(frozen=True, slots=True)
class OfNamespace(_Plain):
    """May make repositories in the namespace ``{ns}``. Whether it is anybody's shows only to who may."""

    def permit(self, asked: Asked) -> Permitted:
        caller = _signed_in(asked)
        namespace = namespace_in(asked.names)
        # No repository can have this name, so that nothing granted on one of them is taken for a right in the namespace.
        verdict = asked.services.rights.decide(caller, Operation.CREATE, RepositoryName(f"{namespace}/+"))
        if not verdict.allowed:
            raise Refused(Denied(reason=verdict.reason))
        return Permitted(account=asked.services.accounts.get(namespace))


@dataclass(frozen=True, slots=True)
class AccessOfAccount(_Plain):
    """May know what ``{account}`` may do with ``{ns}/{repo}``: the account itself, who may act for it, and who manages the
    access to the repository. To the latter an account that is not there, or is locked, is one that was granted nothing."""

    def permit(self, asked: Asked) -> Permitted:
        caller = _signed_in(asked)
        name, given = repository_in(asked.names), asked.names["account"]
        found = asked.services.accounts.read(given)
        whom = _whom(asked, found)
        if access.decide_account(caller, AccountOperation.USE, whom).allowed:
            if found is None:
                raise AccountUnknown(given)
            return Permitted(account=found, repository=name)
        verdict = asked.services.rights.decide(caller, Operation.MANAGE_ACCESS, name)
        if not verdict.allowed:
            raise Refused(_hidden_or_denied(caller, whom, given, verdict))
        return Permitted(account=found if found is not None and found.is_active else None, repository=name)


def repository_in(names: Mapping[str, str]) -> RepositoryName:
    """``{ns}/{repo}``. Raises NameInvalid."""
    return RepositoryName.parse(f"{names['ns']}/{names['repo']}")


def namespace_in(names: Mapping[str, str]) -> str:
    """``{ns}``, which is not folded: repositories' names are not. Raises NameInvalid."""
    given = names["ns"]
    try:
        folded = parse_account_name(given)
    except RegistryError:
        folded = ""
    if folded != given:
        raise NameInvalid(given)
    return given


def _signed_in(asked: Asked, *, narrowed: bool = False) -> access.Account:
    """Who calls. A narrowed access token is told so before anything is looked up, so it learns nothing. Raises Refused."""
    if asked.caller is None:
        raise Refused(Unauthenticated())
    if asked.caller.limits is not None and not narrowed:
        raise Refused(Denied(reason=NARROWED))
    return asked.caller


def _whom(asked: Asked, account: Account | None) -> Whom:
    if account is None:
        return Whom()
    own = asked.services.rights.membership(asked.caller, account)
    return Whom(account.name, own)


def _hidden_or_denied(caller: access.Account, whom: Whom, given: str, verdict: Verdict) -> RegistryError:
    if access.decide_account(caller, AccountOperation.VIEW, whom).allowed:
        return Denied(reason=verdict.reason)
    return AccountUnknown(given)
