"""The Background on Lambda: another function, called without waiting for it."""

from __future__ import annotations

import json
from typing import Any


class LambdaBackground:
    """``function`` is the name or ARN of the function whose door is ``chalicelib.entry.events.adopt``."""

    def __init__(self, function: str) -> None:
        self._function = function
        self._client: Any = None

    def prove(self, upload: str, digest: str) -> None:
        """See Background."""
        payload = json.dumps({"prove": {"upload": upload, "digest": digest}}).encode()
        self._lambda.invoke(FunctionName=self._function, InvocationType="Event", Payload=payload)

    @property
    def _lambda(self) -> Any:  # noqa: ANN401 (made by boto3 at run time)
        if self._client is None:
            import boto3

            self._client = boto3.client("lambda")
        return self._client
