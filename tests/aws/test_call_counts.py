"""How many calls to AWS a push and a pull of N layers cost: what they cost in money and, one after the other, in time.

Each flow is that of a client: one token for all of it, then the requests that clients send, to an instance that is new. The
tables that ``pytest -s`` shows say what each call is for.
"""

from __future__ import annotations

import base64
import hmac
import json
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import urlencode

import pytest
from boto3.session import Session

from chalicelib.registry.adoption import Adoption
from chalicelib.registry.names import Digest, RepositoryName
from chalicelib.wire.http import Response
from tests.aws.counted import CountedSurface
from tests.aws.counting import counting
from tests.emulator import Emulator
from tests.surface import CONFIG, RELAY_KEY, SERVICE, image

NAME = "admin/counted"
TYPE = "application/vnd.oci.image.manifest.v1+json"
LAYERS = (1, 4, 16)
EDGE = "the client's own PUT, which the edge signs"


def layers(count: int) -> tuple[bytes, ...]:
    return tuple(f"layer {number}".encode() * 100 for number in range(count))


@dataclass
class Client:
    """Sends what clients send, and says so to the counter."""

    program: CountedSurface
    _token: str = field(default="", repr=False)

    def log_in(self, actions: str) -> None:
        """As every client begins: it is refused, and fetches a token for all that it is about to do."""
        assert self.send("GET /v2/", "GET", "/v2/").status == 401
        basic = base64.b64encode(self.program.surface.credentials.encode()).decode()
        query = urlencode({"service": SERVICE, "scope": f"repository:{NAME}:{actions}"})
        answer = self.send("GET token", "GET", f"/auth/token?{query}", authorization=f"Basic {basic}")
        self._token = json.loads(answer.body)["token"]

    def send(self, step: str, method: str, url: str, body: bytes = b"", **headers: str) -> Response:
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        self.program.counted.step = step
        return self.program.surface.send(method, url, body, **headers)

    def pull(self, tag: str, count: int) -> None:
        """As docker and containerd do: the tag by HEAD, then the manifest by digest, its configuration and its layers."""
        self.log_in("pull")
        head = self.send("HEAD manifest", "HEAD", f"/v2/{NAME}/manifests/{tag}", accept=TYPE)
        digest = head.headers["Docker-Content-Digest"]
        assert self.send("GET manifest", "GET", f"/v2/{NAME}/manifests/{digest}", accept=TYPE).status == 200
        for content in (CONFIG, *layers(count)):
            assert self.send("GET blob", "GET", f"/v2/{NAME}/blobs/{Digest.of(content)}").status == 307

    def push(self, tag: str, count: int, *, chunked: bool) -> None:
        """Each blob is looked for, and then sent: in one PUT as containerd, oras and regctl do, or by PATCH and an empty PUT as
        docker, crane and the containers' tools do."""
        self.log_in("pull,push")
        contents = (*layers(count), CONFIG)
        for content in contents:
            self._push_blob(content, chunked=chunked)
        url, manifest = f"/v2/{NAME}/manifests/{tag}", image(*layers(count))
        assert self.send("PUT manifest", "PUT", url, manifest, content_type=TYPE).status == 201

    def _push_blob(self, content: bytes, *, chunked: bool) -> None:
        digest, binary = Digest.of(content), "application/octet-stream"
        assert self.send("HEAD blob", "HEAD", f"/v2/{NAME}/blobs/{digest}").status == 404
        begun = self.send("POST", "POST", f"/v2/{NAME}/blobs/uploads/")
        assert begun.status == 202
        location = begun.headers["Location"]
        if chunked:
            sent = self.send("PATCH", "PATCH", location, content, content_type=binary)
            assert sent.status == 202
            location, content = sent.headers["Location"], b""
        finish = f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': str(digest)})}"
        assert self.send("PUT blob", "PUT", finish, content, content_type=binary).status == 201


@pytest.mark.parametrize("chunked", [False, True], ids=["monolithic", "chunked"])
@pytest.mark.parametrize("count", LAYERS)
def test_a_push_of_n_layers(on_aws: CountedSurface, count: int, chunked: bool) -> None:
    """The first into a repository that has never been, on an instance whose keys another made."""
    on_aws.surface.token("repository:admin/other:pull")
    fresh = on_aws.fresh()
    Client(fresh).push("v1", count, chunked=chunked)
    print(f"\npush, {count} layers{', chunked' if chunked else ''}\n{fresh.counted.table()}")
    assert fresh.counted.total <= 4 * count + 12


@dataclass
class LargeLayers(Client):
    """Sends layers past the program, to the store: by itself, as the edge lets it, or by a relay."""

    def begin(self, digest: Digest) -> str:
        assert self.send("HEAD blob", "HEAD", f"/v2/{NAME}/blobs/{digest}").status == 404
        return self.send("POST", "POST", f"/v2/{NAME}/blobs/uploads/").headers["Location"]

    def push_direct(self, content: bytes) -> None:
        digest, surface = Digest.of(content), self.program.surface
        upload = self.begin(digest).partition("?")[0].rpartition("/")[2]
        repository = surface.registry.repositories.ensure(RepositoryName.parse(NAME)).id
        key = f"direct/{repository}/{digest}/{upload}"
        self.program.counted.step = EDGE
        surface.store.put(key, content)
        self.program.counted.step = "adopt"
        adoption = Adoption(surface.store, surface.registry.blobs, surface.registry.repositories, surface.clock)
        assert adoption.adopt(key) is not None

    def push_by_relay(self, content: bytes) -> None:
        """A relay that is trusted; it sends the parts itself."""
        digest = Digest.of(content)
        path, _, query = self.begin(digest).partition("?")
        asked = json.dumps({"content_range": None, "content_length": None}).encode()
        told = json.loads(self.send("begin", "POST", f"/_relay{path}/begin?{query}", asked).body)
        with urllib.request.urlopen(urllib.request.Request(told["urls"][0], content, method="PUT")) as sent:  # noqa: S310
            part = {"number": 1, "etag": sent.headers["ETag"], "size": len(content)}
        said = f"slipway-relay-1\n{told['writer']}\n{len(content)}\n{digest.hex}".encode()
        attestation = hmac.digest(RELAY_KEY.encode(), said, "sha256").hex()
        end = {
            "writer": told["writer"],
            "parts": [part],
            "size": len(content),
            "sha256": digest.hex,
            "attestation": attestation,
        }
        ended = self.send("end", "POST", f"/_relay{path}/end", json.dumps(end).encode())
        finish = f"{ended.headers['Location']}&{urlencode({'digest': str(digest)})}"
        assert self.send("PUT blob", "PUT", finish).status == 201


@pytest.mark.parametrize(("lane", "each"), [("direct", 4), ("relay", 6)])
@pytest.mark.parametrize("count", LAYERS)
def test_a_push_of_n_large_layers(on_aws: CountedSurface, count: int, lane: str, each: int) -> None:
    """Layers by the lane, the configuration inline. What the client or the relay sends to S3 itself is no call of ours."""
    on_aws.surface.token("repository:admin/other:pull")
    fresh = on_aws.fresh()
    client = LargeLayers(fresh)
    client.log_in("pull,push")
    for content in layers(count):
        (client.push_direct if lane == "direct" else client.push_by_relay)(content)
    client._push_blob(CONFIG, chunked=False)
    url = f"/v2/{NAME}/manifests/v1"
    assert client.send("PUT manifest", "PUT", url, image(*layers(count)), content_type=TYPE).status == 201
    print(f"\npush, {count} layers, {lane} lane\n{fresh.counted.table()}")
    assert len([call for call in fresh.counted.calls if call.step != EDGE]) <= each * count + 12


@pytest.mark.parametrize("count", LAYERS)
def test_a_pull_of_n_layers(on_aws: CountedSurface, count: int) -> None:
    on_aws.surface.push_image(NAME, "v1", *layers(count))
    fresh = on_aws.fresh()
    Client(fresh).pull("v1", count)
    print(f"\npull, {count} layers\n{fresh.counted.table()}")
    assert fresh.counted.total <= count + 8
    assert fresh.counted.steps()["GET blob"] == count + 1


def test_both_sdks_are_counted_and_nothing_else(on_aws: CountedSurface, emulator: Emulator) -> None:
    on_aws.counted.clear()
    before = Session().client("s3", **emulator.client_arguments())
    with counting() as other:
        client = Session().client("s3", **emulator.client_arguments())
        before.list_buckets()
        assert other.total == 0
        client.list_buckets()
        client.list_buckets()
    after = Session().client("s3", **emulator.client_arguments())
    after.list_buckets()
    assert other.operations() == {"s3 ListBuckets": 2}
    fresh = on_aws.fresh()
    fresh.surface.store.put("data/1", b"x")
    fresh.surface.accounts.ensure_admin("another")
    fresh.surface.signer.public_key()
    assert [(each.service, each.operation, each.asked, each.adapter) for each in fresh.counted.calls] == [
        ("s3", "PutObject", "", "S3Blobs.put"),
        ("dynamodb", "GetItem", "Accounts.read", "DynamoTable.get"),
        ("kms", "GetPublicKey", "", "KmsSigner.public_key"),
    ]
    for closed in (before, client, after):
        closed.close()
