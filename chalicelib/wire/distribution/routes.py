"""The route table: what each method and path needs and who answers it. Denied unless declared: a row has no default.

Paths are matched by their ends, since repository names have slashes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from chalicelib.registry.errors import EndpointUnknown, NameInvalid, Unsupported
from chalicelib.registry.names import RepositoryName
from chalicelib.wire.distribution import blobs, lists, manifests, relays, uploads
from chalicelib.wire.distribution.call import Call
from chalicelib.wire.http import Response


class Access(Enum):
    """What a caller needs: the actions in the scope of the repository in the path, or something else than a repository."""

    ANY_TOKEN = ()
    PULL = ("pull",)
    PUSH = ("pull", "push")
    DELETE = ("delete",)
    CATALOG = ("*",)
    WRITER = ("writer",)
    """No token: the endpoint checks the secret that an earlier, authorized call was given."""

    @property
    def changes(self) -> bool:
        """Does whoever has it change something?"""
        return self in {Access.PUSH, Access.DELETE}


Endpoint: TypeAlias = Callable[[Call], Response]


@dataclass(frozen=True, slots=True)
class Route:
    """One row; ``methods`` are answered by ``endpoint`` if the caller has ``access``."""

    methods: tuple[str, ...]
    path: re.Pattern[str]
    access: Access
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Match:
    """A request's row, and the names in its path."""

    route: Route
    name: RepositoryName | None
    reference: str


def _ping(_: Call) -> Response:
    """end-1: this is a registry, and the token is good."""
    return Response(200, {"Content-Type": "application/json"}, b"{}")


def _row(methods: str, path: str, access: Access, endpoint: Endpoint) -> Route:
    pattern = path.replace("<name>", "(?P<name>.*)").replace("<reference>", "(?P<reference>[^/]*)")
    return Route(tuple(methods.split()), re.compile(pattern, re.DOTALL), access, endpoint)


ROUTES = (
    _row("GET HEAD", "/v2/?", Access.ANY_TOKEN, _ping),
    _row("GET", "/v2/_catalog", Access.CATALOG, lists.list_catalog),
    _row("POST", "/v2/<name>/blobs/uploads/?", Access.PUSH, uploads.begin_upload),
    _row("PATCH", "/v2/<name>/blobs/uploads/<reference>", Access.PUSH, uploads.append_chunk),
    _row("PUT", "/v2/<name>/blobs/uploads/<reference>", Access.PUSH, uploads.finish_upload),
    _row("GET", "/v2/<name>/blobs/uploads/<reference>", Access.PUSH, uploads.upload_status),
    _row("DELETE", "/v2/<name>/blobs/uploads/<reference>", Access.PUSH, uploads.cancel_upload),
    _row("GET HEAD", "/v2/<name>/blobs/<reference>", Access.PULL, blobs.pull_blob),
    _row("DELETE", "/v2/<name>/blobs/<reference>", Access.DELETE, blobs.delete_blob),
    _row("GET HEAD", "/v2/<name>/manifests/<reference>", Access.PULL, manifests.pull_manifest),
    _row("PUT", "/v2/<name>/manifests/<reference>", Access.PUSH, manifests.push_manifest),
    _row("DELETE", "/v2/<name>/manifests/<reference>", Access.DELETE, manifests.delete_manifest),
    _row("GET", "/v2/<name>/tags/list", Access.PULL, lists.list_tags),
    _row("GET", "/v2/<name>/referrers/<reference>", Access.PULL, lists.list_referrers),
    _row("POST", "/_relay/v2/<name>/blobs/uploads/<reference>/open", Access.PUSH, relays.open_staged),
    _row("POST", "/_relay/v2/<name>/blobs/uploads/<reference>/close", Access.WRITER, relays.close_staged),
    _row("POST", "/_relay/v2/<name>/blobs/uploads/<reference>/begin", Access.PUSH, relays.begin_parts),
    _row("POST", "/_relay/v2/<name>/blobs/uploads/<reference>/parts", Access.WRITER, relays.part_urls),
    _row("POST", "/_relay/v2/<name>/blobs/uploads/<reference>/end", Access.WRITER, relays.end_parts),
    _row("POST", "/_relay/v2/<name>/blobs/uploads/<reference>/abort", Access.WRITER, relays.abort_parts),
)


def match_route(method: str, path: str, raw_path: str = "") -> Match:
    """The row of a request. Raises EndpointUnknown, NameInvalid, Unsupported (another method of a known path).

    An encoded slash is refused: decoded it would be another path than the one that a front looked at.
    """
    allowed: list[str] = []
    for route in ROUTES:
        found = route.path.fullmatch(path)
        if found is None:
            continue
        if method in route.methods:
            parts = found.groupdict()
            if "%2f" in raw_path.lower():
                raise NameInvalid(raw_path)
            name = RepositoryName.parse(parts["name"]) if "name" in parts else None
            return Match(route, name, parts.get("reference", ""))
        allowed.extend(route.methods)
    if allowed:
        raise Unsupported(tuple(dict.fromkeys(allowed)))
    raise EndpointUnknown
