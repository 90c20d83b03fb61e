"""A registry on AWS from its first deployment to its last trace; the tests stand in that order and build on each other."""

from __future__ import annotations

import json
import random
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from infra.deploy import CannotDeploy, deploy, destroy
from infra.stack.roles import ALLOWED
from tests.clients.images import SourceImage, multi_platform_image, opened
from tests.clients.sandbox import Sandbox
from tests.clients.wire import Wire
from tests.cloud.client import Client, Refused, digest_of, expected, sent
from tests.cloud.stage import STAGE, Cloud
from tests.conformance.registry_process import CACHE
from tests.conformance.run import RELAXABLE, RESULTS, SPEC_VERSIONS, built_program, report_version, run_program
from tests.infra import ARCHITECTURE

LAYER = random.Random(7).randbytes(200_000)


@pytest.fixture(scope="module")
def image() -> SourceImage:
    return multi_platform_image(CACHE / "clients")


def test_the_deployed_registry_is_healthy(cloud: Cloud) -> None:
    print(f"\nzip {cloud.packaged.zip.stat().st_size:,} bytes, deployed in {cloud.seconds:.1f} s")
    assert json.loads(Client(cloud.registry, "").send("GET", "/_ping").body) == {"Error": "", "Healthy": True}


@pytest.mark.parametrize(
    ("path", "challenge"),
    [("/v2/", "Bearer"), ("/v2/admin/a/tags/list", "Bearer"), ("/auth/token?account=admin", "Basic"), ("/api/v0/x", "Basic")],
)
def test_who_brings_no_credentials_is_told_how(cloud: Cloud, path: str, challenge: str) -> None:
    """Both copies of the challenge: on AWS the HTTP API puts the second in the first one's place, on every 401."""
    request = urllib.request.Request(cloud.registry.url + path, headers={"Authorization": "Basic bm9ib2R5Og=="})  # noqa: S310
    refused = sent(request)
    assert refused.status == 401
    assert refused.headers["WWW-Authenticate"].startswith(challenge)
    assert refused.headers["X-Slipway-WWW-Authenticate"] == refused.headers["WWW-Authenticate"]


def test_push_and_pull(cloud: Cloud) -> None:
    client = Client(cloud.registry, "admin/first")
    pushed = client.push_image("v1", LAYER, b"a second layer")
    assert client.pull_image("v1") == pushed
    assert client.send("GET", f"blobs/{digest_of(LAYER)}").body == LAYER


def test_an_answer_of_the_largest_size(cloud: Cloud) -> None:
    """A manifest of 4 MiB as base64 is just within what a function may answer."""
    client = Client(cloud.registry, "admin/large")
    described = {"mediaType": "application/x", "size": len(LAYER), "digest": client.push_blob(LAYER)}
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}
    document |= {"config": described, "layers": [], "annotations": {"padding": ""}}
    room = 4 * 1024 * 1024 - len(json.dumps(document))
    document["annotations"]["padding"] = "x" * room
    manifest = json.dumps(document).encode()
    expected(client.send("PUT", "manifests/v1", manifest, Content_Type=document["mediaType"]), 201)
    assert client.send("GET", "manifests/v1").body == manifest


def test_a_layer_in_chunks(cloud: Cloud) -> None:
    """Larger than a part of S3's multipart uploads; first under a wrong digest, of which nothing remains."""
    client = Client(cloud.registry, "admin/chunks")
    content = random.Random(8).randbytes(18_000_000)
    for digest, status in ((digest_of(b"other bytes"), 400), (digest_of(content), 201)):
        location = client.begin()
        for start in range(0, len(content), 4_000_000):
            location = client.append(location, content[start : start + 4_000_000])
        assert client.finish(location, digest).status == status
    assert client.send("GET", f"blobs/{digest_of(content)}").body == content
    assert client.send("HEAD", f"blobs/{digest_of(b'other bytes')}").status == 404


def test_lists_and_deletions(cloud: Cloud) -> None:
    client = Client(cloud.registry, "admin/deleted")
    pushed = client.push_image("v1", LAYER)
    assert "admin/deleted" in json.loads(expected(client.send("GET", "/v2/_catalog"), 200).body)["repositories"]
    expected(client.send("DELETE", "manifests/v1"), 202)
    expected(client.send("DELETE", f"manifests/{pushed}"), 202)
    expected(client.send("DELETE", f"blobs/{digest_of(LAYER)}"), 202)
    assert client.send("GET", f"manifests/{pushed}").status == 404
    location = client.begin()
    expected(client.send("DELETE", location), 204)


def test_what_was_given_up_is_dropped(cloud: Cloud) -> None:
    """An upload is made to look old in the table, and a push to have been interrupted: their time is too long to wait."""
    client = Client(cloud.registry, "admin/given-up")
    location = client.append(client.begin(), b"half a layer")
    table = boto3.resource("dynamodb", **cloud.emulator.client_arguments()).Table(_physical(cloud, "Table"))
    for item in table.scan()["Items"]:
        if item["partition"].startswith("upload/") and "expires_at" in item:
            table.put_item(Item={**item, "expires_at": 1})
    table.put_item(Item={"partition": "pending", "sort": f"{1:012d}/nobody/{digest_of(b'')}"})
    dropped = _invoke(cloud, "ExpireUploadsAlias")
    assert dropped["uploads"] >= 1
    assert dropped["pushes"] == 1
    assert client.send("GET", location).status == 404


@pytest.mark.parametrize("sandbox", ["crane"], indirect=True)
def test_crane(sandbox: Sandbox, wire: Wire, image: SourceImage) -> None:
    remote = sandbox.reference("multi", image.tag)
    account = sandbox.registry
    sandbox.run("crane", "auth", "login", account.host, "-u", account.user, "--password-stdin", stdin=account.password)
    sandbox.run("crane", "push", str(image.layout), remote)
    assert wire.digests(sandbox.repository("multi"), image.tag) == image.digests()
    sandbox.run("crane", "validate", "--remote", remote)
    sandbox.run("crane", "pull", "--format=oci", remote, str(sandbox.folder / "back"))
    assert SourceImage(sandbox.folder / "back", image.tag, image.digest).content() == image.digests()


@pytest.mark.parametrize("sandbox", ["oras"], indirect=True)
def test_oras(sandbox: Sandbox, wire: Wire, image: SourceImage) -> None:
    remote = sandbox.reference("multi", image.tag)
    account = sandbox.registry
    words = ("oras", "login", "--plain-http", "-u", account.user, "--password-stdin", account.host)
    sandbox.run(*words, stdin=account.password)
    sandbox.run("oras", "cp", "--no-tty", "--from-oci-layout", image.reference, "--to-plain-http", remote)
    assert wire.digests(sandbox.repository("multi"), image.tag) == image.digests()
    back = sandbox.folder / "back"
    sandbox.run("oras", "cp", "--no-tty", "--from-plain-http", remote, "--to-oci-layout", f"{back}:{image.tag}")
    assert opened(back).content() == image.digests()


@pytest.mark.parametrize("version", SPEC_VERSIONS)
def test_conformance(cloud: Cloud, version: str) -> None:
    """All of it but the digest header on blobs, which 1.1 does not ask for: see RELAXABLE."""
    outcome = run_program(built_program(), cloud.registry, version, RESULTS / f"cloud-{version}", tuple(RELAXABLE))
    report_version(version, outcome)
    assert outcome.clean


def test_an_update_under_load_fails_no_request(cloud: Cloud) -> None:
    before = _version(cloud)
    with _load(cloud) as load:
        load.until(3)
        changed = {"SparseManifests": "none", "BlobVersions": "yes"}  # and destroying must then find versions too
        deploy(cloud.account, cloud.packaged.template.parent, changed, ARCHITECTURE)
        load.until(load.rounds + 6)
    assert load.failures == []
    assert _version(cloud) > before


def test_deploying_the_same_again_changes_nothing(cloud: Cloud) -> None:
    before = _version(cloud)
    assert deploy(cloud.account, cloud.packaged.template.parent, {}, ARCHITECTURE) == cloud.deployment
    assert _version(cloud) == before


@pytest.mark.parametrize("function", ALLOWED)
def test_a_function_may_do_what_it_does_and_no_more(cloud: Cloud, function: str) -> None:
    calls = [seen for seen in cloud.seen if seen.function == function]
    assert [seen for seen in calls if seen.status == 403] == []
    used = {action for seen in calls for action in seen.actions()}
    assert used == {action for _, actions in ALLOWED[function] for action in actions}


def test_every_call_was_some_function_s(cloud: Cloud) -> None:
    assert {seen.function for seen in cloud.seen} == set(ALLOWED)


@pytest.mark.parametrize(("confirm", "drop_data"), [("", ""), (STAGE, ""), ("prod", "yes"), ("", "yes")])
def test_destroy_refuses_unless_told_twice(cloud: Cloud, confirm: str, drop_data: str) -> None:
    with pytest.raises(CannotDeploy, match=f"CONFIRM={STAGE} DROP_DATA=yes"):
        destroy(cloud.account, confirm, drop_data)
    assert Client(cloud.registry, "admin/first").pull_image("v1")


def test_destroy_leaves_nothing(cloud: Cloud) -> None:
    begun = time.monotonic()
    destroy(cloud.account, STAGE, "yes")
    print(f"\ndestroyed in {time.monotonic() - begun:.1f} s")
    assert _remaining(cloud) == {}
    destroy(cloud.account, STAGE, "yes")  # and once more, as after an interruption


def _client(cloud: Cloud, service: str) -> Any:  # noqa: ANN401  # there are no types of clients
    return boto3.client(service, **cloud.emulator.client_arguments())


def _physical(cloud: Cloud, logical: str) -> str:
    found = _client(cloud, "cloudformation").describe_stack_resource(StackName=cloud.account.stack, LogicalResourceId=logical)
    return str(found["StackResourceDetail"]["PhysicalResourceId"])


def _invoke(cloud: Cloud, alias: str) -> dict[str, Any]:
    event = {"version": "0", "id": "1", "detail-type": "Scheduled Event", "source": "aws.events", "resources": [], "detail": {}}
    event |= {"account": cloud.account.id, "region": cloud.account.region, "time": "2026-01-01T00:00:00Z"}
    answer = _client(cloud, "lambda").invoke(FunctionName=_physical(cloud, alias), Payload=json.dumps(event))
    payload = answer["Payload"].read()
    assert not answer.get("FunctionError"), payload
    said: dict[str, Any] = json.loads(payload)
    return said


def _version(cloud: Cloud) -> int:
    """That which the API's alias points to."""
    function, _, alias = _physical(cloud, "ApiAlias").rpartition(":")
    return int(_client(cloud, "lambda").get_alias(FunctionName=function, Name=alias)["FunctionVersion"])


class _Load:
    """Pushes and pulls from two threads until ended; each failure is kept, none tried again."""

    def __init__(self, cloud: Cloud) -> None:
        self.failures: list[str] = []
        self.rounds = 0
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(Client(cloud.registry, f"admin/load-{n}"),)) for n in range(2)
        ]

    def __enter__(self) -> _Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def until(self, rounds: int) -> None:
        deadline = time.monotonic() + 120
        while self.rounds < rounds:
            assert time.monotonic() < deadline, self.failures
            time.sleep(0.05)  # the poll's own interval

    def _run(self, client: Client) -> None:
        number = 0
        while not self._ended.is_set():
            number += 1
            try:
                pushed = client.push_image("latest", random.Random(f"{client.repository}{number}").randbytes(50_000))
                pulled = client.pull_image("latest")
            except (Refused, OSError) as failure:
                self.failures.append(str(failure))
            else:
                self.failures += [] if pulled == pushed else ["another image than was pushed"]
            self.rounds += 1


def _load(cloud: Cloud) -> _Load:
    return _Load(cloud)


def _remaining(cloud: Cloud) -> dict[str, list[str]]:
    """What is still in the account, by kind; a key that waits for its end counts as gone, as AWS can do no more at once."""
    return {kind: names for kind, names in _everything(cloud) if names}


def _everything(cloud: Cloud) -> Iterator[tuple[str, list[str]]]:
    def all_of(service: str, operation: str, kind: str, name: str) -> list[str]:
        return [str(each[name]) for each in getattr(_client(cloud, service), operation)()[kind]]

    kms = _client(cloud, "kms")
    keys = [kms.describe_key(KeyId=each["KeyId"])["KeyMetadata"] for each in kms.list_keys()["Keys"]]
    stacks = _client(cloud, "cloudformation").describe_stacks()["Stacks"]
    yield "stacks", [each["StackName"] for each in stacks if each["StackStatus"] != "DELETE_COMPLETE"]
    yield "tables", list(_client(cloud, "dynamodb").list_tables()["TableNames"])
    yield "keys", [each["KeyId"] for each in keys if each["KeyState"] != "PendingDeletion"]
    yield "buckets", all_of("s3", "list_buckets", "Buckets", "Name")
    yield "secrets", all_of("secretsmanager", "list_secrets", "SecretList", "Name")
    yield "functions", all_of("lambda", "list_functions", "Functions", "FunctionName")
    yield "roles", all_of("iam", "list_roles", "Roles", "RoleName")
    yield "apis", all_of("apigatewayv2", "get_apis", "Items", "ApiId")
    yield "rules", all_of("events", "list_rules", "Rules", "Name")
    yield "log groups", all_of("logs", "describe_log_groups", "logGroups", "logGroupName")
