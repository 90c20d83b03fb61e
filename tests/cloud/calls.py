"""Which permissions of IAM a request to AWS needs, and for whom, read from the request itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

EDGE = "edge"
LINK = "link"
"""Who calls, besides functions: CloudFront, and whoever got a link that is signed for them."""

_SERVICES = {"DynamoDB_20120810": "dynamodb", "TrentService": "kms", "secretsmanager": "secretsmanager"}
_WRITES = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}
_STORE = "cloudfront-keyvaluestore"


@dataclass(frozen=True, slots=True)
class Seen:
    """One request and how it was answered; ``received`` are its body's bytes, ``body`` is that of requests to S3 left out."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int
    received: int = 0

    @property
    def sender(self) -> str:
        """Chalice's name of the function that made the call, which stands in the user agent; EDGE; LINK; "" for others."""
        if self.header("x-amz-cf-id"):
            return EDGE
        if "X-Amz-Signature" in self.path:
            return LINK
        found = re.search(r"app/slipway-(\w+)", self.header("user-agent"))
        return found.group(1) if found else ""

    @property
    def function(self) -> str:
        """Whose permission it takes: a link is the API's."""
        return "api_handler" if self.sender == LINK else self.sender

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers.items() if key.lower() == name), "")

    @property
    def service(self) -> str:
        """By the scope of its signature."""
        query = parse_qs(urlsplit(self.path).query)
        scope = query.get("X-Amz-Credential", [self.header("authorization")])[0]
        found = re.search(r"/([a-z0-9-]+)/aws4_request", scope)
        return found.group(1) if found else ""

    @property
    def key(self) -> str:
        """Of an object, behind the bucket; "" for a bucket."""
        return unquote(urlsplit(self.path).path.lstrip("/").partition("/")[2])

    def actions(self) -> set[str]:
        """What IAM must allow for it; behind what is done to objects stands their keys' first part, "s3:GetObject data"."""
        if self.service == "s3":
            return {f"s3:{action}" for action in self._s3()}
        if self.service == "lambda":
            return {"lambda:InvokeFunction"}
        if self.service == _STORE:
            return {f"{_STORE}:{self._store()}"}
        service, _, operation = self.header("x-amz-target").partition(".")
        if operation == "TransactWriteItems":
            return {f"dynamodb:{_WRITES[kind]}" for item in json.loads(self.body)["TransactItems"] for kind in item}
        return {f"{_SERVICES[service]}:{operation}"}

    def _store(self) -> str:
        _, _, below = urlsplit(self.path).path.partition("/keys")
        if self.method == "POST":
            return "UpdateKeys"
        return "GetKey" if below.strip("/") else "ListKeys" if "/keys" in self.path else "DescribeKeyValueStore"

    def _s3(self) -> Iterator[str]:
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        if not self.key:
            yield "ListBucketMultipartUploads" if "uploads" in query else "ListBucket"
            return
        top = self.key.partition("/")[0]
        if source := self.header("x-amz-copy-source"):
            yield f"GetObject {unquote(source).strip('/').split('/')[1]}"
        yield f"{self._on_object(query)} {top}"
        if self.status == 404 and self.method in {"GET", "HEAD"} and "uploadId" not in query:
            yield "ListBucket"  # without it the answer is 403

    def _on_object(self, query: Mapping[str, list[str]]) -> str:
        upload = "uploadId" in query
        if self.method == "DELETE":
            return "AbortMultipartUpload" if upload else "DeleteObject"
        if self.method in {"GET", "HEAD"}:
            return "ListMultipartUploadParts" if upload else "GetObject"
        return "PutObject"


def allowed(statements: object) -> set[str]:
    """The same words of what a role allows: ``statements`` are pairs of a resource of the template, or several, and actions."""
    words: set[str] = set()
    for resource, actions in statements:  # type: ignore[attr-defined]
        tops = [found.group(1) for each in _listed(resource) if (found := re.search(r"\.Arn\}/(\w+)/\*", json.dumps(each)))]
        words |= {f"{action} {top}" for action in actions for top in tops} if tops else set(actions)
    return words


def _listed(resource: object) -> list[object]:
    return resource if isinstance(resource, list) else [resource]
