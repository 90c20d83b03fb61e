"""DynamoDB or KMS with its faults, before an emulated one that has none: it takes one call at a time, and never fails.

    with serving(JsonFront(emulator.url, faults)) as url:
        DynamoTable(name, endpoint=url, repeats=0)
        faults.append(Fault(Kind.CONFLICT, "TransactWriteItems", nth=2))

What a refusal looks like: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html and
https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.local.events import Answer
from infra.local.front import Exchange, NoAnswer, Stored, sending
from tests.cloud.faults import Fault, Kind

TRANSACTION = "TransactWriteItems"
_MOST = 16 << 20


@dataclass(frozen=True)
class Service:
    """How it names what went wrong: ``refusals`` when nothing was done, ``untold`` when it was."""

    version: str
    prefix: str
    refusals: Mapping[Kind, tuple[int, str]]
    untold: Mapping[Kind, tuple[int, str]]

    def answer(self, status: int, code: str, message: str = "", **told: object) -> Answer:
        content = json.dumps({"__type": self.prefix + code, "message": message, **told}).encode()
        return Answer(status, [(b"content-type", f"application/x-amz-json-{self.version}".encode())], content)


DYNAMODB = Service(
    version="1.0",
    prefix="com.amazonaws.dynamodb.v20120810#",
    refusals={
        Kind.SLOW_DOWN: (400, "ProvisionedThroughputExceededException"),
        Kind.THROTTLED: (400, "ThrottlingException"),
        Kind.FAILED: (500, "InternalServerError"),
        Kind.FORBIDDEN: (400, "AccessDeniedException"),
    },
    untold={Kind.DONE_THEN_500: (500, "InternalServerError"), Kind.UNDER_WAY: (400, "TransactionInProgressException")},
)

KMS = Service(
    version="1.1",
    prefix="",
    refusals={
        Kind.SLOW_DOWN: (400, "ThrottlingException"),
        Kind.FAILED: (500, "KMSInternalException"),
        Kind.FORBIDDEN: (400, "AccessDeniedException"),
    },
    untold={Kind.DONE_THEN_500: (500, "DependencyTimeoutException")},
)


@dataclass
class JsonFront:
    """``faults`` may be changed while it runs."""

    target: str
    faults: list[Fault] = field(default_factory=list)
    service: Service = DYNAMODB

    def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        content = exchange.body.whole(_MOST) or b""
        headers = exchange.head.headers
        operation = headers.get("x-amz-target", "").partition(".")[2]
        told, agent = content.decode(), headers.get("user-agent", "")
        kinds = {fault.kind for fault in list(self.faults) if fault.strikes(operation, told, f"{operation} {told}", agent)}
        if refused := self._refusal(kinds, operation, content):
            return exchange.answer(refused)
        if Kind.RESET in kinds:
            return exchange.reset()
        return self._send(exchange, content, kinds)

    def _send(self, exchange: Exchange, content: bytes, kinds: set[Kind]) -> None:
        head = exchange.head
        try:
            with sending(self.target, head.method, head.path, exchange.lines, Stored(content)) as response:
                if not kinds & {Kind.DONE_THEN_RESET, *self.service.untold}:
                    return exchange.pass_on(response)
                response.read()  # it is done by now
        except NoAnswer:
            return exchange.answer(self.service.answer(*self.service.refusals[Kind.FAILED]))
        for kind in kinds & self.service.untold.keys():
            return exchange.answer(self.service.answer(*self.service.untold[kind], kind.value))
        return exchange.reset()

    def _refusal(self, kinds: set[Kind], operation: str, content: bytes) -> Answer | None:
        for kind in kinds & self.service.refusals.keys():
            return self.service.answer(*self.service.refusals[kind], kind.value)
        if Kind.CONFLICT not in kinds:
            return None
        if operation != TRANSACTION:
            return self.service.answer(400, "TransactionConflictException", Kind.CONFLICT.value)
        reasons = [{"Code": "TransactionConflict"}, *({"Code": "None"} for _ in json.loads(content)["TransactItems"][1:])]
        return self.service.answer(400, "TransactionCanceledException", "canceled", CancellationReasons=reasons)
