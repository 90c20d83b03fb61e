"""The DynamoDB table keeps the contract, against the emulator; what that never answers comes from a server with a script.

The emulator is kinder than DynamoDB in this: it takes one call at a time, so two transactions never meet there and nothing is
ever throttled; it leaves no key of a batch out however large the answer. Those are scripted below. It lets a transaction
update, delete and check keys that are too long, and a query ask for one; and its ADD rounds to 28 digits, not 38.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from pynamodb.exceptions import VerboseClientError

from chalicelib.aws.dynamo_table import DynamoTable
from chalicelib.aws.json_service import ServiceError
from chalicelib.registry.ports import (
    EXPIRES,
    Absent,
    All,
    Below,
    Check,
    ConditionFailed,
    Conflict,
    Delete,
    Equals,
    Exists,
    Key,
    Lacks,
    Put,
    Table,
    Update,
    Write,
)
from tests.contracts.table import HOSTILE_NAMES, TableContract
from tests.emulator import Emulator

ROOT = Path(__file__).resolve().parents[2]
KEY = Key("partition", "sort")
OTHER = Key("partition", "other")
ACTIONS = ["BatchGetItem", "ConditionCheckItem", "DeleteItem", "GetItem", "PutItem", "Query", "Scan", "UpdateItem"]
"""All that the adapter needs to be allowed; infra grants these."""


@pytest.fixture(scope="session")
def dynamodb(emulator: Emulator) -> Any:  # noqa: ANN401 (boto3 makes its classes at run time)
    return boto3.client("dynamodb", **emulator.client_arguments())


@pytest.fixture
def table_name(emulator: Emulator) -> Iterator[str]:
    with emulator.table() as name:
        yield name


def opened(name: str, emulator: Emulator) -> DynamoTable:
    return DynamoTable(
        name, region=emulator.region, endpoint=emulator.url, credentials=(emulator.access_key, emulator.secret_key)
    )


@pytest.fixture(scope="session")
def connection(emulator: Emulator) -> Callable[[str], DynamoTable]:
    """Tables that share a client, since making one takes longer than most tests."""
    first = opened("none", emulator)

    def named(name: str) -> DynamoTable:
        table = opened(name, emulator)
        table._reads, table._connection = first._reads, first._connected()
        return table

    return named


class TestDynamoTable(TableContract):
    threads = 6
    rounds = 5

    @pytest.fixture
    def table(self, table_name: str, connection: Callable[[str], DynamoTable]) -> Table:
        return connection(table_name)


# ------------------------------------------------------------------------------------------------- what lies in the table


def test_the_layout(table_name: str, connection: Callable[[str], DynamoTable], dynamodb: Any) -> None:  # noqa: ANN401
    table = connection(table_name)
    dynamodb.update_time_to_live(TableName=table_name, TimeToLiveSpecification={"Enabled": True, "AttributeName": EXPIRES})
    table.write(Put(KEY, {EXPIRES: 4_000_000_000, "sort": "a", "$": None, "content": b"b", "list": [1, True]}))
    raw = dynamodb.get_item(TableName=table_name, Key={"partition": {"S": "partition"}, "sort": {"S": "sort"}})["Item"]
    assert raw == {
        "partition": {"S": "partition"},
        "sort": {"S": "sort"},
        EXPIRES: {"N": "4000000000"},
        "$sort": {"S": "a"},
        "$$": {"NULL": True},
        "content": {"B": b"b"},
        "list": {"L": [{"N": "1"}, {"BOOL": True}]},
    }


# -------------------------------------------------------------------------------------------------------------- who may


def test_a_wrong_secret_is_refused(table_name: str, emulator: Emulator) -> None:
    table = DynamoTable(
        table_name, region=emulator.region, endpoint=emulator.url, credentials=(emulator.access_key, "wrong"), repeats=0
    )
    with pytest.raises(VerboseClientError, match="InvalidSignatureException"):
        table.write(Put(KEY, {}))
    with pytest.raises(ServiceError, match="InvalidSignatureException"):
        table.get(KEY)


def test_the_actions_it_needs_are_enough(table_name: str, emulator: Emulator) -> None:
    resource = f"arn:aws:dynamodb:{emulator.region}:{emulator.account}:table/{table_name}"
    actions = [f"dynamodb:{action}" for action in ACTIONS]
    user = emulator.user(f"user-{uuid.uuid4()}", [{"Effect": "Allow", "Action": actions, "Resource": resource}])
    table = opened(table_name, user)
    table.write(Put(KEY, {"n": 1}, Absent()))
    table.write(Put(KEY, {"n": 1}))
    table.transact([Update(KEY, add={"n": 1}), Check(OTHER, Absent()), Put(Key("p", "s"), {})])
    table.transact([Delete(Key("p", "s"))])
    table.write(Delete(Key("p", "s")))
    table.write(Update(OTHER, {"a": 1}))
    assert table.get(KEY) == {"n": 2}
    assert len(table.query("partition")) == len(table.walk().items) == len(table.batch_get([KEY, OTHER])) == 2
    other = opened("another-table", user)
    with pytest.raises(ServiceError, match="AccessDenied"):
        other.get(KEY)


def test_the_environment_says_where_the_service_is(
    table_name: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in emulator.environment().items():
        monkeypatch.setenv(variable, value)
    DynamoTable(table_name).write(Put(KEY, {"n": 1}))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", emulator.url)
    assert DynamoTable(table_name).get(KEY) == {"n": 1}


def test_reading_by_key_loads_no_library(table_name: str, emulator: Emulator) -> None:
    program = (
        "import sys; from chalicelib.aws.dynamo_table import DynamoTable, Key\n"
        "table = DynamoTable(sys.argv[1])\n"
        "print(table.get(Key('p', 's')), table.batch_get([Key('p', 's')]))\n"
        "print([m for m in ('boto3', 'botocore', 'pynamodb', 'urllib3') if m in sys.modules])"
    )
    environment = {**emulator.environment(), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, table_name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["None {}", "[]"]


# ------------------------------------------------------------------------------------------------- a server with a script

Answer = tuple[int, dict[str, Any]] | None
"""Status and body; None closes the connection without a word."""


class Service:
    """A server that answers by a script, the last answer for ever; and what it was asked: operation and body. ``table``
    asks once, ``patient`` once more."""

    def __init__(self, url: str) -> None:
        self.table = DynamoTable("t", region="eu-west-1", endpoint=url, credentials=("a", "b"), repeats=0)
        self.patient = DynamoTable("t", region="eu-west-1", endpoint=url, credentials=("a", "b"), repeats=1)
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def plays(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked = []

    def answer(self, operation: str, body: dict[str, Any]) -> Answer:
        self.asked.append((operation, body))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """One for all tests, since a client takes longer to make than a test to run: each test gives it its script."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = running.answer(self.headers["X-Amz-Target"].partition(".")[2], body)
            if answer is None:
                self.close_connection = True
                return
            status, content = answer
            encoded = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        running = Service(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield running
        server.shutdown()
        thread.join()


def refusal(code: str, *reasons: str) -> Answer:
    body: dict[str, Any] = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "no"}
    if reasons:
        body["CancellationReasons"] = [{"Code": reason} for reason in reasons]
    return 400, body


@pytest.mark.parametrize(
    "code",
    [
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "TransactionConflictException",
        "TransactionInProgressException",
    ],
)
def test_a_busy_service_is_a_conflict(service: Service, code: str) -> None:
    service.plays(refusal(code))
    table = service.table
    for call in (
        lambda: table.write(Put(KEY, {})),
        lambda: table.transact([Put(KEY, {})]),
        lambda: table.get(KEY),
        lambda: table.batch_get([KEY]),
        lambda: table.query("p"),
        table.walk,
    ):
        with pytest.raises(Conflict):
            call()


@pytest.mark.parametrize(
    ("reasons", "failed"),
    [
        (("ConditionalCheckFailed", "None"), (0,)),
        (("None", "ConditionalCheckFailed"), (1,)),
        (("ConditionalCheckFailed", "ConditionalCheckFailed"), (0, 1)),
        (("TransactionConflict", "ConditionalCheckFailed"), (1,)),
        (("ValidationError", "ConditionalCheckFailed"), (1,)),
    ],
)
def test_a_cancelled_transaction_names_the_conditions_that_failed(
    service: Service, reasons: tuple[str, ...], failed: tuple[int, ...]
) -> None:
    service.plays(refusal("TransactionCanceledException", *reasons))
    with pytest.raises(ConditionFailed) as caught:
        service.table.transact([Put(KEY, {}, Absent()), Put(OTHER, {}, Absent())])
    assert caught.value.failed == failed


@pytest.mark.parametrize(
    ("reason", "raised"),
    [
        ("TransactionConflict", Conflict),
        ("ThrottlingError", Conflict),
        ("ProvisionedThroughputExceeded", Conflict),
        ("ValidationError", ValueError),
        ("ItemCollectionSizeLimitExceeded", VerboseClientError),
    ],
)
def test_a_cancelled_transaction_says_why(service: Service, reason: str, raised: type[Exception]) -> None:
    service.plays(refusal("TransactionCanceledException", "None", reason))
    with pytest.raises(raised):
        service.table.transact([Put(KEY, {}), Put(OTHER, {})])


@pytest.mark.parametrize("answer", [refusal("ResourceNotFoundException"), refusal("AccessDeniedException"), (500, {})])
def test_other_failures_pass(service: Service, answer: Answer) -> None:
    service.plays(answer)
    with pytest.raises(ServiceError):
        service.table.get(KEY)
    with pytest.raises(VerboseClientError):
        service.table.write(Put(KEY, {}, Absent()))


@pytest.mark.parametrize(
    "write",
    [Put(KEY, {}, Absent()), Delete(KEY, Exists()), Update(KEY, add={"n": 1}), Update(KEY, {"n": 1}, condition=Exists())],
)
def test_a_write_that_must_not_happen_twice_is_repeated_under_its_token(service: Service, write: Put | Update | Delete) -> None:
    """The service made it, the answer was lost: asked again with the same token, it answers as if for the first time."""
    service.plays(None, (200, {}))
    service.patient.write(write)
    (first, body), (second, again) = service.asked
    assert first == second == "TransactWriteItems"
    assert body == again
    assert uuid.UUID(body["ClientRequestToken"])


def test_every_transaction_has_a_token_of_its_own(service: Service) -> None:
    service.plays((200, {}))
    service.table.transact([Put(KEY, {})])
    service.table.transact([Put(KEY, {})])
    assert len({body["ClientRequestToken"] for _, body in service.asked}) == 2


def raw(key: Key) -> dict[str, Any]:
    return {"partition": {"S": key.partition}, "sort": {"S": key.sort}}


def test_keys_left_out_of_a_batch_are_asked_for_again(service: Service) -> None:
    keys = [Key("p", str(number)) for number in range(3)]
    rest = {"t": {"Keys": [raw(key) for key in keys[1:]], "ConsistentRead": True}}
    service.plays(
        (200, {"Responses": {"t": [raw(keys[0])]}, "UnprocessedKeys": rest}),
        (200, {"Responses": {"t": []}, "UnprocessedKeys": rest}),
        (200, {"Responses": {"t": [raw(keys[1])]}, "UnprocessedKeys": {}}),
    )
    assert service.table.batch_get(keys) == {keys[0]: {}, keys[1]: {}}
    assert [len(body["RequestItems"]["t"]["Keys"]) for _, body in service.asked] == [3, 2, 2]
    assert all(body["RequestItems"]["t"]["ConsistentRead"] for _, body in service.asked)


def test_a_batch_that_is_never_answered_is_a_conflict(service: Service) -> None:
    service.plays((200, {"UnprocessedKeys": {"t": {"Keys": [raw(KEY)]}}}))
    with pytest.raises(Conflict, match="1 key"):
        service.table.batch_get([KEY])


def test_every_read_is_strongly_consistent(service: Service) -> None:
    service.plays((200, {}))
    service.table.get(KEY)
    service.table.query("p")
    service.table.walk()
    assert [body["ConsistentRead"] for _, body in service.asked] == [True, True, True]


GRAMMAR = re.compile(r"(SET|ADD|REMOVE|AND|OR|NOT|attribute_exists|attribute_not_exists|begins_with|[#:][0-9]+|[(),=<> ])*")


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_no_name_and_no_value_is_part_of_an_expression(service: Service, name: str) -> None:
    service.plays((200, {}))
    writes: list[Write] = [
        Put(Key(name, "0"), {name: name}, All((Equals(name, name), Lacks(name), Below(name, 1)))),
        Update(Key(name, "1"), {name: name}, {name + "n": 1}, (name + "r",), Equals(name, name)),
    ]
    service.table.transact(writes)
    service.table.query(name, prefix=name, after=name)
    service.table.query(name, after=name)
    actions = [action for item in service.asked[0][1]["TransactItems"] for action in item.values()]
    bodies = [*actions, *(body for _, body in service.asked[1:])]
    texts = [text for body in bodies for kind, text in body.items() if kind.endswith("Expression")]
    assert len(texts) == 5
    assert all(GRAMMAR.fullmatch(text) for text in texts)
