"""distribution's own registry (Debian's docker-registry) trusts the tokens of this one: its verifier reads our certificate
chain, issuer, audience and access."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.clients.sandbox import ClientFailed, Sandbox
from tests.conformance.registry_process import RunningRegistry, free_port

REPOSITORY = "admin/elsewhere/app"


def answer(method: str, url: str, **headers: str) -> tuple[int, Mapping[str, str], bytes]:
    request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as refused:
        return refused.code, dict(refused.headers), refused.read()


def settings(registry: RunningRegistry, folder: Path, port: int) -> Path:
    """Another service's tokens and another issuer's are refused; the root is the certificate that /ca answers."""
    status, _, certificate = answer("GET", f"{registry.url}/ca")
    assert status == 200
    bundle = folder / "ca.pem"
    bundle.write_bytes(certificate)
    trusted = {
        "realm": f"{registry.url}/auth/token",
        "service": registry.host,
        "issuer": registry.url,
        "rootcertbundle": str(bundle),
    }
    chosen = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "auth": {"token": trusted},
    }
    file = folder / "config.yml"
    file.write_text(json.dumps(chosen))  # JSON is YAML
    return file


@pytest.fixture(scope="module")
def other(sandbox: Sandbox) -> Iterator[str]:
    """The host of a docker-registry that trusts ours."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/v2/"

    def ready() -> None:
        try:
            answer("GET", url)
        except OSError as error:
            raise ClientFailed(str(error)) from error

    # It takes every variable that begins so for a setting of its own.
    words = ("env", "-u", "REGISTRY_AUTH_FILE", "docker-registry", "serve")
    with sandbox.daemon(*words, str(settings(sandbox.registry, sandbox.folder, port)), ready=ready):
        yield f"127.0.0.1:{port}"


def token(registry: RunningRegistry, scope: str) -> str:
    account = base64.b64encode(f"{registry.user}:{registry.password}".encode()).decode()
    query = urlencode({"service": registry.host, "scope": scope})
    status, _, body = answer("GET", f"{registry.url}/auth/token?{query}", Authorization=f"Basic {account}")
    assert status == 200, body
    return str(json.loads(body)["token"])


def begin(other: str, carried: str) -> int:
    return answer("POST", f"http://{other}/v2/{REPOSITORY}/blobs/uploads/", Authorization=f"Bearer {carried}")[0]


def test_it_sends_to_our_token_service(sandbox: Sandbox, other: str) -> None:
    status, headers, _ = answer("GET", f"http://{other}/v2/")
    assert status == 401
    assert f'realm="{sandbox.registry.url}/auth/token"' in headers["Www-Authenticate"]


def test_a_token_is_accepted_for_what_it_grants_and_for_nothing_else(sandbox: Sandbox, other: str) -> None:
    registry = sandbox.registry
    good = token(registry, f"repository:{REPOSITORY}:pull,push")
    assert begin(other, good) == 202
    assert begin(other, token(registry, f"repository:{REPOSITORY}:pull")) == 401
    assert begin(other, token(registry, f"repository:{REPOSITORY}x:pull,push")) == 401
    head, claims, signature = good.split(".")
    forged = base64.urlsafe_b64encode(base64.urlsafe_b64decode(claims + "==").replace(b"admin", b"adm1n")).rstrip(b"=").decode()
    assert begin(other, f"{head}.{forged}.{signature}") == 401
    assert begin(other, "") == 401


def test_a_client_pushes_and_pulls_with_one_login(sandbox: Sandbox, other: str) -> None:
    """oras; crane refuses to be sent to another host at a loopback address."""
    registry = sandbox.registry
    (sandbox.folder / "note.txt").write_text("signed elsewhere")
    remote, words = f"{other}/{REPOSITORY}:latest", ("--plain-http", "-u", registry.user, "--password-stdin")
    sandbox.is_refused("oras", "push", *words, remote, "note.txt:text/plain", stdin="not the password")
    sandbox.run("oras", "push", *words, remote, "note.txt:text/plain", stdin=registry.password)
    (sandbox.folder / "note.txt").unlink()
    sandbox.run("oras", "pull", *words, remote, stdin=registry.password)
    assert (sandbox.folder / "note.txt").read_text() == "signed elsewhere"
