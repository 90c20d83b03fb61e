"""What a body may be: one JSON object of the declared fields, and nothing else, on every route that takes one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from msgspec import Struct

from chalicelib.wire.http import Response
from chalicelib.wire.management.bodies import Input
from chalicelib.wire.management.routes import ROUTES, Route
from tests.conformance.registry_process import REPOSITORY_ROOT
from tests.wire.management.asking import House
from tests.wire.management.test_paging import NAMES

WITH_BODY = [pytest.param(row, id=f"{row.method} {row.path}") for row in ROUTES if row.body]

NOT_OBJECTS = {
    "array": b"[]",
    "number": b"1",
    "null": b"null",
    "text": b'"x"',
    "half": b"{",
    "two": b"{}{}",
    "not UTF-8": b'{"name":"\xff"}',
    "lone surrogate": b'{"name":"\\ud800"}',
    "NaN": b'{"name":NaN}',
    "Infinity": b'{"name":-Infinity}',
    "nested arrays": b"[" * 60_000,
    "nested objects": b'{"a":' * 12_000,
    "too large": b'{"name":"' + b"x" * 70_000 + b'"}',
    "long number": b'{"name":' + b"9" * 60_000 + b"}",
    "BOM": b"\xef\xbb\xbf{}",
    "comment": b"{/**/}",
    "UTF-16": '{"name":"x"}'.encode("utf-16"),
}


def ask(house: House, row: Route, body: object, **headers: str) -> Response:
    return house.ask(row.method, row.path.format(**NAMES), body, **headers)


def error(answer: Response) -> tuple[int, str, dict[str, object]]:
    entry = json.loads(answer.body)["errors"][0]
    return answer.status, entry["code"], entry["detail"]


@pytest.mark.parametrize("row", WITH_BODY)
def test_what_is_no_object(house: House, row: Route) -> None:
    for kind, body in NOT_OBJECTS.items():
        assert error(ask(house, row, body))[:2] == (400, "INVALID_JSON"), kind


@pytest.mark.parametrize("row", WITH_BODY)
@pytest.mark.parametrize("field", ["unknown", "id", "version", "kind", "createdAt", "__proto__", "passwordHash", "deleting"])
def test_a_field_that_is_not_declared(house: House, row: Route, field: str) -> None:
    refused = error(ask(house, row, {field: "x"}))
    assert refused == (400, "INVALID_JSON", {"field": field})


@pytest.mark.parametrize("row", WITH_BODY)
def test_a_field_given_twice(house: House, row: Route) -> None:
    assert row.body is not None
    if not row.body.__struct_encode_fields__:
        return
    name = row.body.__struct_encode_fields__[0]
    for value in (b'"x"', b"true", b'"read-only"', b"1"):
        body = b'{"%s":%s,"%s":%s}' % (name.encode(), value, name.encode(), value)
        assert error(ask(house, row, body))[:2] == (400, "INVALID_JSON")


@pytest.mark.parametrize("row", WITH_BODY)
@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x"])
def test_another_media_type(house: House, row: Route, media_type: str) -> None:
    assert error(ask(house, row, {}, content_type=media_type))[:2] == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("row", WITH_BODY)
def test_a_body_of_no_media_type_which_any_web_page_may_send_with_a_browsers_credentials(house: House, row: Route) -> None:
    body = {"name": "evil", "password": "evil", "isAdmin": True}
    assert error(ask(house, row, body, content_type=""))[:2] == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert house.surface.accounts.read("evil") is None


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_by_any_of_its_names(house: House, media_type: str) -> None:
    house.expect(200, "PATCH", "/enzi/v0/accounts/bob", {"fullName": "B"}, content_type=media_type)


@pytest.mark.parametrize("row", WITH_BODY)
def test_a_patch_without_a_change(house: House, row: Route) -> None:
    if row.method == "PATCH":
        for body in (b"", b"{}", b"  "):
            assert error(ask(house, row, body))[:2] == (400, "INVALID_JSON")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"fullName": 1}, "fullName"),
        ({"fullName": None}, "fullName"),
        ({"fullName": "x" * 257}, "fullName"),
        ({"isAdmin": "true"}, "isAdmin"),
        ({"isAdmin": 1}, "isAdmin"),
        ({"isActive": []}, "isActive"),
        ({"fullname": "x"}, "fullname"),
        ({"full_name": "x"}, "full_name"),
    ],
)
def test_which_field_is_wrong_is_said(house: House, body: object, field: str) -> None:
    refused = error(house.ask("PATCH", "/enzi/v0/accounts/bob", body))
    assert refused == (400, "INVALID_JSON", {"field": field})


def test_every_body_refuses_what_it_does_not_declare() -> None:
    def parts(kind: type[Struct]) -> bool:
        return issubclass(kind, Input) and kind.__struct_config__.forbid_unknown_fields

    assert all(parts(row.body) for row in ROUTES if row.body)


def test_the_first_bodies_of_a_kind_may_come_at_once() -> None:
    """In a process of its own: msgspec, asked by two threads, ended it."""
    command = [sys.executable, "-m", "tests.wire.management.first_bodies"]
    done = subprocess.run(command, cwd=REPOSITORY_ROOT, capture_output=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, b"all were read\n"), done.stderr.decode()
