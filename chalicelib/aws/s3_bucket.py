"""A bucket of S3, of AWS or any endpoint that speaks it: how to reach it, who signs, and what its refusals mean."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias

from chalicelib.aws.environment import Environment
from chalicelib.aws.signing import signed_url
from chalicelib.registry.keys import checked_key
from chalicelib.registry.ports import BlobMissing, Clock, StoreFull

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

CONTENT_TYPE = "application/octet-stream"
"""What every object is said to be; a link may say otherwise."""

CONNECT_SECONDS = 3
READ_SECONDS = 20
"""How long a connection may take to come about, and stay silent. A function of 30 s must see a dead one in time to try again;
S3 itself sends spaces while it copies or puts an object together."""

READ_SECONDS_ELSEWHERE = 120
"""The same for an endpoint that is not AWS's: one disk may copy some gigabytes before it says a word."""

ATTEMPTS = 4
"""Of one request, where S3 is busy or silent, with a growing random pause between."""

FULL = frozenset({"507", "InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"})
"""What endpoints with disks say when those are full."""

_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
Client: TypeAlias = Any  # made by botocore at run time; there are no types to import


class S3Bucket:
    """A bucket. Credentials, region and endpoint come from the environment, credentials read anew for each signed URL.

    ``prefix`` is put before every key. ``endpoint`` (a URL without path) stands before AWS_ENDPOINT_URL_S3 and
    AWS_ENDPOINT_URL; without any it is AWS. AWS_CA_BUNDLE names the file of an own CA. ``path_style``: the bucket in the
    path rather than in the host name; None means for every endpoint but AWS. The role needs s3:ListBucket, or S3 answers 403
    for what is not there. A ``client`` is built on first use unless one is given.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        prefix: str = "",
        endpoint: str = "",
        path_style: bool | None = None,
        environment: Mapping[str, str] = os.environ,
        client: Client | None = None,
    ) -> None:
        self.name = name
        self.prefix = prefix
        self._clock = clock
        self._environment = Environment(environment)
        self._endpoint = endpoint.rstrip("/") or self._environment.elsewhere("s3")
        self._path_style = bool(self._endpoint) if path_style is None else path_style
        self._guard = Lock()
        self._client = client

    def where(self, key: str) -> dict[str, str]:
        """The arguments that name a key's object, in a request and as a copy's source. Raises ValueError if it is no key."""
        return {"Bucket": self.name, "Key": self.prefix + checked_key(key)}

    def signed(self, method: str, key: str, seconds: int, query: Mapping[str, str]) -> str:
        """A URL of the object, see signing. Raises ValueError if it is no key, RuntimeError without credentials."""
        return signed_url(
            method,
            self._address(),
            self.prefix + checked_key(key),
            query,
            credentials=self._environment.credentials(),
            region=self._region(),
            moment=self._clock.now(),
            seconds=seconds,
        )

    @property
    def client(self) -> Client:
        """The client, built once: building is not for two threads at a time."""
        with self._guard:
            if self._client is None:
                from botocore.config import Config

                config = Config(
                    s3={"addressing_style": "path" if self._path_style else "virtual"},
                    signature_version="s3v4",
                    retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                    connect_timeout=CONNECT_SECONDS,
                    read_timeout=READ_SECONDS_ELSEWHERE if self._endpoint else READ_SECONDS,
                    max_pool_connections=64,
                    tcp_keepalive=True,
                    # the adapters name a SHA-256 or an MD5 where one is of use; a CRC-32 beside it costs time, and endpoints
                    # that do not know it refuse it
                    request_checksum_calculation="when_required",
                    # whatever is read to be believed is hashed by the reader
                    response_checksum_validation="when_required",
                )
                self._client = self._environment.client(
                    "s3",
                    region_name=self._region(),
                    endpoint_url=self._endpoint or None,
                    verify=self._environment.bundle() or None,
                    config=config,
                )
            return self._client

    def _region(self) -> str:
        """That of AWS; stores elsewhere have none, and take the name that everybody signs with."""
        return self._environment.region("us-east-1" if self._endpoint else "")

    def _address(self) -> str:
        """The bucket's URL, without a slash at the end."""
        endpoint = self._endpoint or self._environment.endpoint("s3", self._region())
        scheme, _, host = endpoint.partition("://")
        return f"{scheme}://{host}/{self.name}" if self._path_style else f"{scheme}://{self.name}.{host}"


@contextmanager
def translated(key: str) -> Iterator[None]:
    """The refusals of S3 that BlobStore has names for; every other passes."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        code = refusal(error)
        if code in _MISSING:
            raise BlobMissing(key) from None
        if code in FULL:
            raise StoreFull from None
        raise


def refusal(error: ClientError) -> str:
    """The code of a botocore ClientError: S3's own, or the status as text where the answer had no body."""
    code: str = error.response.get("Error", {}).get("Code", "")
    return code
