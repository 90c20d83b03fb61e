"""``python -m tests.soak.worker``: the program as Lambda runs it behind an HTTP API, in a process that may be killed any time.

The port that it serves on is the first line it says.
"""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass

from infra.local.front import Exchange, serving
from infra.local.gateway import MAPPINGS, REQUEST, TOO_LARGE, HttpApi


@dataclass(frozen=True)
class Gateway:
    """The HTTP API before the program."""

    api: HttpApi

    def __call__(self, exchange: Exchange) -> None:
        content = exchange.body.whole(REQUEST)
        exchange.answer(TOO_LARGE if content is None else self.api.call(exchange.head, content))


def main() -> None:
    from app import app

    with serving(Gateway(HttpApi(app, MAPPINGS))) as url:
        print(url.rpartition(":")[2], flush=True)
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody reads on: a full pipe would hold up whoever logs
        threading.Event().wait()


if __name__ == "__main__":
    main()
