"""Items as DynamoDB writes them, and the attributes that they are read as; see dynamo_table for what lies where."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeAlias

from chalicelib.registry.ports import Attributes, Item, Key, Value

Encoded: TypeAlias = "dict[str, Any]"
"""A value as DynamoDB writes it: one type letter and the value, ``{"S": "text"}``. Bytes come as base64 and are left to who
sends them to make base64 of."""

PARTITION = "partition"
SORT = "sort"


def stored_name(attribute: str) -> str:
    """What an attribute is called in an item: two names are taken by the key."""
    return "$" + attribute if attribute in (PARTITION, SORT) or attribute.startswith("$") else attribute


def stored_attributes(attributes: Attributes) -> dict[str, Encoded]:
    """An item without its key. ValueError for what no item can hold."""
    return {stored_name(name): encoded(value) for name, value in attributes.items()}


def read_item(raw: Mapping[str, Encoded]) -> Item:
    """A whole item from an answer."""
    return Item(Key(raw[PARTITION]["S"], raw[SORT]["S"]), read_attributes(raw))


def read_attributes(raw: Mapping[str, Encoded]) -> dict[str, Value]:
    """What it holds apart from its key."""
    return {
        name[1:] if name.startswith("$") else name: decoded(value)
        for name, value in raw.items()
        if name not in (PARTITION, SORT, "$")
    }


def stored_key(key: Key) -> dict[str, Encoded]:
    """The two attributes of an item that are its key."""
    return {PARTITION: {"S": key.partition}, SORT: {"S": key.sort}}


def encoded(value: Value) -> Encoded:  # noqa: PLR0911 (one return per type)
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
            return {"M": {name: encoded(each) for name, each in value.items()}}
        case list() | tuple():
            return {"L": [encoded(each) for each in value]}
        case _:
            raise ValueError(f"no value for an attribute: {type(value).__name__}")


def decoded(encoded: Encoded) -> Value:
    ((kind, value),) = encoded.items()
    match kind:
        case "NULL":
            return None
        case "N":
            return int(value) if value.lstrip("-").isdigit() else int(Decimal(value))  # large ones may come as 1E+30
        case "B":
            return base64.b64decode(value)
        case "M":
            return {name: decoded(each) for name, each in value.items()}
        case "L":
            return [decoded(each) for each in value]
        case _:
            same: Value = value
            return same
