"""The whole application behind both payload formats, everything through JSON as Lambda has it; and what takes too long."""

from __future__ import annotations

import asyncio
import json
import threading
from base64 import b64encode
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import pytest

from chalicelib.registry.manifests import OCI_MANIFEST
from infra.local.asgi import Gateway, Pools
from infra.local.events import Answer, Event, Head
from infra.local.gateway import MAPPINGS, HttpApi
from infra.local.heads import Sources
from tests.local_server.fakes import MemoryBlobs, refusal
from tests.local_server.running import local_edge
from tests.surface import PASSWORD, SERVICE, Surface, image

LAYER = bytes(range(256)) * 40


class Behind:
    """An application behind a gateway of one payload format, and a client in front of it."""

    def __init__(self, payload: str) -> None:
        self.surface = Surface()
        self.api = HttpApi(self._through_json, MAPPINGS, payload=payload)
        self.token = ""

    def _through_json(self, event: Event, context: object, /) -> Mapping[str, object]:
        told = self.surface.app(json.loads(json.dumps(event)), None)
        result: dict[str, object] = json.loads(json.dumps(told))
        return result

    def ask(self, method: str, url: str, body: bytes = b"", **headers: str) -> Answer:
        parts = urlsplit(url)
        named = {"host": SERVICE, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if self.token and "authorization" not in named:
            named["authorization"] = f"Bearer {self.token}"
        return self.api.call(Head(method, parts.path, parts.query, named, (), "192.0.2.7"), body)


def header(answer: Answer, name: str) -> str:
    return next((value.decode() for key, value in answer.headers if key == name.encode()), "")


@pytest.mark.parametrize("payload", ["1.0", "2.0"])
def test_an_image_is_pushed_and_pulled(payload: str) -> None:
    behind = Behind(payload)
    refused = behind.ask("GET", "/v2/")
    assert refused.status == 401
    assert (header(refused, "www-authenticate")[:6], header(refused, "x-amzn-remapped-www-authenticate")[:6]) == ("Bearer",) * 2
    account = b64encode(f"admin:{PASSWORD}".encode()).decode()
    scope = "scope=repository%3Aadmin/app%3Apull%2Cpush&scope=repository:admin/other:pull"
    told: dict[str, Any] = json.loads(behind.ask("GET", f"/auth/token?{scope}", authorization=f"Basic {account}").body)
    behind.token = told["token"]
    form = b"grant_type=password&username=admin&password=wrong&service=x"
    answer = behind.ask("POST", "/auth/token", form, content_type="application/x-www-form-urlencoded", authorization="")
    assert answer.status in {400, 401}

    config = b'{"architecture":"amd64","os":"linux"}'
    for content in (config, LAYER):
        begun = behind.ask("POST", "/v2/admin/app/blobs/uploads/")
        digest = f"sha256%3A{sha256(content).hexdigest()}"
        location = header(begun, "location")
        patched = behind.ask("PATCH", location, content, content_type="application/octet-stream")
        assert patched.status == 202
        assert behind.ask("PUT", f"{header(patched, 'location')}&digest={digest}").status == 201
        assert behind.ask("HEAD", f"/v2/admin/app/blobs/{digest}").status in {200, 307}

    manifest = image(LAYER)
    put = behind.ask("PUT", "/v2/admin/app/manifests/v%31", manifest, content_type=OCI_MANIFEST)
    assert put.status == 201
    got = behind.ask("GET", "/v2/admin/app/manifests/v1")
    assert (got.status, got.body, header(got, "content-type")) == (200, manifest, OCI_MANIFEST)
    head = behind.ask("HEAD", "/v2/admin/app/manifests/v1")
    assert (head.status, head.body, head.length) == (200, b"", len(manifest))
    assert json.loads(behind.ask("GET", "/v2/admin/app/tags/list?n=5").body)["tags"] == ["v1"]


def test_what_takes_longer_than_the_gateway_waits_is_a_503() -> None:
    release = threading.Event()

    def slow(event: Event, context: object, /) -> Mapping[str, object]:
        release.wait(20)
        return {"statusCode": 200}

    async def ask() -> list[Any]:
        pools = Pools(*(ThreadPoolExecutor(1) for _ in range(3)))
        app = Gateway(slow, MemoryBlobs(), pools, Sources(), refusal, edge=local_edge(), seconds=0.01)
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:  # noqa: ANN401
            sent.append(message)

        scope = {
            "method": "GET", "path": "/x", "raw_path": b"/x", "query_string": b"", "http_version": "1.1", "client": None,
            "headers": [(b"host", b"x")], "state": {"connection": None},
        }  # fmt: skip
        await app(scope, receive, send)
        release.set()
        for pool in pools:
            pool.shutdown()
        return sent

    start, body = asyncio.run(ask())
    assert (start["status"], body["body"]) == (503, b'{"message":"Service Unavailable"}')
