"""The route table of the management API: what each method and path needs, takes, answers and records.

Denied unless declared: ``needs`` has no default. ``openapi.py`` writes the description from the same rows.

A path template's ``{repo}`` may hold slashes, so paths are matched in the order of the table, and the first template that
fits counts: a sub-resource wins over a repository of such a name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TypeAlias

from msgspec import Struct

from chalicelib.registry.access import AccountOperation, Operation
from chalicelib.registry.creations import CREATED
from chalicelib.registry.errors import EndpointUnknown, Unsupported
from chalicelib.registry.upkeep.jobs import STATUSES
from chalicelib.wire.management import (
    accounts,
    api_tokens,
    crons,
    events,
    jobs,
    organizations,
    repositories,
    robots,
    settings,
    storage,
    team_access,
    teams,
    trash,
    trust,
    whoami,
    words,
)
from chalicelib.wire.management.bodies import Nothing
from chalicelib.wire.management.call import Answer, Call
from chalicelib.wire.management.needs import (
    ORGANIZATIONS,
    AccessOfAccount,
    Administrator,
    Anybody,
    Needs,
    OfAccount,
    OfNamespace,
    OfRepository,
    OfTokenOwner,
    SignedIn,
)
from chalicelib.wire.management.paging import Whole

Endpoint: TypeAlias = Callable[[Call], Answer]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter beside those of paging: one of ``choices``, or a text of this ``pattern``."""

    name: str
    about: str
    pattern: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """One row. ``answer`` None is an empty answer, ``body`` None no body at all. ``event`` is the type under which a change
    is recorded, done or denied. ``fields`` are those of the body that need more than the route. A ``versioned`` route takes
    If-Match and answers with an ETag, if it answers with anything."""

    method: str
    path: str
    needs: Needs
    endpoint: Endpoint
    summary: str
    answer: type[Struct] | None = None
    body: type[Struct] | None = None
    status: int = 200
    event: str = ""
    is_list: bool = False
    is_versioned: bool = False
    query: tuple[Parameter | Whole, ...] = ()
    fields: Mapping[str, AccountOperation | Operation] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match:
    """A request's row, and the names in its path."""

    route: Route
    names: Mapping[str, str]


_ACCOUNTS = "/enzi/v0/accounts"
_ACCOUNT = "/enzi/v0/accounts/{name}"
_MEMBERS = "/enzi/v0/accounts/{org}/members"
_TEAMS = "/enzi/v0/accounts/{org}/teams"
_TEAM_MEMBERS = "/enzi/v0/accounts/{org}/teams/{team}/members"
_ROBOTS = "/api/v0/accounts/{org}/robots"
_REPOSITORIES = "/api/v0/repositories"
_REPOSITORY = "/api/v0/repositories/{ns}/{repo}"
_TOKENS = "/api/v0/api_tokens"
_JOBS = "/api/v0/jobs"
_CRON = "/api/v0/crons/{action}"
_NAMESPACE_GRANTS = "/api/v0/repositoryNamespaces/{ns}/teamAccess"

_SEES = OfAccount(AccountOperation.VIEW, "org", ORGANIZATIONS)
_GOVERNS = OfAccount(AccountOperation.GOVERN, "org", ORGANIZATIONS)
_MINTS = OfAccount(AccountOperation.GOVERN, "org", ORGANIZATIONS, mints=True)
_GOVERNS_NAMESPACE = OfAccount(AccountOperation.GOVERN, "ns", ORGANIZATIONS)
_MANAGES = OfRepository(Operation.MANAGE_ACCESS)
_PUSHES = OfRepository(Operation.PUSH)

_FILTER = Parameter("filter", "Which accounts.", choices=tuple(accounts.FILTERS))
_ACCOUNT_OF = Parameter("account", "Whose; the caller's own if left out.", pattern=words.LOGIN_PATTERN)
_PREFIX = Parameter("prefix", "How the repositories' full names begin.", pattern=repositories.PREFIX_PATTERN)
_ACTION = Parameter("action", "Only jobs of this kind.", pattern=jobs.ACTION_PATTERN)
_STATUS = Parameter("status", "Only those.", choices=STATUSES)


def _get(
    path: str, needs: Needs, endpoint: Endpoint, answer: type[Struct], summary: str, *, is_versioned: bool = False
) -> Route:
    return Route("GET", path, needs, endpoint, summary, answer, is_versioned=is_versioned)


def _list(path: str, needs: Needs, endpoint: Endpoint, answer: type[Struct], summary: str, *query: Parameter) -> Route:
    return Route("GET", path, needs, endpoint, summary, answer, is_list=True, query=query)


ROUTES: Sequence[Route] = (
    _get("/api/v0/whoami", SignedIn(narrowed=True), whoami.who_am_i, whoami.Whoami, "Who calls"),
    # ------------------------------------------------------------------------------------------------------- accounts
    _list(_ACCOUNTS, SignedIn(), accounts.list_accounts, accounts.Accounts, "Accounts that the caller may see", _FILTER),
    Route("POST", _ACCOUNTS, Administrator(), accounts.create_account, "Make a user or an organization",
          accounts.Account, accounts.NewAccount, 201, "ACCOUNT_CREATE", is_versioned=True),
    _get(_ACCOUNT, OfAccount(AccountOperation.VIEW, "name"), accounts.read_account, accounts.Account, "An account",
         is_versioned=True),
    Route("PATCH", _ACCOUNT, OfAccount(AccountOperation.EDIT, "name"), accounts.change_account, "Change an account",
          accounts.Account, accounts.AccountChange, 200, "ACCOUNT_UPDATE", is_versioned=True,
          fields={"isActive": AccountOperation.ADMINISTER, "isAdmin": AccountOperation.ADMINISTER}),
    Route("DELETE", _ACCOUNT, OfAccount(AccountOperation.GOVERN, "name", if_gone=True), accounts.delete_account,
          "Delete an account", status=204, event="ACCOUNT_DELETE", is_versioned=True),
    Route("POST", f"{_ACCOUNT}/changePassword", OfAccount(AccountOperation.USE, "name"), accounts.change_password,
          "Give a user another password", None, accounts.PasswordChange, 204, "PASSWORD_CHANGE"),
    _list(f"{_ACCOUNTS}/{{user}}/organizations", OfAccount(AccountOperation.USE, "user"), accounts.list_organizations,
          accounts.OrganizationPlaces, "The organizations that a user is a member of"),
    # -------------------------------------------------------------------------------------------------------- members
    _list(_MEMBERS, _SEES, organizations.list_members, organizations.Members, "An organization's members"),
    _get(f"{_MEMBERS}/{{user}}", _SEES, organizations.read_member, organizations.Member, "A member of an organization"),
    Route("PUT", f"{_MEMBERS}/{{user}}", _GOVERNS, organizations.put_member, "Make a user a member, or change what it may",
          organizations.Member, organizations.MemberChange, 200, "MEMBER_PUT"),
    Route("DELETE", f"{_MEMBERS}/{{user}}", OfAccount(AccountOperation.GOVERN, "org", ORGANIZATIONS, own_place="user"),
          organizations.delete_member, "Take a member out of an organization", status=204, event="MEMBER_DELETE"),
    # ---------------------------------------------------------------------------------------------------------- teams
    _list(_TEAMS, _SEES, teams.list_teams, teams.Teams, "An organization's teams"),
    Route("POST", _TEAMS, _GOVERNS, teams.create_team, "Make a team",
          teams.Team, teams.NewTeam, 201, "TEAM_CREATE", is_versioned=True),
    _get(f"{_TEAMS}/{{team}}", _SEES, teams.read_team, teams.Team, "A team", is_versioned=True),
    Route("PATCH", f"{_TEAMS}/{{team}}", _GOVERNS, teams.change_team, "Change a team",
          teams.Team, teams.TeamChange, 200, "TEAM_UPDATE", is_versioned=True),
    Route("DELETE", f"{_TEAMS}/{{team}}", _GOVERNS, teams.delete_team, "Delete a team",
          status=204, event="TEAM_DELETE", is_versioned=True),
    _list(_TEAM_MEMBERS, _SEES, teams.list_team_members, teams.TeamMembers, "A team's members"),
    _get(f"{_TEAM_MEMBERS}/{{user}}", _SEES, teams.read_team_member, teams.TeamMember, "A member of a team"),
    Route("PUT", f"{_TEAM_MEMBERS}/{{user}}", _GOVERNS, teams.put_team_member,
          "Put a member of the organization, or a robot of it, into a team",
          teams.TeamMember, Nothing, 200, "TEAM_MEMBER_PUT"),
    Route("DELETE", f"{_TEAM_MEMBERS}/{{user}}", _GOVERNS, teams.delete_team_member, "Take a member out of a team",
          status=204, event="TEAM_MEMBER_DELETE"),
    _list("/api/v0/accounts/{org}/teams/{team}/repositoryAccess", _SEES, teams.list_team_repositories, teams.RepositoryGrants,
          "What a team was granted on repositories"),
    # --------------------------------------------------------------------------------------------------------- robots
    _list(_ROBOTS, _GOVERNS, robots.list_robots, robots.Robots, "An organization's robots"),
    Route("POST", _ROBOTS, _MINTS, robots.create_robot, "Make a robot, with a first access token",
          robots.NewlyMade, robots.NewRobot, 201, "ROBOT_CREATE", is_versioned=True),
    _get(f"{_ROBOTS}/{{robot}}", _GOVERNS, robots.read_robot, robots.Robot, "A robot", is_versioned=True),
    Route("PATCH", f"{_ROBOTS}/{{robot}}", _GOVERNS, robots.change_robot, "Change a robot",
          robots.Robot, robots.RobotChange, 200, "ROBOT_UPDATE", is_versioned=True),
    Route("DELETE", f"{_ROBOTS}/{{robot}}", _GOVERNS, robots.delete_robot, "Delete a robot",
          status=204, event="ROBOT_DELETE", is_versioned=True),
    _list(f"{_ROBOTS}/{{robot}}/trust", _GOVERNS, trust.list_rules, trust.TrustRules, "A robot's trust rules"),
    _get(f"{_ROBOTS}/{{robot}}/trust/{{rule}}", _GOVERNS, trust.read_rule, trust.TrustRule, "A trust rule", is_versioned=True),
    Route("PUT", f"{_ROBOTS}/{{robot}}/trust/{{rule}}", _MINTS, trust.put_rule, "Make a trust rule, or another one over it",
          trust.TrustRule, trust.NewTrustRule, 200, "TRUST_RULE_PUT", is_versioned=True),
    Route("DELETE", f"{_ROBOTS}/{{robot}}/trust/{{rule}}", _GOVERNS, trust.delete_rule, "Take a trust rule away",
          status=204, event="TRUST_RULE_DELETE", is_versioned=True),
    # --------------------------------------------------------------------------------------------------- repositories
    _get("/api/v0/accounts/{account}/repositoryAccess/{ns}/{repo}", AccessOfAccount(), repositories.read_repository_access,
         repositories.RepositoryAccess, "What an account may do with a repository, and why"),
    _list(_REPOSITORIES, Anybody(), repositories.list_repositories, repositories.Repositories,
          "Repositories that the caller may see", _PREFIX),
    _list(f"{_REPOSITORIES}/{{ns}}", Anybody(), repositories.list_namespace, repositories.Repositories,
          "Those of one namespace"),
    Route("POST", f"{_REPOSITORIES}/{{ns}}", OfNamespace(), repositories.create_repository, "Make a repository",
          repositories.Repository, repositories.NewRepository, 201, CREATED, is_versioned=True),
    _list(f"{_REPOSITORY}/teamAccess", _MANAGES, team_access.list_repository_grants, team_access.TeamGrants,
          "What teams were granted on a repository"),
    _get(f"{_REPOSITORY}/teamAccess/{{team}}", _MANAGES, team_access.read_repository_grant, team_access.TeamGrant,
         "What a team was granted on a repository"),
    Route("PUT", f"{_REPOSITORY}/teamAccess/{{team}}", _MANAGES, team_access.put_repository_grant,
          "Grant a team access to a repository", team_access.TeamGrant, team_access.NewGrant, 200, "GRANT_PUT"),
    Route("DELETE", f"{_REPOSITORY}/teamAccess/{{team}}", _MANAGES, team_access.delete_repository_grant,
          "Take a team's access to a repository back", status=204, event="GRANT_DELETE"),
    _list(f"{_REPOSITORY}/events", _MANAGES, events.list_repository_events, events.Events, "What happened to a repository"),
    _list(f"{_REPOSITORY}/removed", _PUSHES, trash.list_removed, trash.RemovedItems,
          "What was removed from a repository and may be restored"),
    Route("POST", f"{_REPOSITORY}/restore", _PUSHES, trash.restore, "Restore what was removed",
          trash.RestoredManifest, trash.Restoration, 200, "MANIFEST_RESTORE"),
    _get(_REPOSITORY, OfRepository(Operation.VIEW), repositories.read_repository, repositories.Repository, "A repository",
         is_versioned=True),
    Route("PATCH", _REPOSITORY, OfRepository(Operation.DESCRIBE), repositories.change_repository, "Change a repository",
          repositories.Repository, repositories.RepositoryChange, 200, "REPOSITORY_UPDATE", is_versioned=True,
          fields={"visibility": Operation.SET_VISIBILITY}),
    Route("DELETE", _REPOSITORY, OfRepository(Operation.DELETE_REPOSITORY), repositories.delete_repository,
          "Delete a repository and everything in it", status=204, event="REPOSITORY_DELETE", is_versioned=True),
    _list(_NAMESPACE_GRANTS, _GOVERNS_NAMESPACE, team_access.list_namespace_grants, team_access.TeamGrants,
          "What teams were granted in a whole namespace"),
    _get(f"{_NAMESPACE_GRANTS}/{{team}}", _GOVERNS_NAMESPACE, team_access.read_namespace_grant, team_access.TeamGrant,
         "What a team was granted in a whole namespace"),
    Route("PUT", f"{_NAMESPACE_GRANTS}/{{team}}", _GOVERNS_NAMESPACE, team_access.put_namespace_grant,
          "Grant a team access to a whole namespace", team_access.TeamGrant, team_access.NewGrant, 200, "GRANT_PUT"),
    Route("DELETE", f"{_NAMESPACE_GRANTS}/{{team}}", _GOVERNS_NAMESPACE, team_access.delete_namespace_grant,
          "Take a team's access to a whole namespace back", status=204, event="GRANT_DELETE"),
    # -------------------------------------------------------------------------------------------------- access tokens
    _list(_TOKENS, OfTokenOwner(), api_tokens.list_tokens, api_tokens.ApiTokens, "An account's access tokens", _ACCOUNT_OF),
    Route("POST", _TOKENS, OfTokenOwner(mints=True), api_tokens.create_token, "Make an access token",
          api_tokens.MadeApiToken, api_tokens.NewApiToken, 201, "TOKEN_CREATE", is_versioned=True, query=(_ACCOUNT_OF,)),
    Route("GET", f"{_TOKENS}/{{id}}", OfTokenOwner(), api_tokens.read_token, "An access token",
          api_tokens.ApiToken, is_versioned=True, query=(_ACCOUNT_OF,)),
    Route("PATCH", f"{_TOKENS}/{{id}}", OfTokenOwner(), api_tokens.change_token, "Change an access token",
          api_tokens.ApiToken, api_tokens.ApiTokenChange, 200, "TOKEN_UPDATE", is_versioned=True, query=(_ACCOUNT_OF,)),
    Route("DELETE", f"{_TOKENS}/{{id}}", OfTokenOwner(), api_tokens.delete_token, "End an access token",
          status=204, event="TOKEN_DELETE", is_versioned=True, query=(_ACCOUNT_OF,)),
    # ----------------------------------------------------------------------------------------------------------- jobs
    _list(_JOBS, Administrator(), jobs.list_jobs, jobs.Jobs, "The registry's own work, under way and ended", _ACTION, _STATUS),
    Route("POST", _JOBS, Administrator(), jobs.create_job, "Run a job now",
          jobs.Job, jobs.NewJob, 201, "JOB_CREATE"),
    _get(f"{_JOBS}/{{job}}", Administrator(), jobs.read_job, jobs.Job, "A job"),
    Route("DELETE", f"{_JOBS}/{{job}}", Administrator(), jobs.delete_job, "Delete an ended job with its log",
          status=204, event="JOB_DELETE"),
    Route("POST", f"{_JOBS}/{{job}}/cancel", Administrator(), jobs.cancel_job,
          "End a job; one that is running stops at its next step", jobs.Job, event="JOB_CANCEL"),
    Route("GET", f"{_JOBS}/{{job}}/logs", Administrator(), jobs.read_log, "What a job has written down",
          jobs.JobLog, query=(jobs.OFFSET, jobs.LIMIT)),
    _list("/api/v0/crons", Administrator(), crons.list_crons, crons.Crons,
          "The kinds of jobs: what they take, and when they run by themselves"),
    _get(_CRON, Administrator(), crons.read_cron, crons.Cron, "When a kind of job runs by itself", is_versioned=True),
    Route("PUT", _CRON, Administrator(), crons.put_cron, "Change when a kind of job runs by itself, and how",
          crons.Cron, crons.CronChange, 200, "CRON_PUT", is_versioned=True),
    Route("DELETE", _CRON, Administrator(), crons.delete_cron, "Have a kind of job run only when it is asked for",
          status=204, event="CRON_DELETE", is_versioned=True),
    # ------------------------------------------------------------------------------------------------- the registry
    _list("/api/v0/events", Administrator(), events.list_events, events.Events, "What happened in the registry"),
    _get("/api/v0/meta/settings", SignedIn(), settings.read_settings, settings.Settings, "The registry's settings",
         is_versioned=True),
    Route("PATCH", "/api/v0/meta/settings", Administrator(), settings.change_settings, "Change the registry's settings",
          settings.Settings, settings.SettingsChange, 200, "SETTINGS_UPDATE", is_versioned=True),
    _get("/api/v0/meta/storage", Administrator(), storage.read_storage, storage.Storage, "How much is stored, and what for"),
)  # fmt: skip


def match_route(method: str, path: str) -> Match:
    """The row of a request. Raises EndpointUnknown, Unsupported (another method of a known path)."""
    for pattern, rows in _paths():
        found = pattern.fullmatch(path)
        if found is None:
            continue
        if method not in rows:
            raise Unsupported(tuple(rows))
        return Match(rows[method], found.groupdict())
    raise EndpointUnknown


@cache
def _paths() -> Sequence[tuple[re.Pattern[str], Mapping[str, Route]]]:
    """Each path template once, in order, with its rows by method."""
    paths: dict[str, dict[str, Route]] = {}
    for row in ROUTES:
        paths.setdefault(row.path, {})[row.method] = row
    return [(_pattern(path), rows) for path, rows in paths.items()]


def _pattern(path: str) -> re.Pattern[str]:
    text = re.sub(r"\{(\w+)\}", lambda name: f"(?P<{name[1]}>{'.+' if name[1] == 'repo' else '[^/]+'})", path)
    return re.compile(text, re.DOTALL)
