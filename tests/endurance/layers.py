"""Requests that carry a layer, byte for byte as they go over the wire; and an image to have beside them."""

from __future__ import annotations

from typing import NamedTuple

from tests.endurance.client import CONFIG, Client, image, with_digest
from tests.endurance.content import Content, digest_of
from tests.endurance.raw import RawConnection, chunked

REPOSITORY = "admin/broken"
RELAYED = 6_000_003
"""Bytes of a layer that goes beside the application whatever the way."""
INLINE = 1_000_003


class Way(NamedTuple):
    """A request that carries a layer. ``known``: with Content-Length; ``relayed``: beside the application."""

    method: str
    known: bool
    relayed: bool

    def __str__(self) -> str:
        return f"{self.method}-{'length' if self.known else 'chunked'}-{'relay' if self.relayed else 'inline'}"


WAYS = [
    Way(method, known, relayed)
    for method in ("PATCH", "PUT", "POST")
    for known, relayed in ((True, True), (False, True), (True, False))
]


class Request(NamedTuple):
    """A whole request."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    def send_part(self, connection: RawConnection, size: int) -> None:
        """The head and the first ``size`` bytes behind it."""
        connection.send_head(self.method, self.target, self.headers)
        connection.send(self.body[:size])

    def send(self, connection: RawConnection, extra: bytes = b"") -> None:
        """All of it, and ``extra`` in the same breath."""
        connection.send_head(self.method, self.target, self.headers)
        connection.send(self.body + extra)


def layer_request(client: Client, way: Way, location: str, content: Content, digest: str = "") -> Request:
    """The request that sends ``content`` by this way to an upload's ``location``, or by a POST to a new one; ``digest`` is
    the content's own unless another is given."""
    digest = digest or content.digest()
    target = {
        "PATCH": location,
        "PUT": with_digest(location, digest),
        "POST": f"/v2/{REPOSITORY}/blobs/uploads/?digest={digest}",
    }[way.method]
    framing = {"Content-Length": str(content.size)} if way.known else {"Transfer-Encoding": "chunked"}
    body = content.whole() if way.known else chunked(content.blocks())
    return Request(way.method, target, {**client.authorization(REPOSITORY), **framing}, body)


def pushed_image(client: Client, note: str, tag: str) -> bytes:
    """An image of two layers; its manifest, pushed unless ``tag`` is "" """
    layers = [Content(seed=50, size=100_000), Content(seed=51, size=RELAYED)]
    for layer in layers:
        client.finish(REPOSITORY, client.begin(REPOSITORY), layer.digest(), layer.blocks(), layer.size).expect(201)
    client.finish(REPOSITORY, client.begin(REPOSITORY), digest_of(CONFIG), CONFIG).expect(201)
    manifest = image([(layer.digest(), layer.size) for layer in layers], note)
    if tag:
        client.push_manifest(REPOSITORY, tag, manifest).expect(201)
    return manifest
