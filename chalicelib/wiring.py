"""Who gets which adapter: cached factories, so that one process has one of each and builds only what it needs.

The only place that imports adapters, and late, so that one machine never loads an AWS SDK and Lambda never SQLite.
"""

from __future__ import annotations

import base64
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, TypeVar

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
from chalicelib.registry.organizations import Organizations
from chalicelib.registry.ports import BlobStore, Clock, Multipart, Signer, Table
from chalicelib.registry.proofs import Proofs, Prover
from chalicelib.registry.pushes import Pushes
from chalicelib.registry.referrers import Referrers
from chalicelib.registry.refresh_tokens import RefreshTokens
from chalicelib.registry.relays import PartsRelay, StagedRelay
from chalicelib.registry.removals import Removals
from chalicelib.registry.repositories import Repositories
from chalicelib.registry.rights import Rights
from chalicelib.registry.throttle import Throttle
from chalicelib.registry.tokens import Tokens
from chalicelib.registry.upkeep.leftovers import Leftovers
from chalicelib.registry.upload_records import UploadRecords
from chalicelib.registry.uploads import Uploads
from chalicelib.settings import Cloud, SettingError, Settings, read_settings
from chalicelib.settings import upload_keys as parsed_upload_keys
from chalicelib.wire.distribution.call import Registry, nobody_attests
from chalicelib.wire.distribution.relays import attested
from chalicelib.wire.distribution.state import UploadStates
from chalicelib.wire.distribution.uploads import large_bodies_warning
from chalicelib.wire.token import TokenServices

if TYPE_CHECKING:
    from chalicelib.aws.s3_bucket import S3Bucket
    from chalicelib.crypto.keyring import KeyRing
    from chalicelib.local.disk_blobs import DiskBlobs
    from chalicelib.local.sqlite_table import SqliteTable
    from chalicelib.registry.trash import Trash
    from chalicelib.registry.upkeep.audit import Audit
    from chalicelib.registry.upkeep.crons import Crons
    from chalicelib.registry.upkeep.garbage import Garbage
    from chalicelib.registry.upkeep.job_runner import Runner
    from chalicelib.registry.upkeep.jobs import Jobs, Kind, Run
    from chalicelib.registry.upkeep.pairing import Pairing
    from chalicelib.registry.upkeep.scrub import Scrub
    from chalicelib.wire.management.services import Management


Port = TypeVar("Port")


@cache
def settings() -> Settings:
    """Raises SettingError."""
    return read_settings(os.environ)


def _traced(port: Port, name: str) -> Port:
    if not settings().tracing:
        return port
    from chalicelib.aws.tracing import traced

    return traced(port, name)


@cache
def clock() -> Clock:
    from chalicelib.local.system_clock import SystemClock

    return SystemClock()


@cache
def table() -> Table:
    store = settings().store
    if isinstance(store, Cloud):
        from chalicelib.aws.dynamo_table import DynamoTable

        return _traced(DynamoTable(store.table), "Table")
    return sqlite_table()


@cache
def sqlite_table() -> SqliteTable:
    """The one machine's Table, which drops what has expired only when told to."""
    from chalicelib.local.sqlite_table import SqliteTable

    store = settings().store
    if isinstance(store, Cloud):
        raise TypeError("on AWS the table is in DynamoDB")
    return SqliteTable(store / "metadata.sqlite")


@cache
def signer() -> Signer:
    store = settings().store
    if isinstance(store, Cloud):
        from chalicelib.aws.kms_signer import KmsSigner

        return _traced(KmsSigner(store.signing_key, store.wrapping_key), "Signer")
    from chalicelib.local.file_signer import FileSigner

    return FileSigner(store / "root-key.pem")


@cache
def blob_store() -> BlobStore:
    store = settings().store
    if isinstance(store, Cloud):
        from chalicelib.aws.s3_blobs import S3Blobs

        return _traced(S3Blobs(_bucket(store)), "BlobStore")
    return disk_blobs()


@cache
def disk_blobs() -> DiskBlobs:
    """The one machine's BlobStore, whose signed links the server beside the application answers."""
    from chalicelib.local.disk_blobs import DiskBlobs
    from chalicelib.local.secret_file import kept

    store = settings().store
    if isinstance(store, Cloud):
        raise TypeError("on AWS the blobs are in S3")
    return DiskBlobs(store / "blobs", kept(store / "link-secret", partial(secrets.token_bytes, 32)), clock())


@cache
def multipart() -> Multipart | None:
    """S3's; one machine has none."""
    store = settings().store
    if not isinstance(store, Cloud):
        return None
    from chalicelib.aws.s3_multipart import S3Multipart

    return _traced(S3Multipart(_bucket(store)), "Multipart")


@cache
def _bucket(cloud: Cloud) -> S3Bucket:
    from chalicelib.aws.s3_bucket import S3Bucket

    return S3Bucket(cloud.bucket, clock())


_UPLOAD_KEYS_SECONDS = 300
"""How long the keys of upload states are kept before they are read again: a new one signs only after it has been brought to
every edge, and an instance that has not read it yet refuses what it signed, so rotation waits longer than this."""


def upload_keys() -> Mapping[str, str]:
    """The keys of upload states, newest last; on one machine they lie in a file of their own. Raises SettingError."""
    return _upload_keys(int(time.monotonic()) // _UPLOAD_KEYS_SECONDS)


@lru_cache(maxsize=1)
def _upload_keys(_period: int) -> Mapping[str, str]:
    store = settings().store
    if isinstance(store, Cloud):
        if not store.upload_keys and store.upload_secret:
            from chalicelib.aws.secrets_manager import read_keys

            return parsed_upload_keys(read_keys(store.upload_secret))
        return parsed_upload_keys(store.upload_keys)
    from chalicelib.local.secret_file import kept

    return parsed_upload_keys(kept(store / "upload-keys", _first_upload_key).decode("ascii", "replace").strip())


def _first_upload_key() -> bytes:
    return b"1:%s\n" % base64.b64encode(secrets.token_bytes(32))


@cache
def repositories() -> Repositories:
    return Repositories(table(), clock())


@cache
def configuration() -> Configuration:
    return Configuration(table(), clock(), Choices(create_repository_on_push=settings().create_on_push))


@cache
def events() -> Events:
    return Events(table(), clock(), configuration())


@cache
def organizations() -> Organizations:
    return Organizations(table(), accounts())


@cache
def rights() -> Rights:
    return Rights(table(), organizations())


@cache
def creations() -> Creations:
    return Creations(repositories(), rights(), configuration(), events())


@cache
def accounts() -> Accounts:
    from chalicelib.crypto.passwords import Argon2Hasher

    return Accounts(table(), Argon2Hasher(), clock())


@cache
def access_tokens() -> AccessTokens:
    return AccessTokens(table(), accounts(), clock())


@cache
def credentials() -> Credentials:
    return Credentials(accounts(), access_tokens(), Throttle(table(), clock()))


def admin_password() -> str:
    """The first account's generated password, on AWS. Not cached: it is needed once. Raises SettingError."""
    store = settings().store
    if not isinstance(store, Cloud) or not store.admin_secret:
        raise SettingError("SLIPWAY_ADMIN_SECRET is not set")
    from chalicelib.aws.secrets_manager import read_secret

    return read_secret(store.admin_secret)


@cache
def key_ring() -> KeyRing:
    from chalicelib.crypto.keyring import KeyRing

    return KeyRing(table(), signer(), clock())


@cache
def tokens() -> Tokens:
    ring, configured = key_ring(), settings()
    return Tokens(
        issuer=configured.public_url,
        service=configured.service,
        signer=ring,
        verifier=ring,
        keys=ring,
        accounts=accounts(),
        clock=clock(),
    )


@cache
def refresh_tokens() -> RefreshTokens:
    return RefreshTokens(table(), accounts(), clock(), settings().service)


@cache
def token_services() -> TokenServices:
    return TokenServices(
        credentials=credentials(),
        tokens=tokens(),
        refresh_tokens=refresh_tokens(),
        rights=rights(),
        realm=settings().realm,
        federation=federation,
        events=events(),
    )


@cache
def trust_rules() -> TrustRules:
    return TrustRules(table(), clock())


@cache
def federation() -> Federation:
    from chalicelib.aws.sts import SignedCallerIdentities
    from chalicelib.crypto.oidc import OidcTokens
    from chalicelib.outgoing.public_https import PublicHttps

    configured, authorities = settings(), None
    if isinstance(configured.store, Cloud):
        from chalicelib.aws.environment import Environment

        authorities = Environment().authorities()
    web = PublicHttps(allowed_hosts=configured.private_issuers, authorities=authorities)
    return Federation(
        trust_rules(),
        OidcTokens(web, clock()),
        SignedCallerIdentities(web, clock()),
        service=configured.service,
        public_url=configured.public_url,
    )


@cache
def management() -> Management:
    from chalicelib.registry.teams import Teams
    from chalicelib.registry.upkeep.storage import Storage
    from chalicelib.wire.management.services import Management

    return Management(
        credentials=credentials(),
        access_tokens=access_tokens(),
        refresh_tokens=refresh_tokens(),
        accounts=accounts(),
        organizations=organizations(),
        teams=Teams(table(), accounts(), clock()),
        repositories=repositories(),
        creations=creations(),
        rights=rights(),
        events=events(),
        configuration=configuration(),
        trust=trust_rules(),
        jobs=jobs(),
        crons=crons(),
        trash=trash(),
        storage=Storage(table()),
    )


@cache
def blobs() -> Blobs:
    return Blobs(table(), blob_store(), repositories(), clock())


@cache
def proofs() -> Proofs | None:
    """Long ones, which another function does; where there is none they are done at once."""
    store = settings().store
    if not isinstance(store, Cloud) or not store.adopt_function:
        return None
    from chalicelib.aws.background import LambdaBackground

    return Proofs(table(), clock(), LambdaBackground(store.adopt_function))


@cache
def prover() -> Prover:
    return Prover(table(), clock())


@cache
def adoption() -> Adoption:
    return Adoption(blob_store(), blobs(), repositories(), clock())


@cache
def leftovers() -> Leftovers:
    return Leftovers(table(), blob_store(), clock(), multipart())


@cache
def jobs() -> Jobs:
    from chalicelib.registry.upkeep.jobs import Jobs

    return Jobs(table(), clock(), _kinds())


@cache
def crons() -> Crons:
    from chalicelib.local.cron_times import CronTimes
    from chalicelib.registry.upkeep.crons import Crons

    return Crons(table(), clock(), jobs(), CronTimes())


@cache
def runner() -> Runner:
    from chalicelib.registry.upkeep.job_runner import Runner

    return Runner(table(), clock(), jobs(), crons())


def _kinds() -> Sequence[Kind]:
    """What jobs there are. What one works with is built when it runs: to list them takes none of it."""
    from chalicelib.registry.upkeep import work
    from chalicelib.registry.upkeep.jobs import Kind, Parameter

    def expire_uploads(run: Run) -> None:
        work.expire_uploads(registry().uploads, registry().pushes, run)

    return (
        Kind(
            "collect-garbage",
            "Take away what nothing needs any more, and delete its bytes",
            lambda run: work.collect_garbage(garbage(), clock(), run),
            schedule="0 10 * * * *",
            parameters={"minutes": Parameter("Minutes at most; 0 is until done", default=0, least=0, most=1_440)},
        ),
        Kind(
            "expire-uploads",
            "Drop uploads that were given up, and pushes that were interrupted",
            expire_uploads,
            schedule="0 */5 * * * *",
        ),
        Kind(
            "sweep-staging",
            "Drop bytes that were sent and that nobody adopted",
            lambda run: work.sweep_staging(leftovers(), pairing(), run),
            schedule="0 40 2 * * *",
        ),
        Kind(
            "audit",
            "Walk over everything stored: put right what drifted apart, and count it",
            lambda run: work.audit_all(audit(), pairing(), run),
            schedule="0 0 4 * * 0",
            deadline=7 * 24 * 3600,
        ),
        Kind(
            "scrub",
            "Read stored blobs again, and tell which are damaged",
            lambda run: scrub().work(run),
            schedule="0 30 5 * * *",
            parameters={"gigabytes": Parameter("Gigabytes that are read", default=10, least=1, most=10_000)},
        ),
        Kind(
            "rotate-keys",
            "Have the next key for tokens ready before it is needed",
            lambda run: work.rotate_keys(key_ring(), run),
            schedule="0 20 */6 * * *",
            is_prompt=True,
        ),
        Kind(
            "trim-history",
            "Forget jobs that ended long ago, with their logs",
            lambda run: work.trim_history(jobs(), clock(), run),
            schedule="0 50 2 * * *",
            parameters={
                "days": Parameter("Days that a job is remembered after its end", default=30, least=1, most=3_650),
                "keep": Parameter("How many ended jobs are remembered at most", default=10_000, least=0, most=100_000),
            },
        ),
    )


@cache
def registry() -> Registry:
    images, records = Images(table(), blob_store(), repositories()), UploadRecords(table(), clock())
    parts, store = multipart(), settings().store
    cloud = store if isinstance(store, Cloud) else None
    return Registry(
        repositories=repositories(),
        blobs=blobs(),
        uploads=Uploads(table(), blob_store(), blobs(), clock(), multipart=parts, proofs=proofs()),
        images=images,
        pushes=Pushes(
            table(),
            blob_store(),
            repositories(),
            events(),
            clock(),
            sparse=settings().sparse,
            adoption=adoption() if cloud else None,
        ),
        removals=Removals(table(), repositories(), events(), clock()),
        referrers=Referrers(table(), repositories(), images),
        accounts=accounts(),
        rights=rights(),
        creations=creations(),
        events=events(),
        states=UploadStates(upload_keys, clock()),
        staged_relay=None if cloud else StagedRelay(records, blob_store(), disk_blobs()),
        parts_relay=PartsRelay(records, blob_store(), parts) if parts else None,
        attests=partial(_attests, cloud.relay_secret) if cloud and cloud.relay_secret else nobody_attests,
        warning=large_bodies_warning(cloud.lanes) if cloud else "",
    )


@cache
def trash() -> Trash:
    from chalicelib.registry.trash import Trash

    parts = registry()
    return Trash(table(), configuration=configuration(), repositories=repositories(), images=parts.images, pushes=parts.pushes)


@cache
def garbage() -> Garbage:
    from chalicelib.registry.upkeep.expiry import Expiry
    from chalicelib.registry.upkeep.garbage import Garbage

    parts = registry()
    return Garbage(
        table(),
        blob_store(),
        clock(),
        configuration=configuration(),
        removals=parts.removals,
        expiry=Expiry(table(), clock(), parts.images),
    )


@cache
def audit() -> Audit:
    from chalicelib.registry.upkeep.audit import Audit

    return Audit(
        table(),
        blob_store(),
        clock(),
        images=registry().images,
        leftovers=leftovers(),
        configuration=configuration(),
        sparse=settings().sparse,
    )


@cache
def pairing() -> Pairing:
    from chalicelib.registry.upkeep.pairing import Pairing

    return Pairing(table(), blob_store())


@cache
def scrub() -> Scrub:
    from chalicelib.registry.upkeep.scrub import Scrub

    return Scrub(table(), blob_store(), clock(), events())


@cache
def _relay_key(secret: str) -> str:
    from chalicelib.aws.secrets_manager import read_secret

    return read_secret(secret)


def _attests(secret: str, writer: str, size: int, sha256: str, attestation: str) -> bool:
    return bool(attestation) and attested(_relay_key(secret), writer, size, sha256, attestation)
