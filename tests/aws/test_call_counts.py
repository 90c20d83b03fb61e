"""How many calls to AWS a push and a pull of N layers cost: what they cost in money and, one after the other, in time.

Each flow is that of a client: one token for all of it, then the requests that clients send, to an instance that is new. The
tables that ``pytest -s`` shows say what each call is for.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from urllib.parse import urlencode

import pytest
from boto3.session import Session

from chalicelib.registry.names import Digest
from chalicelib.wire.http import Response
from tests.aws.counted import CountedSurface
from tests.aws.counting import counting
from tests.emulator import Emulator
from tests.surface import CONFIG, SERVICE, image

NAME = "admin/counted"
TYPE = "application/vnd.oci.image.manifest.v1+json"
LAYERS = (1, 4, 16)


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
