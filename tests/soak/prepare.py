"""``python -m tests.soak.prepare``: what an administrator would choose for a soak, in the registry of the environment: the
shortest grace, a day to restore what was deleted, pushes make repositories. SOAK_PASSWORD is the first account's, if it is to
be made here.
"""

from __future__ import annotations

import os

from chalicelib import wiring


def main() -> None:
    if password := os.environ.get("SOAK_PASSWORD", ""):
        wiring.accounts().ensure_admin(password)
    wiring.configuration().change(grace_hours=1, restorable_days=1, create_repository_on_push=True)


if __name__ == "__main__":
    main()
