"""What the store tells: the keys in an event, in either form; nothing else is read from it."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.entry.events import stored_keys

KEY = "direct/0123/sha256:" + "0a" * 32 + "/" + "f" * 32


def notified(*keys: str) -> dict[str, Any]:
    """S3's own notification, whose keys are encoded as in a query."""
    return {"Records": [{"eventSource": "aws:s3", "s3": {"bucket": {"name": "b"}, "object": {"key": key}}} for key in keys]}


@pytest.mark.parametrize(
    ("event", "keys"),
    [
        ({"detail-type": "Object Created", "detail": {"bucket": {"name": "b"}, "object": {"key": KEY, "size": 5}}}, [KEY]),
        (notified(KEY.replace(":", "%3A")), [KEY]),
        (notified(KEY, KEY), [KEY, KEY]),
        (notified("a+b%2Bc"), ["a b+c"]),
        (notified(), []),
        ({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}, []),
        ({}, []),
    ],
)
def test_keys(event: dict[str, Any], keys: list[str]) -> None:
    assert list(stored_keys(event)) == keys
