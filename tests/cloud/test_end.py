"""The last of a stage: updated while it is in use, then destroyed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from infra.deploy.account import CannotDeploy
from infra.deploy.deployment import deploy
from infra.deploy.destroy import destroy
from tests.cloud.client import Client, Refused, digest_of, expected
from tests.cloud.stage import STAGE, Cloud
from tests.infra import ARCHITECTURE

LARGE = 6_000_000


def test_an_update_under_load_fails_no_request(cloud: Cloud) -> None:
    before = _version(cloud)
    with _Load(cloud) as load:
        load.until(2)
        cloud.deploy(SparseManifests="none", BlobVersions="yes")  # and destroying must then find versions too
        load.until(2)
    assert load.failures == []
    print(f"\nrounds of push and pull during the update: {load.rounds}")
    assert _version(cloud) > before


def test_deploying_the_same_again_changes_nothing(cloud: Cloud) -> None:
    before = _version(cloud)
    assert deploy(cloud.account, cloud.packaged.template.parent, {}, ARCHITECTURE) == cloud.deployment
    assert _version(cloud) == before


@pytest.mark.parametrize(("confirm", "drop_data"), [("", ""), (STAGE, ""), ("prod", "yes"), ("", "yes")])
def test_destroy_refuses_unless_told_twice(cloud: Cloud, confirm: str, drop_data: str) -> None:
    with pytest.raises(CannotDeploy, match=f"CONFIRM={STAGE} DROP_DATA=yes"):
        destroy(cloud.account, confirm, drop_data)
    assert Client(cloud.registry, "admin/load/inline").pull_image("latest")


def test_destroy_leaves_nothing(cloud: Cloud) -> None:
    """A multipart upload that nobody ends is among what is there."""
    cloud.client("s3").create_multipart_upload(Bucket=cloud.deployment.bucket, Key="data/x/y")
    assert [kind for kind, names in _everything(cloud) if not names] == []  # each kind can be seen
    begun = time.monotonic()
    destroy(cloud.account, STAGE, "yes")
    print(f"\ndestroyed in {time.monotonic() - begun:.1f} s")
    assert {kind: names for kind, names in _everything(cloud) if names} == {}
    destroy(cloud.account, STAGE, "yes")  # and once more, as after an interruption


def _version(cloud: Cloud) -> int:
    """That which the API's alias points to."""
    function, _, alias = cloud.physical("ApiAlias").rpartition(":")
    return int(cloud.client("lambda").get_alias(FunctionName=function, Name=alias)["FunctionVersion"])


@dataclass
class _Load:
    """Pushes and pulls by every lane at once until ended; each failure is kept, none tried again."""

    cloud: Cloud
    failures: list[str] = field(default_factory=list)
    rounds: dict[str, int] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> _Load:
        for lane, push in {"inline": _push_inline, "direct": _push_direct, "relay": _push_relay}.items():
            self.rounds[lane] = 0
            client = Client(self.cloud.registry, f"admin/load/{lane}")
            self._threads.append(threading.Thread(target=self._run, args=(lane, client, push)))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def until(self, more: int) -> None:
        """So many rounds more on each lane."""
        wanted = {lane: rounds + more for lane, rounds in self.rounds.items()}
        deadline = time.monotonic() + 120
        while any(self.rounds[lane] < rounds for lane, rounds in wanted.items()):
            assert time.monotonic() < deadline, self.failures
            time.sleep(0.05)  # the poll's own interval

    def _run(self, lane: str, client: Client, push: Callable[[Client, random.Random], None]) -> None:
        while not self._ended.is_set():
            try:
                push(client, random.Random(f"{lane}{self.rounds[lane]}"))
            except (Refused, OSError) as failure:
                self.failures.append(f"{lane}: {failure}")
            self.rounds[lane] += 1


def _push_inline(client: Client, numbers: random.Random) -> None:
    pushed = client.push_image("latest", numbers.randbytes(50_000))
    _check(client.pull_image("latest") == pushed)


def _push_direct(client: Client, numbers: random.Random) -> None:
    pushed = client.push_image("latest", numbers.randbytes(LARGE))
    _check(client.pull_image("latest") == pushed)


def _push_relay(client: Client, numbers: random.Random) -> None:
    content = numbers.randbytes(LARGE)
    expected(client.finish(client.append(client.begin(), content), digest_of(content)), 201)
    _check(expected(client.send("GET", f"blobs/{digest_of(content)}"), 200).body == content)


def _check(same: bool) -> None:
    if not same:
        raise Refused("another image than was pushed")


def _everything(cloud: Cloud) -> Iterator[tuple[str, list[str]]]:
    """What is in the account, by kind; a key that waits for its end counts as gone, as AWS can do no more at once."""

    def all_of(service: str, operation: str, kind: str, name: str) -> list[str]:
        return [str(each[name]) for each in getattr(cloud.client(service), operation)().get(kind, ())]

    def of_edge(operation: str, kind: str, name: str) -> list[str]:
        found = getattr(cloud.client("cloudfront"), operation)()[kind].get("Items") or ()
        return [str(each[name]) for each in found]

    kms = cloud.client("kms")
    keys = [kms.describe_key(KeyId=each["KeyId"])["KeyMetadata"] for each in kms.list_keys()["Keys"]]
    stacks = cloud.client("cloudformation").describe_stacks()["Stacks"]
    yield "stacks", [each["StackName"] for each in stacks if each["StackStatus"] != "DELETE_COMPLETE"]
    yield "tables", list(cloud.client("dynamodb").list_tables()["TableNames"])
    yield "keys", [each["KeyId"] for each in keys if each["KeyState"] != "PendingDeletion"]
    yield "buckets", all_of("s3", "list_buckets", "Buckets", "Name")
    yield "secrets", all_of("secretsmanager", "list_secrets", "SecretList", "Name")
    yield "functions", all_of("lambda", "list_functions", "Functions", "FunctionName")
    yield "roles", all_of("iam", "list_roles", "Roles", "RoleName")
    yield "apis", all_of("apigatewayv2", "get_apis", "Items", "ApiId")
    yield "rules", all_of("events", "list_rules", "Rules", "Name")
    yield "log groups", all_of("logs", "describe_log_groups", "logGroups", "logGroupName")
    yield "queues", list(cloud.client("sqs").list_queues().get("QueueUrls", ()))
    yield "distributions", of_edge("list_distributions", "DistributionList", "Id")
    yield "edge functions", of_edge("list_functions", "FunctionList", "Name")
    yield "key-value stores", of_edge("list_key_value_stores", "KeyValueStoreList", "Name")
    yield "access controls", of_edge("list_origin_access_controls", "OriginAccessControlList", "Id")
