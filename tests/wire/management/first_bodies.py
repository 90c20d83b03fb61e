"""``python -m tests.wire.management.first_bodies``: threads read the first bodies of a kind, of one kind after the other."""

from __future__ import annotations

import sys
import threading
from typing import Annotated

from msgspec import Meta, Struct, defstruct

from chalicelib.wire.http import Request
from chalicelib.wire.management.bodies import Input, decoded

KINDS = 400
THREADS = 4
FIELDS = [(f"f{number}", Annotated[str, Meta(max_length=9)], "") for number in range(12)]


def main() -> None:
    sys.setswitchinterval(1e-6)  # as if there were many processors
    request = Request("POST", "/", {}, {"content-type": "application/json"}, b'{"f0":"x"}')
    for number in range(KINDS):
        kind = defstruct(f"Kind{number}", FIELDS, bases=(Input,))
        together = threading.Barrier(THREADS)

        def read(kind: type[Struct] = kind, together: threading.Barrier = together) -> None:
            together.wait()
            decoded(request, kind, may_be_empty=False)

        threads = [threading.Thread(target=read) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print("all were read")


if __name__ == "__main__":
    main()
