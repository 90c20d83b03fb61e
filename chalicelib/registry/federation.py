"""Federation: a robot signs in with what somebody else proves, and no secret of it is stored anywhere.

A rule of trust says whose proof counts (the issuer) and for whom (patterns for the subject and for claims):

::

    robot/<account id of the robot>
        trust                   count: how many rules there are, at most MAX_RULES
        trust/<rule name>       issuer, subject, claims (name -> pattern), created_at, version

Identities are namespaced by their issuer: a rule is only ever compared with what its own issuer said. A pattern is exact text
in which ``*`` stands for any characters, none among them; there is nothing else to it, and matching takes linear time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import urlsplit

from chalicelib.registry.attempts import retried
from chalicelib.registry.errors import RequestInvalid, Unauthenticated, VersionMismatch
from chalicelib.registry.ports import Absent, Attributes, Clock, Delete, Equals, Key, Put, Table
from chalicelib.registry.records import Malformed, number, text
from chalicelib.registry.times import seconds

ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - the name of a kind (RFC 8693 section 3)
JWT = "urn:ietf:params:oauth:token-type:jwt"
AWS_STS = "urn:slipway:token-type:aws-sts"
"""The kinds of subject token: an OpenID Connect ID token by its two names, and a signed GetCallerIdentity request."""

_IS_AWS = {ID_TOKEN: False, JWT: False, AWS_STS: True}

AWS = "aws"
"""The issuer of identities that AWS STS tells."""

NOT_TRUSTED = "no trust rule of this robot accepts tokens of this issuer"
"""Said of an unknown issuer, a robot without rules and a robot that does not exist alike."""

MAX_RULES = 20
MAX_PATTERN = 512
"""Characters of a pattern and of an issuer at most."""

MAX_CLAIMS = 16

_RULE_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*", re.ASCII)
_MAX_NAME = 64
_CLAIM_NAME = re.compile(r"[!-~]{1,128}", re.ASCII)
_PATTERN = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]+")
_ISSUER = re.compile(r"https://[!-~]+", re.ASCII)
_AWS_SUBJECT = re.compile(r"arn:aws(?:-cn|-us-gov)?:(?:iam|sts)::[0-9]{12}:.+")


@dataclass(frozen=True, slots=True)
class _Shared:
    """An issuer that proves everybody's jobs: whose, a rule has to say. ``owner`` is how a subject begins that names an owner,
    ``claims`` are those that name one."""

    owner: re.Pattern[str]
    claims: frozenset[str]


_SHARED: Mapping[str, _Shared] = {
    "https://token.actions.githubusercontent.com": _Shared(
        re.compile(r"(?:repo:[^*/:]+/|repository_owner(?:_id)?:[^*:]+:)"),
        frozenset({"repository", "repository_id", "repository_owner", "repository_owner_id", "enterprise_id"}),
    ),
    "https://gitlab.com": _Shared(
        re.compile(r"project_path:[^*/:]+/"),
        frozenset({"project_path", "project_id", "namespace_path", "namespace_id"}),
    ),
    "https://agent.buildkite.com": _Shared(
        re.compile(r"organization:[^*:]+:"),
        frozenset({"organization_id", "organization_slug"}),
    ),
    "https://app.terraform.io": _Shared(
        re.compile(r"organization:[^*:]+:"),
        frozenset({"terraform_organization_id", "terraform_organization_name"}),
    ),
    "https://accounts.google.com": _Shared(re.compile(r"[^*]+\Z"), frozenset({"email", "hd"})),
}


# ---------------------------------------------------------------------------------------------------------------- rules


@dataclass(frozen=True, slots=True)
class TrustRule:
    """Whom a robot trusts. ``issuer`` is an https URL, exactly as tokens spell it, or AWS. ``created_at`` (seconds since the
    epoch) and ``version`` (from 1) are the store's to say."""

    name: str
    issuer: str
    subject: str
    claims: Mapping[str, str] = field(default_factory=dict)
    created_at: int = 0
    version: int = 0

    @property
    def is_aws(self) -> bool:
        return self.issuer == AWS

    def admits(self, identity: ProvenIdentity) -> bool:
        """Did this rule's issuer say of somebody what the rule asks for? A claim may be text, a number or a truth value, which
        count as their JSON text, or a list of these, of which one has to match."""
        return (
            identity.issuer == self.issuer
            and matches(self.subject, identity.subject)
            and all(
                any(matches(pattern, value) for value in _texts(identity.claims.get(name)))
                for name, pattern in self.claims.items()
            )
        )


@dataclass(frozen=True, slots=True)
class ProvenIdentity:
    """Who somebody is, in the words of the issuer that proved it."""

    issuer: str
    subject: str
    claims: Mapping[str, object]


def matches(pattern: str, value: str) -> bool:
    """Is the value the pattern, where each ``*`` may stand for any characters? Every piece is looked for once, from where the
    one before it ended, so a value cannot make this slow."""
    first, *rest = pattern.split("*")
    if not rest:
        return value == pattern
    *middle, last = rest
    if len(value) < len(first) + len(last) or not value.startswith(first) or not value.endswith(last):
        return False
    at, end = len(first), len(value) - len(last)
    for piece in middle:
        found = value.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def checked(rule: TrustRule) -> TrustRule:
    """The rule, if it is one that a robot may have. Raises RequestInvalid, saying what is wrong with it."""
    if len(rule.name) > _MAX_NAME or not _RULE_NAME.fullmatch(rule.name):
        raise RequestInvalid(
            "the name of a trust rule is of a-z, 0-9 and single '.', '_', '-' between them, at most 64", field="name"
        )
    _check_pattern("subject", rule.subject)
    if len(rule.claims) > MAX_CLAIMS:
        raise RequestInvalid(f"a trust rule has at most {MAX_CLAIMS} claims", field="claims")
    for name, pattern in rule.claims.items():
        if not _CLAIM_NAME.fullmatch(name):
            raise RequestInvalid("the name of a claim is of 1 to 128 printable ASCII characters", field="claims")
        _check_pattern(f"claims.{name}", pattern)
    if rule.is_aws:
        if not _AWS_SUBJECT.fullmatch(rule.subject):
            raise RequestInvalid(
                "the subject of an AWS rule is an ARN pattern that names its account, such as"
                " arn:aws:sts::123456789012:assumed-role/ci/*",
                field="subject",
            )
        return rule
    _check_issuer(rule)
    return rule


def _check_pattern(name: str, pattern: str) -> None:
    if len(pattern) > MAX_PATTERN or not _PATTERN.fullmatch(pattern):
        raise RequestInvalid(
            f"{name} is a pattern of 1 to {MAX_PATTERN} characters, none of them a control character", field=name
        )
    if name == "subject" and not pattern.strip("*"):
        raise RequestInvalid("the subject must not be '*' alone: that would be everybody whom the issuer knows", field=name)


def _check_issuer(rule: TrustRule) -> None:
    if not is_issuer(rule.issuer):
        raise RequestInvalid("the issuer is 'aws' or an https URL without user, query, fragment and '*'", field="issuer")
    shared = _SHARED.get(rule.issuer.rstrip("/"))
    if shared is None or shared.owner.match(rule.subject):
        return
    if not any("*" not in pattern for name, pattern in rule.claims.items() if name in shared.claims):
        raise RequestInvalid(
            "this issuer proves everybody's jobs: let the subject begin with the owner, or give one of the claims "
            f"{', '.join(sorted(shared.claims))} without '*'",
            field="subject",
        )


def is_issuer(issuer: str) -> bool:
    """May this be an issuer of OpenID Connect: an https URL without anything that has no business in one?"""
    if len(issuer) > MAX_PATTERN or not _ISSUER.fullmatch(issuer) or set(issuer) & set("*?#@\\"):
        return False
    try:
        return bool(urlsplit(issuer).hostname)
    except ValueError:
        return False


def _texts(value: object) -> Sequence[str]:
    """What of a claim is compared with its pattern."""
    if isinstance(value, list):
        return [told for entry in value if not isinstance(entry, list) for told in _texts(entry)]
    if isinstance(value, str):
        return [value]
    return [json.dumps(value)] if isinstance(value, bool | int | float) else []


class TrustRules:
    """The rules of robots, each named by its account's id: what is another account has other rules."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    def put(self, robot_id: str, rule: TrustRule, if_version: int | None = None) -> TrustRule:
        """Make the rule, or another one of this name over it; as it is then stored. ``if_version`` is the version that the
        caller has seen. Raises RequestInvalid, also for one rule too many; VersionMismatch; Busy."""
        checked(rule)

        def write() -> TrustRule:
            earlier = self.get(robot_id, rule.name)
            _check_version(earlier, if_version)
            if earlier is None:
                return self._add(robot_id, rule)
            stored = replace(rule, created_at=earlier.created_at, version=earlier.version + 1)
            unchanged = Equals("version", earlier.version)
            self._table.write(Put(_rule_key(robot_id, rule.name), _attributes(stored), unchanged))
            return stored

        return retried(write)

    def _add(self, robot_id: str, rule: TrustRule) -> TrustRule:
        count = self._count(robot_id)
        if (count or 0) >= MAX_RULES:
            raise RequestInvalid(f"a robot has at most {MAX_RULES} trust rules")
        stored = replace(rule, created_at=seconds(self._clock), version=1)
        self._table.transact(
            (
                Put(_rule_key(robot_id, rule.name), _attributes(stored), Absent()),
                _counted(robot_id, count, 1),
            )
        )
        return stored

    def get(self, robot_id: str, name: str) -> TrustRule | None:
        """The rule of this name, or None."""
        if len(name) > _MAX_NAME or not _RULE_NAME.fullmatch(name):
            return None
        attributes = self._table.get(_rule_key(robot_id, name))
        return None if attributes is None else _rule(name, attributes)

    def list(self, robot_id: str, after: str = "", limit: int = MAX_RULES) -> Sequence[TrustRule]:
        """The rules in order of name, after the name ``after``, at most ``limit``."""
        beyond = f"{_PREFIX}{after}" if after else ""
        items = self._table.query(_partition(robot_id), prefix=_PREFIX, after=beyond, limit=limit)
        return [_rule(item.key.sort.removeprefix(_PREFIX), item.attributes) for item in items]

    def delete(self, robot_id: str, name: str, if_version: int | None = None) -> bool:
        """Take the rule away; False if there was none. Raises VersionMismatch, Busy."""

        def write() -> bool:
            rule = self.get(robot_id, name)
            _check_version(rule, if_version)
            if rule is None:
                return False
            gone = Delete(_rule_key(robot_id, name), Equals("version", rule.version))
            self._table.transact((gone, _counted(robot_id, self._count(robot_id), -1)))
            return True

        return retried(write)

    def _count(self, robot_id: str) -> int | None:
        attributes = self._table.get(_count_key(robot_id))
        return None if attributes is None else number(attributes, "count")


_PREFIX = "trust/"


def _partition(robot_id: str) -> str:
    return f"robot/{robot_id}"


def _rule_key(robot_id: str, name: str) -> Key:
    return Key(_partition(robot_id), f"{_PREFIX}{name}")


def _count_key(robot_id: str) -> Key:
    return Key(_partition(robot_id), "trust")


def _counted(robot_id: str, count: int | None, by: int) -> Put:
    """Without it, two rules that are made at once could both be the last."""
    unchanged = Absent() if count is None else Equals("count", count)
    return Put(_count_key(robot_id), {"count": (count or 0) + by}, unchanged)


def _check_version(rule: TrustRule | None, if_version: int | None) -> None:
    if if_version is not None and (rule is None or rule.version != if_version):
        raise VersionMismatch


def _attributes(rule: TrustRule) -> Attributes:
    return {
        "issuer": rule.issuer,
        "subject": rule.subject,
        "claims": dict(rule.claims),
        "created_at": rule.created_at,
        "version": rule.version,
    }


def _rule(name: str, attributes: Attributes) -> TrustRule:
    claims = attributes.get("claims")
    if not isinstance(claims, Mapping):
        raise Malformed("claims")
    return TrustRule(
        name=name,
        issuer=text(attributes, "issuer"),
        subject=text(attributes, "subject"),
        claims={claim: text(claims, claim) for claim in claims},
        created_at=number(attributes, "created_at"),
        version=number(attributes, "version"),
    )


# ------------------------------------------------------------------------------------------------------------ admission


class IdentityProvider(Protocol):
    """Finds out who somebody is from a token that another party made."""

    def prove(self, subject_token: str, audiences: frozenset[str], issuers: frozenset[str]) -> ProvenIdentity:
        """Who the token proves its bearer to be, if it is meant for one of the ``audiences``. Nobody is asked about a token
        whose issuer is not among ``issuers``. Raises Unauthenticated, saying what is wrong but nothing of the token."""


class Federation:
    """Admits robots by their rules: ``service`` is the registry's name to its clients, ``public_url`` where it is."""

    def __init__(
        self, rules: TrustRules, oidc: IdentityProvider, aws: IdentityProvider, *, service: str, public_url: str
    ) -> None:
        self._rules = rules
        self._oidc = oidc, frozenset({service, public_url})
        self._aws = aws, frozenset({service})

    def admit(self, robot_id: str | None, token_type: str, subject_token: str) -> ProvenIdentity:
        """Who asks to be this robot (None: one that does not exist, which nobody may be), if a rule of it lets him. Raises
        RequestInvalid for an unknown kind of token; Unauthenticated.

        The rules are read first, and what no rule names is not even asked for its keys: a stranger moves nothing here. Where
        there is no such robot the token is read all the same, so that the answer is the one of a robot without rules.
        """
        is_aws = _IS_AWS.get(token_type)
        if is_aws is None:
            raise RequestInvalid(f"subject_token_type is one of {', '.join(_IS_AWS)}")
        provider, audiences = self._aws if is_aws else self._oidc
        listed = [] if robot_id is None else self._rules.list(robot_id)
        rules = [rule for rule in listed if rule.is_aws == is_aws]
        identity = provider.prove(subject_token, audiences, frozenset(rule.issuer for rule in rules))
        if not any(rule.admits(identity) for rule in rules):
            raise Unauthenticated("the token is good, but no trust rule of this robot matches its subject and claims")
        return identity
