"""S3 fails at every single call of every way in and out: the client sees an error or succeeds, by its own retry or by pushing
again; nothing wrong is ever readable, what was acknowledged stays, and nothing else is left once the sweep has run.

The fast half: no large bodies, the SDK's own retries switched off so that each fault reaches the program. Parts of real size,
slow answers, broken connections, killed relays and real clients are in tests/cloud/test_faults.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.aws.pushing import (
    LARGE,
    Way,
    after_giving_up,
    as_a_large_image,
    as_an_image,
    by_chunks,
    by_patch,
    by_post,
    by_put,
    by_sha512,
    content_of,
    pulled,
    pushed,
    resumed,
    with_a_lie,
)
from tests.aws.whole import Whole, named, whole
from tests.cloud.faults import Fault, Kind
from tests.emulator import Emulator

KINDS = (Kind.SLOW_DOWN, Kind.RESET, Kind.DONE_THEN_500, Kind.DONE_THEN_RESET)

WAYS: dict[str, tuple[Way, int]] = {
    "inline: PUT": (by_put, 1000),
    "inline: POST": (by_post, 1000),
    "inline: PATCH": (by_patch, 1000),
    "inline: chunks": (by_chunks, 1000),
    "inline: sha512": (by_sha512, 1000),
    "inline: lie": (with_a_lie, 1000),
    "inline: cancel": (after_giving_up, 1000),
    "inline: resume": (resumed, 1000),
    "direct": (as_an_image, LARGE),
    "relay: PATCH": (by_patch, LARGE),
    "relay: chunks": (by_chunks, 3 * LARGE),
    "relay: POST": (by_post, LARGE),
    "relay: sha512": (by_sha512, LARGE),
    "relay: lie": (with_a_lie, LARGE),
    "relay: cancel": (after_giving_up, 2 * LARGE),
    "relay: resume": (resumed, 2 * LARGE),
    "large manifest": (as_a_large_image, 1000),
}


@pytest.fixture
def aws(emulator: Emulator) -> Iterator[Whole]:
    with whole(emulator) as aws:
        yield aws


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("way", WAYS)
def test_one_call_fails(aws: Whole, way: str, kind: Kind) -> None:
    """The first, then, pushing something else, the second, and so on to the last."""
    push, size = WAYS[way]
    client = aws.user("admin/app")
    acknowledged = []
    for nth in range(1, 40):
        fault = Fault(kind, nth=nth)
        aws.s3.faults[:] = [fault]
        content = content_of((way, kind, nth), size)
        pushed(aws, client, push, content)
        aws.idle()
        aws.s3.faults.clear()
        acknowledged.append(content)
        if not fault.hits:
            break
    assert nth > 1
    aws.swept()
    algorithm = "sha512" if push is by_sha512 else "sha256"
    assert [pulled(client, named(content, algorithm)) for content in acknowledged] == acknowledged
    print(way, kind.name, nth - 1)
