"""The whole program behind one door, on adapters in memory: what a client would see, without a socket.

surface = Surface()
surface.push_blob("admin/app", b"layer")
surface.call("GET", "/v2/admin/app/tags/list").status
"""

from __future__ import annotations

import base64
import json
import logging
import re
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from chalicelib.aws.sts import SignedCallerIdentities
from chalicelib.crypto.keyring import KeyRing
from chalicelib.crypto.oidc import OidcTokens
from chalicelib.entry.application import Application
from chalicelib.entry.distribution import distribution_door
from chalicelib.entry.log import Logged, RequestLog
from chalicelib.entry.management import management_door
from chalicelib.entry.token import token_door
from chalicelib.local.cron_times import CronTimes
from chalicelib.registry.access_tokens import AccessTokens
from chalicelib.registry.accounts import Accounts
from chalicelib.registry.adoption import Adoption
from chalicelib.registry.blobs import Blobs
from chalicelib.registry.configuration import Choices, Configuration
from chalicelib.registry.creations import Creations
from chalicelib.registry.credentials import Credentials
from chalicelib.registry.events import Events
from chalicelib.registry.federation import Federation, TrustRules
from chalicelib.registry.images import Images
from chalicelib.registry.manifests import OCI_INDEX, OCI_MANIFEST
from chalicelib.registry.names import Digest
from chalicelib.registry.organizations import Organizations
from chalicelib.registry.ports import Background, BlobStore, Multipart, Signer, Table
from chalicelib.registry.proofs import Proofs
from chalicelib.registry.pushes import Pushes, Sparse
from chalicelib.registry.referrers import Referrers
from chalicelib.registry.refresh_tokens import RefreshTokens
from chalicelib.registry.relays import PartsRelay, StagedRelay
from chalicelib.registry.removals import Removals
from chalicelib.registry.repositories import Repositories
from chalicelib.registry.rights import Rights
from chalicelib.registry.teams import Teams
from chalicelib.registry.throttle import Throttle
from chalicelib.registry.tokens import Tokens
from chalicelib.registry.trash import Trash
from chalicelib.registry.upkeep.crons import Crons
from chalicelib.registry.upkeep.expiry import Expiry
from chalicelib.registry.upkeep.garbage import Garbage
from chalicelib.registry.upkeep.job_runner import Runner
from chalicelib.registry.upkeep.jobs import Jobs
from chalicelib.registry.upkeep.storage import Storage
from chalicelib.registry.upload_records import UploadRecords
from chalicelib.registry.uploads import Uploads
from chalicelib.wire.distribution.call import Registry
from chalicelib.wire.distribution.relays import attested
from chalicelib.wire.distribution.state import UploadStates
from chalicelib.wire.http import Request, Response
from chalicelib.wire.management.services import Management
from chalicelib.wire.token import TokenServices
from tests.frozen_clock import FrozenClock
from tests.job_kinds import KINDS
from tests.memory_blobs import MemoryBlobs
from tests.memory_signer import MemorySigner
from tests.memory_table import MemoryTable
from tests.memory_web import MemoryWeb
from tests.plain_hasher import PlainHasher

URL = "http://registry.test:5000"
SERVICE = "registry.test:5000"
PASSWORD = "correct horse"
UPLOAD_KEYS = {"old": "b2xk" * 11, "new": "bmV3" * 11}
RELAY_KEY = "what the relay and the program share"
CONFIG = b'{"architecture":"amd64","os":"linux"}'


def registry_on(
    table: Table,
    store: BlobStore,
    clock: FrozenClock,
    sparse: Sparse = Sparse.NONE,
    *,
    multipart: Multipart | None = None,
    background: Background | None = None,
    warning: str = "",
    accounts: Accounts | None = None,
) -> Registry:
    """The domain on the given adapters; relays stage if the store lets them, and send parts if there is a ``multipart``."""
    records = UploadRecords(table, clock)
    proofs = None if background is None else Proofs(table, clock, background)
    repositories = Repositories(table, clock)
    blobs = Blobs(table, store, repositories, clock)
    images = Images(table, store, repositories)
    accounts = accounts or Accounts(table, PlainHasher(), clock)
    rights = Rights(table, Organizations(table, accounts))
    configuration = Configuration(table, clock, Choices(create_repository_on_push=True))
    events = Events(table, clock, configuration)
    return Registry(
        repositories=repositories,
        blobs=blobs,
        uploads=Uploads(table, store, blobs, clock, multipart=multipart, proofs=proofs),
        images=images,
        pushes=Pushes(
            table,
            store,
            repositories,
            events,
            clock,
            sparse=sparse,
            adoption=Adoption(store, blobs, repositories, clock),
        ),
        removals=Removals(table, repositories, events, clock),
        referrers=Referrers(table, repositories, images),
        accounts=accounts,
        rights=rights,
        creations=Creations(repositories, rights, configuration, events),
        events=events,
        states=UploadStates(lambda: UPLOAD_KEYS, clock),
        staged_relay=StagedRelay(records, store, store) if isinstance(store, MemoryBlobs) else None,
        parts_relay=None if multipart is None else PartsRelay(records, store, multipart),
        attests=partial(attested, RELAY_KEY),
        warning=warning,
    )


@dataclass
class Surface:
    """The program, and a client of it that fetches tokens as challenges ask. ``credentials`` "" is anonymous."""

    table: Table = field(default_factory=MemoryTable)
    clock: FrozenClock = field(default_factory=FrozenClock)
    blobs: BlobStore | None = None
    sparse: Sparse = Sparse.NONE
    multipart: Multipart | None = None
    background: Background | None = None
    warning: str = ""
    credentials: str = f"admin:{PASSWORD}"
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("slipway.under-test"))
    signer: Signer = field(default_factory=MemorySigner)
    web: MemoryWeb = field(default_factory=MemoryWeb)

    def __post_init__(self) -> None:
        self.store = self.blobs or MemoryBlobs(self.clock)
        self.accounts = Accounts(self.table, PlainHasher(), self.clock)
        self.accounts.ensure_admin(PASSWORD)
        self.access_tokens = AccessTokens(self.table, self.accounts, self.clock)
        self.credentials_of = Credentials(self.accounts, self.access_tokens, Throttle(self.table, self.clock))
        self.registry = registry_on(
            self.table,
            self.store,
            self.clock,
            self.sparse,
            multipart=self.multipart,
            background=self.background,
            warning=self.warning,
            accounts=self.accounts,
        )
        parts = self.registry
        choices = Configuration(self.table, self.clock, Choices(create_repository_on_push=True))
        self.trash = Trash(
            self.table,
            configuration=choices,
            repositories=parts.repositories,
            images=parts.images,
            pushes=parts.pushes,
        )
        self.garbage = Garbage(
            self.table,
            self.store,
            self.clock,
            configuration=choices,
            removals=parts.removals,
            expiry=Expiry(self.table, self.clock, parts.images),
        )
        ring = KeyRing(self.table, self.signer, self.clock)
        self.tokens = Tokens(
            issuer=URL, service=SERVICE, signer=ring, verifier=ring, keys=ring, accounts=self.accounts, clock=self.clock
        )
        self.trust_rules = TrustRules(self.table, self.clock)
        self.refresh_tokens = RefreshTokens(self.table, self.accounts, self.clock, SERVICE)
        services = TokenServices(
            credentials=self.credentials_of,
            tokens=self.tokens,
            refresh_tokens=self.refresh_tokens,
            rights=self.registry.rights,
            realm=f"{URL}/auth/token",
            federation=self.federation,
            events=self.registry.events,
        )
        self.organizations = Organizations(self.table, self.accounts)
        self.teams = Teams(self.table, self.accounts, self.clock)
        self.configuration = Configuration(self.table, self.clock, Choices(create_repository_on_push=True))
        self.jobs = Jobs(self.table, self.clock, KINDS)
        self.crons = Crons(self.table, self.clock, self.jobs, CronTimes())
        self._runner = Runner(self.table, self.clock, self.jobs, self.crons)
        self.management = Management(
            credentials=self.credentials_of,
            access_tokens=self.access_tokens,
            refresh_tokens=self.refresh_tokens,
            accounts=self.accounts,
            organizations=self.organizations,
            teams=self.teams,
            repositories=self.registry.repositories,
            creations=self.registry.creations,
            rights=self.registry.rights,
            events=self.registry.events,
            configuration=self.configuration,
            trust=self.trust_rules,
            jobs=self.jobs,
            crons=self.crons,
            trash=self.trash,
            storage=Storage(self.table),
        )
        self.app = Application(
            "slipway-under-test",
            (
                distribution_door(self.registry, self.tokens, f"{URL}/auth/token", SERVICE),
                token_door(services),
                management_door(lambda: self.management, self.table),
            ),
            RequestLog(Logged.ALL, self.logger),
        )

    def federation(self) -> Federation:
        """Robots come with proofs of whom ``web`` speaks for."""
        oidc, aws = OidcTokens(self.web, self.clock), SignedCallerIdentities(self.web, self.clock)
        return Federation(self.trust_rules, oidc, aws, service=SERVICE, public_url=URL)

    def run_jobs(self) -> int:
        """Make the jobs that are due, and run what there is to be run; how many."""
        return self._runner.tick(lambda: 900.0)

    # ------------------------------------------------------------------------------------------------------- requests

    def send(self, method: str, url: str, body: bytes = b"", **headers: str) -> Response:
        """One request as it is, no token added; header names with ``_`` for ``-``."""
        parts = urlsplit(url)
        query: dict[str, tuple[str, ...]] = {}
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            query[name] = (*query.get(name, ()), value)
        named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        return self.app.answer(Request(method, unquote(parts.path), query, named, body, raw_path=parts.path, request_id="r1"))

    def call(self, method: str, url: str, body: bytes = b"", **headers: str) -> Response:
        """One request as a client makes it: a 401 is answered by fetching the token that it asks for."""
        refused = self.send(method, url, body, **headers)
        if refused.status != 401:
            return refused
        scope = re.search(r'scope="([^"]*)"', refused.headers["WWW-Authenticate"])
        token = self.token(scope[1] if scope else "")
        return self.send(method, url, body, **headers, authorization=f"Bearer {token}")

    def token(self, *scopes: str) -> str:
        """A token for these scopes, by the client's credentials."""
        basic = f"Basic {base64.b64encode(self.credentials.encode()).decode()}" if self.credentials else ""
        query = urlencode([("service", SERVICE), *(("scope", scope) for scope in scopes if scope)])
        answer = self.send("GET", f"/auth/token?{query}", authorization=basic)
        assert answer.status == 200, answer.body
        return str(json.loads(answer.body)["token"])

    # -------------------------------------------------------------------------------------------------------- content

    def push_blob(self, name: str, content: bytes, algorithm: str = "sha256") -> Digest:
        digest = Digest.of(content, algorithm)
        answer = self.call("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", content)
        assert answer.status == 201, answer.body
        return digest

    def push_image(self, name: str, reference: str, *layers: bytes, **fields: object) -> Digest:
        """An image of these layers, blobs and all, under a tag or (reference "") its digest."""
        for content in (CONFIG, *layers):
            self.push_blob(name, content)
        return self.put_manifest(name, reference, image(*layers, **fields))

    def put_manifest(self, name: str, reference: str, content: bytes) -> Digest:
        digest = Digest.of(content)
        answer = self.put(name, reference or str(digest), content)
        assert answer.status == 201, answer.body
        return digest

    def put(self, name: str, reference: str, content: bytes, media_type: str = "") -> Response:
        """The answer to a manifest's PUT, refused or not."""
        media_type = media_type or str(json.loads(content)["mediaType"])
        return self.call("PUT", f"/v2/{name}/manifests/{reference}", content, content_type=media_type)

    def status(self, method: str, url: str) -> int:
        return self.call(method, url).status


def descriptor(content: bytes, media_type: str = "application/vnd.oci.image.layer.v1.tar") -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}


def image(*layers: bytes, **fields: object) -> bytes:
    """An image manifest with the one configuration all these tests share."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(CONFIG, "application/vnd.oci.image.config.v1+json"),
            "layers": [descriptor(layer) for layer in layers],
            **fields,
        }
    ).encode()


def index(*manifests: bytes, **fields: object) -> bytes:
    """An image index of these manifests."""
    entries = [descriptor(content, json.loads(content)["mediaType"]) for content in manifests]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, **fields}).encode()


def code(response: Response) -> str:
    """The first error's code."""
    return str(json.loads(response.body)["errors"][0]["code"])
