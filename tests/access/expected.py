"""Who may do what over HTTP, written down by hand: every route, every kind of caller, every state of the repository.

This is the other half of ``test_matrix.py``. Nothing in it is taken from the program's own tables, so that a change of those is
a change of both or a failure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

CALLERS = (
    "anonymous",
    "stranger",  # a user without any place
    "outsider",  # the admin of another organization
    "member",  # of the organization, in no team
    "repo-ro",  # members, in a team that has read-only, read-write, admin on the repository
    "repo-rw",
    "repo-admin",
    "ns-ro",  # the same on the whole namespace
    "ns-rw",
    "ns-admin",
    "owner",  # an admin of the organization
    "robot",  # of the organization, in the team with read-write on the repository
    "narrow-rw",  # an access token of the member with read-write, narrowed to pull from the repository
    "narrow-admin",  # the same of the administrator
    "admin",
    "locked",  # was in the team with read-write
    "expired",  # the access token of somebody in that team
)

# A cell is the status, or "ok" for what is allowed: then the request itself may still be no good (400, 409, 412).
_GRIDS = """
                    anon stra outs memb r-ro r-rw r-ad n-ro n-rw n-ad ownr robo na-rw na-ad admn lock expi
everybody           ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok    ok    ok   ok   ok
lists               ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok    ok    ok   401  401
any-caller          401  ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok    ok    ok   401  401
signed-in           401  ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   403   403   ok   401  401
signed-in-minters   401  ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   403  403   403   ok   401  401
signed-in-users     401  ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   400  403   403   ok   401  401
administrators      401  403  403  403  403  403  403  403  403  403  403  403  403   403   ok   401  401

members             401  404  404  ok   ok   ok   ok   ok   ok   ok   ok   404  403   403   ok   401  401
owners              401  404  404  403  403  403  403  403  403  403  ok   404  403   403   ok   401  401
robot-seen          401  404  404  ok   ok   ok   ok   ok   ok   ok   ok   ok   403   403   ok   401  401
robot-used          401  404  404  403  403  403  403  403  403  403  ok   ok   403   403   ok   401  401
robot-minters       401  404  404  403  403  403  403  403  403  403  ok   403  403   403   ok   401  401
robot-governed      401  404  404  403  403  403  403  403  403  403  ok   403  403   403   ok   401  401
other's-robot       401  404  ok   404  404  404  404  404  404  404  404  404  403   403   ok   401  401
other-person        401  404  404  404  404  404  404  404  404  404  404  404  403   403   ok   401  401
nobody's            401  404  404  404  404  404  404  404  404  404  404  404  403   403   404  401  401
not-one's-own       401  404  404  404  404  404  404  404  404  404  404  404  403   403   404  401  401
creators            401  403  403  403  403  403  403  403  403  ok   ok   403  403   403   ok   401  401
nobody's-namespace  401  403  403  403  403  403  403  403  403  403  403  403  403   403   404  401  401

view/private        401  404  404  404  ok   ok   ok   ok   ok   ok   ok   ok   ok    ok    ok   401  401
view/public         ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok    ok    ok   401  401
view/absent         401  404  404  404  404  404  404  404  404  404  404  404  404   404   404  401  401
manage/private      401  404  404  404  403  403  ok   403  403  ok   ok   403  403   403   ok   401  401
manage/public       401  403  403  403  403  403  ok   403  403  ok   ok   403  403   403   ok   401  401
manage/absent       401  404  404  404  404  404  404  404  404  404  404  404  403   403   404  401  401
end/private         401  404  404  404  403  403  ok   403  403  ok   ok   403  403   403   ok   401  401
end/public          401  403  403  403  403  403  ok   403  403  ok   ok   403  403   403   ok   401  401
end/absent          401  404  404  404  404  404  404  404  404  ok   ok   404  403   403   ok   401  401
restore/private     401  404  404  404  403  ok   ok   403  ok   ok   ok   ok   403   403   ok   401  401
restore/public      401  403  403  403  403  ok   ok   403  ok   ok   ok   ok   403   403   ok   401  401
restore/absent      401  404  404  404  404  404  404  404  404  404  404  404  403   403   404  401  401
why-me/private      401  ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   403   403   ok   401  401
why-me/public       401  ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   403   403   ok   401  401
why-me/absent       401  ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   403   403   ok   401  401
why-zoe/private     401  404  404  404  404  404  ok   404  404  ok   ok   404  403   403   ok   401  401
why-zoe/public      401  404  404  404  404  404  ok   404  404  ok   ok   404  403   403   ok   401  401
why-zoe/absent      401  404  404  404  404  404  404  404  404  ok   ok   404  403   403   ok   401  401
why-robot/private   401  404  404  403  403  403  ok   403  403  ok   ok   ok   403   403   ok   401  401
why-robot/public    401  404  404  403  403  403  ok   403  403  ok   ok   ok   403   403   ok   401  401
why-robot/absent    401  404  404  403  403  403  403  403  403  ok   ok   ok   403   403   ok   401  401

catalog             403  403  403  403  403  403  403  403  403  403  403  403  403   403   ok   401  401
pull/private        403  403  403  403  ok   ok   ok   ok   ok   ok   ok   ok   ok    ok    ok   401  401
pull/public         ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok    ok    ok   401  401
pull/absent         403  403  403  403  403  403  403  403  403  404  404  403  403   404   404  401  401
refer/private       403  403  403  403  ok   ok   ok   ok   ok   ok   ok   ok   ok    ok    ok   401  401
refer/public        ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok   ok    ok    ok   401  401
refer/absent        403  403  403  403  403  403  403  403  403  ok   ok   403  403   ok    ok   401  401
push/private        403  403  403  403  403  ok   ok   403  ok   ok   ok   ok   403   403   ok   401  401
push/public         403  403  403  403  403  ok   ok   403  ok   ok   ok   ok   403   403   ok   401  401
push/absent         403  403  403  403  403  403  403  403  403  ok   ok   403  403   403   ok   401  401
delete/private      403  403  403  403  403  ok   ok   403  ok   ok   ok   ok   403   403   ok   401  401
delete/public       403  403  403  403  403  ok   ok   403  ok   ok   ok   ok   403   403   ok   401  401
delete/absent       403  403  403  403  403  403  403  403  403  404  404  403  403   403   404  401  401
writer              404  404  404  404  404  404  404  404  404  404  404  404  404   404   404  401  401
"""


def _read(text: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    _, *lines = (line for line in text.splitlines() if line.strip())
    for line in lines:
        name, *cells = line.split()
        yield name, dict(zip(CALLERS, cells, strict=True))


GRIDS: Mapping[str, Mapping[str, str]] = dict(_read(_GRIDS))


@dataclass(frozen=True, slots=True)
class Row:
    """One way to use a route: its method, its path as the program's table has it, whose ``grid`` holds. The names in the path
    are those of NAMES, or those in ``names``, in the query ``query``."""

    method: str
    path: str
    grid: str
    body: Mapping[str, object] | None = None
    names: Mapping[str, str] | None = None
    query: str = ""


NAMES: Mapping[str, str] = {
    "name": "acme",
    "org": "acme",
    "ns": "acme",
    "user": "member",
    "team": "repo-ro",
    "robot": "ci",
    "rule": "main",
    "account": "{self}",
    "id": "{own-token}",
    "job": "{ended-job}",
    "action": "climb",
}
"""What stands for each parameter; ``{self}`` is the caller's name, ``{own-token}`` the id of an access token of the caller's,
``{zoe's-token}`` one of somebody else's, ``{ended-job}`` and ``{waiting-job}`` are jobs. ``{repo}`` is each of the three in
turn."""

_ACCOUNTS = "/enzi/v0/accounts"
_ACCOUNT = "/enzi/v0/accounts/{name}"
_ORG = "/enzi/v0/accounts/{org}"
_ROBOTS = "/api/v0/accounts/{org}/robots"
_REPOSITORY = "/api/v0/repositories/{ns}/{repo}"
_NAMESPACE = "/api/v0/repositoryNamespaces/{ns}/teamAccess"
_TOKENS = "/api/v0/api_tokens"
_JOB = "/api/v0/jobs/{job}"
_CRON = "/api/v0/crons/{action}"
_WHY = "/api/v0/accounts/{account}/repositoryAccess/{ns}/{repo}"

_SELF, _ZOE, _CI, _NOBODY = {"name": "{self}"}, {"name": "zoe"}, {"name": "acme%2Bci"}, {"name": "nobody"}
_NAMED, _PROMOTED = {"fullName": "N"}, {"isAdmin": True}
_PASSWORDS = {"oldPassword": "{password}", "newPassword": "better"}
_TRUST = {"issuer": "https://issuer.test", "subject": "repo:acme/*"}
_LABEL = {"tokenLabel": "made"}
_WAITING = {"job": "{waiting-job}"}

MANAGEMENT: Sequence[Row] = (
    Row("GET", "/api/v0/whoami", "any-caller"),
    Row("GET", _ACCOUNTS, "signed-in"),
    Row("POST", _ACCOUNTS, "administrators", {"name": "new"}),
    Row("GET", _ACCOUNT, "members"),
    Row("GET", _ACCOUNT, "signed-in", names=_SELF),
    Row("GET", _ACCOUNT, "other-person", names=_ZOE),
    Row("GET", _ACCOUNT, "robot-seen", names=_CI),
    Row("GET", _ACCOUNT, "nobody's", names=_NOBODY),
    Row("PATCH", _ACCOUNT, "owners", _NAMED),
    Row("PATCH", _ACCOUNT, "administrators", {"isAdmin": False, "fullName": "N"}, names=_SELF),
    Row("PATCH", _ACCOUNT, "signed-in", _NAMED, names=_SELF),
    Row("PATCH", _ACCOUNT, "administrators", _PROMOTED, names=_SELF),
    Row("PATCH", _ACCOUNT, "administrators", {"isActive": True}, names=_SELF),
    Row("PATCH", _ACCOUNT, "other-person", _NAMED, names=_ZOE),
    Row("PATCH", _ACCOUNT, "other-person", _PROMOTED, names=_ZOE),
    Row("PATCH", _ACCOUNT, "robot-used", _NAMED, names=_CI),
    Row("PATCH", _ACCOUNT, "nobody's", _NAMED, names=_NOBODY),
    Row("DELETE", _ACCOUNT, "owners"),
    Row("DELETE", _ACCOUNT, "administrators", names=_SELF),
    Row("DELETE", _ACCOUNT, "other-person", names=_ZOE),
    Row("DELETE", _ACCOUNT, "robot-governed", names=_CI),
    Row("DELETE", _ACCOUNT, "other-person", names=_NOBODY),
    Row("POST", f"{_ACCOUNT}/changePassword", "signed-in-users", _PASSWORDS, names=_SELF),
    Row("POST", f"{_ACCOUNT}/changePassword", "other-person", {"newPassword": "better"}, names=_ZOE),
    Row("GET", f"{_ACCOUNTS}/{{user}}/organizations", "signed-in", names={"user": "{self}"}),
    Row("GET", f"{_ACCOUNTS}/{{user}}/organizations", "other-person", names={"user": "zoe"}),
    Row("GET", f"{_ORG}/members", "members"),
    Row("GET", f"{_ORG}/members/{{user}}", "members"),
    Row("PUT", f"{_ORG}/members/{{user}}", "owners", {"isAdmin": True}),
    Row("PUT", f"{_ORG}/members/{{user}}", "owners", {}, names={"user": "zoe"}),
    Row("PUT", f"{_ORG}/members/{{user}}", "owners", {"isAdmin": True}, names={"user": "{self}"}),
    Row("DELETE", f"{_ORG}/members/{{user}}", "owners", names={"user": "locked"}),
    Row("DELETE", f"{_ORG}/members/{{user}}", "members", names={"user": "{self}"}),
    Row("GET", f"{_ORG}/teams", "members"),
    Row("POST", f"{_ORG}/teams", "owners", {"name": "new"}),
    Row("GET", f"{_ORG}/teams/{{team}}", "members"),
    Row("PATCH", f"{_ORG}/teams/{{team}}", "owners", {"description": "d"}),
    Row("DELETE", f"{_ORG}/teams/{{team}}", "owners"),
    Row("GET", f"{_ORG}/teams/{{team}}/members", "members"),
    Row("GET", f"{_ORG}/teams/{{team}}/members/{{user}}", "members", names={"user": "repo-ro"}),
    Row("PUT", f"{_ORG}/teams/{{team}}/members/{{user}}", "owners", {}),
    Row("PUT", f"{_ORG}/teams/{{team}}/members/{{user}}", "owners", {}, names={"team": "ns-admin", "user": "acme%2Bci"}),
    Row("DELETE", f"{_ORG}/teams/{{team}}/members/{{user}}", "owners", names={"user": "repo-ro"}),
    Row("GET", "/api/v0/accounts/{org}/teams/{team}/repositoryAccess", "members"),
    Row("GET", _ROBOTS, "owners"),
    Row("POST", _ROBOTS, "owners", {"name": "new"}),
    Row("GET", f"{_ROBOTS}/{{robot}}", "owners"),
    Row("PATCH", f"{_ROBOTS}/{{robot}}", "owners", {"description": "d"}),
    Row("DELETE", f"{_ROBOTS}/{{robot}}", "owners"),
    Row("GET", f"{_ROBOTS}/{{robot}}/trust", "owners"),
    Row("GET", f"{_ROBOTS}/{{robot}}/trust/{{rule}}", "owners"),
    Row("PUT", f"{_ROBOTS}/{{robot}}/trust/{{rule}}", "owners", _TRUST),
    Row("DELETE", f"{_ROBOTS}/{{robot}}/trust/{{rule}}", "owners"),
    Row("GET", _WHY, "why-me"),
    Row("GET", _WHY, "why-zoe", names={"account": "zoe"}),
    Row("GET", _WHY, "why-robot", names={"account": "acme%2Bci"}),
    Row("GET", "/api/v0/repositories", "lists"),
    Row("GET", "/api/v0/repositories/{ns}", "lists"),
    Row("POST", "/api/v0/repositories/{ns}", "creators", {"name": "new"}),
    Row("POST", "/api/v0/repositories/{ns}", "signed-in-users", {"name": "new"}, names={"ns": "{self}"}),
    Row("POST", "/api/v0/repositories/{ns}", "nobody's-namespace", {"name": "new"}, names={"ns": "nobody"}),
    Row("GET", f"{_REPOSITORY}/teamAccess", "manage"),
    Row("GET", f"{_REPOSITORY}/teamAccess/{{team}}", "manage"),
    Row("PUT", f"{_REPOSITORY}/teamAccess/{{team}}", "manage", {"accessLevel": "admin"}),
    Row("DELETE", f"{_REPOSITORY}/teamAccess/{{team}}", "end"),
    Row("GET", f"{_REPOSITORY}/events", "manage"),
    Row("GET", f"{_REPOSITORY}/removed", "restore"),
    Row("POST", f"{_REPOSITORY}/restore", "restore", {"reference": "removed"}),
    Row("GET", _REPOSITORY, "view"),
    Row("PATCH", _REPOSITORY, "manage", {"shortDescription": "d"}),
    Row("PATCH", _REPOSITORY, "manage", {"visibility": "public"}),
    Row("DELETE", _REPOSITORY, "end"),
    Row("GET", _NAMESPACE, "owners"),
    Row("GET", f"{_NAMESPACE}/{{team}}", "owners", names={"team": "ns-ro"}),
    Row("PUT", f"{_NAMESPACE}/{{team}}", "owners", {"accessLevel": "admin"}),
    Row("DELETE", f"{_NAMESPACE}/{{team}}", "owners", names={"team": "ns-ro"}),
    Row("GET", _TOKENS, "signed-in"),
    Row("GET", _TOKENS, "other-person", query="account=zoe"),
    Row("GET", _TOKENS, "robot-used", query="account=acme%2Bci"),
    Row("GET", _TOKENS, "other's-robot", query="account=other%2Bci"),
    Row("POST", _TOKENS, "signed-in-minters", _LABEL),
    Row("POST", _TOKENS, "other-person", _LABEL, query="account=zoe"),
    Row("POST", _TOKENS, "robot-minters", _LABEL, query="account=acme%2Bci"),
    Row("POST", _TOKENS, "nobody's", _LABEL, query="account=nobody"),
    Row("GET", f"{_TOKENS}/{{id}}", "signed-in"),
    Row("GET", f"{_TOKENS}/{{id}}", "not-one's-own", names={"id": "{zoe's-token}"}),
    Row("GET", f"{_TOKENS}/{{id}}", "other-person", names={"id": "{zoe's-token}"}, query="account=zoe"),
    Row("PATCH", f"{_TOKENS}/{{id}}", "signed-in", {"isActive": False}),
    Row("PATCH", f"{_TOKENS}/{{id}}", "not-one's-own", {"isActive": False}, names={"id": "{zoe's-token}"}),
    Row("PATCH", f"{_TOKENS}/{{id}}", "other-person", {"isActive": False}, names={"id": "{zoe's-token}"}, query="account=zoe"),
    Row("DELETE", f"{_TOKENS}/{{id}}", "signed-in"),
    Row("DELETE", f"{_TOKENS}/{{id}}", "other-person", names={"id": "{zoe's-token}"}, query="account=zoe"),
    Row("GET", "/api/v0/jobs", "administrators"),
    Row("POST", "/api/v0/jobs", "administrators", {"action": "climb", "parameters": {"steps": 1}}),
    Row("GET", _JOB, "administrators"),
    Row("DELETE", _JOB, "administrators"),
    Row("POST", f"{_JOB}/cancel", "administrators", names=_WAITING),
    Row("GET", f"{_JOB}/logs", "administrators"),
    Row("GET", "/api/v0/crons", "administrators"),
    Row("GET", _CRON, "administrators"),
    Row("PUT", _CRON, "administrators", {"schedule": "0 0 4 * * *"}),
    Row("DELETE", _CRON, "administrators"),
    Row("GET", "/api/v0/events", "administrators"),
    Row("GET", "/api/v0/meta/settings", "signed-in"),
    Row("PATCH", "/api/v0/meta/settings", "administrators", {"eventRetentionDays": 30}),
)

OPEN: Sequence[Row] = (
    Row("GET", "/_ping", "everybody"),
    Row("GET", "/health", "everybody"),
    Row("GET", "/ca", "everybody"),
    Row("HEAD", "/ca", "everybody"),
    Row("GET", "/.well-known/jwks.json", "everybody"),
    Row("HEAD", "/.well-known/jwks.json", "everybody"),
    Row("GET", "/api/v0/openapi.json", "everybody"),
)

TOKEN_SERVICE: Sequence[Row] = (Row("GET", "/auth/token", "lists"), Row("POST", "/auth/token", "lists"))


@dataclass(frozen=True, slots=True)
class Pull:
    """The same for the distribution API: the scope that the caller asks a token for, and the path."""

    method: str
    path: str
    grid: str
    actions: str = "pull"


_REPO = "/v2/<name>"
_UPLOAD = "/v2/<name>/blobs/uploads/<reference>"
_RELAY = "/_relay/v2/<name>/blobs/uploads/<reference>"
_PUSH = "pull,push"

DISTRIBUTION: Sequence[Pull] = (
    Pull("GET", "/v2/?", "lists", ""),
    Pull("HEAD", "/v2/?", "lists", ""),
    Pull("GET", "/v2/_catalog", "catalog", "*"),
    Pull("POST", "/v2/<name>/blobs/uploads/?", "push", _PUSH),
    Pull("PATCH", _UPLOAD, "push", _PUSH),
    Pull("PUT", _UPLOAD, "push", _PUSH),
    Pull("GET", _UPLOAD, "push", _PUSH),
    Pull("DELETE", _UPLOAD, "push", _PUSH),
    Pull("GET", f"{_REPO}/blobs/<reference>", "pull"),
    Pull("HEAD", f"{_REPO}/blobs/<reference>", "pull"),
    Pull("DELETE", f"{_REPO}/blobs/<reference>", "delete", "delete"),
    Pull("GET", f"{_REPO}/manifests/<reference>", "pull"),
    Pull("HEAD", f"{_REPO}/manifests/<reference>", "pull"),
    Pull("PUT", f"{_REPO}/manifests/<reference>", "push", _PUSH),
    Pull("DELETE", f"{_REPO}/manifests/<reference>", "delete", "delete"),
    Pull("GET", f"{_REPO}/tags/list", "pull"),
    Pull("GET", f"{_REPO}/referrers/<reference>", "refer"),
    Pull("POST", f"{_RELAY}/open", "push", _PUSH),
    Pull("POST", f"{_RELAY}/begin", "push", _PUSH),
    Pull("POST", f"{_RELAY}/close", "writer", _PUSH),
    Pull("POST", f"{_RELAY}/parts", "writer", _PUSH),
    Pull("POST", f"{_RELAY}/end", "writer", _PUSH),
    Pull("POST", f"{_RELAY}/abort", "writer", _PUSH),
)
