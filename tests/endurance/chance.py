"""What is random here comes from one seed, which is told: ENDURANCE_SEED=<number> runs the same again."""

from __future__ import annotations

import os
import random

SEED = int(os.environ.get("ENDURANCE_SEED", "1"))


def seeded() -> random.Random:
    """A source of its own for one test."""
    print(f"\nENDURANCE_SEED={SEED}")
    return random.Random(SEED)
