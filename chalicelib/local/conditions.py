"""What conditions and updates mean, and which items a table takes: the rules the local tables share.

Pure functions on attributes; None stands for an item that does not exist. The refusals are DynamoDB's, so that what works
on one machine works there: nothing but ``Value``, integers of 38 digits, keys of 2,048 and 1,024 bytes, neither empty,
items of ``MAX_ITEM`` bytes counted its way. All of them are ValueError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chalicelib.registry.ports import (
    MAX_ITEM,
    MAX_TRANSACTION,
    Absent,
    All,
    Attributes,
    Below,
    Check,
    Condition,
    Delete,
    Either,
    Equals,
    Exists,
    Key,
    Lacks,
    Put,
    Update,
    Value,
    Write,
)

MAX_PARTITION = 2_048
MAX_SORT = 1_024
INTEGER_BOUND = 10**38


def holds(condition: Condition, attributes: Attributes | None) -> bool:  # noqa: PLR0911 (one return per kind)
    """Whether the condition holds for an item with these attributes, or for the lack of an item."""
    match condition:
        case Exists():
            return attributes is not None
        case Absent():
            return attributes is None
        case Equals(attribute, value):
            return attributes is not None and attribute in attributes and _same(attributes[attribute], value)
        case Lacks(attribute):
            return attributes is None or attribute not in attributes
        case Below(attribute, bound):
            found = None if attributes is None else attributes.get(attribute)
            return _is_integer(found) and found < bound  # type: ignore[operator]  # narrowed by _is_integer
        case All(conditions):
            return all(holds(each, attributes) for each in conditions)
        case Either(conditions):
            return any(holds(each, attributes) for each in conditions)


def updated(update: Update, attributes: Attributes | None) -> dict[str, Value]:
    """The attributes after the update. ValueError if it names an attribute twice, or adds to or of what is no integer."""
    _check_update(update)
    result = dict(attributes or {})
    result.update(update.set)
    for attribute, amount in update.add.items():
        present = result.get(attribute, 0)
        if not _is_integer(present):
            raise ValueError(f"cannot add to {attribute!r}: it holds {type(present).__name__}")
        result[attribute] = present + amount  # type: ignore[operator]  # narrowed by _is_integer
    for attribute in update.remove:
        result.pop(attribute, None)
    return result


def outcome(write: Write, attributes: Attributes | None) -> Attributes | None:
    """What lies under the write's key once it is applied: attributes, or None for no item."""
    match write:
        case Put():
            return write.attributes
        case Update():
            return updated(write, attributes)
        case Delete():
            return None
        case Check():
            return attributes


def check_transaction(writes: Sequence[Write]) -> None:
    """ValueError unless there are 1 to ``MAX_TRANSACTION`` writes, each on a key of its own."""
    if not 1 <= len(writes) <= MAX_TRANSACTION:
        raise ValueError(f"a transaction has 1 to {MAX_TRANSACTION} writes, not {len(writes)}")
    if len({write.key for write in writes}) != len(writes):
        raise ValueError("a transaction names a key twice")


def check_write(write: Write) -> None:
    """ValueError if the write makes no sense whatever it finds."""
    check_key(write.key)
    if isinstance(write, Put):
        check_item(write.key, write.attributes)
    elif isinstance(write, Update):
        _check_update(write)


def check_key(key: Key) -> None:
    """ValueError if the key is one that no item can have."""
    check_partition(key.partition)
    if not 1 <= len(key.sort.encode()) <= MAX_SORT:
        raise ValueError(f"a sort key of {len(key.sort.encode())} bytes, 1 to {MAX_SORT} allowed")


def check_partition(partition: str) -> None:
    """ValueError if no item can lie there."""
    if not 1 <= len(partition.encode()) <= MAX_PARTITION:
        raise ValueError(f"a partition of {len(partition.encode())} bytes, 1 to {MAX_PARTITION} allowed")


def check_item(key: Key, attributes: Attributes) -> None:
    """ValueError if no item may have this key or these attributes."""
    check_key(key)
    if "" in attributes:
        raise ValueError("an attribute has no name")
    size = len("partition") + len(key.partition.encode()) + len("sort") + len(key.sort.encode())
    size += sum(len(name.encode()) + _size(value) for name, value in attributes.items())
    if size > MAX_ITEM:
        raise ValueError(f"an item of {size} bytes, {MAX_ITEM} allowed")


def _check_update(update: Update) -> None:
    named = [*update.set, *update.add, *update.remove]
    if len(set(named)) != len(named):
        raise ValueError(f"an update names an attribute twice: {sorted(named)}")
    for value in update.set.values():
        _size(value)
    for attribute, amount in update.add.items():
        if not _is_integer(amount):
            raise ValueError(f"cannot add {amount!r} to {attribute!r}: no integer")


def _size(value: Value) -> int:
    """Bytes that DynamoDB counts for a value. ValueError if it is none."""
    match value:
        case None | bool():
            return 1
        case int():
            if abs(value) >= INTEGER_BOUND:
                raise ValueError("an integer of more than 38 digits")
            return (len(str(abs(value))) + 1) // 2 + 2
        case str():
            return len(value) if value.isascii() else len(value.encode())
        case bytes():
            return len(value)
        case Mapping():
            return 3 + sum(len(_text(name).encode()) + _size(each) + 1 for name, each in value.items())
        case list() | tuple():
            return 3 + sum(_size(each) + 1 for each in value)
        case _:
            raise ValueError(f"no value for an attribute: {type(value).__name__}")


def _text(name: object) -> str:
    if not isinstance(name, str):
        raise ValueError(f"no name for a value: {type(name).__name__}")  # noqa: TRY004 (one kind of refusal)
    return name


def _same(found: Value, wanted: Value) -> bool:
    """Equal and of one kind: in Python True equals 1, in a store it does not."""
    return found == wanted and isinstance(found, bool) == isinstance(wanted, bool)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
