"""The edge's key-value store, as AWS lets it be changed: by whoever names the state it is in.

The client needs awscrt: this API is signed for all regions at once (SigV4a).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

_Client: TypeAlias = Any  # made by boto3 at run time; there are no types to import
_Session: TypeAlias = Any

ATTEMPTS = 10
"""How often a change is tried while others change the store too."""

KEY = "upload-key-"
"""What the names of keys begin with, as infra/edge/viewer-request.js reads them."""


class StoreBusy(Exception):
    """The store was changed by others at each attempt."""


def store_client(session: _Session, endpoint: str = "", **options: object) -> _Client:
    """boto3's of ``cloudfront-keyvaluestore``; ``endpoint`` is an emulator's URL. The SDK puts the account before the host,
    which an emulator at an address of numbers cannot have."""
    client = session.client("cloudfront-keyvaluestore", endpoint_url=endpoint or None, **options)

    def stay(request: Any, **_: object) -> None:  # noqa: ANN401  # botocore's
        request.url = urlsplit(request.url)._replace(netloc=urlsplit(endpoint).netloc).geturl()

    if endpoint:
        client.meta.events.register("before-sign.cloudfront-keyvaluestore", stay)
    return client


class EdgeStore:
    """The store of an ARN; ``client`` is a ``store_client``."""

    def __init__(self, client: _Client, arn: str) -> None:
        self._client = client
        self._arn = arn

    def items(self) -> dict[str, str]:
        pages = self._client.get_paginator("list_keys").paginate(KvsARN=self._arn)
        return {each["Key"]: each["Value"] for page in pages for each in page.get("Items", ())}

    def value(self, name: str) -> str | None:
        try:
            return str(self._client.get_key(KvsARN=self._arn, Key=name)["Value"])
        except self._client.exceptions.ResourceNotFoundException:
            return None

    def put(self, wanted: Mapping[str, str]) -> bool:
        """Whether anything had to be changed. Raises StoreBusy."""
        return self._change(wanted, ())

    def drop(self, names: Iterable[str]) -> bool:
        """Whether any was there. Raises StoreBusy."""
        return self._change({}, tuple(names))

    def _change(self, wanted: Mapping[str, str], unwanted: Iterable[str]) -> bool:
        """In one step or not at all; what is as it should be is not written again, since each change goes round the world."""
        for _ in range(ATTEMPTS):
            state = self._client.describe_key_value_store(KvsARN=self._arn)["ETag"]
            there = self.items()
            puts = [{"Key": name, "Value": value} for name, value in wanted.items() if there.get(name) != value]
            deletes = [{"Key": name} for name in unwanted if name in there]
            if not puts and not deletes:
                return False
            try:
                self._client.update_keys(KvsARN=self._arn, IfMatch=state, Puts=puts, Deletes=deletes)
            except self._client.exceptions.ConflictException:
                continue
            return True
        raise StoreBusy(f"the key-value store was changed by others {ATTEMPTS} times in a row")
