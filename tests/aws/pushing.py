"""The ways that content takes into a registry, as a client goes them: nothing tried again, failures are raised (``LOST``)."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import random
import urllib.request
from collections.abc import Callable
from typing import Any

from tests.aws.whole import SMALL, Whole, named
from tests.clients.images import CONFIG, LAYER, MANIFEST
from tests.cloud.client import Client, Refused, expected, sent
from tests.cloud.faults import Fault, Kind
from tests.endurance.client import arrived
from tests.surface import RELAY_KEY

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
    location = str(status.headers["Location"])
    begin = arrived(status.headers["Range"])
    if begin < len(content):
        place = f"{begin}-{len(content) - 1}"
        binary = "application/octet-stream"
        answer = client.send("PATCH", location, content[begin:], Content_Type=binary, Content_Range=place)
        location = str(expected(answer, 202).headers["Location"])
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


def each_call_fails(aws: Whole, way: Way, size: int, kind: Kind, calls: int = 0) -> int:
    """Push, the first call to S3 failing, something else, the second failing, and so on to the last: the sum of it is right,
    and how many calls failed. ``calls``: see ``Kind.LATE``."""
    client = aws.user("admin/app")
    acknowledged = []
    for nth in range(1, 100):
        fault = Fault(kind, nth=nth, calls=calls)
        aws.s3.faults[:] = [fault]
        content = content_of((way.__name__, kind, nth), size)
        pushed(aws, client, way, content)
        aws.idle()
        aws.s3.faults.clear()
        acknowledged.append(content)
        if not fault.hits:
            break
    assert nth > 1
    aws.swept()
    algorithm = "sha512" if way is by_sha512 else "sha256"
    assert [pulled(client, named(content, algorithm)) for content in acknowledged] == acknowledged
    return nth - 1


# ---------------------------------------------------------------------------------------------------------- as a relay does


def begun(client: Client, location: str) -> dict[str, Any]:
    """What a relay is told that begins a piece."""
    target = f"/_relay{location.replace('?', '/begin?', 1)}"
    answer = client.send("POST", target, b'{"content_range":null,"content_length":null}')
    told: dict[str, Any] = json.loads(expected(answer, 200).body)
    return told


def put_part(url: str, content: bytes) -> str:
    """The part's ETag."""
    request = urllib.request.Request(url, content, method="PUT")  # noqa: S310  # a front of ours
    return str(expected(sent(request), 200).headers["ETag"])


def ending(client: Client, location: str, writing: dict[str, Any], content: bytes, *, digest: str = "") -> bytes:
    """What a relay tells at the end of a piece of one part, which is sent here."""
    size = writing["offset"] + len(content)
    sha256 = hashlib.sha256(content).hexdigest()
    vouched = f"slipway-relay-1\n{writing['writer']}\n{size}\n{sha256}".encode()
    told = {
        "writer": writing["writer"],
        "parts": [{"number": 1, "etag": put_part(writing["urls"][0], content), "size": len(content)}],
        "size": size,
        "sha256": sha256,
        "attestation": hmac.new(RELAY_KEY.encode(), vouched, "sha256").hexdigest(),
    }
    return json.dumps({**told, "digest": digest} if digest else told).encode()
