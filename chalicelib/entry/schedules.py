"""One function per scheduled job."""

from __future__ import annotations

from typing import Any

from chalicelib import wiring

_AT_ONCE = 1_000


def expire_uploads(_event: Any, _context: Any = None) -> dict[str, int]:  # noqa: ANN401  # whatever the scheduler sends
    """Drop uploads that were given up and pushes that were interrupted; answer how many. Chalice hands on the event alone."""
    registry = wiring.registry()
    return {"uploads": registry.uploads.sweep(_AT_ONCE), "pushes": registry.pushes.sweep(_AT_ONCE)}


def sweep_storage(_event: Any, _context: Any = None) -> dict[str, int]:  # noqa: ANN401  # whatever the scheduler sends
    """A placeholder: drops nothing."""
    return {"objects": 0}
