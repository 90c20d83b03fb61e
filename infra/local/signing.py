"""Signature version 4 for requests to S3, by headers: what origin access control does, to which the body is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from botocore.auth import UNSIGNED_PAYLOAD, S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

_CONTENT = "x-amz-content-sha256"


class _OriginAccess(S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """botocore's, but for the content's hash: it would compute one, of a body that is not here."""

    def payload(self, request: AWSRequest) -> str:
        return str(request.context[_CONTENT])


@dataclass(frozen=True, slots=True)
class Signer:
    """A principal's credentials, for one region."""

    region: str
    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)

    def signed(self, method: str, path: str, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers (lower case, ``host`` among them) with those that sign the request: all ``x-amz-*``, and the content's
        hash as it stands there, unsigned for none. ``path`` is percent-encoded as ``encoded`` has it; there is no query."""
        covered = {name: value for name, value in headers.items() if name == "host" or name.startswith("x-amz-")}
        request = AWSRequest(method, f"https://{headers['host']}{path}", covered)
        request.context[_CONTENT] = headers.get(_CONTENT, UNSIGNED_PAYLOAD)
        _OriginAccess(Credentials(self.access_key, self.secret_key, self.token), "s3", self.region).add_auth(request)
        return {**headers, **{name.lower(): value for name, value in request.headers.items()}}


def encoded(path: str) -> str:
    """A path as it is signed: everything but unreserved characters and slashes percent-encoded, once."""
    return quote(unquote(path), safe="/-_.~")
