"""The function that Secrets Manager calls, in four steps, to replace the key of upload states.

The secret is a JSON object of keys by id, and the last one signs. Each rotation brings a key that does not sign yet, second to
last, and lets the one sign that the rotation before brought: that has then been at the edge, and with every instance of the
API, for as long as rotations are apart, so that nobody meets a signature whose key it does not have. Two keys that signed
before are kept. A rotation is refused if the one before it is not half a day old: uploads live for a day.

createSecret makes the new set, setSecret puts it into the key-value store, testSecret reads it back from there, finishSecret
makes it the current one and drops what is in it no more. Each can be repeated.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any, TypeAlias

from infra.rotation.store import KEY, EdgeStore, store_client

_Client: TypeAlias = Any  # made by boto3 at run time; there are no types to import

RETIRED = 2
"""How many keys that signed before are kept."""

APART_SECONDS = 12 * 3600
"""Between rotations at least: a key is dropped two of them after its last signature, which is good for a day."""

_MADE = re.compile(r"t([0-9a-f]{8})", re.ASCII)


class CannotRotate(Exception):
    """Why, in words for the function's log."""


def handler(event: Mapping[str, Any], _context: object = None) -> None:
    """``event`` is Secrets Manager's: SecretId, ClientRequestToken, Step. Raises CannotRotate, StoreBusy, botocore's errors."""
    from boto3.session import Session

    session = Session()
    store = EdgeStore(store_client(session, os.environ.get("AWS_ENDPOINT_URL", "")), os.environ["SLIPWAY_KEY_VALUE_STORE"])
    rotation = Rotation(session.client("secretsmanager"), store, event["SecretId"], event["ClientRequestToken"])
    steps = {
        "createSecret": rotation.create,
        "setSecret": rotation.publish,
        "testSecret": rotation.verify,
        "finishSecret": rotation.finish,
    }
    steps[event["Step"]]()


class Rotation:
    """One rotation, named by ``token``, of the secret."""

    def __init__(self, client: _Client, store: EdgeStore, secret: str, token: str) -> None:
        self._client = client
        self._store = store
        self._secret = secret
        self._token = token

    def create(self) -> None:
        if self._token in self._versions("AWSCURRENT"):
            return
        try:
            self._pending()
        except self._client.exceptions.ResourceNotFoundException:
            self._client.put_secret_value(
                SecretId=self._secret,
                ClientRequestToken=self._token,
                SecretString=json.dumps(rotated(self._current(), int(time.time()))),
                VersionStages=["AWSPENDING"],
            )

    def publish(self) -> None:
        self._store.put(named(self._pending()))

    def verify(self) -> None:
        """Secrets Manager also calls this to try a schedule out, with a pending version that holds nothing, or nothing new."""
        try:
            pending = self._pending()
        except self._client.exceptions.ResourceNotFoundException:
            return
        if pending == self._current():
            return
        lacking = [name for name, key in named(pending).items() if self._store.value(name) != key]
        if lacking:
            raise CannotRotate(f"not in the key-value store: {', '.join(lacking)}")

    def finish(self) -> None:
        kept = named(self._pending())
        current = self._versions("AWSCURRENT")
        if self._token not in current:
            self._client.update_secret_version_stage(
                SecretId=self._secret,
                VersionStage="AWSCURRENT",
                MoveToVersionId=self._token,
                RemoveFromVersionId=current[0],
            )
        self._store.drop(name for name in self._store.items() if name.startswith(KEY) and name not in kept)

    def _pending(self) -> dict[str, str]:
        found = self._client.get_secret_value(SecretId=self._secret, VersionId=self._token)
        keys: dict[str, str] = json.loads(found["SecretString"])
        return keys

    def _current(self) -> dict[str, str]:
        found = self._client.get_secret_value(SecretId=self._secret, VersionStage="AWSCURRENT")
        keys: dict[str, str] = json.loads(found["SecretString"])
        return keys

    def _versions(self, stage: str) -> list[str]:
        described = self._client.describe_secret(SecretId=self._secret)["VersionIdsToStages"]
        return [version for version, stages in described.items() if stage in stages]


def named(keys: Mapping[str, str]) -> dict[str, str]:
    """Keys of upload states as the key-value store holds them."""
    return {KEY + identifier: key for identifier, key in keys.items()}


def rotated(keys: Mapping[str, str], now: int) -> dict[str, str]:
    """The keys after a rotation at ``now`` (seconds since the epoch). Raises CannotRotate, if it is too soon."""
    *retired, signing = keys
    if retired and made(retired[-1]) > made(signing):
        waiting = retired.pop()
        if now - made(waiting) < APART_SECONDS:
            raise CannotRotate(f"the key {waiting} is less than {APART_SECONDS // 3600} hours old and may not sign yet")
        retired, signing = [*retired, signing], waiting
    fresh = f"t{now:08x}"
    if fresh in keys:
        raise CannotRotate("two rotations within a second")
    bytes_of = {**keys, fresh: base64.b64encode(secrets.token_bytes(33)).decode("ascii")}
    return {identifier: bytes_of[identifier] for identifier in (*retired[-RETIRED:], fresh, signing)}


def made(identifier: str) -> int:
    """When a rotation made the key of this id, in seconds since the epoch; 0 if none did."""
    found = _MADE.fullmatch(identifier)
    return int(found.group(1), 16) if found else 0
