"""What is done behind the clients' backs, and seldom: long proofs, dead relays' parts, sweeps, other keys at the edge."""

from __future__ import annotations

import http.client
import json
import random
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

import pytest

from chalicelib.registry.proofs import AT_ONCE
from chalicelib.registry.upkeep.leftovers import GRACE
from infra.rotation.store import KEY
from infra.stack import rotation
from tests.clients.images import MANIFEST
from tests.cloud.client import Client, digest_of, expected
from tests.cloud.faults import Fault, Kind
from tests.cloud.stage import Cloud, stored_event, until

PART = 8 * 1024 * 1024


def test_a_long_proof_is_done_in_the_background(cloud: Cloud) -> None:
    """Of three pieces, so that the hash of all is not known: S3 copies those that are large enough; the function reads all."""
    client = Client(cloud.registry, "admin/background/long")
    content = random.Random(30).randbytes(AT_ONCE + 6_000_000)
    for digest, status in ((digest_of(b"other bytes"), 400), (digest_of(content), 201)):
        location = client.begin()
        for start, end in pairwise((0, 3_000_000, 40_000_000, len(content))):
            location = client.append(location, content[start:end])
        expected(client.finish(location, digest), status)
        assert cloud.multipart_uploads() == []
    assert client.send("GET", f"blobs/{digest_of(content)}").body == content


def test_a_direct_upload_without_checksum_is_proven_by_a_copy(cloud: Cloud) -> None:
    """As of an S3 that stores none. The bytes of the second repository's are known, and dropped."""
    content = random.Random(31).randbytes(20_000_000)
    with _fault(cloud, Fault(Kind.NO_CHECKSUM, "HeadObject", key="/direct/")):
        for name in ("one", "other"):
            client = Client(cloud.registry, f"admin/background/{name}")
            digest = client.push_blob(content)
            until(lambda client=client, digest=digest: _is_there(client, digest), "never adopted")  # type: ignore[misc]
    until(lambda: not cloud.objects("proofs/"), "a proof is left")


def test_lies_on_the_direct_lane_are_dropped(cloud: Cloud) -> None:
    """S3 refuses them already; what lies there for another reason, or of no repository, is dropped by who adopts."""
    client = Client(cloud.registry, "admin/background/lies")
    answer = client.finish(client.begin(), digest_of(b"other bytes"), random.Random(32).randbytes(6_000_000))
    assert answer.status == 400
    key = f"direct/nobody/{digest_of(b'x')}/{'0' * 32}"
    cloud.client("s3").put_object(
        Bucket=cloud.deployment.bucket, Key=key, Body=b"x", ChecksumAlgorithm="SHA256", ContentType="text/plain"
    )
    cloud.invoke("AdoptAlias", stored_event(key))
    assert cloud.objects(key) == []


def test_what_a_dead_relay_had_sent_counts(cloud: Cloud) -> None:
    client = Client(cloud.registry, "admin/background/dead")
    content = random.Random(33).randbytes(3 * PART + 5_000)
    location = client.begin()
    with _cut_off(cloud, client, location, content, parts=2):
        status = client.send("GET", location)
    assert status.status == 204
    arrived = int(status.headers["Range"].partition("-")[2]) + 1
    assert arrived in {2 * PART, 3 * PART}
    location = client.append(str(status.headers["Location"]), content[arrived:])
    expected(client.finish(location, digest_of(content)), 201)
    assert client.send("GET", f"blobs/{digest_of(content)}").body == content
    assert cloud.multipart_uploads() == []


def test_what_a_dead_relay_had_sent_goes_with_its_upload(cloud: Cloud) -> None:
    """By the client, or once it expired."""
    for name in ("cancelled", "expired"):
        client = Client(cloud.registry, f"admin/background/{name}")
        location = client.begin()
        with _cut_off(cloud, client, location, random.Random(34).randbytes(3 * PART), parts=1):
            assert len(cloud.multipart_uploads()) == 1
            if name == "cancelled":
                expected(client.send("DELETE", location), 204)
            else:
                assert cloud.expire_uploads()["uploads"] >= 1
        assert cloud.multipart_uploads() == []
        assert client.send("GET", location).status == 404


@contextmanager
def _cut_off(cloud: Cloud, client: Client, location: str, content: bytes, *, parts: int) -> Iterator[None]:
    """The relay is killed when S3 has so many parts of a PATCH, the last of which never comes; it runs again at the end."""
    tally = cloud.services.tallies["UploadPart"]
    before = tally.calls
    connection = http.client.HTTPConnection(client.registry.host, timeout=60)
    connection.putrequest("PATCH", location)
    connection.putheader("Authorization", f"Bearer {client.token()}")
    connection.putheader("Content-Length", str(len(content) + 1))
    connection.endheaders()
    connection.send(content)
    until(lambda: tally.calls >= before + parts, "no parts came")
    cloud.relay.kill()
    connection.close()
    try:
        yield
    finally:
        cloud.start_relay()


def test_what_nobody_adopted_is_swept(cloud: Cloud) -> None:
    """Listings are made to tell of another time; of what is in use nothing goes."""
    client = Client(cloud.registry, "admin/background/swept")
    pushed = client.push_image("v1", random.Random(35).randbytes(7_000_000), b"a small one")
    s3, bucket, before = cloud.client("s3"), cloud.deployment.bucket, set(cloud.objects())
    upload = f"{int(time.time()) - GRACE - 600:08x}{'0' * 24}"
    left = {f"data/{upload}/1", f"direct/nobody/{digest_of(b'x')}/{upload}", f"proofs/{'0' * 32}"}
    with cloud.late_events(0), _fault(cloud, Fault(Kind.AGED, agent="run_jobs", seconds=GRACE + 600)):
        for key in left:
            s3.put_object(Bucket=bucket, Key=key, Body=b"left", ChecksumAlgorithm="SHA256")  # whose event nobody is told
        s3.create_multipart_upload(Bucket=bucket, Key=f"data/{upload}/2")
        swept = cloud.run_job("sweep-staging")["counts"]
    assert set(cloud.objects()) & left == set()
    assert cloud.multipart_uploads() == []
    assert sum(swept.values()) >= len(left) + 1, swept
    assert set(cloud.objects("data/")) <= before
    assert client.pull_image("v1") == pushed


def test_a_large_manifest_that_is_overtaken_is_stored_once(cloud: Cloud) -> None:
    """While its bytes are on their way to S3 its layer is deleted. They are dropped, and stored anew without it, as this stage
    lets manifests name what is not there."""
    client = Client(cloud.registry, "admin/background/overtaken")
    described = {"mediaType": "application/x", "size": 5, "digest": client.push_blob(b"layer")}
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described,
        "layers": [],
        "annotations": {"x": "x" * 300_000},
    }
    content, before = json.dumps(document).encode(), set(cloud.objects("manifests/"))
    held = Fault(Kind.SLOW, "PutObject", nth=1, key="/manifests/", seconds=60)
    with _fault(cloud, held), ThreadPoolExecutor(1) as thread:
        pushing = thread.submit(client.send, "PUT", "manifests/v1", content, Content_Type=MANIFEST)
        until(lambda: held.hits > 0, "nothing is stored")
        expected(client.send("DELETE", f"blobs/{described['digest']}"), 202)
        held.over.set()
        expected(pushing.result(60), 201)
    assert client.send("GET", "manifests/v1").body == content
    assert len(set(cloud.objects("manifests/")) - before) == 1


def test_a_job_makes_the_key_that_tokens_are_signed_with(cloud: Cloud) -> None:
    """The one that is there is hidden meanwhile, since the next is due in weeks."""
    table = cloud.table()
    present = [each for each in cloud.items("keys/") if str(each["sort"]).startswith("key/")]
    for item in present:
        table.delete_item(Key={name: item[name] for name in ("partition", "sort")})
    try:
        made = _rotated(cloud)
        assert len(made) == 1
        assert made.isdisjoint(str(item["kid"]) for item in present)
        assert _rotated(cloud) == made
    finally:
        for item in present:
            table.put_item(Item=item)
    assert _rotated(cloud) == {str(item["kid"]) for item in present}


def _rotated(cloud: Cloud) -> set[str]:
    """The ids of the keys that there are when the job is done, as its log has them."""
    (line,) = cloud.log_of(cloud.run_job("rotate-keys")["id"])
    return set(line.removeprefix("keys: ").split(", "))


def test_the_key_of_upload_states_is_replaced(cloud: Cloud) -> None:
    """In Secrets Manager's four steps: the edge has another key, which does not sign yet, and pushes go on; so soon after
    another one is refused."""
    secret = cloud.physical("UploadSecret")
    client = Client(cloud.registry, "admin/background/rotation")
    location = client.begin()
    keys = {name for name in cloud.store if name.startswith(KEY)}
    with _store_allowed(cloud):
        _rotate(cloud, secret)
        with pytest.raises(AssertionError, match="less than 12 hours old"):
            _rotate(cloud, secret)
    cloud.read_store()
    there = {name for name in cloud.store if name.startswith(KEY)}
    assert keys < there
    assert len(there) == len(keys) + 1
    kept = json.loads(cloud.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"])
    assert {KEY + name for name in kept} == there
    content = random.Random(36).randbytes(6_000_000)
    expected(client.finish(location, digest_of(content), content), 201)
    client.push_blob(random.Random(37).randbytes(6_000_000))


@contextmanager
def _store_allowed(cloud: Cloud) -> Iterator[None]:
    """The emulator knows no key-value store as a resource of policies: the role's own statement, without naming one."""
    iam, role = cloud.client("iam"), cloud.physical("RotateRole")
    calls = [action for _, actions in rotation.ALLOWED for action in actions if not action.startswith("secretsmanager:")]
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": calls, "Resource": "*"}]}
    iam.put_role_policy(RoleName=role, PolicyName="emulator", PolicyDocument=json.dumps(policy))
    try:
        yield
    finally:
        iam.delete_role_policy(RoleName=role, PolicyName="emulator")


def _rotate(cloud: Cloud, secret: str) -> None:
    token = str(uuid.uuid4())
    for step in ("createSecret", "setSecret", "testSecret", "finishSecret"):
        cloud.invoke("RotateAlias", {"SecretId": secret, "ClientRequestToken": token, "Step": step})


@contextmanager
def _fault(cloud: Cloud, fault: Fault) -> Iterator[None]:
    cloud.services.faults.append(fault)
    try:
        yield
    finally:
        cloud.services.faults.remove(fault)


def _is_there(client: Client, digest: str) -> bool:
    return client.send("HEAD", f"blobs/{digest}").status == 200
