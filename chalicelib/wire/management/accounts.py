"""Accounts: ``/enzi/v0/accounts`` and ``/enzi/v0/accounts/{name}``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Literal, TypeAlias

from msgspec import UNSET, Struct, UnsetType

from chalicelib.registry import accounts as domain
from chalicelib.registry.accounts import Changes, Kind
from chalicelib.registry.errors import AccountUnknown, Denied, ParameterInvalid, RequestInvalid, VersionMismatch
from chalicelib.wire.address import address_of
from chalicelib.wire.management.bodies import Input
from chalicelib.wire.management.call import NOTHING_THERE, Answer, Call
from chalicelib.wire.management.words import AccountName, Label, Password, moment

KindWord: TypeAlias = Literal["user", "organization", "robot"]

_AHEAD = 100
_LOOKED_AT = 1_000
"""Accounts that are looked at for one page of a filtered list; a page may be short, and more follow."""

FILTERS: Mapping[str, Callable[[domain.Account], bool]] = {
    "all": lambda _: True,
    "users": lambda account: account.kind is Kind.USER,
    "orgs": lambda account: account.kind is Kind.ORGANIZATION,
    "admins": lambda account: account.is_admin,
}


class Account(Struct, frozen=True, rename="camel"):
    """A user, an organization or a robot."""

    name: str
    id: str
    full_name: str
    kind: KindWord
    is_org: bool
    is_active: bool
    is_admin: bool
    created_at: datetime


class Accounts(Struct, frozen=True, rename="camel"):
    """A page of accounts, in order of name."""

    accounts: list[Account]


class NewAccount(Input, frozen=True):
    """A user, or (isOrg) an organization. A user without a password signs in with access tokens alone."""

    name: AccountName
    full_name: Label = ""
    is_org: bool = False
    is_active: bool = True
    is_admin: bool = False
    password: Password | UnsetType = UNSET


class AccountChange(Input, frozen=True):
    """What to change of an account; isActive and isAdmin are for administrators."""

    full_name: Label | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    is_admin: bool | UnsetType = UNSET


class PasswordChange(Input, frozen=True):
    """Another password; who changes the own one says the old one too."""

    new_password: Password
    old_password: str | UnsetType = UNSET


class OrganizationPlace(Struct, frozen=True, rename="camel"):
    """An organization that a user is a member of."""

    name: str
    is_admin: bool


class OrganizationPlaces(Struct, frozen=True, rename="camel"):
    """A page of organizations, in order of name."""

    organizations: list[OrganizationPlace]


def list_accounts(call: Call) -> Answer:
    """Administrators see all accounts; others themselves and their organizations."""
    name = call.request.first("filter", "all")
    if name not in FILTERS:
        raise ParameterInvalid(f"filter is one of {', '.join(FILTERS)}", parameter="filter")
    if call.signed_in.is_admin:
        found, more = _all(call, FILTERS[name])
    else:
        visible = sorted(filter(FILTERS[name], _visible(call)), key=lambda account: account.name)
        found, more = call.page.part(visible, lambda account: account.name)
    return Answer(Accounts([shown(account) for account in found]), next=more)


def _all(call: Call, is_wanted: Callable[[domain.Account], bool]) -> tuple[Sequence[domain.Account], str]:
    page, found, after = call.page, list[domain.Account](), call.page.after
    for _ in range(_LOOKED_AT // _AHEAD):
        read = call.services.accounts.page(after, _AHEAD)
        found += islice(filter(is_wanted, read), page.one_more - len(found))
        if len(found) == page.one_more or len(read) < _AHEAD:
            return page.cut(found, lambda account: account.name)
        after = read[-1].name
    return found, after


def _visible(call: Call) -> Iterator[domain.Account]:
    """The caller's own account, and the organizations that it is a member of."""
    accounts, caller = call.services.accounts, call.signed_in
    yield accounts.get(caller.name)
    for place in call.services.organizations.places(caller.id):
        org = None if place.team else accounts.read(place.organization)
        if org is not None and org.id == place.organization_id and not org.is_deleting:
            yield org


def create_account(call: Call) -> Answer:
    """A new user or organization. Raises RequestInvalid, AccountNameInvalid, NameReserved, AccountExists, Busy."""
    body, accounts = call.given(NewAccount), call.services.accounts
    if body.is_org:
        for field, is_given in {
            "password": body.password is not UNSET,
            "isAdmin": body.is_admin,
            "isActive": not body.is_active,
        }.items():
            if is_given:
                raise RequestInvalid(f"an organization takes no {field}", field=field)
        made = accounts.create_organization(body.name, body.full_name)
    else:
        password = "" if body.password is UNSET else _password(body.password, "password")
        made = accounts.create_user(
            body.name, password, full_name=body.full_name, is_admin=body.is_admin, is_active=body.is_active
        )
    return Answer(shown(made), version=made.version, object=made.name)


def read_account(call: Call) -> Answer:
    return Answer(shown(call.account), version=call.account.version)


def change_account(call: Call) -> Answer:
    """Raises AccountUnknown, VersionMismatch, LastAdmin, RequestInvalid, Busy."""
    body = call.given(AccountChange)
    changes = Changes(
        full_name=None if body.full_name is UNSET else body.full_name,
        is_admin=None if body.is_admin is UNSET else body.is_admin,
        is_active=None if body.is_active is UNSET else body.is_active,
    )
    changed = call.services.accounts.change(call.account.name, changes, call.version)
    return Answer(shown(changed), version=changed.version)


def delete_account(call: Call) -> Answer:
    """With memberships, teams and robots. Raises AccountInUse, VersionMismatch, LastAdmin, Busy."""
    gone = call.permitted.account
    if gone is None:
        if call.version is not None:
            raise VersionMismatch
        return NOTHING_THERE
    try:
        call.services.organizations.delete_account(gone.name, call.version)
    except AccountUnknown:
        return NOTHING_THERE
    return Answer()


def change_password(call: Call) -> Answer:
    """Raises RequestInvalid, Denied for a wrong old password, TooManyAttempts after many, AccountUnknown, Busy."""
    body, account = call.given(PasswordChange), call.account
    if account.kind is not Kind.USER:
        raise RequestInvalid("only users have passwords")
    if account.name == call.signed_in.name:
        if body.old_password is UNSET:
            raise RequestInvalid("who changes the own password says the old one too", field="oldPassword")
        proven = call.services.credentials.authenticate(account.name, body.old_password, address_of(call.request))
        if proven is None or proven.by != "password":
            raise Denied(reason="the old password is wrong")
    if not call.services.accounts.set_password(account.name, _password(body.new_password, "newPassword")):
        raise AccountUnknown(account.name)
    return Answer()


def list_organizations(call: Call) -> Answer:
    """Those that a user is a member of."""
    places = [place for place in call.services.organizations.places(call.account.id) if not place.team]
    found, more = call.page.part(sorted(places, key=lambda place: place.organization), lambda place: place.organization)
    return Answer(OrganizationPlaces([OrganizationPlace(place.organization, place.is_admin) for place in found]), next=more)


def shown(account: domain.Account) -> Account:
    """An account as the API tells of it."""
    return Account(
        name=account.name,
        id=account.id,
        full_name=account.full_name,
        kind=account.kind.value,
        is_org=account.kind is Kind.ORGANIZATION,
        is_active=account.is_active,
        is_admin=account.is_admin,
        created_at=moment(account.created_at),
    )


def _password(text: str, field: str) -> str:
    if len(text.encode()) > domain.MAX_PASSWORD or text.startswith(domain.ACCESS_TOKEN_PREFIX):
        told = f"a password has 1 to {domain.MAX_PASSWORD} bytes, and does not begin with {domain.ACCESS_TOKEN_PREFIX}"
        raise RequestInvalid(told, field=field)
    return text
