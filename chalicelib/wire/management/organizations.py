"""An organization's members: ``/enzi/v0/accounts/{org}/members``."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from chalicelib.registry import organizations as domain
from chalicelib.registry.errors import AccountNameInvalid, MemberUnknown
from chalicelib.registry.names import parse_login
from chalicelib.wire.management.bodies import Input
from chalicelib.wire.management.call import NOTHING_THERE, Answer, Call


class Member(Struct, frozen=True, rename="camel"):
    """A user in an organization."""

    name: str
    is_admin: bool
    is_public: bool


class Members(Struct, frozen=True, rename="camel"):
    """A page of members, in order of name."""

    members: list[Member]


class MemberChange(Input, frozen=True):
    """What a member may do and shows; what is left out stays, or is false for a new member."""

    is_admin: bool | UnsetType = UNSET
    is_public: bool | UnsetType = UNSET


def list_members(call: Call) -> Answer:
    read = call.services.organizations.members(call.account, call.page.after, call.page.one_more)
    found, more = call.page.cut(read, lambda member: member.name)
    return Answer(Members([_shown(member) for member in found]), next=more)


def read_member(call: Call) -> Answer:
    """Raises MemberUnknown."""
    return Answer(_shown(_member(call)))


def put_member(call: Call) -> Answer:
    """Raises AccountUnknown for who is no user, Busy."""
    body = call.given(MemberChange)
    member = call.services.organizations.add(
        call.account,
        call.names["user"],
        is_admin=None if body.is_admin is UNSET else body.is_admin,
        is_public=None if body.is_public is UNSET else body.is_public,
    )
    return Answer(_shown(member))


def delete_member(call: Call) -> Answer:
    """From the organization and all its teams. Raises Busy."""
    try:
        name = parse_login(call.names["user"])
    except AccountNameInvalid:
        return NOTHING_THERE
    # Done also where there is no such member: an earlier try may have been interrupted half-way.
    call.services.organizations.remove(call.account, name)
    return Answer()


def _member(call: Call) -> domain.Member:
    given = call.names["user"]
    try:
        return call.services.organizations.member(call.account, parse_login(given))
    except AccountNameInvalid:
        raise MemberUnknown(given) from None


def _shown(member: domain.Member) -> Member:
    return Member(member.name, member.is_admin, member.is_public)
