"""What goes wrong between a client and S3: connections are cut, relays killed, URLs expire, S3 fails and dawdles, others push
the same, liars among them. Each time the client sees an error or succeeds, by its own retry or by pushing again; nothing wrong
is ever readable, what was acknowledged stays, and nothing else is left once the sweep has run.

The whole program is in one process (tests/aws/whole.py). The quick half is tests/aws/test_faults.py; real clients push through
a deployed stage in test_clients_under_faults.py.
"""

from __future__ import annotations

import random
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from chalicelib.registry.relays import PART
from tests.aws.pushing import (
    LARGE,
    LOST,
    Way,
    as_a_large_image,
    by_chunks,
    by_patch,
    by_post,
    by_put,
    content_of,
    each_call_fails,
    finish_from_status,
    pulled,
    pushed,
)
from tests.aws.test_faults import KINDS, WAYS
from tests.aws.whole import SMALL, Whole, named, whole
from tests.cloud.calls import Seen
from tests.cloud.client import Client, expected
from tests.cloud.faults import Fault, Kind
from tests.cloud.relay import RelayProcess
from tests.cloud.stage import until
from tests.emulator import Emulator
from tests.endurance.raw import RawConnection, chunked
from tests.endurance.server import Address
from tests.surface import RELAY_KEY


@pytest.fixture
def aws(emulator: Emulator) -> Iterator[Whole]:
    with whole(emulator) as aws:
        yield aws


# --------------------------------------------------------------------------------------------------- S3 fails at every call


@pytest.mark.parametrize("kind", [Kind.RESET, Kind.DONE_THEN_500], ids=lambda kind: kind.name)
@pytest.mark.parametrize("way", WAYS)
def test_one_call_fails(aws: Whole, way: str, kind: Kind) -> None:
    push, size = WAYS[way]
    print(way, kind.name, each_call_fails(aws, push, size, kind))


@pytest.mark.parametrize(
    "way", ["inline: PATCH", "inline: chunks", "direct", "relay: PATCH", "relay: resume", "large manifest"]
)
@pytest.mark.parametrize("calls", [0, 3, 1000])
def test_one_call_is_done_when_nobody_waits_for_it_any_more(aws: Whole, way: str, calls: int) -> None:
    """The program hears nothing, and S3 does later what it was asked: before the next call, while the client pushes again, or
    when it has pushed."""
    push, size = WAYS[way]
    print(way, calls, each_call_fails(aws, push, size, Kind.LATE, calls))


def in_megabytes(client: Client, content: bytes) -> None:
    """As large a PATCH as the program takes, several, which are put together of parts that are sent."""
    location = client.begin()
    for start in range(0, len(content), 4 << 20):
        location = client.append(location, content[start : start + (4 << 20)])
    expected(client.finish(location, named(content)), 201)


LARGE_WAYS: dict[str, tuple[Way, int, str, bool]] = {
    "inline: assembled": (in_megabytes, 9_000_000, RELAY_KEY, True),
    "relay: parts": (by_patch, PART + 1_000_000, RELAY_KEY, False),
    "relay: copied together": (by_chunks, 3 * 5_300_000, RELAY_KEY, False),
    "relay: not trusted": (by_patch, 6_000_000, "", False),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("way", LARGE_WAYS)
def test_one_call_of_a_large_push_fails(emulator: Emulator, way: str, kind: Kind) -> None:
    push, size, key, past_edge = LARGE_WAYS[way]
    with whole(emulator, relay_key=key, part=5 << 20) as aws:
        if past_edge:
            aws.registry = aws.api
        print(way, kind.name, each_call_fails(aws, push, size, kind))


@pytest.mark.parametrize(
    "kind", [Kind.SLOW_DOWN, Kind.RESET, Kind.DONE_THEN_500, Kind.DONE_THEN_RESET], ids=lambda kind: kind.name
)
@pytest.mark.parametrize("way", [by_put, by_patch, by_chunks, as_a_large_image])
def test_every_call_fails_once_and_the_sdk_tries_again(emulator: Emulator, way: Way, kind: Kind) -> None:
    """The client does not even notice."""
    with whole(emulator, attempts=4) as aws:
        client = aws.user("admin/app")
        for size in (1000,) if way in {by_put, as_a_large_image} else (1000, 3 * LARGE):
            fault = Fault(kind, once_each=True)
            aws.s3.faults.append(fault)
            content = content_of((way.__name__, kind, size), size)
            assert pushed(aws, client, way, content) == []
            assert fault.hits
            aws.idle()
            aws.s3.faults.clear()
            assert pulled(client, named(content)) == content
        aws.swept()


# ------------------------------------------------------------------------------------------------------- cut connections


@dataclass(frozen=True)
class Cut:
    """A body whose connection is cut after ``sent`` bytes."""

    method: str
    content: bytes
    sent: int
    is_chunked: bool

    def send(self, client: Client, location: str) -> None:
        """Then be gone without a word."""
        target = f"{location}&digest={named(self.content)}" if self.method == "PUT" else location
        framing = {"Transfer-Encoding": "chunked"} if self.is_chunked else {"Content-Length": str(len(self.content))}
        host, _, port = client.registry.host.partition(":")
        connection = RawConnection(Address(host, int(port), "", ""))
        connection.send_head(self.method, target, {"Authorization": f"Bearer {client.token()}", **framing})
        body = self.content[: self.sent]
        if self.is_chunked:
            blocks = (body[start : start + 30_000] for start in range(0, self.sent, 30_000))
            body = chunked(blocks, ended=self.sent == len(self.content))
        with suppress(ConnectionError):  # refused before all of it was there
            connection.send(body)
        connection.break_off()


EDGES = (0, 1, SMALL - 1, SMALL, SMALL + 1, LARGE - 1, LARGE)
LARGE_EDGES = (PART - 1, PART, PART + (5 << 20))


@pytest.mark.parametrize("is_chunked", [False, True], ids=["announced", "chunked"])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("resumes", [False, True], ids=["pushes again", "resumes"])
def test_a_connection_is_cut(aws: Whole, method: str, is_chunked: bool, resumes: bool) -> None:
    """At each place where something changes, of a body that is inline, and of one by the direct lane or the relay."""
    client = aws.user("admin/app")
    done = []
    for size, edges in ((1000, (0, 1, 999, 1000)), (LARGE, EDGES)):
        for sent in edges:
            content = content_of((method, is_chunked, resumes, size, sent), size)
            recovered(aws, client, Cut(method, content, sent, is_chunked), resumes=resumes)
            done.append(content)
    aws.swept()
    assert [pulled(client, named(content)) for content in done] == done


@pytest.mark.parametrize("is_chunked", [False, True], ids=["announced", "chunked"])
@pytest.mark.parametrize("resumes", [False, True], ids=["pushes again", "resumes"])
def test_a_connection_is_cut_between_and_within_parts(aws: Whole, is_chunked: bool, resumes: bool) -> None:
    client = aws.user("admin/app")
    for sent in LARGE_EDGES:
        content = content_of(("parts", is_chunked, resumes, sent), PART + (6 << 20))
        recovered(aws, client, Cut("PATCH", content, sent, is_chunked), resumes=resumes)
        assert pulled(client, named(content)) == content
    aws.swept()


def recovered(aws: Whole, client: Client, cut: Cut, *, resumes: bool) -> None:
    """The client goes on where the registry says, twice if need be, or pushes again: then it succeeds at once."""
    location = client.begin()
    cut.send(client, location)
    for _ in range(2 if resumes else 0):
        try:
            return finish_from_status(client, location, cut.content)
        except LOST:  # what was sent last was still on its way, and outran it
            aws.right()
            aws.idle()
    assert pushed(aws, client, by_patch if cut.method == "PATCH" else by_put, cut.content) == []
    return aws.right()


# ------------------------------------------------------------------------------------------------------------- the relay


@contextmanager
def relay_process(aws: Whole) -> Iterator[RelayProcess]:
    """The edge's relay is a process of its own."""
    with tempfile.TemporaryDirectory(prefix="slipway-relay-") as folder:
        process = RelayProcess(Path(folder), RELAY_KEY)
        process.start(aws.api.url, CONCURRENCY="1")
        aws.origins.relay = process.url
        try:
            yield process
        finally:
            process.stop()


@pytest.mark.parametrize("resumes", [False, True], ids=["pushes again", "resumes"])
@pytest.mark.parametrize("part", [1, 2, 3])
def test_a_relay_is_killed_while_it_sends_a_part(aws: Whole, part: int, resumes: bool) -> None:
    client = aws.user("admin/app")
    content = content_of(("killed", part, resumes), 2 * PART + 5_000_000)
    with relay_process(aws) as relay, ThreadPoolExecutor(1) as thread:
        held = Fault(Kind.SLOW, "UploadPart", nth=part, seconds=600)
        aws.s3.faults.append(held)
        location = client.begin()
        sending = thread.submit(client.append, location, content)
        until(lambda: held.hits > 0, "no part is sent")
        relay.kill()
        with pytest.raises(LOST):
            sending.result(60)
        relay.start(aws.api.url)
        aws.right()
        if resumes:
            status = expected(client.send("GET", location), 204)
            assert status.headers["Range"] == f"0-{max(0, (part - 1) * PART - 1)}"
            finish_from_status(client, location, content)
            held.over.set()
        else:
            held.over.set()
            by_patch(client, content)
        assert pulled(client, named(content)) == content
        aws.swept()


def test_a_relay_is_killed_and_nobody_comes_back(aws: Whole) -> None:
    client = aws.user("admin/app")
    with relay_process(aws) as relay, ThreadPoolExecutor(1) as thread:
        held = Fault(Kind.SLOW, "UploadPart", nth=2, seconds=600)
        aws.s3.faults.append(held)
        sending = thread.submit(client.append, client.begin(), content_of("forgotten", 2 * PART))
        until(lambda: held.hits > 0, "no part is sent")
        relay.kill()
        held.over.set()
        with pytest.raises(LOST):
            sending.result(60)
    assert aws.client.list_multipart_uploads(Bucket=aws.bucket).get("Uploads")
    aws.swept()


def test_the_api_is_killed_while_the_relay_waits_for_its_end(aws: Whole) -> None:
    """The piece is complete, and nobody heard so: each call of the end in turn is answered with a broken connection."""
    client = aws.user("admin/app")
    for operation in ("CreateMultipartUpload", "CompleteMultipartUpload"):
        for kind in (Kind.RESET, Kind.DONE_THEN_RESET, Kind.DONE_THEN_500):
            content = content_of((operation, kind), LARGE)
            aws.s3.faults[:] = [Fault(kind, operation, nth=1)]
            failures = pushed(aws, client, by_patch, content)
            assert (failures == []) == (operation == "CompleteMultipartUpload")  # which the relay asks for again
            assert pulled(client, named(content)) == content
    aws.swept()


@pytest.mark.parametrize("part", [1, 2, 3])
def test_s3_does_not_take_a_url_any_more(aws: Whole, part: int) -> None:
    client = aws.user("admin/app")
    content = content_of(("forbidden", part), 2 * PART + 1)
    fault = Fault(Kind.FORBIDDEN, "UploadPart", nth=part)
    aws.s3.faults.append(fault)
    by_patch(client, content)
    assert fault.hits == 1
    assert pulled(client, named(content)) == content
    aws.swept()


def test_urls_expire_in_the_middle_of_a_push(aws: Whole) -> None:
    """Those that the relay was given at first have expired in truth; it asks for others, which are good."""
    client = aws.user("admin/app")
    content = content_of("expired", 2 * PART + 1)
    refused: list[str] = []

    def observe(seen: Seen) -> None:
        if seen.method == "PUT" and seen.status == 403:
            refused.append(seen.path)
            aws.signing.shift *= 0

    aws.s3.observe = observe
    aws.signing.advance(-2 * 3600)
    by_patch(client, content)
    assert refused
    assert pulled(client, named(content)) == content
    aws.swept()


# --------------------------------------------------------------------------------------------------------- several clients


def lie(way: Way) -> Way:
    """The same requests, but with other bytes in the bodies."""

    def lying(client: Client, content: bytes) -> None:
        other = random.Random(0).randbytes(len(content))
        digest = named(content)
        if way is by_put:
            expected(client.finish(client.begin(), digest, other), 201)
        elif way is by_post:
            expected(client.send("POST", f"blobs/uploads/?digest={digest}", other), 201)
        else:
            expected(client.finish(client.append(client.begin(), other), digest), 201)

    return lying


@pytest.mark.parametrize("size", [1000, LARGE], ids=["inline", "large"])
def test_many_push_the_same_and_some_lie(aws: Whole, size: int) -> None:
    """Each by every way, at once, into repositories of their own and into a shared one."""
    honest: list[Way] = [by_put, by_patch, by_post, by_chunks]
    liars: list[Way] = [lie(way) for way in (by_put, by_patch, by_post)]
    for turn in range(6):
        content = content_of(("same", size, turn), size)
        good = [aws.user(f"admin/good{number % 5}") for number in range(2 * len(honest))]
        bad = [aws.user(f"admin/bad{number}") for number in range(len(liars))]
        barrier = threading.Barrier(len(good) + len(bad))

        def push(client: Client, way: Way, content: bytes = content, barrier: threading.Barrier = barrier) -> str:
            barrier.wait(30)
            try:
                way(client, content)
            except LOST as failure:
                return str(failure)
            return ""

        with ThreadPoolExecutor(len(good) + len(bad)) as threads:
            asked = [threads.submit(push, client, honest[number % len(honest)]) for number, client in enumerate(good)]
            lied = [threads.submit(push, client, way) for client, way in zip(bad, liars, strict=True)]
            aws.right()
            assert [each.result(60) for each in asked] == [""] * len(good)
            assert all(each.result(60).startswith("4") for each in lied)
        aws.idle()
        assert {pulled(client, named(content)) for client in good} == {content}
        assert {pulled(client, named(content)) for client in bad} == {None}
    aws.swept()


def test_one_upload_is_used_by_many(aws: Whole) -> None:
    """Clients that share a Location, or one that lost an answer and repeats itself: in the end it is one of theirs, whole."""
    client = aws.user("admin/app")
    for turn in range(4):
        location = client.begin()
        contents = [content_of(("shared", turn, number), (1000, LARGE)[number % 2]) for number in range(6)]

        def use(content: bytes, location: str = location) -> str:
            try:
                expected(client.finish(client.append(location, content), named(content)), 201)
            except LOST:
                return ""
            return named(content)

        with ThreadPoolExecutor(len(contents)) as threads:
            acknowledged = [digest for digest in threads.map(use, contents) if digest]
        aws.idle()
        aws.right()
        for content in contents:
            found = pulled(client, named(content))
            assert found == content or (found is None and named(content) not in acknowledged)
    aws.swept()


def test_a_lie_is_told_while_s3_fails(aws: Whole) -> None:
    client = aws.user("admin/app")
    for way in (by_put, by_patch, by_post):
        for kind in (Kind.SLOW_DOWN, Kind.DONE_THEN_RESET, Kind.NO_CHECKSUM):
            for nth in range(1, 12):
                content = content_of(("lie", way.__name__, kind, nth), LARGE)
                fault = Fault(kind, nth=nth)
                aws.s3.faults[:] = [fault]
                with pytest.raises(LOST):
                    lie(way)(client, content)
                aws.idle()
                aws.right()
                assert pulled(client, named(content)) is None
                if not fault.hits:
                    break
    aws.swept()
