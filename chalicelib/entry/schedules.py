"""One function per scheduled job."""

from __future__ import annotations

from typing import Any

from chalicelib import wiring

_UPLOADS_AT_ONCE = 1_000


def expire_uploads(_event: Any, _context: Any) -> dict[str, int]:  # noqa: ANN401  # whatever the scheduler sends
    """Drop uploads that were given up, and answer how many."""
    return {"dropped": wiring.registry().uploads.sweep(_UPLOADS_AT_ONCE)}
