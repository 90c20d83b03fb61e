"""Whom a robot trusts, so that it needs no secret: ``/api/v0/accounts/{org}/robots/{robot}/trust``."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from chalicelib.registry import federation as domain
from chalicelib.registry.errors import AccountUnknown, RuleUnknown, VersionMismatch
from chalicelib.registry.federation import MAX_CLAIMS, MAX_PATTERN
from chalicelib.wire.management.bodies import Input
from chalicelib.wire.management.call import NOTHING_THERE, Answer, Call
from chalicelib.wire.management.robots import robot_in

_Text = Annotated[str, Meta(min_length=1, max_length=MAX_PATTERN)]


class TrustRule(Struct, frozen=True, rename="camel"):
    """Whose proof counts (``issuer``, "aws" or an https URL), and for whom: patterns, in which ``*`` is any text."""

    name: str
    issuer: str
    subject: str
    claims: dict[str, str]


class TrustRules(Struct, frozen=True, rename="camel"):
    """A page of a robot's rules, in order of name."""

    trust_rules: list[TrustRule]


class NewTrustRule(Input, frozen=True):
    """A rule; the name is the path's."""

    issuer: _Text
    subject: _Text
    claims: Annotated[dict[str, _Text], Meta(max_length=MAX_CLAIMS)] | UnsetType = UNSET


def list_rules(call: Call) -> Answer:
    """Raises AccountUnknown."""
    read = call.services.trust.list(robot_in(call).id, call.page.after, call.page.one_more)
    found, more = call.page.cut(read, lambda rule: rule.name)
    return Answer(TrustRules([_shown(rule) for rule in found]), next=more)


def read_rule(call: Call) -> Answer:
    """Raises AccountUnknown, RuleUnknown."""
    rule = call.services.trust.get(robot_in(call).id, call.names["rule"])
    if rule is None:
        raise RuleUnknown
    return Answer(_shown(rule), version=rule.version)


def put_rule(call: Call) -> Answer:
    """Raises AccountUnknown, RequestInvalid, VersionMismatch, Busy."""
    body = call.given(NewTrustRule)
    claims = {} if body.claims is UNSET else body.claims
    rule = domain.TrustRule(call.names["rule"], body.issuer, body.subject, claims)
    stored = call.services.trust.put(robot_in(call).id, rule, call.version)
    return Answer(_shown(stored), version=stored.version)


def delete_rule(call: Call) -> Answer:
    """Raises VersionMismatch, Busy."""
    try:
        robot = robot_in(call)
    except AccountUnknown:
        if call.version is not None:
            raise VersionMismatch from None
        return NOTHING_THERE
    was_there = call.services.trust.delete(robot.id, call.names["rule"], call.version)
    return Answer() if was_there else NOTHING_THERE


def _shown(rule: domain.TrustRule) -> TrustRule:
    return TrustRule(rule.name, rule.issuer, rule.subject, dict(rule.claims))
