"""Who may do what, decided in this one place, by pure functions: (who, what, where) -> a decision with its reason.

``level`` says how far an account's rights reach in a repository, ``decide`` whether one operation is within them. What they
decide from (the repository, the teams' grants) is gathered by ``rights.py``. A decision is made when a token is asked for;
when a request comes with it, ``Caller.may`` looks whether the token carries what the route needs. What a token cannot
know (a mount's source, a repository that a push would create) is decided at that moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum

from chalicelib.registry.names import RepositoryName

PULL, PUSH, DELETE = "pull", "push", "delete"
EVERY_ACTION = frozenset({PULL, PUSH, DELETE})
NO_ACTION: frozenset[str] = frozenset()

REPOSITORY, REGISTRY = "repository", "registry"
"""The kinds of resource a scope names (docker token scope documentation)."""

CATALOG = "catalog"
"""The one resource of kind ``registry``: ``registry:catalog:*`` lists the repositories."""


class Level(IntEnum):
    """How far rights reach; each includes those below it."""

    NONE = 0
    READ_ONLY = 1
    READ_WRITE = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """As the HTTP API says it: ``none``, ``read-only``, ``read-write``, ``admin``."""
        return self.name.lower().replace("_", "-")


GRANTABLE: Mapping[str, Level] = {level.word: level for level in Level if level is not Level.NONE}


class Operation(Enum):
    """What may be done with a repository, and the level that it needs."""

    VIEW = "view"
    PULL = "pull"
    PUSH = "push"
    SCAN = "scan"
    DELETE = "delete-tags"
    DESCRIBE = "edit-description"
    SET_VISIBILITY = "set-visibility"
    MANAGE_ACCESS = "manage-access"
    DELETE_REPOSITORY = "delete-repository"
    CREATE = "create"

    @property
    def needs(self) -> Level:
        return _NEEDS[self]


_NEEDS = {
    Operation.VIEW: Level.READ_ONLY,
    Operation.PULL: Level.READ_ONLY,
    Operation.PUSH: Level.READ_WRITE,
    Operation.SCAN: Level.READ_WRITE,
    Operation.DELETE: Level.READ_WRITE,
    Operation.DESCRIBE: Level.ADMIN,
    Operation.SET_VISIBILITY: Level.ADMIN,
    Operation.MANAGE_ACCESS: Level.ADMIN,
    Operation.DELETE_REPOSITORY: Level.ADMIN,
    Operation.CREATE: Level.ADMIN,
}

_ACTIONS = {PULL: Operation.PULL, PUSH: Operation.PUSH, DELETE: Operation.DELETE}


@dataclass(frozen=True, slots=True)
class Limits:
    """What an access token is narrowed to: ``repositories`` are names, or namespaces as ``acme/*`` (any depth)."""

    repositories: tuple[str, ...]
    actions: frozenset[str]

    def cover(self, action: str, name: RepositoryName) -> bool:
        return action in self.actions and self.cover_name(name)

    def cover_name(self, name: RepositoryName) -> bool:
        return any(_matches(pattern, str(name)) for pattern in self.repositories)


def _matches(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("/*") else name == pattern


@dataclass(frozen=True, slots=True)
class Account:
    """A user or a robot as far as decisions go; ``id`` outlives no account, its name may be given to another one."""

    name: str
    is_admin: bool = False
    is_active: bool = True
    id: str = ""
    limits: Limits | None = None
    by_token: bool = False
    """Whether it signed in by an access token, or as a robot: by something that was made for it, and is to end."""


@dataclass(frozen=True, slots=True)
class TeamGrant:
    """What a team of the account's was granted: on this repository, or (``on_namespace``) on all of its namespace."""

    team: str
    level: Level
    on_namespace: bool = False


@dataclass(frozen=True, slots=True)
class Where:
    """A repository, and how the account in question stands to it. ``exists`` is False where it has to be created first;
    ``owns`` is whether the account is an admin of the namespace's organization."""

    name: RepositoryName
    exists: bool = True
    public: bool = False
    owns: bool = False
    grants: Sequence[TeamGrant] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """A level, and what it comes from: a sentence without names that the account could not know."""

    level: Level
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """May it be done, and why or why not."""

    allowed: bool
    reason: str


def level(account: Account | None, where: Where) -> Standing:
    """How far an account's rights (None: anonymous) reach there. Grants add up: the highest counts, in whatever order.

    What an access token narrows is not looked at here; see ``decide``.
    """
    if account is not None and not account.is_active:
        account = None
    standings = [Standing(Level.NONE, _nothing(account)), *_own(account, where)]
    if where.public and where.exists:
        standings.append(Standing(Level.READ_ONLY, "the repository is public"))
    if account is not None:
        standings += [Standing(grant.level, _granted(grant, where)) for grant in where.grants]
    return max(standings, key=lambda standing: standing.level)


def _own(account: Account | None, where: Where) -> list[Standing]:
    if account is None:
        return []
    if account.is_admin:
        return [Standing(Level.ADMIN, "administrators may do everything")]
    if account.name == where.name.namespace:
        return [Standing(Level.ADMIN, "the repository is in the account's own namespace")]
    if where.owns:
        return [Standing(Level.ADMIN, f"the account is an admin of the organization {where.name.namespace}")]
    return []


def _nothing(account: Account | None) -> str:
    if account is None:
        return "without logging in only public repositories can be pulled"
    return "no team of the account has been granted access to this repository"


def _granted(grant: TeamGrant, where: Where) -> str:
    on = "namespace" if grant.on_namespace else "repository"
    return f"team {where.name.namespace}/{grant.team} has {grant.level.word} on the {on}"


def decide(account: Account | None, operation: Operation, where: Where) -> Verdict:
    """May the account (None: anonymous) do this there?"""
    standing = level(account, where)
    if standing.level < operation.needs:
        return Verdict(allowed=False, reason=_too_little(operation, standing))
    if account is not None and account.limits is not None and not _within(account.limits, operation, where.name):
        return Verdict(allowed=False, reason="the access token is narrowed to other repositories or actions")
    if not where.exists and standing.level < Operation.CREATE.needs:
        return Verdict(allowed=False, reason="there is no such repository, and creating it needs admin on the namespace")
    return Verdict(allowed=True, reason=standing.reason)


def _too_little(operation: Operation, standing: Standing) -> str:
    if standing.level is Level.NONE:
        return standing.reason
    return f"{operation.value} needs {operation.needs.word}, and this is {standing.level.word}: {standing.reason}"


def _within(limits: Limits, operation: Operation, name: RepositoryName) -> bool:
    """Is it something that a narrowed token is for? Viewing comes with any action; managing with none."""
    if operation is Operation.VIEW:
        return limits.cover_name(name)
    if operation is Operation.CREATE:
        return limits.cover(PUSH, name)
    return any(action_of is operation and limits.cover(action, name) for action, action_of in _ACTIONS.items())


def allowed_actions(account: Account | None, where: Where) -> frozenset[str]:
    """The actions of docker's scopes that an account (None: anonymous) may do there."""
    return frozenset(action for action, operation in _ACTIONS.items() if decide(account, operation, where).allowed)


def refusal_reason(account: Account | None, actions: frozenset[str], where: Where) -> str:
    """Why the first of these actions is not allowed; "" if all are."""
    verdicts = (decide(account, _ACTIONS[action], where) for action in (PULL, PUSH, DELETE) if action in actions)
    return next((verdict.reason for verdict in verdicts if not verdict.allowed), "")


def is_settled(account: Account | None, name: RepositoryName) -> bool:
    """Can the level be told without looking anything up? An administrator's and a namespace owner's can."""
    return account is not None and account.is_active and (account.is_admin or account.name == name.namespace)


def may_list_catalog(account: Account | None) -> bool:
    """Only an administrator sees the names of all repositories."""
    return account is not None and account.is_active and account.is_admin and account.limits is None


# -------------------------------------------------------------------------------------------------------------- tokens


@dataclass(frozen=True, slots=True)
class Grant:
    """Actions on one resource, as a token's ``access`` claim and a scope carry them."""

    kind: str
    name: str
    actions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request: the account's name ("" is anonymous), what the token grants, and what was asked for when it was
    made but refused (asking again would not help: that is a 403, not a 401). ``limits`` are those of the access token that
    brought the token."""

    account: str
    granted: tuple[Grant, ...] = ()
    refused: tuple[Grant, ...] = ()
    limits: Limits | None = None

    def may(self, action: str, kind: str, name: str) -> bool:
        return _covers(self.granted, action, kind, name)

    def was_refused(self, action: str, kind: str, name: str) -> bool:
        return _covers(self.refused, action, kind, name)


def _covers(grants: tuple[Grant, ...], action: str, kind: str, name: str) -> bool:
    return any(
        grant.kind == kind and grant.name == name and (action in grant.actions or "*" in grant.actions) for grant in grants
    )


# ------------------------------------------------------------------------------------------------------------ accounts


class Membership(IntEnum):
    """How an account stands to an organization."""

    STRANGER = 0
    MEMBER = 1
    OWNER = 2
    """An organization admin."""


class AccountOperation(Enum):
    """What may be done with accounts: users, organizations and their robots."""

    VIEW = "view"
    """See the account; of an organization also its members and teams."""
    EDIT = "edit"
    """Change what an account says of itself."""
    USE = "use"
    """Whatever only an account itself does: its password, its access tokens, its memberships."""
    GOVERN = "govern"
    """An organization's members, teams, robots, and the access to its namespace; its end."""
    ADMINISTER = "administer"
    """Make, end, promote or lock accounts; the registry's settings and events."""


@dataclass(frozen=True, slots=True)
class Whom:
    """The account that something is to be done with: its ``name``, and the ``membership`` that whoever acts has in it (in the
    organization of a robot). STRANGER for users."""

    name: str = ""
    membership: Membership = Membership.STRANGER


def decide_minting(account: Account) -> Verdict:
    """May the account make what signs in (an access token, a robot with its first one, a rule of trust), or switch it on, where
    it may deal with that at all? Not by an access token: what it makes would outlive it."""
    if account.by_token:
        return Verdict(allowed=False, reason="this makes what signs in, for which one signs in with a password")
    return Verdict(allowed=True, reason="the account signed in with a password")


def decide_account(account: Account | None, operation: AccountOperation, whom: Whom = Whom()) -> Verdict:
    """May the account (None: anonymous) do this with that account?"""
    if account is None or not account.is_active:
        return Verdict(allowed=False, reason="log in first")
    if account.limits is not None:
        return Verdict(allowed=False, reason="the access token is narrowed to repositories")
    reason = _account_reason(account, operation, whom)
    return Verdict(allowed=bool(reason), reason=reason or _ACCOUNT_REASONS[operation])


def _account_reason(account: Account, operation: AccountOperation, whom: Whom) -> str:
    """What allows it, "" for nothing."""
    if account.is_admin:
        return "administrators may do everything"
    if account.name == whom.name and operation not in {AccountOperation.GOVERN, AccountOperation.ADMINISTER}:
        return "it is the account's own"
    if whom.membership is Membership.OWNER and operation is not AccountOperation.ADMINISTER:
        return "the account is an admin of the organization"
    if whom.membership is Membership.MEMBER and operation is AccountOperation.VIEW:
        return "the account is a member of the organization"
    return ""


_ACCOUNT_REASONS = {
    AccountOperation.VIEW: "only the account itself and administrators may see it",
    AccountOperation.EDIT: "only the account itself and administrators may change it",
    AccountOperation.USE: "only the account itself and administrators may do this",
    AccountOperation.GOVERN: "only admins of the organization may do this",
    AccountOperation.ADMINISTER: "only administrators may do this",
}
