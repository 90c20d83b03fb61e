"""The ``Table`` on DynamoDB, through PynamoDB: one table for everything, strongly consistent.

Reads go past PynamoDB's connection, and those by key, which are all that a pull makes, need nothing of PynamoDB: it brings
botocore, which takes longer to load than the whole program. It is loaded for the first expression, connected for the first
write.

The table has the hash key ``partition``, the range key ``sort``, both strings, and ``expires_at`` as its TTL attribute. Every
attribute of an item lies at the top level, so that conditions are judged by the service. An attribute whose name is a key's
or begins with "$" is stored with one more "$" in front; "$" alone is ours, see dynamo_expressions.

Expressions are built by PynamoDB from placeholders: no name and no value is ever part of the text.

The SDK repeats a request whose answer was lost. That is harmless for a write that overwrites, not for one that counts or
that has a condition, which would be told it lost against itself; so those go as a transaction, whose token makes the
service take it once.
"""

from __future__ import annotations

import json
import random
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chalicelib.aws.dynamo_items import PARTITION, SORT, Encoded, read_attributes, read_item, stored_key
from chalicelib.aws.json_service import CONNECT_SECONDS, READ_SECONDS, JsonService, ServiceError
from chalicelib.aws.signing import Credentials
from chalicelib.registry.ports import (
    MAX_TRANSACTION,
    Attributes,
    Check,
    ConditionFailed,
    Conflict,
    Delete,
    Item,
    Key,
    Put,
    Update,
    Walked,
    Write,
)

if TYPE_CHECKING:
    from pynamodb.connection import Connection

BATCH = 100
"""Keys that one BatchGetItem takes."""

BATCH_ATTEMPTS = 6
BATCH_PAUSE = 0.02
"""Seconds, at most, before keys are asked for again of which none was answered; doubled each time."""

CONNECTIONS = 50

_BUSY = frozenset(
    {
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingError",
        "ThrottlingException",
        "TransactionConflict",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
"""Error codes, and reasons of a cancelled transaction, that ask to try again later."""

_INVALID = frozenset({"ValidationError", "ValidationException"})
_ACTION_NAMES = {Put: "Put", Update: "Update", Delete: "Delete", Check: "ConditionCheck"}


class DynamoTable:
    """A ``Table`` in the DynamoDB table ``name``. Threads may share it; nothing is connected before the first call.

    ``region``, ``endpoint`` and ``credentials`` (key id and secret) come from where the SDK looks for them if not given: a
    function's environment, AWS_ENDPOINT_URL_DYNAMODB or AWS_ENDPOINT_URL, a role. ``repeats`` is how often it sends a request
    again that was lost or refused for a while, with growing pauses, before that is an error here or a Conflict."""

    def __init__(
        self,
        name: str,
        *,
        region: str | None = None,
        endpoint: str | None = None,
        credentials: tuple[str, str] | None = None,
        repeats: int = 3,
    ) -> None:
        self._name = name
        self._reads = JsonService(
            "dynamodb",
            "DynamoDB_20120810",
            "1.0",
            region=region,
            endpoint=endpoint,
            credentials=Credentials(*credentials) if credentials else None,
            repeats=repeats,
        )
        self._given = (region, endpoint, credentials, repeats)
        self._connecting = threading.Lock()
        self._connection: Connection | None = None

    def get(self, key: Key) -> Attributes | None:
        """See ``Table.get``."""
        item = self._read("GetItem", {"TableName": self._name, "Key": stored_key(key), "ConsistentRead": True}).get("Item")
        return None if item is None else read_attributes(item)

    def batch_get(self, keys: Sequence[Key]) -> Mapping[Key, Attributes]:
        """See ``Table.batch_get``. Raises Conflict if the service keeps leaving keys out."""
        wanted = list(dict.fromkeys(keys))
        found: dict[Key, Attributes] = {}
        for start in range(0, len(wanted), BATCH):
            for raw in self._batch(wanted[start : start + BATCH]):
                item = read_item(raw)
                found[item.key] = item.attributes
        return found

    def write(self, write: Put | Update | Delete) -> None:
        """See ``Table.write``."""
        from chalicelib.aws.dynamo_expressions import action_of

        repeatable = write.condition is None and not (isinstance(write, Update) and write.add)
        if not repeatable:
            self.transact((write,))
            return
        self._write(f"{_ACTION_NAMES[type(write)]}Item", {"TableName": self._name, **action_of(write)})

    def transact(self, writes: Sequence[Write]) -> None:
        """See ``Table.transact``."""
        if not 1 <= len(writes) <= MAX_TRANSACTION:
            raise ValueError(f"a transaction has 1 to {MAX_TRANSACTION} writes, not {len(writes)}")
        if len({write.key for write in writes}) != len(writes):
            raise ValueError("a transaction names a key twice")
        from chalicelib.aws.dynamo_expressions import action_of

        actions = [{_ACTION_NAMES[type(write)]: {"TableName": self._name, **action_of(write)}} for write in writes]
        self._write("TransactWriteItems", {"TransactItems": actions, "ClientRequestToken": secrets.token_hex(16)})

    def query(
        self,
        partition: str,
        *,
        prefix: str = "",
        after: str = "",
        limit: int | None = None,
        backward: bool = False,
    ) -> Sequence[Item]:
        """See ``Table.query``."""
        from chalicelib.aws.dynamo_expressions import key_range

        within = key_range(partition, prefix, after, backward=backward)
        if within is None:
            return []
        items: list[Item] = []
        arguments = {"TableName": self._name, "ConsistentRead": True, "ScanIndexForward": not backward, **within}
        for raw in self._pages("Query", arguments, limit):
            items.append(read_item(raw))
        return items

    def walk(self, cursor: str | None = None, limit: int = 100) -> Walked:
        """See ``Table.walk``. The cursor is the last key, as a JSON list; the order is that of the hashes of partitions."""
        if limit < 1:
            raise ValueError(f"a stretch of {limit} items")
        arguments: dict[str, Any] = {"TableName": self._name, "ConsistentRead": True, "Limit": limit}
        if cursor is not None:
            arguments["ExclusiveStartKey"] = stored_key(Key(*json.loads(cursor)))
        answer = self._read("Scan", arguments)
        last = answer.get("LastEvaluatedKey")
        items = tuple(read_item(raw) for raw in answer.get("Items", ()))
        return Walked(items, None if not last else json.dumps([last[PARTITION]["S"], last[SORT]["S"]]))

    def _pages(self, operation: str, arguments: dict[str, Any], limit: int | None) -> Iterator[Encoded]:
        """The raw items of all pages, ``limit`` at most: the service ends a page after a megabyte, whatever was asked."""
        if limit is not None and limit < 0:
            raise ValueError(f"a limit of {limit}")
        while limit is None or limit > 0:
            answer = self._read(operation, arguments if limit is None else {**arguments, "Limit": limit})
            items = answer.get("Items", [])
            yield from items
            limit = None if limit is None else limit - len(items)
            if not answer.get("LastEvaluatedKey"):
                return
            arguments = {**arguments, "ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _batch(self, keys: Sequence[Key]) -> Iterator[Encoded]:
        """The raw items of up to ``BATCH`` keys. The service leaves keys out when the answer grows over 16 MB or it is busy;
        they are asked for again, at once while that brings any."""
        asked: dict[str, Any] = {"Keys": [stored_key(key) for key in keys], "ConsistentRead": True}
        attempt = 0
        while attempt < BATCH_ATTEMPTS:
            answer = self._read("BatchGetItem", {"RequestItems": {self._name: asked}})
            items = answer.get("Responses", {}).get(self._name, [])
            yield from items
            asked = answer.get("UnprocessedKeys", {}).get(self._name, {})
            if not asked:
                return
            if not items:
                # Jitter decides nothing but when: no need for a source that cannot be guessed.
                time.sleep(random.uniform(0, BATCH_PAUSE * 2**attempt))  # noqa: S311
                attempt += 1
        raise Conflict(f"{len(asked['Keys'])} keys left unprocessed")

    def _read(self, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a call that changes nothing. Raises Conflict, and ValueError for what the service finds invalid; all
        else passes."""
        try:
            return self._reads.call(operation, arguments)
        except ServiceError as error:
            refusal = _refusal(error.code, error.message)
            if refusal is None:
                raise
            raise refusal from error

    def _write(self, operation: str, arguments: dict[str, Any]) -> None:
        """One call. Raises also ConditionFailed."""
        from pynamodb.exceptions import VerboseClientError

        try:
            self._connected().dispatch(operation, arguments)
        except VerboseClientError as error:
            told = error.response.get("Error", {})
            reasons = [None if reason is None else reason.code for reason in error.cancellation_reasons]
            refusal = _refusal(told.get("Code", ""), told.get("Message", ""), reasons)
            if refusal is None:
                raise
            raise refusal from error

    def _connected(self) -> Connection:
        """PynamoDB's connection with its client made, which is slow, and not safe in two threads."""
        with self._connecting:
            if self._connection is None:
                from pynamodb.connection import Connection

                region, endpoint, credentials, repeats = self._given
                key, secret = credentials or (None, None)
                connection = Connection(
                    region=region,
                    host=endpoint,
                    aws_access_key_id=key,
                    aws_secret_access_key=secret,
                    connect_timeout_seconds=CONNECT_SECONDS,
                    read_timeout_seconds=READ_SECONDS,
                    max_pool_connections=CONNECTIONS,
                    max_retry_attempts=repeats,
                )
                _ = connection.client
                self._connection = connection
            return self._connection


def _refusal(code: str, message: str, reasons: Sequence[str | None] = ()) -> Exception | None:
    """What the service's error means in the port's words, or None if the port has none. ``reasons`` are those of a cancelled
    transaction."""
    if code in _BUSY:
        return Conflict(code)
    if code in _INVALID:
        return ValueError(message)
    if code == "TransactionCanceledException":
        return _cancellation(reasons, message)
    return None


def _cancellation(reasons: Sequence[str | None], message: str) -> Exception | None:
    """The same of a cancelled transaction: its reasons are in the order of its actions. A condition that failed is certain,
    whatever else was in the way, and tells the caller most."""
    failed = tuple(index for index, reason in enumerate(reasons) if reason == "ConditionalCheckFailed")
    if failed:
        return ConditionFailed(failed)
    if any(reason in _INVALID for reason in reasons):
        return ValueError(message)
    if any(reason in _BUSY for reason in reasons):
        return Conflict(message)
    return None
