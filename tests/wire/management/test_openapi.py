"""The description is of the table: no more, no less, and small enough to be sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from chalicelib.wire.management.openapi import PATH, document
from chalicelib.wire.management.routes import ROUTES
from tests.wire.management.asking import House


def test_everybody_reads_it_once(house: House) -> None:
    told = house.ask("GET", PATH, by="")
    assert (told.status, told.headers["Content-Type"]) == (200, "application/json")
    assert json.loads(told.body)["openapi"] == "3.1.0"
    again = house.ask("GET", PATH, by="", if_none_match=told.headers["ETag"])
    assert (again.status, again.body) == (304, b"")
    assert house.ask("POST", PATH, by="").status == 405
    # Credentials, even wrong ones, make no difference.
    assert house.surface.send("GET", PATH, authorization="Basic x").status == 200


def test_every_row_is_described() -> None:
    described = {(method.upper(), path) for path, row in document()["paths"].items() for method in row}
    assert described == {(row.method, row.path) for row in ROUTES} | {("GET", PATH)}


def test_every_reference_leads_somewhere() -> None:
    whole = document()
    for reference in set(references(whole)):
        node = whole
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_pattern_compiles_and_every_operation_has_a_name_of_its_own() -> None:
    text = json.dumps(document())
    for pattern in re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', text):
        re.compile(json.loads(pattern))
    names = re.findall(r'"operationId": "([^"]+)"', text)
    assert len(names) == len(set(names)) == len(ROUTES) + 1


def test_the_same_at_each_start() -> None:
    assert json.dumps(document()) == json.dumps(document())
