"""From a request to its answer: route, credentials, access, input, endpoint, event. Every step is taken here and only here."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec

from chalicelib.registry.errors import Denied, ParameterInvalid, RegistryError, RequestInvalid, Unauthenticated
from chalicelib.registry.events import DENIED, DONE, Event
from chalicelib.registry.names import RepositoryName
from chalicelib.wire.http import Request, Response
from chalicelib.wire.management import openapi
from chalicelib.wire.management.bodies import changes_of, decoded, fields_of
from chalicelib.wire.management.call import Answer, Call, actor_of
from chalicelib.wire.management.credentials import authenticated
from chalicelib.wire.management.errors import refusal
from chalicelib.wire.management.needs import Asked, OfTokenOwner, Refused, token_owner
from chalicelib.wire.management.paging import NEXT, Page, encoded, page_of
from chalicelib.wire.management.routes import Match, Route, match_route
from chalicelib.wire.management.services import Management
from chalicelib.wire.management.versions import asked_version, etag


def answer(request: Request, services: Management) -> Response:
    """What the management API answers, refusals included."""
    try:
        if request.path == openapi.PATH:
            return openapi.describe(request)
        return _managed(request, services)
    except RegistryError as refused:
        return refusal(refused)


def _managed(request: Request, services: Management) -> Response:
    caller = authenticated(request, services.credentials, services.refresh_tokens)
    try:
        if "%2f" in request.raw_path.lower():  # decoded it would be another path than the one that a front looked at
            raise ParameterInvalid("the path holds an encoded slash", parameter="path")
        match = match_route(request.method, request.path)
    except RegistryError:
        if caller is None:  # what there is besides is told to who signs in
            raise Unauthenticated from None
        raise
    asked = Asked(caller, match.names, request, services)
    try:
        call = _call(match, asked)
        given = match.route.endpoint(call)
    except Refused as refused:
        _record_denial(match, asked, refused.error)
        raise refused.error from None
    except Denied as denied:
        _record_denial(match, asked, denied)
        raise
    _record(match, call, given)
    return _response(match.route, given)


def _call(match: Match, asked: Asked) -> Call:
    """The call of a request: who may not make it is refused before anything else of it is looked at.

    Raises Refused, RegistryError."""
    route, request = match.route, asked.request
    permitted = route.needs.permit(asked)
    body = None
    if route.body is not None:
        body = decoded(request, route.body, may_be_empty=request.method == "PUT")
        given = fields_of(body)
        if request.method == "PATCH" and not given:
            raise RequestInvalid("the body gives nothing to change")
        for operation in dict.fromkeys(needed for name, needed in route.fields.items() if name in given):
            route.needs.for_field(operation).permit(asked)
    return Call(
        request=request,
        services=asked.services,
        caller=asked.caller,
        names=match.names,
        permitted=permitted,
        body=body,
        page=page_of(request) if route.is_list else Page(),
        version=None if request.method in {"GET", "POST"} else asked_version(request, is_versioned=route.is_versioned),
    )


def _response(route: Route, given: Answer) -> Response:
    headers: dict[str, str] = {}
    if given.version is not None:
        headers["ETag"] = etag(given.version)
    if given.next:
        headers[NEXT] = encoded(given.next)
    if given.body is None:
        return Response(route.status, headers)
    return Response(route.status, {"Content-Type": "application/json", **headers}, msgspec.json.encode(given.body))


# --------------------------------------------------------------------------------------------------------------- events


def _record(match: Match, call: Call, given: Answer) -> None:
    if not match.route.event or given.is_recorded:
        return
    fields = ",".join(changes_of(call.body))
    detail = {**_detail(match.names), **given.detail, **({"fields": fields} if fields else {})}
    event = Event(given.event or match.route.event, given.object or _object(match.names), call.actor, DONE, detail)
    _write(call.services, event, given.repository)


def _record_denial(match: Match, asked: Asked, error: RegistryError) -> None:
    """Also of who was told that there is no such thing: whether there is makes no difference here."""
    if not match.route.event or asked.caller is None:
        return
    actor = actor_of(asked.request, asked.caller)
    is_token = isinstance(match.route.needs, OfTokenOwner) and asked.caller.limits is None
    about = token_owner(asked) if is_token else _object(match.names)
    reason = str(error.detail.get("reason", error))
    event = Event(match.route.event, about, actor, DENIED, {**_detail(match.names), "reason": reason})
    _write(asked.services, event, _repository_id(asked))


def _write(services: Management, event: Event, repository: str) -> None:
    """What was done is done, and may have made a secret that is shown once: the caller gets the answer, and the log what there
    was no event for."""
    try:
        services.events.record(event, repository)
    except Exception:
        logging.getLogger("slipway").exception("an event was not recorded: %r", event)


def _repository_id(asked: Asked) -> str:
    if "repo" not in asked.names:
        return ""
    try:
        found = asked.services.repositories.find_recent(RepositoryName.parse(_object(asked.names)))
    except RegistryError:
        return ""
    return found.id if found is not None else ""


_SUBJECTS = ("name", "org", "account", "action")


def _object(names: Mapping[str, str]) -> str:
    """What a path names in the first place: a repository, a namespace, an account, a kind of job; "registry" for none."""
    if "ns" in names:
        return f"{names['ns']}/{names['repo']}" if "repo" in names else names["ns"]
    return next((names[name] for name in _SUBJECTS if name in names), "registry")


def _detail(names: Mapping[str, str]) -> dict[str, str]:
    """What it names besides."""
    return {name: text for name, text in names.items() if name not in {"ns", "repo", *_SUBJECTS}}
