"""What every BlobStore does. A test class of an adapter inherits this and overrides ``store`` and ``fetch``."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chalicelib.registry.names import Digest
from chalicelib.registry.ports import BlobMissing, BlobStore, Shown, WrongOffset
from tests.frozen_clock import FrozenClock

KEY = "data/0123456789abcdef"
WRONG = Digest.of(b"something else")
KEY_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_/."

HOSTILE_KEYS = [
    "",
    "/",
    "/etc/passwd",
    "..",
    ".",
    "data/..",
    "../data",
    "data/../../x",
    "data//x",
    "data/",
    "data/./x",
    "data/X",
    "data/x\n",
    "data/x\0",
    "data\\x",
    "data/%2e%2e/x",
    "data/~staged",
    "~parts/x",
    "data/x y",
    "data/é",
    "data/٣",
    "a" * 5000,
]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came over a link: the status (403 for a refused link), the body, and its media type."""

    status: int
    body: bytes = b""
    media_type: str = ""


def content_of(store: BlobStore, key: str, start: int = 0, end: int | None = None) -> bytes:
    with store.open(key, start, end) as stream:
        return stream.read()


def proven(store: BlobStore, key: str, content: bytes) -> None:
    store.append(key, 0, content)
    assert store.prove(key, Digest.of(content)) == len(content)


class AppendContract:
    """Staging."""

    def test_appends_add_up(self, store: BlobStore) -> None:
        assert store.append(KEY, 0, b"one ") == 4
        assert store.append(KEY, 4, b"two ") == 8
        assert store.append(KEY, 8, b"three") == 13
        assert store.stat(KEY).size == 13  # type: ignore[union-attr]
        assert content_of(store, KEY) == b"one two three"

    def test_an_empty_append_leaves_an_empty_object(self, store: BlobStore) -> None:
        assert store.stat(KEY) is None
        assert store.append(KEY, 0, b"") == 0
        assert store.stat(KEY).size == 0  # type: ignore[union-attr]
        assert content_of(store, KEY) == b""
        assert store.append(KEY, 0, b"begun") == 5

    @pytest.mark.parametrize("offset", [1, 4, 10**12, -1])
    def test_an_append_beyond_the_end_writes_nothing(self, store: BlobStore, offset: int) -> None:
        with pytest.raises(WrongOffset) as absent:
            store.append(KEY, offset, b"xyz")
        assert absent.value.size == 0
        assert store.stat(KEY) is None
        store.append(KEY, 0, b"123" if offset == 4 else b"")
        with pytest.raises(WrongOffset) as short:
            store.append(KEY, offset, b"xyz")
        assert short.value.size == (3 if offset == 4 else 0)
        assert content_of(store, KEY) == (b"123" if offset == 4 else b"")

    @pytest.mark.parametrize("offset", [0, 2, 4, 6, 8])
    def test_what_lies_beyond_the_offset_is_cut_off(self, store: BlobStore, offset: int) -> None:
        store.append(KEY, 0, b"abcd")
        store.append(KEY, 4, b"efgh")
        assert store.append(KEY, offset, b"X") == offset + 1
        expected = b"abcdefgh"[:offset] + b"X"
        assert content_of(store, KEY) == expected
        assert store.prove(KEY, Digest.of(expected)) == offset + 1

    def test_an_empty_append_cuts_off(self, store: BlobStore) -> None:
        store.append(KEY, 0, b"abcd")
        assert store.append(KEY, 2, b"") == 2
        assert store.append(KEY, 2, b"CD") == 4
        assert store.prove(KEY, Digest.of(b"abCD")) == 4

    def test_any_sequence_of_appends_is_what_a_bytes_object_would_be(self, store: BlobStore) -> None:
        chance, expected = random.Random(20261), b""
        for _ in range(40):
            offset = chance.choice([len(expected), chance.randint(0, len(expected) + 1)])
            content = chance.randbytes(chance.choice([0, 1, 100]))
            if offset > len(expected):
                with pytest.raises(WrongOffset):
                    store.append(KEY, offset, content)
                continue
            expected = expected[:offset] + content
            assert store.append(KEY, offset, content) == len(expected)
        assert content_of(store, KEY) == expected
        assert store.prove(KEY, Digest.of(expected)) == len(expected)

    @pytest.mark.parametrize("key", HOSTILE_KEYS)
    def test_what_is_no_key_is_refused(self, store: BlobStore, key: str) -> None:
        refuses_everywhere(store, key)

    def test_no_text_is_a_way_out(self, store: BlobStore) -> None:
        @settings(deadline=None, max_examples=60)
        @given(st.text(max_size=40) | st.text("./a~%\\", max_size=12))
        @example("a/.../b")
        def check(key: str) -> None:
            if set(key) <= set(KEY_CHARACTERS) and {"", ".", ".."}.isdisjoint(key.split("/")):
                assert key in store.link(key, "GET", Shown())
            else:
                refuses_everywhere(store, key)

        check()

    @pytest.mark.parametrize("prefix", ["/", "../", "data/../x", "a//", "./", "~staged/", "data/~", "A", "data/\n"])
    def test_what_begins_no_key_is_refused(self, store: BlobStore, prefix: str) -> None:
        with pytest.raises(ValueError, match="not a"):
            next(store.list(prefix), None)


def refuses_everywhere(store: BlobStore, key: str) -> None:
    calls = (
        lambda: store.append(key, 0, b"x"),
        lambda: store.prove(key, WRONG),
        lambda: store.put(key, b"x"),
        lambda: store.stat(key),
        lambda: store.open(key),
        lambda: store.link(key, "GET", Shown()),
        lambda: store.delete(key),
    )
    for call in calls:
        with pytest.raises(ValueError, match="not a key"):
            call()


class ProveContract:
    """Proofs."""

    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    @pytest.mark.parametrize("content", [b"", b"layer", b"0123456789" * 50_000], ids=["empty", "small", "larger"])
    def test_proven_bytes_are_the_bytes(self, store: BlobStore, algorithm: str, content: bytes) -> None:
        half = len(content) // 2
        store.append(KEY, 0, content[:half])
        store.append(KEY, half, content[half:])
        assert store.prove(KEY, Digest.of(content, algorithm)) == len(content)
        assert content_of(store, KEY) == content
        assert [(stored.key, stored.size) for stored in store.list("")] == [(KEY, len(content))]

    def test_a_wrong_digest_proves_nothing_and_the_bytes_stay_staged(self, store: BlobStore) -> None:
        store.append(KEY, 0, b"lay")
        assert store.prove(KEY, WRONG) is None
        assert store.prove(KEY, Digest.of(b"layer", "sha512")) is None
        assert store.stat(KEY).size == 3  # type: ignore[union-attr]
        assert store.append(KEY, 3, b"er") == 5
        assert store.prove(KEY, Digest.of(b"layer")) == 5

    def test_proving_again_is_harmless(self, store: BlobStore) -> None:
        proven(store, KEY, b"layer")
        assert store.prove(KEY, Digest.of(b"layer")) == 5
        assert store.prove(KEY, Digest.of(b"layer", "sha512")) == 5
        assert store.prove(KEY, WRONG) is None
        assert content_of(store, KEY) == b"layer"

    def test_nothing_to_prove(self, store: BlobStore) -> None:
        with pytest.raises(BlobMissing):
            store.prove(KEY, WRONG)
        store.append(KEY, 0, b"layer")
        store.delete(KEY)
        with pytest.raises(BlobMissing):
            store.prove(KEY, Digest.of(b"layer"))
        proven(store, KEY + "2", b"layer")
        store.delete(KEY + "2")
        with pytest.raises(BlobMissing):
            store.prove(KEY + "2", Digest.of(b"layer"))

    @pytest.mark.parametrize("offset", [0, 2, 5, 6])
    def test_sealed_bytes_take_no_append(self, store: BlobStore, offset: int) -> None:
        proven(store, KEY, b"layer")
        for content in (b"", b"more"):
            with pytest.raises(WrongOffset) as refused:
                store.append(KEY, offset, content)
            assert refused.value.size == 5
        assert content_of(store, KEY) == b"layer"

    def test_put_is_read_proven_and_closed_to_appends(self, store: BlobStore) -> None:
        store.put(KEY, b"manifest")
        store.put(KEY, b"manifest")
        assert content_of(store, KEY) == b"manifest"
        assert store.prove(KEY, Digest.of(b"manifest")) == 8
        with pytest.raises(WrongOffset):
            store.append(KEY, 8, b"more")


class ReadContract:
    """Reading, listing, deleting."""

    @pytest.mark.parametrize("seal", [False, True], ids=["staged", "proven"])
    def test_ranges(self, store: BlobStore, seal: bool) -> None:
        content = b"0123456789"
        store.append(KEY, 0, content[:4])
        store.append(KEY, 4, content[4:])
        if seal:
            store.prove(KEY, Digest.of(content))
        spans = [
            (0, None),
            (3, None),
            (0, 10),
            (3, 5),
            (2, 7),
            (9, 10),
            (0, 100),
            (10, None),
            (10, 12),
            (50, None),
            (5, 5),
            (6, 2),
        ]
        for start, end in spans:
            assert content_of(store, KEY, start, end) == content[start:end], (start, end)

    def test_a_stream_is_read_in_pieces(self, store: BlobStore) -> None:
        proven(store, KEY, b"0123456789")
        with store.open(KEY, 1, 9) as stream:
            assert [stream.read(3), stream.read(3), stream.read(3), stream.read(3)] == [b"123", b"456", b"78", b""]

    def test_what_is_not_there(self, store: BlobStore) -> None:
        assert store.stat(KEY) is None
        assert list(store.list("data/")) == []
        store.delete(KEY)
        for span in ((0, None), (0, 1), (0, 0)):
            with pytest.raises(BlobMissing):
                store.open(KEY, *span)

    def test_stat_tells_when(self, store: BlobStore) -> None:
        for key in (KEY, KEY + "2"):
            store.append(key, 0, b"x")
        store.prove(KEY, Digest.of(b"x"))
        for key in (KEY, KEY + "2"):
            stored = store.stat(key)
            assert stored is not None
            assert stored.key == key
            assert abs(stored.modified - datetime.now(UTC)) < timedelta(minutes=5)

    def test_list_is_in_key_order_whatever_lies_there(self, store: BlobStore) -> None:
        keys = ["a", "a-b", "a.b", "a/b", "a/b/c", "a0", "a_", "b/a", "b/a-", "b/a/a", "b/ab", "c"]
        for number, key in enumerate(reversed(keys)):
            if number % 3:
                store.append(key, 0, b"x" * number)
            else:
                store.put(key, b"x" * number)
            if number % 3 == 1:
                store.prove(key, Digest.of(b"x" * number))
        sizes = {key: len(keys) - 1 - number for number, key in enumerate(keys)}
        for prefix in ("", "a", "a/", "a/b", "a/b/", "b/a", "b/", "c", "d", "a-", ".", "b/a/a"):
            expected = sorted(key for key in keys if key.startswith(prefix))
            assert [(found.key, found.size) for found in store.list(prefix)] == [(key, sizes[key]) for key in expected], prefix

    def test_delete_removes_that_key_alone(self, store: BlobStore) -> None:
        keys = ["a", "a/b", "a/b/c", "ab"]
        for key in keys:
            proven(store, key, key.encode())
        store.append("a/b/d", 0, b"staged")
        for gone in ("a/b/d", "a/b", "a"):
            store.delete(gone)
            store.delete(gone)
        assert [found.key for found in store.list("")] == ["a/b/c", "ab"]
        assert content_of(store, "a/b/c") == b"a/b/c"


class LinkContract:
    """Links, fetched."""

    def fetch(self, store: BlobStore, url: str, method: str, byte_range: str = "") -> Fetched:
        raise NotImplementedError

    def test_a_link_gives_the_bytes(self, store: BlobStore) -> None:
        proven(store, KEY, b"0123456789")
        got = self.fetch(store, store.link(KEY, "GET", Shown()), "GET")
        assert (got.status, got.body, got.media_type) == (200, b"0123456789", "application/octet-stream")
        part = self.fetch(store, store.link(KEY, "GET", Shown()), "GET", "bytes=2-4")
        assert (part.status, part.body) == (206, b"234")
        head = self.fetch(store, store.link(KEY, "HEAD", Shown()), "HEAD")
        assert (head.status, head.body) == (200, b"")

    def test_a_link_shows_the_media_type_asked_for(self, store: BlobStore) -> None:
        store.put(KEY, b"{}")
        shown = Shown("application/vnd.oci.image.config.v1+json", str(Digest.of(b"{}")))
        assert self.fetch(store, store.link(KEY, "GET", shown), "GET").media_type == shown.media_type

    def test_a_link_is_made_without_a_look(self, store: BlobStore) -> None:
        assert store.link("data/nothing", "GET", Shown())

    def test_a_link_is_for_its_method(self, store: BlobStore) -> None:
        proven(store, KEY, b"0123456789")
        assert self.fetch(store, store.link(KEY, "HEAD", Shown()), "GET").status == 403
        assert self.fetch(store, store.link(KEY, "GET", Shown()), "HEAD").status == 403

    def test_an_altered_link_is_refused(self, store: BlobStore) -> None:
        proven(store, KEY, b"0123456789")
        proven(store, KEY + "2", b"other")
        url = store.link(KEY, "GET", Shown("text/plain"))
        last = url[:-1] + ("0" if url[-1] != "0" else "1")
        first = url.partition("?")[2].partition("&")[0]
        altered = [
            last,
            url[:-2],
            url + "&versionid=1",
            url + "&response-content-disposition=attachment",
            url.replace("text%2Fplain", "text%2Fhtml"),
            url.replace(KEY, KEY + "2"),
            url.replace(KEY, KEY[:-1]),
            url.replace(f"?{first}", f"?{first}&{first}"),
        ]
        for other in altered:
            assert other != url
            assert self.fetch(store, other, "GET").status == 403, other.partition("?")[0]

    def test_a_link_expires(self, store: BlobStore, clock: FrozenClock) -> None:
        proven(store, KEY, b"0123456789")
        clock.advance(-601)
        old = store.link(KEY, "GET", Shown())
        clock.advance(30)
        younger = store.link(KEY, "GET", Shown())
        clock.advance(571)
        assert self.fetch(store, old, "GET").status == 403
        assert self.fetch(store, younger, "GET").status == 200


class RaceContract:
    """Threads."""

    def test_writers_at_one_offset_never_mix(self, store: BlobStore) -> None:
        store.append(KEY, 0, b"head")
        candidates = [bytes([65 + number]) * (200_000 + number) for number in range(6)]
        start = Barrier(len(candidates))

        def write(content: bytes) -> int:
            start.wait()
            return store.append(KEY, 4, content)

        with ThreadPoolExecutor(len(candidates)) as threads:
            assert sorted(threads.map(write, candidates)) == [4 + len(content) for content in candidates]
        proofs = [store.prove(KEY, Digest.of(b"head" + content)) for content in candidates]
        assert len([size for size in proofs if size is not None]) == 1

    def test_keys_do_not_touch_each_other(self, store: BlobStore) -> None:
        def upload(number: int) -> bool:
            key, content = f"data/{number}", b""
            for step in range(4):
                piece = b"%d.%d;" % (number, step) * 1000
                store.append(key, len(content), piece)
                content += piece
            return store.prove(key, Digest.of(content)) == len(content) and content_of(store, key) == content

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(upload, range(12)))

    def test_a_late_writer_never_changes_what_was_proven(self, store: BlobStore) -> None:
        store.append(KEY, 0, b"good")

        def disturb(_: int) -> None:
            with suppress(WrongOffset):
                for _ in range(5):
                    store.append(KEY, 4, b"bad")
                    store.append(KEY, 4, b"")

        with ThreadPoolExecutor(4) as threads:
            disturbing = [threads.submit(disturb, number) for number in range(3)]
            sizes = [store.prove(KEY, Digest.of(b"good")) for _ in range(8)]
            for each in disturbing:
                each.result()
        if 4 not in sizes:
            store.append(KEY, 4, b"")
        assert store.prove(KEY, Digest.of(b"good")) == 4
        assert content_of(store, KEY) == b"good"
        first = sizes.index(4) if 4 in sizes else len(sizes)
        assert set(sizes[:first]) <= {None}
        assert set(sizes[first:]) <= {4}
        with pytest.raises(WrongOffset):
            store.append(KEY, 4, b"bad")

    def test_proofs_at_once_all_succeed(self, store: BlobStore) -> None:
        store.append(KEY, 0, b"good")
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(lambda _: store.prove(KEY, Digest.of(b"good")), range(4))) == [4] * 4


class BlobStoreContract(AppendContract, ProveContract, ReadContract, LinkContract, RaceContract):
    """One suite for all adapters. The clock shows the real time until a test moves it: emulators have their own."""

    @pytest.fixture
    def clock(self) -> FrozenClock:
        return FrozenClock(datetime.now(UTC))

    @pytest.fixture
    def store(self, clock: FrozenClock) -> BlobStore:
        raise NotImplementedError
