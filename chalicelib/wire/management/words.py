"""The kinds of values that bodies are made of, with what a body's reader and the OpenAPI description say of each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from chalicelib.registry.accounts import MAX_PASSWORD
from chalicelib.registry.names import MAX_ACCOUNT_NAME

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_FOLDED = r"[A-Za-z0-9]+(?:(?:\.|_|__|-+)[A-Za-z0-9]+)*"

ACCOUNT_PATTERN = f"^{_FOLDED}$"
LOGIN_PATTERN = rf"^{_FOLDED}(?:\+{_FOLDED})?$"
NAMESPACE_PATTERN = f"^{_COMPONENT}$"
REPOSITORY_PATTERN = f"^{_COMPONENT}(?:/{_COMPONENT})*$"

# The patterns are for those who read the description: the domain parses names, and its refusals have codes of their own.
AccountName: TypeAlias = Annotated[
    str, Meta(extra_json_schema={"pattern": ACCOUNT_PATTERN, "minLength": 1, "maxLength": MAX_ACCOUNT_NAME})
]
RepositoryText: TypeAlias = Annotated[str, Meta(extra_json_schema={"pattern": REPOSITORY_PATTERN, "minLength": 1})]

Label: TypeAlias = Annotated[str, Meta(max_length=256)]
"""One line that people read."""

LongText: TypeAlias = Annotated[str, Meta(max_length=25_000)]

Password: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_PASSWORD)]

Moment: TypeAlias = Annotated[datetime, Meta(tz=True)]
"""RFC 3339 with an offset."""

AccessLevel: TypeAlias = Literal["read-only", "read-write", "admin"]
AnyLevel: TypeAlias = Literal["none", "read-only", "read-write", "admin"]
Visibility: TypeAlias = Literal["public", "private"]


def moment(seconds: float) -> datetime:
    """A time of the domain (seconds since the epoch) as bodies tell it, in RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC)
