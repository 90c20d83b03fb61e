"""A service of AWS that takes JSON (DynamoDB, KMS, Secrets Manager), called without an SDK's client.

To make a client is to import an SDK and to read the model of all that the service can do: more than half of a cold start. What
the first requests need is a handful of calls whose form is the same for all these services, so they are made here, with the
retries that botocore calls standard. https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html

    service = JsonService("kms", "TrentService", "1.1")
    service.call("GetPublicKey", {"KeyId": "alias/a"})["PublicKey"]  # base64, as in all answers
"""

from __future__ import annotations

import base64
import json
import random
import ssl
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache, cached_property
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from chalicelib.aws.environment import Environment
from chalicelib.aws.signing import Credentials, signed_post

CONNECT_SECONDS = 3
READ_SECONDS = 10
"""How long a connection may take to come about, and a service stay silent, which answers in milliseconds."""

REPEATS = 3
PAUSE = 0.05
PAUSE_IF_BUSY = 1.0
LONGEST_PAUSE = 20.0
"""Seconds, at most, before a request is sent again, doubled each time; a service that is busy is left alone for longer."""

KEPT = 50
"""Idle connections at most."""

_BUSY = frozenset(
    {
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_PASSING = frozenset({"RequestTimeout", "RequestTimeoutException"})
_TOO_MANY = 429
_FAILED_STATUSES = frozenset({500, 502, 503, 504})

before_send: list[Callable[[str, str], None]] = []
"""Called with the service and the operation before each request is sent, repeated ones too: for whoever counts calls."""


class ServiceError(Exception):
    """The service refused, or failed after all repetitions. ``code`` is its name for that, "" if it gave none."""

    def __init__(self, operation: str, status: int, answer: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(answer.get("__type", "")).rpartition("#")[2]
        self.message = str(answer.get("message") or answer.get("Message") or "")
        super().__init__(f"{operation}: {status} {self.code}: {self.message}")


class JsonService:
    """One service, for calls that may be made twice: one whose answer is lost is repeated. Threads may share it; nothing is
    looked up or connected before the first call.

    ``name`` and the ``environment`` say where it is, see Environment; ``target`` and ``version`` are those of its protocol.
    ``region``, ``endpoint`` and ``credentials`` stand before what the environment says. ``repeats`` is how often a request that
    was lost or refused for a while is sent again.
    """

    def __init__(
        self,
        name: str,
        target: str,
        version: str,
        *,
        environment: Environment | None = None,
        region: str | None = None,
        endpoint: str | None = None,
        credentials: Credentials | None = None,
        repeats: int = REPEATS,
    ) -> None:
        self._name = name
        self._target = target
        self._version = version
        self._environment = environment or Environment()
        self._given = (region, endpoint, credentials)
        self._repeats = repeats
        self._idle: list[HTTPConnection] = []
        weakref.finalize(self, _close, self._idle)

    def call(self, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The answer. Bytes among the arguments go as base64, as they come in an answer. Raises ServiceError, and OSError or
        HTTPException if the service cannot be reached."""
        body = json.dumps(arguments, default=_base64).encode()
        for repeats in range(self._repeats):
            try:
                return self._called(operation, body)
            except ServiceError as error:
                busy = error.code in _BUSY or error.status == _TOO_MANY
                if not busy and error.code not in _PASSING and error.status not in _FAILED_STATUSES:
                    raise
                pause = PAUSE_IF_BUSY if busy else PAUSE
            except (OSError, HTTPException):
                pause = PAUSE
            # Jitter decides nothing but when: no need for a source that cannot be guessed.
            time.sleep(random.uniform(0, min(pause * 2**repeats, LONGEST_PAUSE)))  # noqa: S311
        return self._called(operation, body)

    def _called(self, operation: str, body: bytes) -> dict[str, Any]:
        for hook in before_send:
            hook(self._name, operation)
        status, content = self._exchanged(self._headers(operation, body), body)
        try:
            answer: dict[str, Any] = json.loads(content)
        except ValueError:
            if status == 200:
                raise HTTPException(f"{operation}: the answer is not JSON") from None
            answer = {}  # from something in between
        if status != 200:
            raise ServiceError(operation, status, answer)
        return answer

    def _headers(self, operation: str, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": f"application/x-amz-json-{self._version}", "X-Amz-Target": f"{self._target}.{operation}"}
        signed = signed_post(
            self._url,
            headers,
            body,
            credentials=self._given[2] or self._environment.credentials(),
            region=self._region,
            service=self._name.replace("_", ""),
            moment=datetime.now(UTC),
        )
        return {**signed, "User-Agent": self._environment.user_agent()}

    def _exchanged(self, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. A kept connection may have been closed since, and that is told by using it: then the
        next is taken, and in the end a new one."""
        while True:
            kept = self._kept()
            connection = kept or self._connected()
            try:
                connection.request("POST", urlsplit(self._url).path or "/", body, headers)
                response = connection.getresponse()
                content = response.read()
            except ConnectionError:
                connection.close()
                if kept is None:
                    raise
            except BaseException:
                connection.close()
                raise
            else:
                if not response.will_close and len(self._idle) < KEPT:
                    self._idle.append(connection)
                return response.status, content

    def _kept(self) -> HTTPConnection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _connected(self) -> HTTPConnection:
        url = urlsplit(self._url)
        host = url.hostname or ""
        if url.scheme == "https":
            authorities = self._environment.authorities()
            connection: HTTPConnection = HTTPSConnection(
                host, url.port, timeout=CONNECT_SECONDS, context=_trusting(authorities)
            )
        else:
            connection = HTTPConnection(host, url.port, timeout=CONNECT_SECONDS)
        connection.connect()
        connection.sock.settimeout(READ_SECONDS)
        return connection

    @cached_property
    def _region(self) -> str:
        return self._given[0] or self._environment.region()

    @cached_property
    def _url(self) -> str:
        return self._given[1] or self._environment.endpoint(self._name, self._region)


@cache
def _trusting(authorities: str) -> ssl.SSLContext:
    """One for all services: to read the certificates takes longer than a call."""
    return ssl.create_default_context(cafile=authorities)


def _close(connections: Iterable[HTTPConnection]) -> None:
    for connection in connections:
        connection.close()


def _base64(value: object) -> str:
    """What JSON cannot say. Raises TypeError for all but bytes."""
    if not isinstance(value, bytes):
        raise TypeError(f"no argument of a service: {type(value).__name__}")
    return base64.b64encode(value).decode()
