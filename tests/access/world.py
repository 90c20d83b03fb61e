"""One registry with every kind of caller, for tests of who may do what over HTTP.

world = World.build()
world.ask("owner", "GET", "/api/v0/repositories/acme/private").status
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

from chalicelib.registry.access import Level, Limits
from chalicelib.registry.accounts import Changes
from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.registry.ports import Check, Key, Write
from chalicelib.registry.repositories import Description
from chalicelib.wire.http import Response
from tests.frozen_clock import FrozenClock
from tests.memory_multipart import MemoryMultipart
from tests.memory_table import MemoryTable
from tests.surface import PASSWORD, SERVICE, Surface, image

PRIVATE, PUBLIC, ABSENT = "private", "public", "absent"

TEAMS: Mapping[str, tuple[Level, bool]] = {
    "repo-ro": (Level.READ_ONLY, False),
    "repo-rw": (Level.READ_WRITE, False),
    "repo-admin": (Level.ADMIN, False),
    "ns-ro": (Level.READ_ONLY, True),
    "ns-rw": (Level.READ_WRITE, True),
    "ns-admin": (Level.ADMIN, True),
}
"""The teams of ``acme``, each with a user of the same name in it: how much they may, and whether in the whole namespace."""

LAYER, TAG = b"layer", "latest"
MANIFEST = image(LAYER)
BLOB, MANIFEST_DIGEST = Digest.of(LAYER), Digest.of(MANIFEST)


@dataclass(frozen=True, slots=True)
class Who:
    """A caller: the account's name, and the password or the access token."""

    name: str = ""
    secret: str = ""

    @property
    def basic(self) -> str:
        return f"Basic {base64.b64encode(f'{self.name}:{self.secret}'.encode()).decode()}" if self.name else ""


class Lines(logging.Handler):
    """What the program logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class NotedTable(MemoryTable):
    """A table that notes what was written, and can be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[Write] = []

    def _apply(self, writes: Sequence[Write]) -> None:
        super()._apply(writes)
        self.written += [write for write in writes if not isinstance(write, Check)]

    def copied(self) -> NotedTable:
        copy = NotedTable()
        copy._items = {key: {**attributes} for key, attributes in self._items.items()}
        copy._sorts = {partition: [*sorts] for partition, sorts in self._sorts.items()}
        return copy


@dataclass
class World:
    """The organizations ``acme`` and ``other``, and the repositories ``acme/private`` and ``acme/public``.

    ``callers`` has each kind of caller by name, ``tokens`` the id of an access token of each account, by its name, ``jobs``
    those of a job that has ``ended`` and of one that is ``waiting``.
    ``secrets`` are all passwords and tokens, ``hashes`` those of access tokens. The user ``zoe`` has no part in anything,
    and no caller is her.
    """

    surface: Surface
    table: NotedTable
    log: Lines
    callers: dict[str, Who] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    hashes: set[str] = field(default_factory=set)
    bearers: dict[tuple[str, str], str | None] = field(default_factory=dict)

    @classmethod
    def build(cls) -> World:
        log, table = Lines(), NotedTable()
        world = cls(_surface(table, FrozenClock(), log), table, log)
        world.secrets.add(PASSWORD)
        world._people()
        world._content()
        world._tokens()
        world._jobs()
        return world

    def fresh(self) -> World:
        """The same once more, to be changed; what is stored is copied, keys and blobs are shared."""
        table = self.table.copied()
        surface = _surface(table, FrozenClock(self.surface.clock.moment), self.log, like=self.surface)
        return replace(self, surface=surface, table=table, callers={**self.callers}, bearers={**self.bearers})

    def changed(self) -> list[Key]:
        """What was written since this was last asked; without events, and without what is noted of who signs in."""
        written, self.table.written = self.table.written, []
        self.log.lines += [repr(write) for write in written if _is_event(write.key)]
        return [write.key for write in written if not _is_event(write.key) and not _is_sign_in(write.key)]

    def recorded(self) -> list[str]:
        """All events, and what was logged, since this was last asked."""
        self.changed()
        lines, self.log.lines = self.log.lines, []
        return lines

    # -------------------------------------------------------------------------------------------------------- asking

    def ask(self, who: str, method: str, url: str, body: object = None, **headers: str) -> Response:
        """One request to the management API by that caller. A body of bytes goes as it is."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        caller = self.callers[who]
        if content:
            headers.setdefault("content_type", "application/json")
        if caller.name:
            headers["authorization"] = caller.basic
        return self.surface.send(method, url, content, **headers)

    def token(self, who: str, scope: str) -> Response:
        query = urlencode({"service": SERVICE, **({"scope": scope} if scope else {})})
        return self.surface.send("GET", f"/auth/token?{query}", authorization=self.callers[who].basic)

    def bearer(self, who: str, scope: str) -> str | None:
        """A registry token, asked for once; None if the caller's credentials are no good."""
        known = (who, scope)
        if known not in self.bearers:
            answer = self.token(who, scope)
            self.bearers[known] = json.loads(answer.body)["token"] if answer.status == 200 else None
            self.secrets |= {self.bearers[known] or PASSWORD}
        return self.bearers[known]

    def pull_or_push(self, who: str, method: str, url: str, scope: str, body: bytes = b"", **headers: str) -> Response:
        """One request to the distribution API with a token for that scope."""
        bearer = self.bearer(who, scope)
        if bearer is None:
            return self.token(who, scope)
        return self.surface.send(method, url, body, authorization=f"Bearer {bearer}", **headers)

    # ------------------------------------------------------------------------------------------------------ building

    def _people(self) -> None:
        surface = self.surface
        for name in ("stranger", "outsider", "member", "olga", "locked", "expired", "zoe", *TEAMS):
            surface.accounts.create_user(name, PASSWORD)
        acme, other = (surface.accounts.create_organization(name) for name in ("acme", "other"))
        surface.organizations.add(acme, "olga", is_admin=True)
        surface.organizations.add(other, "outsider", is_admin=True)
        for name in ("member", "locked", "expired", *TEAMS):
            surface.organizations.add(acme, name)
        surface.accounts.create_robot(acme, "ci")
        for name in TEAMS:
            team = surface.teams.create(acme, name)
            surface.teams.add(acme, team, name)
        for name in ("locked", "expired", "acme+ci"):
            surface.teams.add(acme, surface.teams.get(acme, "repo-rw"), name)
        # The other organization has a team of the same name.
        surface.teams.add(other, surface.teams.create(other, "repo-rw"), "outsider")
        surface.accounts.create_robot(other, "ci")

    def _content(self) -> None:
        surface = self.surface
        acme = surface.organizations.get("acme")
        for name in (PRIVATE, PUBLIC):
            surface.push_image(f"acme/{name}", TAG, LAYER)
            surface.put_manifest(f"acme/{name}", "removed", MANIFEST)
            assert surface.status("DELETE", f"/v2/acme/{name}/manifests/removed") == 202
            repository = surface.registry.repositories.get(RepositoryName(f"acme/{name}"))
            for team, (level, everywhere) in TEAMS.items():
                if everywhere:
                    surface.teams.grant_namespace(acme, surface.teams.get(acme, team), level)
                else:
                    surface.teams.grant(acme, surface.teams.get(acme, team), repository, level)
        surface.registry.repositories.change(RepositoryName("acme/public"), Description(visibility="public"))

    def _tokens(self) -> None:
        soon = int(self.surface.clock.now().timestamp()) + 60
        pull = Limits(tuple(f"acme/{name}" for name in (PRIVATE, PUBLIC, ABSENT)), frozenset({"pull"}))
        self.callers = {"anonymous": Who(), "admin": Who("admin", PASSWORD), "owner": Who("olga", PASSWORD)}
        for name in ("stranger", "outsider", "member", *TEAMS):
            self.callers[name] = Who(name, PASSWORD)
        # Access tokens are never throttled, however often one that is no good comes.
        self.callers["locked"] = Who("locked", self._made("locked"))
        self.callers["expired"] = Who("expired", self._made("expired", soon))
        self.callers["robot"] = Who("acme+ci", self._made("acme+ci"))
        self.callers["narrow-rw"] = Who("repo-rw", self._made("repo-rw", limits=pull))
        self.callers["narrow-admin"] = Who("admin", self._made("admin", limits=pull))
        for name in ("stranger", "outsider", "member", "olga", "zoe", "other+ci", *TEAMS):
            self._made(name)
        for org, who in (("acme", "owner"), ("other", "outsider")):
            rule = {"issuer": "https://issuer.test", "subject": "repo:acme/app"}
            made = self.ask(who, "PUT", f"/api/v0/accounts/{org}/robots/ci/trust/main", rule)
            assert made.status == 200, made.body
        self.surface.accounts.change("locked", Changes(is_active=False))
        self.surface.clock.advance(120)

    def _jobs(self) -> None:
        jobs = self.surface.jobs
        self.jobs["ended"] = jobs.create("climb", {}, "admin").id
        self.surface.run_jobs()
        self.jobs["waiting"] = jobs.create("stumble", {}, "admin").id

    def _made(self, name: str, expires_at: int | None = None, limits: Limits | None = None) -> str:
        account = self.surface.accounts.get(name)
        made, secret = self.surface.access_tokens.create(account, "planted", expires_at=expires_at, limits=limits)
        self.tokens[name] = made.id
        self.secrets.add(secret)
        self.hashes.add(made.hashed)
        return secret


def _is_event(key: Key) -> bool:
    return key.partition.startswith("events/") or key.sort.startswith("event/")


def _is_sign_in(key: Key) -> bool:
    """Is it where the use of an access token is noted, or a wrong password?"""
    return key.partition.startswith(("token/", "attempts"))


def _surface(table: MemoryTable, clock: FrozenClock, log: Lines, like: Surface | None = None) -> Surface:
    logger = logging.Logger("slipway.under-test")  # one that no other test has
    logger.addHandler(log)
    if like is None:
        first = Surface(table=table, clock=clock, logger=logger)
        return Surface(
            table=table,
            clock=clock,
            blobs=first.store,
            signer=first.signer,
            logger=logger,
            multipart=MemoryMultipart(first.store, clock, smallest=1),
        )
    return Surface(table=table, clock=clock, blobs=like.store, signer=like.signer, logger=logger, multipart=like.multipart)
