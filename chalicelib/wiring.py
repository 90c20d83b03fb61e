"""Who gets which adapter: cached factories, so that one process has one of each and builds only what it needs.

The only place that imports adapters, and late, so that one machine never loads an AWS SDK and Lambda never SQLite.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Mapping
from functools import cache, partial
from typing import TYPE_CHECKING

from chalicelib.registry.accounts import Accounts
from chalicelib.registry.blobs import Blobs
from chalicelib.registry.images import Images
from chalicelib.registry.ports import BlobStore, Clock, Signer, Table
from chalicelib.registry.pushes import Pushes
from chalicelib.registry.referrers import Referrers
from chalicelib.registry.removals import Removals
from chalicelib.registry.repositories import Repositories
from chalicelib.registry.tokens import RefreshTokens, Tokens
from chalicelib.registry.uploads import Uploads
from chalicelib.settings import Cloud, SettingError, Settings, read_settings
from chalicelib.settings import upload_keys as parsed_upload_keys
from chalicelib.wire.distribution.call import Registry
from chalicelib.wire.distribution.state import UploadStates
from chalicelib.wire.token import TokenServices

if TYPE_CHECKING:
    from chalicelib.local.disk_blobs import DiskBlobs
    from chalicelib.local.sqlite_table import SqliteTable


@cache
def settings() -> Settings:
    """Raises SettingError."""
    return read_settings(os.environ)


@cache
def clock() -> Clock:
    from chalicelib.local.system_clock import SystemClock

    return SystemClock()


@cache
def table() -> Table:
    store = settings().store
    if isinstance(store, Cloud):
        from chalicelib.aws.dynamo_table import DynamoTable

        return DynamoTable(store.table)
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

        return KmsSigner(store.signing_key, store.wrapping_key)
    from chalicelib.local.file_signer import FileSigner

    return FileSigner(store / "root-key.pem")


@cache
def blob_store() -> BlobStore:
    store = settings().store
    if isinstance(store, Cloud):
        from chalicelib.aws.s3_blobs import S3Blobs

        return S3Blobs(store.bucket, clock())
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
def upload_keys() -> Mapping[str, str]:
    """The keys of upload states, newest last; on one machine they lie in a file of their own. Raises SettingError."""
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
def accounts() -> Accounts:
    from chalicelib.crypto.passwords import Argon2Hasher

    return Accounts(table(), Argon2Hasher(), clock())


def admin_password() -> str:
    """The first account's generated password, on AWS. Not cached: it is needed once. Raises SettingError."""
    store = settings().store
    if not isinstance(store, Cloud) or not store.admin_secret:
        raise SettingError("SLIPWAY_ADMIN_SECRET is not set")
    from chalicelib.aws.secrets_manager import read_secret

    return read_secret(store.admin_secret)


@cache
def tokens() -> Tokens:
    from chalicelib.crypto.keyring import KeyRing

    ring = KeyRing(table(), signer(), clock())
    configured = settings()
    return Tokens(
        issuer=configured.public_url,
        service=configured.service,
        signer=ring,
        verifier=ring,
        keys=ring,
        clock=clock(),
    )


@cache
def token_services() -> TokenServices:
    return TokenServices(
        accounts=accounts(),
        tokens=tokens(),
        refresh_tokens=RefreshTokens(table(), accounts(), clock(), settings().service),
        repositories=repositories(),
        realm=settings().realm,
    )


@cache
def registry() -> Registry:
    blobs = Blobs(table(), blob_store(), repositories())
    images = Images(table(), blob_store(), repositories())
    return Registry(
        repositories=repositories(),
        blobs=blobs,
        uploads=Uploads(table(), blob_store(), blobs, clock()),
        images=images,
        pushes=Pushes(table(), blob_store(), repositories(), clock(), settings().sparse),
        removals=Removals(table(), blob_store(), repositories(), images),
        referrers=Referrers(table(), repositories(), images),
        accounts=accounts(),
        states=UploadStates(upload_keys, clock()),
    )
