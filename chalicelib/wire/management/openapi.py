"""The description of the management API (OpenAPI 3.1), written from the route table and the bodies' structs: what is not in
those is in no description, and what is in them is in it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta, Struct

from chalicelib.registry.access import Operation
from chalicelib.registry.errors import Unsupported
from chalicelib.wire.http import Request, Response
from chalicelib.wire.management import words
from chalicelib.wire.management.bodies import JSON
from chalicelib.wire.management.jobs import ACTION_PATTERN
from chalicelib.wire.management.needs import Anybody, OfRepository
from chalicelib.wire.management.paging import NEXT, SIZE, Whole
from chalicelib.wire.management.routes import ROUTES, Parameter, Route

PATH = "/api/v0/openapi.json"

Node: TypeAlias = dict[str, Any]

_REF = "#/components/schemas/{name}"


class ErrorEntry(Struct, frozen=True):
    """One refusal: ``code`` for programs, ``message`` for people; ``detail`` may say which field, or the reason."""

    code: Annotated[str, Meta(pattern="^[A-Z_]+$")]
    message: str
    detail: dict[str, Any]


class Errors(Struct, frozen=True):
    """Why a request was refused."""

    errors: Annotated[list[ErrorEntry], Meta(min_length=1)]


def describe(request: Request) -> Response:
    """The description; unchanged, it is not sent again. Raises Unsupported."""
    if request.method not in {"GET", "HEAD"}:
        raise Unsupported(("GET", "HEAD"))
    content, tag = _document()
    headers = {"Content-Type": JSON, "ETag": tag, "Cache-Control": "no-cache"}
    if tag in request.header("if-none-match"):
        return Response(304, {"ETag": tag})
    return Response(200, headers, content)


@cache
def _document() -> tuple[bytes, str]:
    content = json.dumps(document(), separators=(",", ":")).encode()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def document() -> Node:
    """The description as JSON has it."""
    structs = {kind for row in ROUTES for kind in (row.body, row.answer) if kind is not None}
    ordered = sorted(structs | {Errors}, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=_REF)
    paths: dict[str, Node] = {PATH: {"get": _own_operation()}}
    for row in ROUTES:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Slipway",
            "version": "0",
            "description": "Accounts, organizations, teams, robots, repositories, the access to them, and the registry's jobs.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "security": [{"accessToken": []}, {"basic": []}],
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic", "description": "A name, and its password or an access token."},
                "accessToken": {"type": "http", "scheme": "bearer", "description": "An access token, slt_..."},
            },
            "responses": {f"{status}": _refusal(status) for status in _REFUSALS},
        },
    }


# ---------------------------------------------------------------------------------------------------------------- operations


def _own_operation() -> Node:
    return {
        "summary": "This description",
        "operationId": "get_openapi",
        "security": [],
        "responses": {"200": {"description": "OpenAPI 3.1", "content": {JSON: {"schema": {"type": "object"}}}}},
    }


def _operation(row: Route) -> Node:
    operation: Node = {
        "summary": row.summary,
        "operationId": _identity(row),
        "tags": [_tag(row.path)],
        "parameters": [*_path_parameters(row.path), *_query_parameters(row), *_header_parameters(row)],
        "responses": {
            f"{row.status}": _success(row),
            **{f"{s}": {"$ref": f"#/components/responses/{s}"} for s in _refusals(row)},
        },
    }
    if _lets_anybody_in(row):
        operation["security"] = [{}, {"basic": []}, {"accessToken": []}]
    if row.body is not None:
        schema: Node = {"$ref": _REF.format(name=row.body.__name__)}
        if row.method == "PATCH":
            schema = {"allOf": [schema], "minProperties": 1}
        operation["requestBody"] = {
            "required": row.method != "PUT" or _has_required(row.body),
            "content": {JSON: {"schema": schema}},
        }
    return operation


def _lets_anybody_in(row: Route) -> bool:
    return isinstance(row.needs, Anybody) or row.needs == OfRepository(Operation.VIEW)


def _identity(row: Route) -> str:
    words_of_path = re.findall(r"[A-Za-z]+", re.sub(r"^/(api|enzi)/v0/", "", row.path))
    return "_".join([row.method.lower(), *words_of_path])


def _tag(path: str) -> str:
    """What a path is about: the last of its segments that is no name."""
    nouns = [part for part in path.split("/") if part and part[0] != "{" and part not in {"api", "enzi", "v0", "meta"}]
    return nouns[-1]


def _has_required(body: type[Struct]) -> bool:
    return any(field.required for field in msgspec.structs.fields(body))


def _success(row: Route) -> Node:
    told: Node = {"description": row.summary}
    headers: Node = {}
    if row.is_versioned and row.answer is not None:
        headers["ETag"] = {"description": "The version, for If-Match.", "schema": {"type": "string", "pattern": '^"[0-9]+"$'}}
    if row.is_list:
        headers[NEXT] = {"description": "pageStart of the next page; not on the last one.", "schema": {"type": "string"}}
    if headers:
        told["headers"] = headers
    if row.answer is not None:
        told["content"] = {JSON: {"schema": {"$ref": _REF.format(name=row.answer.__name__)}}}
    return told


# ---------------------------------------------------------------------------------------------------------------- parameters

_NAMES: Mapping[str, tuple[str, int, str]] = {
    "name": (words.LOGIN_PATTERN, 129, "A user, an organization, or a robot as acme+ci."),
    "org": (words.ACCOUNT_PATTERN, 64, "An organization."),
    "user": (words.LOGIN_PATTERN, 129, "A user; in teams also a robot."),
    "account": (words.LOGIN_PATTERN, 129, "A user, an organization or a robot."),
    "team": (words.ACCOUNT_PATTERN, 64, "A team."),
    "robot": (words.LOGIN_PATTERN, 129, "A robot, as ci or as acme+ci."),
    "ns": (words.NAMESPACE_PATTERN, 64, "A namespace: the name of a user or an organization."),
    "repo": (words.REPOSITORY_PATTERN, 190, "A repository in the namespace; slashes in it are not encoded."),
    "rule": (r"^[a-z0-9]+(?:[._-][a-z0-9]+)*$", 64, "A trust rule."),
    "id": (r"^[A-Za-z0-9_-]+$", 64, "An access token's id, which is not the token."),
    "job": (r"^[a-z0-9]+$", 64, "A job's id."),
    "action": (ACTION_PATTERN, 64, "A kind of job."),
}
"""What each name in a path looks like, its greatest length, and what it is."""


def _path_parameters(path: str) -> Iterator[Node]:
    for name in re.findall(r"\{(\w+)\}", path):
        pattern, longest, about = _NAMES[name]
        schema = {"type": "string", "pattern": pattern, "minLength": 1, "maxLength": longest}
        yield {"name": name, "in": "path", "required": True, "description": about, "schema": schema}


def _query_parameters(row: Route) -> Iterator[Node]:
    for parameter in row.query:
        yield {"name": parameter.name, "in": "query", "description": parameter.about, "schema": _schema(parameter)}
    if row.is_list:
        yield {"name": SIZE.name, "in": "query", "description": SIZE.about, "schema": _schema(SIZE)}
        start = {"type": "string"}
        yield {"name": "pageStart", "in": "query", "description": f"{NEXT} of the page before.", "schema": start}


def _schema(parameter: Parameter | Whole) -> Node:
    if isinstance(parameter, Whole):
        return {"type": "integer", "minimum": parameter.least, "maximum": parameter.most, "default": parameter.default}
    if parameter.choices:
        return {"type": "string", "enum": list(parameter.choices)}
    return {"type": "string", "pattern": parameter.pattern}


def _header_parameters(row: Route) -> Iterator[Node]:
    if row.method in {"PATCH", "PUT", "DELETE"}:
        about = "Only if this is still the version (its ETag), or * for any."
        yield {
            "name": "If-Match",
            "in": "header",
            "description": about,
            "schema": {"type": "string", "pattern": r'^(\*|"[!#-~]*")$'},
        }


# ------------------------------------------------------------------------------------------------------------------ refusals

_REFUSALS: Mapping[int, str] = {
    400: "The request is not valid; the code says what of it, detail.field where.",
    401: "Credentials are missing or wrong.",
    403: "The caller may not do this; detail.reason says why.",
    404: "There is none, or the caller may not know of it.",
    409: "It stands in the way of what there is already.",
    412: "If-Match names another version than the one that there is.",
    413: "The body has more than 64 KiB.",
    415: "The body is not JSON.",
    429: "Too many requests at once for the same thing, or too many wrong passwords.",
}

_HEADERS: Mapping[int, tuple[str, str]] = {
    401: ("WWW-Authenticate", "Basic"),
    429: ("Retry-After", "Seconds to wait."),
}


def _refusal(status: int) -> Node:
    told: Node = {"description": _REFUSALS[status], "content": {JSON: {"schema": {"$ref": _REF.format(name="Errors")}}}}
    if status in _HEADERS:
        name, about = _HEADERS[status]
        told["headers"] = {name: {"description": about, "schema": {"type": "string"}}}
    return told


def _refusals(row: Route) -> Iterator[int]:
    """The statuses that a row can be refused with."""
    yield from (400, 401)
    if not isinstance(row.needs, Anybody):
        yield from (403, 404)
    if row.method != "GET":
        yield 409
    if row.method in {"PATCH", "PUT", "DELETE"}:
        yield 412
    if row.body is not None:
        yield from (413, 415)
    yield 429
