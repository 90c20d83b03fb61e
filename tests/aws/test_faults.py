"""S3 fails at every single call of every way in and out: the client sees an error or succeeds, by its own retry or by pushing
again; nothing wrong is ever readable, what was acknowledged stays, and nothing else is left once the sweep has run.

The fast half: no large bodies, the SDK's own retries switched off so that each fault reaches the program. Parts of real size,
slow answers, broken connections, killed relays and real clients are in tests/cloud/test_faults.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.aws.pushing import (
    LARGE,
    Way,
    after_giving_up,
    as_a_large_image,
    as_an_image,
    begun,
    by_chunks,
    by_patch,
    by_post,
    by_put,
    by_sha512,
    content_of,
    each_call_fails,
    ending,
    finish_from_status,
    pulled,
    resumed,
    with_a_lie,
)
from tests.aws.whole import Whole, named, whole
from tests.cloud.client import Client, expected
from tests.cloud.faults import Fault, Kind
from tests.emulator import Emulator

KINDS = (Kind.SLOW_DOWN, Kind.DONE_THEN_RESET)
"""One of each sort, nothing done and done without an answer; tests/cloud has the others."""

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
    each_call_fails(aws, push, size, kind)


def test_the_end_of_a_piece_is_told_again(aws: Whole) -> None:
    """Its answer was lost, and the relay repeats it: what was acknowledged stays, and nothing counts twice."""
    client = aws.user("admin/app", aws.api)
    content = content_of("told again", LARGE)
    location = client.begin()
    for part, digest in ((content[: LARGE // 2], ""), (content[LARGE // 2 :], named(content))):
        told = ending(client, location, begun(client, location), part, digest=digest)
        first, again = (client.send("POST", f"/_relay{location.partition('?')[0]}/end", told) for _ in range(2))
        assert (first.status, first.headers["Range"]) == (again.status, again.headers["Range"])
        location = first.headers["Location"]
    assert first.status == 201
    aws.swept()
    assert pulled(client, named(content)) == content


@pytest.mark.parametrize("chunks", [1, 2])
def test_a_relay_that_sends_nothing_while_the_client_finishes(aws: Whole, chunks: int) -> None:
    client = aws.user("admin/app", aws.api)
    content = content_of("finished without", 1000)
    location = client.begin()
    for number in range(chunks):
        location = client.append(location, content[number * 1000 // chunks : (number + 1) * 1000 // chunks])
    begun(client, location)
    expected(client.finish(location, named(content)), 201)
    aws.swept()


def test_a_direct_upload_whose_answer_got_lost(aws: Whole) -> None:
    """Its client asks how much has arrived, sends all of it another way, or gives up: the content stays."""
    client = aws.user("admin/app")
    for number, after in enumerate((finish_from_status, append_and_leave, cancel)):
        content = content_of(("over", number), LARGE)
        location = client.begin()
        expected(client.finish(location, named(content), content), 201)
        aws.idle()
        after(client, location, content)
        assert pulled(client, named(content)) == content
    aws.swept()
    assert pulled(client, named(content)) == content


def append_and_leave(client: Client, location: str, content: bytes) -> None:
    client.append(location, content[:1000])


def cancel(client: Client, location: str, content: bytes) -> None:
    expected(client.send("DELETE", location), 204)


def test_no_event_ever_comes(aws: Whole) -> None:
    """A manifest finds what it names; what none names goes."""
    aws.adopts = False
    client = aws.user("admin/app")
    content = content_of("no event", LARGE)
    as_an_image(client, content)
    by_put(client, content_of("named by nobody", LARGE))
    aws.swept()
    assert pulled(client, named(content)) == content
    assert pulled(client, named(content_of("named by nobody", LARGE))) is None


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_sweep_fails_at_any_call(aws: Whole, kind: Kind) -> None:
    """And goes on another day."""
    client = aws.user("admin/app")
    aws.adopts = False
    kept = content_of("kept", 1000)
    by_put(client, kept)
    client.append(client.begin(), b"given up")
    client.append(client.begin(), content_of("given up", LARGE))
    begun(client, client.begin())
    by_put(client, content_of("direct", LARGE))
    aws.idle()
    for nth in range(1, 40):
        fault = Fault(kind, nth=nth)
        aws.s3.faults[:] = [fault]
        with suppress(BotoCoreError, ClientError):
            aws.sweep()
        aws.right()
        if not fault.hits:
            break
    assert nth > 4
    aws.swept()
    assert pulled(client, named(kept)) == kept
