"""The first account on AWS: a function that `make deploy` invokes once the stack is there."""

from __future__ import annotations

from typing import Any

from chalicelib import wiring


def ensure_admin(_event: Any, _context: Any) -> dict[str, bool]:  # noqa: ANN401  # the event says nothing
    """Make the account ``admin`` with the generated password unless it exists; answer whether it was made now. The password
    passes neither through the event nor through the answer: who invokes this need not be allowed to read it."""
    return {"made": wiring.accounts().ensure_admin(wiring.admin_password())}
