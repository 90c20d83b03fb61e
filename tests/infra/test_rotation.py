"""Keys of upload states: how they get to the edge's key-value store, and how they are replaced. The emulator's store refuses a
change that does not name the state it is in, as AWS does."""

from __future__ import annotations

import json
import threading
import uuid
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import boto3
import pytest

from infra.deploy.account import Account
from infra.deploy.deployment import Deployment, fill_edge
from infra.rotation.rotate import APART_SECONDS, CannotRotate, Rotation, handler, made, named, rotated
from infra.rotation.store import KEY, EdgeStore, StoreBusy, store_client
from tests.emulator import Emulator, start
from tests.infra.templates import chosen, resource

Client: TypeAlias = Any  # boto3's have no types to import

NOW = 1_800_000_000
DAY = 24 * 3600
SERVICES = ("cloudfront", "cloudfront-keyvaluestore", "secretsmanager", "iam", "sts")


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with start(tmp_path_factory.mktemp("edge"), services=SERVICES) as running:
        yield running


@pytest.fixture
def arn(edge: Emulator) -> str:
    client = boto3.client("cloudfront", **edge.client_arguments())
    return str(client.create_key_value_store(Name=f"store-{uuid.uuid4().hex}")["KeyValueStore"]["ARN"])


def store_at(edge: Emulator, arn: str) -> EdgeStore:
    session = boto3.Session(edge.access_key, edge.secret_key, region_name=edge.region)
    return EdgeStore(store_client(session, edge.url), arn)


@pytest.fixture
def store(edge: Emulator, arn: str) -> EdgeStore:
    return store_at(edge, arn)


@pytest.fixture(scope="module")
def secrets_manager(edge: Emulator) -> Iterator[Client]:
    client = boto3.client("secretsmanager", **edge.client_arguments())
    yield client
    client.close()


@pytest.fixture
def secret(secrets_manager: Client) -> str:
    """As the template generates the first."""
    value = json.dumps({"1": "A" * 44})
    return str(secrets_manager.create_secret(Name=uuid.uuid4().hex, SecretString=value)["ARN"])


# ------------------------------------------------------------------------------------------------------------------- store


def test_what_is_put_is_there_and_what_is_the_same_is_not_written_again(store: EdgeStore) -> None:
    assert store.put({"settings": "{}", "upload-key-1": "k"})
    assert store.items() == {"settings": "{}", "upload-key-1": "k"}
    assert not store.put({"settings": "{}"})
    assert store.put({"settings": "{}", "upload-key-2": "l"})
    assert store.value("upload-key-2") == "l"
    assert store.drop(["upload-key-1", "never there"])
    assert not store.drop(["upload-key-1"])
    assert store.value("upload-key-1") is None


def test_a_store_of_many_keys_is_read_whole(store: EdgeStore) -> None:
    """AWS takes 50 changes at once and tells 50 keys at once."""
    wanted = {f"upload-key-{number}": str(number) for number in range(60)}
    for part in (30, 60):
        store.put(dict(list(wanted.items())[:part]))
    assert store.items() == wanted


def test_nobody_s_change_is_lost(edge: Emulator, arn: str) -> None:
    """Each names the state it saw; who is too late looks again."""
    threads = [threading.Thread(target=store_at(edge, arn).put, args=({f"key-{n}": "x"},)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store_at(edge, arn).items().keys() == {f"key-{n}" for n in range(4)}


class AlwaysLate:
    """A client that is told each time that others were faster."""

    class exceptions:  # noqa: N801  # botocore's name
        class ConflictException(Exception):
            """What botocore calls it."""

    def describe_key_value_store(self, **_: str) -> dict[str, str]:
        return {"ETag": "1"}

    def get_paginator(self, _: str) -> AlwaysLate:
        return self

    def paginate(self, **_: str) -> list[dict[str, Any]]:
        return [{}]

    def update_keys(self, **_: object) -> None:
        raise self.exceptions.ConflictException


def test_who_is_always_late_gives_up() -> None:
    with pytest.raises(StoreBusy, match="10 times in a row"):
        EdgeStore(AlwaysLate(), "arn").put({"a": "b"})


# -------------------------------------------------------------------------------------------------------------- make deploy


def test_the_deployment_s_settings_and_keys_reach_the_edge(
    edge: Emulator, arn: str, secret: str, store: EdgeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in edge.environment().items():
        monkeypatch.setenv(name, value)
    account = Account("dev", edge.url)
    deployed = Deployment("https://registry.example", "https://api.example", "admin", "bucket", "direct,relay", arn)
    store.put({"upload-key-pending": "of a rotation that is under way"})
    assert fill_edge(account, deployed, secret)
    held = store.items()
    settings = json.loads(held.pop("settings"))
    assert (settings["realm"], settings["service"]) == ("https://registry.example/auth/token", "registry.example")
    assert (settings["direct"], settings["relay"]) == (True, True)
    assert held == {"upload-key-1": "A" * 44, "upload-key-pending": "of a rotation that is under way"}
    assert not fill_edge(account, deployed, secret)


def test_an_emulator_without_key_value_stores_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with start(tmp_path, services=("secretsmanager", "iam", "sts")) as poor:
        for name, value in poor.environment().items():
            monkeypatch.setenv(name, value)
        client = boto3.client("secretsmanager", **poor.client_arguments())
        secret = client.create_secret(Name="keys", SecretString=json.dumps({"1": "A" * 44}))["ARN"]
        arn = f"arn:aws:cloudfront::{poor.account}:key-value-store/none"
        deployed = Deployment("https://registry.example", "https://api.example", "admin", "bucket", "direct", arn)
        assert not fill_edge(Account("dev", poor.url), deployed, secret)
    assert "has no key-value stores: the edge's is not filled" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------- rotation


def test_a_key_signs_one_rotation_after_it_came_and_stays_two_more() -> None:
    keys, signing = {"1": "first"}, []
    for number in range(6):
        earlier = keys
        keys = rotated(keys, NOW + number * DAY)
        assert all(keys[name] == earlier[name] for name in keys.keys() & earlier.keys())
        signer = list(keys)[-1]
        assert signer in earlier  # everybody has had it since the rotation before
        signing.append(signer)
    names = [f"t{NOW + number * DAY:08x}" for number in range(6)]
    assert signing == ["1", *names[:5]]
    assert list(keys) == [names[2], names[3], names[5], names[4]]  # two retired, one to come, the one that signs


def test_a_new_key_is_32_random_bytes_or_more() -> None:
    fresh = {rotated({"1": "first"}, NOW)[f"t{NOW:08x}"] for _ in range(20)}
    assert len(fresh) == 20
    assert min(len(b64decode(key, validate=True)) for key in fresh) >= 32


def test_too_soon() -> None:
    once = rotated({"1": "first"}, NOW)
    with pytest.raises(CannotRotate, match="less than 12 hours old"):
        rotated(once, NOW + APART_SECONDS - 1)
    assert list(rotated(once, NOW + APART_SECONDS))[-1] == f"t{NOW:08x}"


def test_keys_that_somebody_wrote_by_hand_are_retired_and_never_sign_again() -> None:
    assert list(rotated({"leaked": "x", "replacement": "y"}, NOW)) == ["leaked", f"t{NOW:08x}", "replacement"]
    assert made("replacement") == 0


@pytest.fixture
def rotation(secrets_manager: Client, store: EdgeStore, secret: str) -> Rotation:
    return Rotation(secrets_manager, store, secret, str(uuid.uuid4()))


def keys_of(secrets_manager: Client, secret: str, **stage: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(secrets_manager.get_secret_value(SecretId=secret, **stage)["SecretString"])
    return found


def test_a_rotation_step_by_step_each_of_them_twice(
    secrets_manager: Client, store: EdgeStore, secret: str, rotation: Rotation
) -> None:
    before = keys_of(secrets_manager, secret)
    store.put({"settings": "{}", **named(before), KEY + "dropped": "long ago"})
    for _ in range(2):
        rotation.create()
    pending = keys_of(secrets_manager, secret, VersionStage="AWSPENDING")
    assert keys_of(secrets_manager, secret) == before  # nothing signs with the new set yet
    for _ in range(2):
        rotation.publish()
    assert named(pending).items() <= store.items().items()
    for _ in range(2):
        rotation.verify()
    for _ in range(2):
        rotation.finish()
    assert keys_of(secrets_manager, secret) == pending
    assert list(pending)[-1] == "1"  # the new one signs after the next rotation
    assert store.items() == {"settings": "{}", **named(pending)}
    rotation.create()  # once more, after the end
    assert keys_of(secrets_manager, secret) == pending


def test_secrets_manager_calls_the_function_for_each_step(
    edge: Emulator, secrets_manager: Client, arn: str, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in edge.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLIPWAY_KEY_VALUE_STORE", arn)
    token = str(uuid.uuid4())
    for step in ("createSecret", "setSecret", "testSecret", "finishSecret"):
        handler({"SecretId": secret, "ClientRequestToken": token, "Step": step})
    keys = keys_of(secrets_manager, secret)
    assert len(keys) == 2
    assert store_at(edge, arn).items() == named(keys)


def test_a_key_that_did_not_reach_the_edge_stops_the_rotation(store: EdgeStore, rotation: Rotation) -> None:
    rotation.create()
    with pytest.raises(CannotRotate, match=r"not in the key-value store: upload-key-t[0-9a-f]{8}, upload-key-1"):
        rotation.verify()
    rotation.publish()
    store.put({KEY + "1": "another"})
    with pytest.raises(CannotRotate, match="not in the key-value store: upload-key-1"):
        rotation.verify()


def test_a_trial_of_the_schedule_changes_nothing(secrets_manager: Client, secret: str, rotation: Rotation) -> None:
    """Secrets Manager calls testSecret alone, with a version that holds nothing, or what the current one holds."""
    rotation.verify()
    secrets_manager.put_secret_value(
        SecretId=secret,
        ClientRequestToken=(token := str(uuid.uuid4())),
        SecretString=json.dumps(keys_of(secrets_manager, secret)),
        VersionStages=["AWSPENDING"],
    )
    Rotation(secrets_manager, rotation._store, secret, token).verify()


# ---------------------------------------------------------------------------------------------------------------- template


def test_the_schedule() -> None:
    schedule = resource("RotateSchedule")
    assert schedule["RotationRules"] == {"AutomaticallyAfterDays": {"Ref": "RotationDays"}}
    assert not schedule["RotateImmediatelyOnUpdate"]
    assert "RotateSchedule" not in chosen("never rotated")["Resources"]
    assert "RotateFunction" in chosen("never rotated")["Resources"]


def test_it_may_touch_its_secret_and_its_store_alone() -> None:
    (policy,) = resource("RotateRole")["Policies"]
    found = {json.dumps(each["Resource"]): each["Action"] for each in policy["PolicyDocument"]["Statement"]}
    assert found.keys() == {
        json.dumps({"Fn::GetAtt": parts}) for parts in (["UploadSecret", "Id"], ["KeyValueStore", "Arn"], ["RotateLogs", "Arn"])
    }


def test_only_secrets_manager_calls_it_for_that_secret() -> None:
    permission = resource("RotatePermission")
    assert permission["Principal"] == "secretsmanager.amazonaws.com"
    assert permission["SourceArn"] == {"Fn::GetAtt": ["UploadSecret", "Id"]}
    assert permission["SourceAccount"] == {"Ref": "AWS::AccountId"}
