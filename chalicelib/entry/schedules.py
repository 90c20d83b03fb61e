"""One function per scheduled job. Chalice hands on the event alone."""

from __future__ import annotations

from typing import Any

from chalicelib import wiring

_AT_ONCE = 1_000


def expire_uploads(_event: Any, _context: Any = None) -> dict[str, int]:  # noqa: ANN401  # whatever the scheduler sends
    """Drop uploads that were given up, and pushes that were interrupted; answer how many."""
    registry = wiring.registry()
    return {
        "uploads": registry.uploads.sweep(_AT_ONCE),
        "pushes": registry.pushes.sweep(_AT_ONCE),
    }


def sweep_storage(_event: Any, _context: Any = None) -> dict[str, int]:  # noqa: ANN401  # whatever the scheduler sends
    """Drop what crashes and lost events left in the store; answer how many objects."""
    return {"dropped": wiring.leftovers().sweep()}


def rotate_keys(_event: Any, _context: Any = None) -> dict[str, list[str]]:  # noqa: ANN401  # whatever the scheduler sends
    """Have the next key for tokens ready in time; answer the ids of those that are there for now and next."""
    return {"keys": list(wiring.key_ring().rotate())}
