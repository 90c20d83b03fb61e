"""DynamoDB with its faults, before an emulated one that has none: it takes one call at a time, and never fails.

    with serving(DynamoFront(emulator.url, faults)) as url:
        DynamoTable(name, endpoint=url, repeats=0)
        faults.append(Fault(Kind.CONFLICT, "TransactWriteItems", nth=2))

What a refusal looks like: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from infra.local.events import Answer
from infra.local.front import Exchange, NoAnswer, Stored, sending
from tests.cloud.faults import Fault, Kind

TRANSACTION = "TransactWriteItems"
_SERVICE = "com.amazonaws.dynamodb.v20120810#"
_MOST = 16 << 20

_REFUSALS = {
    Kind.SLOW_DOWN: (400, "ProvisionedThroughputExceededException"),
    Kind.THROTTLED: (400, "ThrottlingException"),
    Kind.FAILED: (500, "InternalServerError"),
    Kind.FORBIDDEN: (400, "AccessDeniedException"),
}
"""What is told when nothing was done."""

_UNTOLD = {Kind.DONE_THEN_500: (500, "InternalServerError"), Kind.UNDER_WAY: (400, "TransactionInProgressException")}
"""And when it was."""


@dataclass
class DynamoFront:
    """``faults`` may be changed while it runs."""

    target: str
    faults: list[Fault] = field(default_factory=list)

    def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        content = exchange.body.whole(_MOST) or b""
        headers = exchange.head.headers
        operation = headers.get("x-amz-target", "").partition(".")[2]
        told, agent = content.decode(), headers.get("user-agent", "")
        kinds = {fault.kind for fault in list(self.faults) if fault.strikes(operation, told, f"{operation} {told}", agent)}
        if refused := _refusal(kinds, operation, content):
            return exchange.answer(refused)
        if Kind.RESET in kinds:
            return exchange.reset()
        return self._send(exchange, content, kinds)

    def _send(self, exchange: Exchange, content: bytes, kinds: set[Kind]) -> None:
        head = exchange.head
        try:
            with sending(self.target, head.method, head.path, exchange.lines, Stored(content)) as response:
                if not kinds & {Kind.DONE_THEN_RESET, *_UNTOLD}:
                    return exchange.pass_on(response)
                response.read()  # it is done by now
        except NoAnswer:
            return exchange.answer(_answer(500, {"__type": f"{_SERVICE}InternalServerError"}))
        for kind in kinds & _UNTOLD.keys():
            status, code = _UNTOLD[kind]
            return exchange.answer(_answer(status, {"__type": _SERVICE + code, "message": kind.value}))
        return exchange.reset()


def _refusal(kinds: set[Kind], operation: str, content: bytes) -> Answer | None:
    for kind in kinds & _REFUSALS.keys():
        status, code = _REFUSALS[kind]
        return _answer(status, {"__type": _SERVICE + code, "message": kind.value})
    if Kind.CONFLICT not in kinds:
        return None
    if operation != TRANSACTION:
        return _answer(400, {"__type": f"{_SERVICE}TransactionConflictException", "message": Kind.CONFLICT.value})
    reasons = [{"Code": "TransactionConflict"}, *({"Code": "None"} for _ in json.loads(content)["TransactItems"][1:])]
    told = {"__type": f"{_SERVICE}TransactionCanceledException", "message": "canceled", "CancellationReasons": reasons}
    return _answer(400, told)


def _answer(status: int, told: dict[str, Any]) -> Answer:
    return Answer(status, [(b"content-type", b"application/x-amz-json-1.0")], json.dumps(told).encode())
