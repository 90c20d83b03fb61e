"""The ``Table`` on DynamoDB, through PynamoDB: one table for everything, strongly consistent.

The table has the hash key ``partition``, the range key ``sort``, both strings, and ``expires_at`` as its TTL attribute. Every
attribute of an item lies at the top level, so that conditions are judged by the service. An attribute whose name is a key's
or begins with "$" is stored with one more "$" in front; "$" alone is ours, see ``_update_actions``.

Expressions are built by PynamoDB from placeholders: no name and no value is ever part of the text.

The SDK repeats a request whose answer was lost. That is harmless for a write that overwrites, not for one that counts or
that has a condition, which would be told it lost against itself; so those go as a transaction, whose token makes the
service take it once.
"""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import reduce
from typing import Any, TypeAlias

from pynamodb.connection import Connection
from pynamodb.exceptions import VerboseClientError
from pynamodb.expressions.condition import And, BeginsWith, Not, Or
from pynamodb.expressions.condition import Condition as Expression
from pynamodb.expressions.operand import Path
from pynamodb.expressions.operand import Value as Operand
from pynamodb.expressions.update import Action
from pynamodb.expressions.update import Update as UpdateExpression

from chalicelib.registry.ports import (
    MAX_TRANSACTION,
    Absent,
    All,
    Attributes,
    Below,
    Check,
    Condition,
    ConditionFailed,
    Conflict,
    Delete,
    Either,
    Equals,
    Exists,
    Item,
    Key,
    Lacks,
    Put,
    Update,
    Value,
    Walked,
    Write,
)

Encoded: TypeAlias = "dict[str, Any]"
"""A value as DynamoDB writes it: one type letter and the value, ``{"S": "text"}``."""

PARTITION = "partition"
SORT = "sort"
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
        key, secret = credentials or (None, None)
        self._name = name
        self._connecting = threading.Lock()
        self._connected = False
        self._connection = Connection(
            region=region,
            host=endpoint,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            max_pool_connections=CONNECTIONS,
            max_retry_attempts=repeats,
        )

    def get(self, key: Key) -> Attributes | None:
        """See ``Table.get``."""
        item = self._call("GetItem", {"Key": _key(key), "ConsistentRead": True}).get("Item")
        return None if item is None else _attributes(item)

    def batch_get(self, keys: Sequence[Key]) -> Mapping[Key, Attributes]:
        """See ``Table.batch_get``. Raises Conflict if the service keeps leaving keys out."""
        wanted = list(dict.fromkeys(keys))
        found: dict[Key, Attributes] = {}
        for start in range(0, len(wanted), BATCH):
            for raw in self._batch(wanted[start : start + BATCH]):
                item = _item(raw)
                found[item.key] = item.attributes
        return found

    def write(self, write: Put | Update | Delete) -> None:
        """See ``Table.write``."""
        repeatable = write.condition is None and not (isinstance(write, Update) and write.add)
        if not repeatable:
            self.transact((write,))
            return
        self._call(f"{_ACTION_NAMES[type(write)]}Item", self._action(write))

    def transact(self, writes: Sequence[Write]) -> None:
        """See ``Table.transact``."""
        if not 1 <= len(writes) <= MAX_TRANSACTION:
            raise ValueError(f"a transaction has 1 to {MAX_TRANSACTION} writes, not {len(writes)}")
        if len({write.key for write in writes}) != len(writes):
            raise ValueError("a transaction names a key twice")
        actions = [{_ACTION_NAMES[type(write)]: {"TableName": self._name, **self._action(write)}} for write in writes]
        self._dispatch("TransactWriteItems", {"TransactItems": actions, "ClientRequestToken": str(uuid.uuid4())})

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
        within = _query(partition, prefix, after, backward=backward)
        if within is None:
            return []
        items: list[Item] = []
        for raw in self._pages("Query", {**within, "ConsistentRead": True, "ScanIndexForward": not backward}, limit):
            items.append(_item(raw))
        return items

    def walk(self, cursor: str | None = None, limit: int = 100) -> Walked:
        """See ``Table.walk``. The cursor is the last key, as a JSON list; the order is that of the hashes of partitions."""
        if limit < 1:
            raise ValueError(f"a stretch of {limit} items")
        arguments: dict[str, Any] = {"ConsistentRead": True, "Limit": limit}
        if cursor is not None:
            arguments["ExclusiveStartKey"] = _key(Key(*json.loads(cursor)))
        answer = self._call("Scan", arguments)
        last = answer.get("LastEvaluatedKey")
        items = tuple(_item(raw) for raw in answer.get("Items", ()))
        return Walked(items, None if not last else json.dumps([last[PARTITION]["S"], last[SORT]["S"]]))

    def _pages(self, operation: str, arguments: dict[str, Any], limit: int | None) -> Iterator[Encoded]:
        """The raw items of all pages, ``limit`` at most: the service ends a page after a megabyte, whatever was asked."""
        if limit is not None and limit < 0:
            raise ValueError(f"a limit of {limit}")
        while limit is None or limit > 0:
            answer = self._call(operation, arguments if limit is None else {**arguments, "Limit": limit})
            items = answer.get("Items", [])
            yield from items
            limit = None if limit is None else limit - len(items)
            if not answer.get("LastEvaluatedKey"):
                return
            arguments = {**arguments, "ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _batch(self, keys: Sequence[Key]) -> Iterator[Encoded]:
        """The raw items of up to ``BATCH`` keys. The service leaves keys out when the answer grows over 16 MB or it is busy;
        they are asked for again, at once while that brings any."""
        asked: dict[str, Any] = {"Keys": [_key(key) for key in keys], "ConsistentRead": True}
        attempt = 0
        while attempt < BATCH_ATTEMPTS:
            answer = self._dispatch("BatchGetItem", {"RequestItems": {self._name: asked}})
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

    def _action(self, write: Write) -> dict[str, Any]:
        """What a write is as an action of a transaction, the table's name apart; also the arguments of the single call."""
        names: dict[str, str] = {}
        values: dict[str, Any] = {}
        action: dict[str, Any] = {}
        if isinstance(write, Put):
            action["Item"] = {**_stored(write.attributes), **_key(write.key)}
        else:
            action["Key"] = _key(write.key)
        if write.condition is not None:
            action["ConditionExpression"] = _expression(write.condition).serialize(names, values)
        if isinstance(write, Update):
            action["UpdateExpression"] = UpdateExpression(*_update_actions(write)).serialize(names, values)
        if names:
            action["ExpressionAttributeNames"] = {placeholder: name for name, placeholder in names.items()}
        if values:
            action["ExpressionAttributeValues"] = values
        return action

    def _call(self, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return self._dispatch(operation, {"TableName": self._name, **arguments})

    def _dispatch(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """One call. Raises ConditionFailed, Conflict, and ValueError for what the service finds invalid; all else passes."""
        if not self._connected:
            with self._connecting:  # making a client is slow, and not safe in two threads
                self._connected = self._connection.client is not None
        try:
            answer: dict[str, Any] = self._connection.dispatch(operation, arguments)
        except VerboseClientError as error:
            refusal = _refusal(error)
            if refusal is None:
                raise
            raise refusal from error
        return answer


class _Name(Path):
    """One attribute. A ``Path`` would read "a[0]" as an element of a list; this takes the name for the name."""

    def __init__(self, attribute: str) -> None:
        super().__init__([attribute])

    def _serialize_value(self, value: list[str], placeholder_names: dict[str, str], _values: Encoded) -> str:
        return placeholder_names.setdefault(value[0], f"#{len(placeholder_names)}")


def _refusal(error: VerboseClientError) -> Exception | None:
    """What the service's error means in the port's words, or None if the port has none."""
    code = error.response.get("Error", {}).get("Code", "")
    message = error.response.get("Error", {}).get("Message", "")
    if code in _BUSY:
        return Conflict(code)
    if code in _INVALID:
        return ValueError(message)
    if code == "TransactionCanceledException":
        return _cancellation([None if reason is None else reason.code for reason in error.cancellation_reasons], message)
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


def _query(partition: str, prefix: str, after: str, *, backward: bool) -> dict[str, Any] | None:
    """The arguments that choose the range, or None if it is empty. The service takes one condition on the sort key: the
    prefix, if there is one, and ``after`` is then where a page goes on, which must lie within the prefix."""
    names: dict[str, str] = {}
    values: dict[str, Any] = {}
    condition = _Name(PARTITION) == Operand({"S": partition})
    arguments: dict[str, Any] = {}
    if prefix:
        condition &= BeginsWith(_Name(SORT), Operand({"S": prefix}))  # type: ignore[no-untyped-call]
        if after.startswith(prefix):
            arguments["ExclusiveStartKey"] = _key(Key(partition, after))
        elif after and (after < prefix) == backward:
            return None  # everything with the prefix lies on the near side of ``after``
    elif after:
        bound = Operand({"S": after})
        condition &= _Name(SORT) < bound if backward else _Name(SORT) > bound
    arguments["KeyConditionExpression"] = condition.serialize(names, values)
    arguments["ExpressionAttributeNames"] = {placeholder: name for name, placeholder in names.items()}
    arguments["ExpressionAttributeValues"] = values
    return arguments


def _expression(condition: Condition) -> Expression:  # noqa: PLR0911 (one return per kind)
    match condition:
        case Exists():
            return _Name(PARTITION).exists()
        case Absent():
            return _Name(PARTITION).does_not_exist()
        case Equals(attribute, value):
            return _Name(_stored_name(attribute)) == Operand(_encoded(value))
        case Lacks(attribute):
            return _Name(_stored_name(attribute)).does_not_exist()
        case Below(attribute, bound):
            return _Name(_stored_name(attribute)) < Operand(_encoded(bound))
        case All(conditions):
            return reduce(And, map(_expression, conditions)) if conditions else _always()
        case Either(conditions):
            return reduce(Or, map(_expression, conditions)) if conditions else Not(_always())


def _always() -> Expression:
    return Or(_Name(PARTITION).exists(), _Name(PARTITION).does_not_exist())


def _update_actions(update: Update) -> Iterator[Action]:
    """The update's parts. One that sets and adds nothing also sets "$", which no reader sees: the service does not promise to
    make an item for a removal, and takes no update without an expression into a transaction."""
    named = [*update.set, *update.add, *update.remove]
    if len(set(named)) != len(named):
        raise ValueError(f"an update names an attribute twice: {sorted(named)}")
    for attribute, value in update.set.items():
        yield _Name(_stored_name(attribute)).set(Operand(_encoded(value)))
    for attribute, amount in update.add.items():
        yield _Name(_stored_name(attribute)).add(Operand(_encoded(amount)))
    for attribute in update.remove:
        yield _Name(_stored_name(attribute)).remove()
    if not update.set and not update.add:
        yield _Name("$").set(Operand({"BOOL": True}))


def _stored_name(attribute: str) -> str:
    return "$" + attribute if attribute in (PARTITION, SORT) or attribute.startswith("$") else attribute


def _stored(attributes: Attributes) -> dict[str, Encoded]:
    return {_stored_name(name): _encoded(value) for name, value in attributes.items()}


def _item(raw: Mapping[str, Encoded]) -> Item:
    return Item(Key(raw[PARTITION]["S"], raw[SORT]["S"]), _attributes(raw))


def _attributes(raw: Mapping[str, Encoded]) -> dict[str, Value]:
    return {
        name[1:] if name.startswith("$") else name: _decoded(value)
        for name, value in raw.items()
        if name not in (PARTITION, SORT, "$")
    }


def _key(key: Key) -> dict[str, Encoded]:
    return {PARTITION: {"S": key.partition}, SORT: {"S": key.sort}}


def _encoded(value: Value) -> Encoded:  # noqa: PLR0911 (one return per type)
    """The value in DynamoDB's notation. ValueError if it is none."""
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case str():
            value.encode()  # refuse lone surrogates here: the SDK would send them as escapes
            return {"S": value}
        case bytes():
            return {"B": value}
        case Mapping():
            return {"M": {name: _encoded(each) for name, each in value.items()}}
        case list() | tuple():
            return {"L": [_encoded(each) for each in value]}
        case _:
            raise ValueError(f"no value for an attribute: {type(value).__name__}")


def _decoded(encoded: Encoded) -> Value:
    ((kind, value),) = encoded.items()
    match kind:
        case "NULL":
            return None
        case "N":
            return int(value) if value.lstrip("-").isdigit() else int(Decimal(value))  # large ones may come as 1E+30
        case "M":
            return {name: _decoded(each) for name, each in value.items()}
        case "L":
            return [_decoded(each) for each in value]
        case _:
            decoded: Value = value
            return decoded
