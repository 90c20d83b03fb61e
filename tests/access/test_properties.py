"""Whatever is done in whatever order, a token grants what a simple model says: over HTTP, with hypothesis."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

import jwt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.access.world import NotedTable
from tests.frozen_clock import FrozenClock
from tests.memory_signer import MemorySigner
from tests.surface import PASSWORD, SERVICE, Surface

USERS = ("alice", "bob", "carol")
ROBOT = "acme+ci"
TEAMS = ("dev", "ops")
REPOSITORIES = ("acme/app", "acme/deep/er", "alice/own", "beta/app", "acme")
EVERYTHING = ""
"""Where a grant is on the whole namespace."""

LEVELS: Mapping[str, frozenset[str]] = {
    "none": frozenset(),
    "read-only": frozenset({"pull"}),
    "read-write": frozenset({"pull", "push", "delete"}),
    "admin": frozenset({"pull", "push", "delete"}),
}
ORDER = list(LEVELS)

users, teams, levels = st.sampled_from(USERS), st.sampled_from(TEAMS), st.sampled_from(ORDER[1:])
granted_on = st.sampled_from((EVERYTHING, "acme/app", "acme/deep/er"))
repositories = st.sampled_from(REPOSITORIES[:4])


@cache
def base() -> tuple[NotedTable, MemorySigner]:
    """What every example begins with: the users, the organizations acme and beta, acme's teams and robot; no repository."""
    table, signer = NotedTable(), MemorySigner()
    surface = Surface(table=table, signer=signer)
    for name in USERS:
        surface.accounts.create_user(name, PASSWORD)
    for name in ("acme", "beta"):
        surface.accounts.create_organization(name)
    surface.accounts.create_robot(surface.organizations.get("acme"), "ci")
    surface.organizations.add(surface.organizations.get("beta"), "carol", is_admin=True)
    surface.token()
    return table, signer


class Client:
    """Changes things as the administrator, and asks for tokens as anybody."""

    def __init__(self) -> None:
        table, signer = base()
        self.surface = Surface(table=table.copied(), signer=signer, clock=FrozenClock())

    def ask(self, method: str, url: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        content = b"" if body is None else json.dumps(body).encode()
        headers = {"content_type": "application/json"} if content else {}
        answer = self.surface.send(method, url, content, authorization=basic("admin", PASSWORD), **headers)
        assert answer.status < 300, (method, url, body, answer.status, answer.body)
        return json.loads(answer.body) if answer.body else None

    def actions(self, name: str, secret: str, names: Sequence[str] = REPOSITORIES) -> Mapping[str, frozenset[str]] | None:
        """What a new token grants in each repository; None if the credentials are no good."""
        query = urlencode([("service", SERVICE), *(("scope", f"repository:{repository}:*") for repository in names)])
        answer = self.surface.send("GET", f"/auth/token?{query}", authorization=basic(name, secret))
        if answer.status != 200:
            assert answer.status == 401
            return None
        claims = jwt.decode(json.loads(answer.body)["token"], options={"verify_signature": False})
        found = {entry["name"]: frozenset(entry["actions"]) - {"*"} for entry in claims["access"]}
        return {repository: found.get(repository, frozenset()) for repository in names}

    def grant(self, team: str, where: str, level: str) -> None:
        self.ask("PUT", grant_url(team, where), {"accessLevel": level})

    def withdraw(self, team: str, where: str) -> None:
        self.ask("DELETE", grant_url(team, where))

    def begin(self) -> None:
        for team in TEAMS:
            self.ask("POST", "/enzi/v0/accounts/acme/teams", {"name": team})
        for name in REPOSITORIES[:4]:
            namespace, _, rest = name.partition("/")
            self.ask("POST", f"/api/v0/repositories/{namespace}", {"name": rest})


def grant_url(team: str, where: str) -> str:
    of = f"repositories/{where}" if where else "repositoryNamespaces/acme"
    return f"/api/v0/{of}/teamAccess/{team}"


def basic(name: str, secret: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{secret}'.encode()).decode()}" if name else ""


@dataclass
class Model:
    """Who holds what, as plainly as it can be said."""

    members: dict[str, bool] = field(default_factory=dict)
    places: set[tuple[str, str]] = field(default_factory=set)
    grants: dict[tuple[str, str], str] = field(default_factory=dict)
    public: set[str] = field(default_factory=set)
    there: set[str] = field(default_factory=lambda: set(REPOSITORIES[:4]))
    locked: set[str] = field(default_factory=set)
    admins: set[str] = field(default_factory=set)

    def actions(self, name: str, repository: str, limits: tuple[Sequence[str], frozenset[str]] | None) -> frozenset[str]:
        whole, here = self.in_namespace(name, repository), self.in_repository(name, repository)
        if repository not in self.there:
            held = LEVELS["admin"] if whole == "admin" else LEVELS["none"]
        else:
            held = LEVELS[max(whole, here, key=ORDER.index)]
        if limits is None:
            return held
        patterns, actions = limits
        covered = any(repository == each or (each.endswith("/*") and repository.startswith(each[:-1])) for each in patterns)
        return held & actions if covered else frozenset()

    def in_namespace(self, name: str, repository: str) -> str:
        namespace = repository.partition("/")[0]
        if name == "admin" or name in self.admins or name == namespace or (name, namespace) == ("carol", "beta"):
            return "admin"
        if namespace != "acme":
            return "none"
        return "admin" if self.members.get(name) else self.by_teams(name, EVERYTHING)

    def in_repository(self, name: str, repository: str) -> str:
        return max(self.by_teams(name, repository), "read-only" if repository in self.public else "none", key=ORDER.index)

    def by_teams(self, name: str, where: str) -> str:
        held = [self.grants.get((team, where), "none") for team in TEAMS if (team, name) in self.places]
        return max(held, key=ORDER.index, default="none")


class Access(RuleBasedStateMachine):
    """Changes in any order; after each, everybody's token for everything is what the model says."""

    @initialize()
    def begin(self) -> None:
        self.client, self.model = Client(), Model()
        self.client.begin()
        self.narrowed: list[tuple[str, str, tuple[Sequence[str], frozenset[str]]]] = []
        self.robot = self.made(ROBOT, {"tokenLabel": "robot"})

    def made(self, name: str, body: object) -> str:
        return str(self.client.ask("POST", f"/api/v0/api_tokens?account={quote(name, safe='')}", body)["token"])

    @rule(user=users, is_owner=st.booleans())
    def join(self, user: str, is_owner: bool) -> None:
        self.client.ask("PUT", f"/enzi/v0/accounts/acme/members/{user}", {"isAdmin": is_owner})
        self.model.members[user] = is_owner

    @rule(user=users)
    def leave(self, user: str) -> None:
        self.client.ask("DELETE", f"/enzi/v0/accounts/acme/members/{user}")
        self.model.members.pop(user, None)
        self.model.places -= {(team, user) for team in TEAMS}

    @rule(team=teams, index=st.integers(0, 3))
    def put_in_team(self, team: str, index: int) -> None:
        names = [*self.model.members, ROBOT]
        name = names[index % len(names)]
        self.client.ask("PUT", f"/enzi/v0/accounts/acme/teams/{team}/members/{quote(name, safe='')}")
        self.model.places.add((team, name))

    @rule(team=teams, name=st.sampled_from((*USERS, ROBOT)))
    def take_from_team(self, team: str, name: str) -> None:
        self.client.ask("DELETE", f"/enzi/v0/accounts/acme/teams/{team}/members/{quote(name, safe='')}")
        self.model.places.discard((team, name))

    @rule(team=teams, where=granted_on, level=levels)
    def grant(self, team: str, where: str, level: str) -> None:
        if where and where not in self.model.there:
            return
        self.client.grant(team, where, level)
        self.model.grants[team, where] = level

    @rule(team=teams, where=granted_on)
    def withdraw(self, team: str, where: str) -> None:
        self.client.withdraw(team, where)
        self.model.grants.pop((team, where), None)

    @rule(team=teams)
    def end_team_and_make_it_anew(self, team: str) -> None:
        self.client.ask("DELETE", f"/enzi/v0/accounts/acme/teams/{team}")
        self.client.ask("POST", "/enzi/v0/accounts/acme/teams", {"name": team})
        self.model.places = {place for place in self.model.places if place[0] != team}
        self.model.grants = {key: level for key, level in self.model.grants.items() if key[0] != team}

    @rule(name=repositories, public=st.booleans())
    def show_or_hide(self, name: str, public: bool) -> None:
        if name not in self.model.there:
            return
        self.client.ask("PATCH", f"/api/v0/repositories/{name}", {"visibility": "public" if public else "private"})
        (self.model.public.add if public else self.model.public.discard)(name)

    @rule(name=repositories)
    def end_or_make_repository(self, name: str) -> None:
        if name in self.model.there:
            self.client.ask("DELETE", f"/api/v0/repositories/{name}")
            self.model.there.discard(name)
            self.model.public.discard(name)
            self.model.grants = {key: level for key, level in self.model.grants.items() if key[1] != name}
        else:
            namespace, _, rest = name.partition("/")
            self.client.ask("POST", f"/api/v0/repositories/{namespace}", {"name": rest})
            self.model.there.add(name)

    @rule(name=st.sampled_from((*USERS, ROBOT)), active=st.booleans())
    def lock_or_unlock(self, name: str, active: bool) -> None:
        self.client.ask("PATCH", f"/enzi/v0/accounts/{quote(name, safe='')}", {"isActive": active})
        (self.model.locked.discard if active else self.model.locked.add)(name)

    @rule(user=users, is_admin=st.booleans())
    def promote_or_demote(self, user: str, is_admin: bool) -> None:
        self.client.ask("PATCH", f"/enzi/v0/accounts/{user}", {"isAdmin": is_admin})
        (self.model.admins.add if is_admin else self.model.admins.discard)(user)

    @precondition(lambda self: len(self.narrowed) < 4)
    @rule(
        name=st.sampled_from((*USERS, ROBOT)),
        patterns=st.lists(st.sampled_from((*REPOSITORIES, "acme/*", "alice/*", "acme/deep/*")), min_size=1, max_size=2),
        actions=st.frozensets(st.sampled_from(("pull", "push", "delete")), min_size=1),
    )
    def narrow(self, name: str, patterns: list[str], actions: frozenset[str]) -> None:
        scope = {"repositories": patterns, "actions": sorted(actions)}
        secret = self.made(name, {"tokenLabel": "narrow", "scope": scope})
        self.narrowed.append((name, secret, (patterns, actions)))

    @invariant()
    def tokens_are_as_the_model_says(self) -> None:
        if not hasattr(self, "client"):
            return
        self.client.surface.clock.advance(400)  # a locked account's password counts as a wrong one: no pause outlasts this
        callers: list[tuple[str, str, tuple[Sequence[str], frozenset[str]] | None]] = [
            ("", "", None), ("admin", PASSWORD, None), (ROBOT, self.robot, None), *((user, PASSWORD, None) for user in USERS),
        ]  # fmt: skip
        for name, secret, limits in [*callers, *self.narrowed]:
            found = self.client.actions(name, secret)
            if name in self.model.locked:
                assert found is None, name
            else:
                assert found == {each: self.model.actions(name, each, limits) for each in REPOSITORIES}, (name, limits)


TestAccess = Access.TestCase
TestAccess.settings = settings(
    max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

grants = st.lists(st.tuples(teams, granted_on, levels), max_size=6, unique_by=lambda grant: grant[:2])


@given(grants, st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_the_order_of_grants_is_irrelevant_and_the_last_one_taken_back_takes_all(
    made: list[tuple[str, str, str]], chance: random.Random
) -> None:
    seen = []
    for _ in range(2):
        client = Client()
        client.begin()
        client.ask("PUT", "/enzi/v0/accounts/acme/members/bob", {})
        for team in TEAMS:
            client.ask("PUT", f"/enzi/v0/accounts/acme/teams/{team}/members/bob")
        for grant in made:
            client.grant(*grant)
        seen.append(client.actions("bob", PASSWORD))
        chance.shuffle(made)
        for left, (team, where, _) in reversed([*enumerate(made)]):
            client.withdraw(team, where)
            held = client.actions("bob", PASSWORD) or {}
            assert any(held.values()) is (left > 0), (made, left, held)
    assert seen[0] == seen[1]
