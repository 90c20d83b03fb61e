"""``python -m infra.local``: the registry on one machine. See ``settings`` for the environment it reads."""

from __future__ import annotations

import os
import sys

from infra.local.application import load
from infra.local.server import main

if __name__ == "__main__":
    code = main(load)
    sys.stdout.flush()
    # Not sys.exit: that would wait for threads which had their chance, an hour's hashing of a large blob included.
    os._exit(code)
