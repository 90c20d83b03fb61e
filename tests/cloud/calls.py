"""Which permissions of IAM a request to AWS needs, read from the request itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

_SERVICES = {"DynamoDB_20120810": "dynamodb", "TrentService": "kms", "secretsmanager": "secretsmanager"}
_WRITES = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}


@dataclass(frozen=True, slots=True)
class Seen:
    """One request and how it was answered."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def function(self) -> str:
        """Chalice's name of the function that made the call: it stands in the user agent, and a link is the API's."""
        found = re.search(r"app/slipway-(\w+)", self.header("user-agent"))
        return found.group(1) if found else "api_handler" if "X-Amz-Signature" in self.path else ""

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers.items() if key.lower() == name), "")

    def actions(self) -> set[str]:
        """What IAM must allow for it."""
        target = self.header("x-amz-target")
        if not target:
            return {f"s3:{action}" for action in self._s3()}
        service, _, operation = target.partition(".")
        if operation == "TransactWriteItems":
            return {f"dynamodb:{_WRITES[kind]}" for item in json.loads(self.body)["TransactItems"] for kind in item}
        return {f"{_SERVICES[service]}:{operation}"}

    def _s3(self) -> Iterator[str]:
        url = urlsplit(self.path)
        query = parse_qs(url.query, keep_blank_values=True)
        key = url.path.lstrip("/").partition("/")[2]
        if not key and self.method == "GET":
            yield "ListBucket"
        elif self.method in {"GET", "HEAD"}:
            yield "GetObject"
            if self.status == 404:
                yield "ListBucket"  # without it the answer is 403
        elif self.method == "DELETE":
            yield "AbortMultipartUpload" if "uploadId" in query else "DeleteObject"
        else:
            yield "DeleteObject" if "delete" in query else "PutObject"
