"""Every route x every kind of caller x every state of the repository, over HTTP, against the table in ``expected.py``.

What is refused must have changed nothing, and no answer, event or line of the log may hold a secret but the one that shows it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from urllib.parse import urlencode

import pytest

from chalicelib.entry.management import HEALTH
from chalicelib.entry.token import ENDPOINTS
from chalicelib.registry.manifests import OCI_INDEX
from chalicelib.wire.distribution.routes import ROUTES as DISTRIBUTION_ROUTES
from chalicelib.wire.http import Response
from chalicelib.wire.management import openapi
from chalicelib.wire.management.routes import ROUTES as MANAGEMENT_ROUTES
from tests.access.expected import CALLERS, DISTRIBUTION, GRIDS, MANAGEMENT, NAMES, OPEN, TOKEN_SERVICE, Pull, Row
from tests.access.world import ABSENT, BLOB, LAYER, MANIFEST_DIGEST, PRIVATE, PUBLIC, TAG, World
from tests.surface import PASSWORD, SERVICE, index

STATES = (PRIVATE, PUBLIC, ABSENT)

Wrong = list[str]


@pytest.fixture(scope="module")
def built() -> World:
    return World.build()


def by_path(rows: Sequence[Row]) -> list[Sequence[Row]]:
    return [[row for row in rows if row.path == path] for path in dict.fromkeys(row.path for row in rows)]


# -------------------------------------------------------------------------------------------------------- completeness


def test_every_route_of_the_management_api_has_its_row() -> None:
    assert {(row.method, row.path) for row in MANAGEMENT} == {(route.method, route.path) for route in MANAGEMENT_ROUTES}


def test_every_route_of_the_distribution_api_has_its_row() -> None:
    served = {
        (method, route.path.pattern.replace("(?P<name>.*)", "<name>").replace("(?P<reference>[^/]*)", "<reference>"))
        for route in DISTRIBUTION_ROUTES
        for method in route.methods
    }
    assert {(row.method, row.path) for row in DISTRIBUTION} == served


def test_every_other_route_has_its_row() -> None:
    served = {(method, path) for path, methods in ENDPOINTS.items() for method in methods}
    served |= {("GET", path) for path in (*HEALTH, openapi.PATH)}
    assert {(row.method, row.path) for row in (*OPEN, *TOKEN_SERVICE)} == served


def test_every_line_of_the_table_is_somebody_s() -> None:
    used = {row.grid for row in (*MANAGEMENT, *OPEN, *TOKEN_SERVICE)} | {row.grid for row in DISTRIBUTION}
    assert used == {line.partition("/")[0] for line in GRIDS}
    for line in GRIDS:
        if "/" in line:
            assert {f"{line.partition('/')[0]}/{state}" for state in STATES} <= GRIDS.keys()


# -------------------------------------------------------------------------------------------------------------- matrix


@pytest.mark.parametrize("rows", by_path(MANAGEMENT), ids=lambda rows: rows[0].path)
def test_management(built: World, rows: Sequence[Row]) -> None:
    wrong: Wrong = []
    for row in rows:
        by_state = row.grid not in GRIDS
        for state in STATES if by_state else [PRIVATE]:
            grid = GRIDS[f"{row.grid}/{state}" if by_state else row.grid]
            for who in CALLERS:
                wrong += _managed(built, row, state, who, grid[who])
    assert not wrong, "\n" + "\n".join(wrong)


def _managed(built: World, row: Row, state: str, who: str, wanted: str) -> Wrong:
    """What is wrong about one cell."""
    world = built if row.method == "GET" or wanted in {"401", "403", "404"} else built.fresh()
    url = _url(world, row, state, who)
    body = {name: PASSWORD if value == "{password}" else value for name, value in row.body.items()} if row.body else row.body
    world.changed()
    answer = world.ask(who, row.method, url, body)
    cell = f"{who}: {row.method} {url} {row.body or ''} is {answer.status}, not {wanted}: {answer.body[:120]!r}"
    wrong = [] if _is_as(wanted, answer) else [cell]
    if (changed := world.changed()) and (answer.status >= 400 or row.method == "GET"):
        wrong.append(f"{who}: {row.method} {url} is {answer.status}, and wrote {changed}")
    return wrong + _leaks(world, answer, f"{who}: {row.method} {url}", shows="token" if answer.status == 201 else "")


def _url(world: World, row: Row, state: str, who: str) -> str:
    caller = world.callers[who].name or "nobody"
    filled = {
        "{self}": caller.replace("+", "%2B"),
        "{own-token}": world.tokens.get(caller, "0"),
        "{zoe's-token}": world.tokens["zoe"],
        **{f"{{{status}-job}}": job for status, job in world.jobs.items()},
    }
    names = {**NAMES, "repo": state, **(row.names or {})}
    path = row.path.format(**{name: filled.get(text, text) for name, text in names.items()})
    return f"{path}?{row.query}" if row.query else path


@pytest.mark.parametrize("row", OPEN, ids=lambda row: f"{row.method} {row.path}")
def test_open_to_everybody(built: World, row: Row) -> None:
    assert {who: built.ask(who, row.method, row.path).status for who in CALLERS} == dict.fromkeys(CALLERS, 200)


def test_token_service(built: World) -> None:
    wrong: Wrong = []
    for who in CALLERS:
        caller, wanted = built.callers[who], GRIDS["lists"][who]
        form = {"grant_type": "password", "service": SERVICE, "client_id": "test"}
        form |= {"username": caller.name, "password": caller.secret}
        answers = {
            "GET": built.token(who, "repository:acme/private:pull"),
            "POST": built.surface.send(
                "POST", "/auth/token", urlencode(form).encode(), content_type="application/x-www-form-urlencoded"
            ),
        }
        for method, answer in answers.items():
            if not _is_as(wanted, answer):
                wrong.append(f"{who}: {method} is {answer.status}, not {wanted}")
            wrong += _leaks(built, answer, f"{who}: {method} /auth/token", shows="token")
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("row", DISTRIBUTION, ids=lambda row: f"{row.method} {row.path}")
def test_distribution(built: World, row: Pull) -> None:
    wrong: Wrong = []
    by_state = row.grid not in GRIDS
    for state in STATES if "<name>" in row.path else [PRIVATE]:
        grid = GRIDS[f"{row.grid}/{state}" if by_state else row.grid]
        for who in CALLERS:
            wrong += _pulled(built, row, state, who, grid[who])
    assert not wrong, "\n" + "\n".join(wrong)


def _pulled(built: World, row: Pull, state: str, who: str, wanted: str) -> Wrong:
    world = built.fresh() if wanted == "ok" and (row.method not in {"GET", "HEAD"} or "push" in row.grid) else built
    scope = f"repository:acme/{state}:{row.actions}" if "<name>" in row.path else "registry:catalog:*" if row.actions else ""
    world.bearers[who, scope] = built.bearer(who, scope)
    url, body, media_type = _asked(world, row, state, who, scope)
    world.changed()
    answer = world.pull_or_push(who, row.method, url, scope, body, content_type=media_type)
    wrong = (
        [] if _is_as(wanted, answer) else [f"{who}: {row.method} {url} is {answer.status}, not {wanted}: {answer.body[:200]!r}"]
    )
    if (changed := world.changed()) and (answer.status in {401, 403} or row.method in {"GET", "HEAD"}):
        wrong.append(f"{who}: {row.method} {url} is {answer.status}, and wrote {changed}")
    return wrong + _leaks(world, answer, f"{who}: {row.method} {url}", shows="token" if answer.status == 200 else "")


def _asked(world: World, row: Pull, state: str, who: str, scope: str) -> tuple[str, bytes, str]:
    """The request's URL, body and media type: one that would succeed."""
    url = row.path.replace("<name>", f"acme/{state}").removesuffix("?")
    if "uploads/<reference>" in url:
        begun = world.pull_or_push(who, "POST", f"/v2/acme/{state}/blobs/uploads/", scope)
        place, _, query = begun.headers["Location"].partition("?") if begun.status == 202 else ("/v2/x/blobs/uploads/x", "", "")
        url = url.replace("<reference>", place.rpartition("/")[2]) + f"?{query}"
        if row.method == "PUT":
            url += f"&digest={BLOB}"
        return url, _relay_body(row) if "/_relay/" in url else LAYER if row.method in {"PATCH", "PUT"} else b"", ""
    if "/manifests/" in url:
        is_put = row.method == "PUT"
        return url.replace("<reference>", TAG), index() if is_put else b"", OCI_INDEX if is_put else ""
    return url.replace("<reference>", str(MANIFEST_DIGEST if "/referrers/" in url else BLOB)), b"", ""


def _relay_body(row: Pull) -> bytes:
    """What a relay says; the writer is made up."""
    sent = {"content_range": None, "content_length": len(LAYER)}
    told = {"writer": "0" * 64, "size": len(LAYER), "first": 1, "count": 1, "parts": []}
    return json.dumps({**sent, **told}).encode()


@pytest.mark.parametrize("row", DISTRIBUTION, ids=lambda row: f"{row.method} {row.path}")
def test_without_a_token_the_answer_is_the_same_whatever_there_is(built: World, row: Pull) -> None:
    answers = []
    for state in STATES:
        url = row.path.replace("<name>", f"acme/{state}").replace("<reference>", str(BLOB)).removesuffix("?")
        told = built.surface.send(row.method, url)
        headers = {name: str(value).replace(f"acme/{state}", "acme/any") for name, value in told.headers.items()}
        answers.append((told.status, headers, told.body.replace(f"acme/{state}".encode(), b"acme/any")))
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0] == (400 if row.grid == "writer" else 401)


# ------------------------------------------------------------------------------------------------------------- secrets


def test_nothing_that_is_recorded_holds_a_secret(built: World) -> None:
    """Also of what is denied and refused; the matrix above looks at the events and the log of each of its cells."""
    world = built.fresh()
    for who in CALLERS:
        for name in ("zoe", world.callers[who].name or "nobody"):
            passwords = {"newPassword": PASSWORD, "oldPassword": PASSWORD}
            world.ask(who, "POST", f"/enzi/v0/accounts/{name}/changePassword".replace("+", "%2B"), passwords)
        world.ask(who, "PATCH", "/api/v0/meta/settings", {"password": PASSWORD})
        world.ask(who, "GET", f"/api/v0/whoami?password={PASSWORD.replace(' ', '%20')}")
    recorded = world.recorded()
    assert any("PASSWORD_CHANGE" in text for text in recorded)
    assert not _secrets(world, recorded)


def _is_as(wanted: str, answer: Response) -> bool:
    if wanted == "ok":
        return answer.status < 500 and answer.status not in {401, 403, 404}
    return answer.status == int(wanted)


def _leaks(world: World, answer: Response, what: str, shows: str) -> Wrong:
    """Secrets in an answer, but the one that it ``shows``, and in what was recorded of it; hashes of access tokens
    too, where it is not about those."""
    text = answer.body.decode("utf-8", "replace")
    if shows and text.startswith("{"):
        told = json.loads(text)
        text = json.dumps({name: value for name, value in told.items() if name not in {shows, "access_token"}})
    found = _secrets(world, [text, *map(str, answer.headers.values()), *world.recorded()])
    found += [] if "/api_tokens" in what else [hashed for hashed in world.hashes if hashed in text]
    return [f"{what} tells {secret}" for secret in found]


def _secrets(world: World, texts: Iterable[str]) -> list[str]:
    """A password's hash begins with "plain$" here; credentials are secrets too as a header has them."""
    told = "\n".join(texts)
    headers = {caller.basic.removeprefix("Basic ") for caller in world.callers.values() if caller.name}
    return [secret for secret in {*world.secrets, *headers, "plain$"} if secret in told]
