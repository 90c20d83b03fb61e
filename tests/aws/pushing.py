"""The ways that content takes into a registry, each as a client goes it: none tries again, a failure is raised (``LOST``)."""

from __future__ import annotations

import http.client
import json
import random
from collections.abc import Callable

from tests.aws.whole import SMALL, Whole, named
from tests.clients.images import CONFIG, LAYER, MANIFEST
from tests.cloud.client import Client, Refused, expected

LOST = (Refused, OSError, http.client.HTTPException)
"""What a client sees that does not succeed."""

Way = Callable[[Client, bytes], None]

LARGE = SMALL + 34_464
"""A body that does not go through the program."""


def content_of(seed: object, size: int = 1000) -> bytes:
    """Bytes that are nobody else's."""
    return random.Random(repr(seed)).randbytes(size)


def by_put(client: Client, content: bytes) -> None:
    """POST, PUT: inline if small, else straight to storage."""
    expected(client.finish(client.begin(), named(content), content), 201)


def by_post(client: Client, content: bytes) -> None:
    """All in one POST: inline if small, else by the relay."""
    expected(client.send("POST", f"blobs/uploads/?digest={named(content)}", content), 201)


def by_patch(client: Client, content: bytes) -> None:
    """POST, PATCH, PUT: inline if small, else by the relay."""
    expected(client.finish(client.append(client.begin(), content), named(content)), 201)


def by_chunks(client: Client, content: bytes) -> None:
    """POST, three PATCHes, PUT."""
    location = client.begin()
    third = len(content) // 3
    for chunk in (content[:third], content[third : 2 * third], content[2 * third :]):
        location = client.append(location, chunk)
    expected(client.finish(location, named(content)), 201)


def by_sha512(client: Client, content: bytes) -> None:
    """What only the registry can hash: PUT; inline if small, else by the relay, and read again."""
    expected(client.finish(client.begin(), named(content, "sha512"), content), 201)


def with_a_lie(client: Client, content: bytes) -> None:
    """Other bytes than the digest says, and then the right ones."""
    location = client.append(client.begin(), b"other" + content)
    answer = client.finish(location, named(content))
    if answer.status not in {400, 404}:  # 404: said before, and that answer was lost
        raise Refused(f"a lie was answered {answer.status}")
    by_patch(client, content)


def after_giving_up(client: Client, content: bytes) -> None:
    """Half of it, DELETE, and then all of it."""
    location = client.append(client.begin(), content[: len(content) // 2])
    expected(client.send("DELETE", location), 204)
    by_patch(client, content)


def resumed(client: Client, content: bytes) -> None:
    """Some of it, GET of the status, the rest from there on."""
    location = client.append(client.begin(), content[: len(content) // 3])
    finish_from_status(client, location, content)


def finish_from_status(client: Client, location: str, content: bytes) -> None:
    """What the registry has not got of it, in one PATCH, and the end."""
    status = expected(client.send("GET", location), 204)
    last = int(status.headers["Range"].partition("-")[2])
    location = str(status.headers["Location"])
    begin = last + 1 if last else 0
    if begin < len(content):
        location = client.append(location, content[begin:])
    expected(client.finish(location, named(content)), 201)


def put_image(client: Client, tag: str, layer: bytes, *, padding: int = 0) -> bytes:
    """The manifest of an image with one layer, which is there already, and a configuration, which is not."""
    config = content_of(("config", tag))
    by_put(client, config)
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "size": len(config), "digest": named(config)},
        "layers": [{"mediaType": LAYER, "size": len(layer), "digest": named(layer)}],
        "annotations": {"padding": "x" * padding},
    }
    manifest = json.dumps(document).encode()
    expected(client.send("PUT", f"manifests/{tag}", manifest, Content_Type=MANIFEST), 201)
    return manifest


def as_an_image(client: Client, content: bytes) -> None:
    """A layer, a configuration and a manifest that needs both."""
    by_put(client, content)
    put_image(client, f"t-{named(content)[7:19]}", content)


def as_a_large_image(client: Client, content: bytes) -> None:
    """The same with a manifest that lies in storage."""
    by_put(client, content)
    put_image(client, f"t-{named(content)[7:19]}", content, padding=300_000)


def pulled(client: Client, digest: str) -> bytes | None:
    """A blob's bytes, None if there is none. Raises LOST."""
    answer = client.send("GET", f"blobs/{digest}")
    if answer.status == 404:
        return None
    return expected(answer, 200).body


def pushed(aws: Whole, client: Client, way: Way, content: bytes, tries: int = 5) -> list[str]:
    """Push until it succeeds, as a person would; what went wrong before. Nothing that can be read is ever wrong."""
    failures: list[str] = []
    for _ in range(tries):
        try:
            way(client, content)
        except LOST as failure:
            failures.append(f"{type(failure).__name__}: {failure}")
            aws.right()
        else:
            return failures
    raise AssertionError(failures)
