"""DynamoDB and KMS with their faults, before the emulator: they strike as they were told to, and look as those of AWS do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from botocore.exceptions import HTTPClientError
from pynamodb.exceptions import VerboseClientError

from chalicelib.aws.dynamo_table import DynamoTable
from chalicelib.aws.json_service import JsonService, ServiceError
from chalicelib.aws.signing import Credentials
from chalicelib.registry.ports import Absent, Conflict, Key, Put
from infra.local.front import serving
from tests.cloud.faults import Fault, Kind
from tests.cloud.json_front import KMS, TRANSACTION, JsonFront
from tests.emulator import Emulator

KEY, OTHER = Key("partition", "sort"), Key("partition", "other")


@pytest.fixture
def front(emulator: Emulator) -> JsonFront:
    return JsonFront(emulator.url)


@pytest.fixture
def table(emulator: Emulator, front: JsonFront) -> Iterator[DynamoTable]:
    """One that asks once."""
    with emulator.table() as name, serving(front) as url:
        credentials = (emulator.access_key, emulator.secret_key)
        yield DynamoTable(name, region=emulator.region, endpoint=url, credentials=credentials, repeats=0)


@pytest.mark.parametrize(
    ("kind", "raised", "is_done"),
    [
        (Kind.SLOW_DOWN, Conflict, False),
        (Kind.THROTTLED, Conflict, False),
        (Kind.CONFLICT, Conflict, False),
        (Kind.FAILED, VerboseClientError, False),
        (Kind.FORBIDDEN, VerboseClientError, False),
        (Kind.RESET, HTTPClientError, False),
        (Kind.DONE_THEN_500, VerboseClientError, True),
        (Kind.DONE_THEN_RESET, HTTPClientError, True),
        (Kind.UNDER_WAY, Conflict, True),
    ],
    ids=lambda given: given.name if isinstance(given, Kind) else "",
)
def test_a_transaction_fails(
    front: JsonFront, table: DynamoTable, kind: Kind, raised: type[Exception], *, is_done: bool
) -> None:
    fault = Fault(kind, TRANSACTION, nth=1)
    front.faults.append(fault)
    with pytest.raises(raised):
        table.transact([Put(KEY, {"n": 1}, Absent()), Put(OTHER, {})])
    assert (table.get(KEY) == {"n": 1}) is is_done
    assert (fault.met, fault.hits) == ([TRANSACTION], 1)


def test_one_item_may_be_in_a_transaction_too(front: JsonFront, table: DynamoTable) -> None:
    front.faults.append(Fault(Kind.CONFLICT, "PutItem"))
    with pytest.raises(Conflict, match="TransactionConflictException"):
        table.write(Put(KEY, {}))


def test_some_in_a_row_fail_and_no_other(front: JsonFront, table: DynamoTable) -> None:
    fault = Fault(Kind.FAILED, nth=2, times=2)
    front.faults.append(fault)
    table.write(Put(KEY, {"n": 1}))
    for _ in range(2):
        with pytest.raises(ServiceError, match="InternalServerError"):
            table.get(KEY)
    assert table.get(KEY) == {"n": 1}
    assert (fault.met, fault.hits) == (["PutItem", "GetItem", "GetItem", "GetItem"], 2)


def test_what_is_asked_fails_once_and_not_when_it_is_repeated(front: JsonFront, table: DynamoTable) -> None:
    front.faults.append(Fault(Kind.SLOW_DOWN, once_each=True))
    for key in (KEY, OTHER):
        with pytest.raises(Conflict):
            table.get(key)
        assert table.get(key) is None


def test_only_calls_that_speak_of_something_fail(front: JsonFront, table: DynamoTable) -> None:
    front.faults.append(Fault(Kind.FAILED, key='"other"'))
    table.write(Put(KEY, {}))
    with pytest.raises(VerboseClientError):
        table.write(Put(OTHER, {}))


def test_an_origin_that_is_not_there_has_failed(front: JsonFront, table: DynamoTable) -> None:
    front.target = "http://127.0.0.1:9"
    with pytest.raises(ServiceError, match="InternalServerError"):
        table.get(KEY)


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (Kind.SLOW_DOWN, 400, "ThrottlingException"),
        (Kind.FAILED, 500, "KMSInternalException"),
        (Kind.DONE_THEN_500, 500, "DependencyTimeoutException"),
        (Kind.FORBIDDEN, 400, "AccessDeniedException"),
    ],
    ids=lambda given: given.name if isinstance(given, Kind) else "",
)
def test_kms_fails_by_its_own_names(emulator: Emulator, kind: Kind, status: int, code: str) -> None:
    front = JsonFront(emulator.url, [Fault(kind, "GenerateRandom", nth=1)], KMS)
    with serving(front) as url:
        credentials = Credentials(emulator.access_key, emulator.secret_key)
        kms = JsonService(
            "kms", "TrentService", "1.1", region=emulator.region, endpoint=url, credentials=credentials, repeats=0
        )
        with pytest.raises(ServiceError) as caught:
            kms.call("GenerateRandom", {"NumberOfBytes": 8})
        assert (caught.value.status, caught.value.code) == (status, code)
        assert kms.call("GenerateRandom", {"NumberOfBytes": 8})["Plaintext"]
