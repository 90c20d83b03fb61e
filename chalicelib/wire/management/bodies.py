"""The body of a request: one JSON object, validated as a whole before anybody looks at it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from threading import Lock
from typing import NoReturn

import msgspec
from msgspec import Struct, structs

from chalicelib.registry.errors import MediaTypeInvalid, RequestInvalid
from chalicelib.wire.http import Request

MAX_BODY = 65_536
"""Bytes of a body at most."""

JSON = "application/json"

_AT = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`\Z")
_FIELD = re.compile(r"field `(.*)`\Z", re.DOTALL)
_LONGEST = 200

_DECODERS: dict[type[Struct], msgspec.json.Decoder[Struct]] = {}
_FINDING_OUT = Lock()


class Input(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The base of all bodies: what it does not declare is refused, and what may be left out is UNSET."""


class Nothing(Input, frozen=True):
    """A body without fields: none at all, or an empty object."""


def decoded(request: Request, kind: type[Struct], *, may_be_empty: bool) -> Struct:
    """The body as ``kind`` declares it; ``may_be_empty``: no body at all is an empty object.

    Raises MediaTypeInvalid; RequestInvalid, whose detail says which field.
    """
    media_type = request.header("content-type").partition(";")[0].strip().lower()
    # Only what says that it is JSON: any other body a page of a stranger can have a browser send, with the credentials that the
    # browser keeps for this host, and without asking us first (Fetch, CORS-safelisted request-header).
    if media_type != JSON and (media_type or request.body):
        raise MediaTypeInvalid
    if len(request.body) > MAX_BODY:
        raise RequestInvalid(f"the body has more than {MAX_BODY} bytes")
    content = b"{}" if may_be_empty and not request.body.strip() else request.body
    try:
        body = _decoder(kind).decode(content)
        # No field counts twice: who reads the body on its way here may have looked at the other one.
        json.loads(content, object_pairs_hook=_without_duplicates)
    except msgspec.ValidationError as error:
        _refuse(str(error))
    except (ValueError, RecursionError):  # msgspec's DecodeError is a ValueError
        raise RequestInvalid("the body is not a JSON object in UTF-8") from None
    assert isinstance(body, Struct)  # noqa: S101 - for the type checker
    return body


_CHOICES = frozenset({"accessLevel", "visibility"})
"""Fields that hold one of a few words."""


def fields_of(body: Struct | None) -> Sequence[str]:
    """The fields in which a body says something of its own, as JSON names them."""
    if body is None:
        return ()
    return [field.encode_name for field in structs.fields(body) if getattr(body, field.name) != field.default]


def changes_of(body: Struct | None) -> Sequence[str]:
    """The same with what each field is set to, where that can be no secret and no text of any length: ``isAdmin=true``."""
    if body is None:
        return ()
    values = {field.encode_name: getattr(body, field.name) for field in structs.fields(body)}
    return [f"{name}={_shown(values[name])}" if _is_shown(name, values[name]) else name for name in fields_of(body)]


def _is_shown(name: str, value: object) -> bool:
    return name in _CHOICES or isinstance(value, bool | int)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _decoder(kind: type[Struct]) -> msgspec.json.Decoder[Struct]:
    """What msgspec knows of a class it finds out when it first decodes one, and a thread that decodes another meanwhile reads
    what is half there: the process dies of it. So only one finds out, and nobody decodes before."""
    found = _DECODERS.get(kind)
    if found is None:
        with _FINDING_OUT:
            found = _DECODERS.setdefault(kind, msgspec.json.Decoder(kind))
    return found


def _without_duplicates(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise RequestInvalid("a field is given twice", field=name[:_LONGEST])
        seen.add(name)


def _refuse(told: str) -> NoReturn:
    at, field = _AT.search(told), _FIELD.search(_AT.sub("", told))
    path = [part for part in (at[1] if at else "", field[1] if field else "") if part]
    raise RequestInvalid(told[: 2 * _LONGEST], **({"field": ".".join(path)[:_LONGEST]} if path else {}))
