"""The edge on one machine: infra/edge/*.js, the very files that CloudFront runs, in an embedded JavaScript engine.

Each function has an engine of its own, where the platform's `crypto`, `Buffer` and key-value store stand as `_PLATFORM` has
them: no more than the files use, so that what they may not use fails here too. What a function sends on as it came is not
read back.
"""

from __future__ import annotations

import hmac
import json
import logging
import re
import time
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import quickjs  # type: ignore[import-untyped]

from infra.local import distribution
from infra.local.answers import refused
from infra.local.events import Answer, Head

log = logging.getLogger("slipway.edge")

API, RELAY, STORAGE = "api", "relay", "storage"
"""The origins. ``api`` is the one that is taken where the function chooses none."""

INLINE_UPLOAD = 4 * 1024 * 1024
"""The longest announced upload body that still goes through the application."""

DIRECT_UPLOAD = 5 * 1024**3
"""The longest body that S3 takes in one PUT."""

FOLDER = Path(__file__).resolve().parents[1] / "edge"

_PREFIXED = re.compile("|".join(distribution.HIDDEN_PREFIXES)).search

_UPLOADS = "/blobs/uploads/"
"""In the paths of the behaviour that viewer-response.js belongs to, before they are rewritten."""

_PLATFORM = """
(function () {
  const native = { get: __get, now: __now, decode: __decode, encode: __encode, hmac: __hmac };
  let origin = '';
  let outcome;
  let handler;
  const crypto = {
    createHmac(algorithm, key) {
      if (algorithm !== 'sha256' || typeof key !== 'string') throw new TypeError('createHmac');
      let data = '';
      return {
        update(text) { data += text; return this; },
        digest(encoding) {
          if (encoding !== 'base64url') throw new TypeError('digest');
          return native.hmac(key, data);
        }
      };
    }
  };
  const cf = {
    kvs() {
      return {
        async get(key, options) {
          const value = native.get(key);
          if (value === null || value === undefined) throw new Error('no such key');
          return options && options.format === 'json' ? JSON.parse(value) : value;
        }
      };
    },
    selectRequestOriginById(id) { origin = id; }
  };
  globalThis.Buffer = {
    from(text, encoding) {
      if (typeof text !== 'string' || (encoding !== 'base64url' && encoding !== 'hex')) throw new TypeError('Buffer.from');
      return {
        toString(form) {
          if (encoding === 'base64url' && form === undefined) return native.decode(text);
          if (encoding === 'hex' && form === 'base64') return native.encode(text);
          throw new TypeError('toString');
        }
      };
    }
  };
  Date.now = () => native.now();
  ['eval', '__get', '__now', '__decode', '__encode', '__hmac'].forEach((name) => { delete globalThis[name]; });

  // Whether a function changed what it was given is watched: writing all of it out again, to compare, would take longer.
  let changed = false;
  const watch = {
    get(target, name) {
      const value = target[name];
      return typeof value === 'object' && value !== null ? new Proxy(value, watch) : value;
    },
    set(target, name, value) { changed = true; target[name] = value; return true; },
    deleteProperty(target, name) { changed = true; return delete target[name]; },
    defineProperty(target, name, told) { changed = true; return Reflect.defineProperty(target, name, told); }
  };

  globalThis.load = function (made) {
    handler = made((name) => { if (name !== 'crypto') throw new Error(name); return crypto; }, cf);
  };
  globalThis.run = function (ip, request, response) {
    const event = { version: '1.0', context: { eventType: 'viewer-request' }, viewer: { ip: ip } };
    event.request = new Proxy(JSON.parse(request), watch);
    if (response) {
      event.context.eventType = 'viewer-response';
      event.response = new Proxy(JSON.parse(response), watch);
    }
    const given = event.response || event.request;
    origin = '';
    changed = false;
    outcome = 'pending';
    const settle = (result) => {
      const same = result === given && !changed && origin === '';
      outcome = same ? null : JSON.stringify({ origin: origin, result: result });
    };
    const fail = (error) => { outcome = JSON.stringify({ failure: String(error) }); };
    try {
      const result = handler(event);
      if (result instanceof Promise) result.then(settle, fail); else settle(result);
    } catch (error) {
      fail(error);
    }
  };
  globalThis.taken = () => outcome;
})();
"""


class FunctionFailed(Exception):
    """A function threw, or did not end; its message says how."""


class Passed(NamedTuple):
    """A request as the function sends it on, and where to."""

    head: Head
    origin: str


class Function:
    """One CloudFront Function. Its engine belongs to the thread that makes it."""

    def __init__(self, file: str, store: Mapping[str, str], now: Callable[[], float]) -> None:
        context = quickjs.Context()
        context.add_callable("__get", store.get)
        context.add_callable("__now", lambda: now() * 1000.0)
        context.add_callable("__decode", _decoded)
        context.add_callable("__encode", _encoded)
        context.add_callable("__hmac", _hmac)
        context.eval(_PLATFORM)
        # The engine reads scripts; the one import that the platform has comes as an argument instead.
        source = (FOLDER / file).read_text("utf-8")
        if len(source.encode()) > distribution.SOURCE:
            raise FunctionFailed(f"{file} is longer than CloudFront takes")
        source = source.replace("import cf from 'cloudfront';", "", 1)
        context.eval(f"load(function (require, cf) {{ 'use strict'; {source}\nreturn handler; }})")
        self._context = context
        self._run, self._taken = context.get("run"), context.get("taken")

    def __call__(self, ip: str, request: str, response: str = "") -> Mapping[str, Any] | None:
        """``origin`` and ``result``, or None if the function sends on what it got, JSON for JSON. Raises FunctionFailed."""
        try:
            self._run(ip, request, response)
            while self._context.execute_pending_job():
                pass
            outcome = self._taken()
        except quickjs.JSException as error:
            raise FunctionFailed(str(error)) from error
        if outcome is None:
            return None
        told: Mapping[str, Any] = {"failure": outcome} if outcome == "pending" else json.loads(outcome)
        if "failure" in told:
            raise FunctionFailed(told["failure"])
        return told


class Edge:
    """Both functions, for one thread. ``store`` is the key-value store, ``now`` what `Date.now` says, in seconds."""

    def __init__(self, store: Mapping[str, str], now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now
        self._functions: dict[str, Function] = {}

    def request(self, head: Head) -> Passed | Answer:
        """What becomes of a request: the function's own answer, or where it goes and how it looks then."""
        try:
            told = self._function("viewer-request.js")(head.source, _request_of(head))
        except FunctionFailed:
            return _failed(head)
        if told is None:
            return Passed(head, API)
        result = told["result"]
        if "statusCode" in result:
            return _made(head, result)
        if not _allowed(head, result):
            return _invalid(head)
        same = head.query and result["querystring"] == _parameters(head.query)
        query = head.query if same else _query(result["querystring"])
        headers = {name: _value(value) for name, value in result["headers"].items()}
        changed = head._replace(path=result["uri"], query=query, headers=headers)
        if not result["cookies"]:
            changed = changed._replace(cookies=())
        return Passed(changed, told["origin"] or API)

    def response(self, head: Head, answer: Answer) -> Answer:
        """What the viewer gets of an origin's answer to ``head``; refusals stay as they are."""
        if answer.status >= 400 or (not head.path.startswith("/direct/") and _UPLOADS not in head.path):
            return answer
        headers = {
            name.decode("latin-1"): {"value": value.decode("latin-1")}
            for name, value in answer.headers
            if not distribution.is_hidden(name.decode("latin-1"))
        }
        response = {"statusCode": answer.status, "headers": headers}
        try:
            told = self._function("viewer-response.js")(head.source, _request_of(head), _json(response))
        except FunctionFailed:
            return _failed(head)
        if told is None:
            return answer
        given, result = headers, told["result"]["headers"]
        kept = all(result.get(name) == given.get(name) for name in distribution.READ_ONLY_ANSWER)
        if not kept or any(map(distribution.is_hidden, result)):
            return _invalid(head)
        changed = _answer_of(told["result"])
        hidden = [(name, value) for name, value in answer.headers if distribution.is_hidden(name.decode("latin-1"))]
        return changed._replace(headers=[*changed.headers, *hidden], body=answer.body, length=answer.length)

    def _function(self, file: str) -> Function:
        """Made where it is used first: by the thread that serves."""
        function = self._functions.get(file)
        if function is None:
            function = self._functions[file] = Function(file, self._store, self._now)
        return function


def store_of(realm: str, service: str, upload_keys: Mapping[str, str], *, direct: bool, relay: bool) -> dict[str, str]:
    """What the key-value store holds."""
    limits = {"inline": INLINE_UPLOAD, "direct": DIRECT_UPLOAD}
    settings = {"realm": realm, "service": service, "direct": direct, "relay": relay, "limits": limits}
    return {"settings": _json(settings), **{f"upload-key-{name}": key for name, key in upload_keys.items()}}


_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_quoted = json.encoder.encode_basestring


def _request_of(head: Head) -> str:
    """The event's request, JSON: names and values as they came, repeated ones as CloudFront lists them. Written by hand: it is
    needed for every request, and json takes longer."""
    seen = head.headers
    if not distribution.HIDDEN.isdisjoint(seen) or _PREFIXED("".join(seen)):
        seen = {name: value for name, value in seen.items() if not distribution.is_hidden(name)}
    headers = ",".join([f'{_quoted(name)}:{{"value":{_quoted(value)}}}' for name, value in seen.items()])
    if head.repeated:
        told = {name: {"value": value} for name, value in seen.items()}
        several = {name: _several(values) for name, values in head.repeated if name in told}
        headers = _json(told | several)[1:-1]
    query = _json(_parameters(head.query)) if head.query else "{}"
    cookies = _json(_cookies(head.cookies)) if head.cookies else "{}"
    return (
        f'{{"method":{_quoted(head.method)},"uri":{_quoted(head.path)},"querystring":{query},'
        f'"headers":{{{headers}}},"cookies":{cookies}}}'
    )


def _cookies(cookies: tuple[str, ...]) -> dict[str, Any]:
    return {name: {"value": value} for name, _, value in (cookie.partition("=") for cookie in cookies)}


def _parameters(query: str) -> dict[str, Any]:
    found: dict[str, list[str]] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        found.setdefault(name, []).append(value)
    return {name: _several(values) for name, values in found.items()}


def _several(values: list[str] | tuple[str, ...]) -> dict[str, Any]:
    if len(values) == 1:
        return {"value": values[0]}
    return {"value": values[0], "multiValue": [{"value": value} for value in values]}


def _value(told: Mapping[str, Any]) -> str:
    return ",".join(each["value"] for each in told.get("multiValue", (told,)))


def _query(parameters: Mapping[str, Any]) -> str:
    return "&".join(f"{name}={each['value']}" for name, told in parameters.items() for each in told.get("multiValue", (told,)))


def _answer_of(result: Mapping[str, Any]) -> Answer:
    headers = [(name.encode("latin-1"), _value(told).encode("latin-1")) for name, told in result["headers"].items()]
    body = str(result.get("body", {}).get("data", "")).encode()
    return Answer(int(result["statusCode"]), headers, body, len(body))


def _allowed(head: Head, result: Mapping[str, Any]) -> bool:
    """Whether CloudFront takes what a function made of a request."""
    headers = result["headers"]
    if result["method"] != head.method or any(map(distribution.is_hidden, headers)):
        return False
    return all(
        (_value(headers[name]) if name in headers else None) == head.headers.get(name) for name in distribution.READ_ONLY
    )


def _made(head: Head, result: Mapping[str, Any]) -> Answer:
    """A function's own answer."""
    answer = _answer_of(result)
    size = len(answer.body) + sum(len(name) + len(value) for name, value in answer.headers)
    return _invalid(head) if size > distribution.BODY or any(map(distribution.is_hidden, result["headers"])) else answer


def _invalid(head: Head) -> Answer:
    log.error("the edge answers %s %s by what CloudFront does not take", head.method, head.path)
    return refused(502, "UNAVAILABLE", "the edge made of the request what is not allowed")


def _failed(head: Head) -> Answer:
    log.exception("the edge failed for %s %s", head.method, head.path)
    return refused(503, "UNAVAILABLE", "the edge failed to answer; its log says why")


def _decoded(text: str) -> str:
    """Never fails, as the platform's does not: what is no base64url is nothing. The engine would not survive an exception."""
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("utf-8", "replace")
    except ValueError:
        return ""


def _encoded(digits: str) -> str:
    """Hexadecimal digits as base64. Of what is none the platform takes what stands before it."""
    good = next((place for place, digit in enumerate(digits) if digit not in "0123456789abcdefABCDEF"), len(digits))
    return b64encode(bytes.fromhex(digits[: good & ~1])).decode("ascii")


def _hmac(key: str, data: str) -> str:
    return urlsafe_b64encode(hmac.digest(key.encode(), data.encode("utf-8", "replace"), sha256)).decode("ascii").rstrip("=")
