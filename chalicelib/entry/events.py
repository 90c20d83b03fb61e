"""What storage tells: one function per kind of event."""

from __future__ import annotations

from typing import Any


def adopt(event: Any, _context: Any = None) -> dict[str, Any]:  # noqa: ANN401  # whatever storage sends
    """A placeholder: answers what it was told."""
    return {"told": event}
