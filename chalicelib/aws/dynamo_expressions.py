"""Conditions, updates and ranges as expressions of DynamoDB, built by PynamoDB from placeholders: no name and no value is ever
part of the text. Apart from the table, since PynamoDB is slow to load and a pull needs no expression."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Any

from pynamodb.expressions.condition import And, BeginsWith, Not, Or
from pynamodb.expressions.condition import Condition as Expression
from pynamodb.expressions.operand import Path
from pynamodb.expressions.operand import Value as Operand
from pynamodb.expressions.update import Action
from pynamodb.expressions.update import Update as UpdateExpression

from chalicelib.aws.dynamo_items import PARTITION, SORT, Encoded, encoded, stored_attributes, stored_key, stored_name
from chalicelib.registry.ports import Absent, All, Below, Condition, Either, Equals, Exists, Key, Lacks, Put, Update, Write


def action_of(write: Write) -> dict[str, Any]:
    """A write as an action of a transaction, the table's name apart; also the arguments of the single call."""
    names: dict[str, str] = {}
    values: dict[str, Any] = {}
    action: dict[str, Any] = {}
    if isinstance(write, Put):
        action["Item"] = {**stored_attributes(write.attributes), **stored_key(write.key)}
    else:
        action["Key"] = stored_key(write.key)
    if write.condition is not None:
        action["ConditionExpression"] = _condition(write.condition).serialize(names, values)
    if isinstance(write, Update):
        action["UpdateExpression"] = UpdateExpression(*_update_actions(write)).serialize(names, values)
    if names:
        action["ExpressionAttributeNames"] = {placeholder: name for name, placeholder in names.items()}
    if values:
        action["ExpressionAttributeValues"] = values
    return action


def key_range(partition: str, prefix: str, after: str, *, backward: bool) -> dict[str, Any] | None:
    """The arguments of a Query for what ``Table.query`` returns, or None if that is nothing. The service takes one condition on
    the sort key: the prefix, if there is one, and ``after`` is then where a page goes on, which must lie within the prefix."""
    names: dict[str, str] = {}
    values: dict[str, Any] = {}
    condition = _Name(PARTITION) == Operand({"S": partition})
    arguments: dict[str, Any] = {}
    if prefix:
        condition &= BeginsWith(_Name(SORT), Operand({"S": prefix}))  # type: ignore[no-untyped-call]
        if after.startswith(prefix):
            arguments["ExclusiveStartKey"] = stored_key(Key(partition, after))
        elif after and (after < prefix) == backward:
            return None  # everything with the prefix lies on the near side of ``after``
    elif after:
        bound = Operand({"S": after})
        condition &= _Name(SORT) < bound if backward else _Name(SORT) > bound
    arguments["KeyConditionExpression"] = condition.serialize(names, values)
    arguments["ExpressionAttributeNames"] = {placeholder: name for name, placeholder in names.items()}
    arguments["ExpressionAttributeValues"] = values
    return arguments


def _condition(condition: Condition) -> Expression:  # noqa: PLR0911 (one return per kind)
    match condition:
        case Exists():
            return _Name(PARTITION).exists()
        case Absent():
            return _Name(PARTITION).does_not_exist()
        case Equals(attribute, value):
            return _Name(stored_name(attribute)) == Operand(encoded(value))
        case Lacks(attribute):
            return _Name(stored_name(attribute)).does_not_exist()
        case Below(attribute, bound):
            return _Name(stored_name(attribute)) < Operand(encoded(bound))
        case All(conditions):
            return reduce(And, map(_condition, conditions)) if conditions else _always()
        case Either(conditions):
            return reduce(Or, map(_condition, conditions)) if conditions else Not(_always())


def _always() -> Expression:
    return Or(_Name(PARTITION).exists(), _Name(PARTITION).does_not_exist())


def _update_actions(update: Update) -> Iterator[Action]:
    """The update's parts. One that sets and adds nothing also sets "$", which no reader sees: the service does not promise to
    make an item for a removal, and takes no update without an expression into a transaction."""
    named = [*update.set, *update.add, *update.remove]
    if len(set(named)) != len(named):
        raise ValueError(f"an update names an attribute twice: {sorted(named)}")
    for attribute, value in update.set.items():
        yield _Name(stored_name(attribute)).set(Operand(encoded(value)))
    for attribute, amount in update.add.items():
        yield _Name(stored_name(attribute)).add(Operand(encoded(amount)))
    for attribute in update.remove:
        yield _Name(stored_name(attribute)).remove()
    if not update.set and not update.add:
        yield _Name("$").set(Operand({"BOOL": True}))


class _Name(Path):
    """One attribute. A ``Path`` would read "a[0]" as an element of a list; this takes the name for the name."""

    def __init__(self, attribute: str) -> None:
        super().__init__([attribute])

    def _serialize_value(self, value: list[str], placeholder_names: dict[str, str], _values: Encoded) -> str:
        return placeholder_names.setdefault(value[0], f"#{len(placeholder_names)}")
