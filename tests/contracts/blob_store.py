"""What every BlobStore does. A test class of an adapter inherits this and overrides ``store`` and ``fetch``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Barrier
from urllib.parse import unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chalicelib.registry.names import Digest
from chalicelib.registry.ports import BlobMissing, BlobStore, Piece, ProofLong, Shown
from tests.frozen_clock import FrozenClock

UPLOAD = "data/0123456789abcdef0123456789abcdef"
KEY = f"{UPLOAD}/object"
WRONG = Digest.of(b"something else")
KEY_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_/.:"
MIB = 1 << 20

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
    "~staged/x",
    "data/x y",
    "data/é",
    "data/٣",
    "a" * 5000,
]

HOSTILE_PREFIXES = ["/", "../", "data/../x", "a//", "./", "~staged/", "data/~", "A", "data/\n"]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came over a link: the status (403 for a refused link), the body, and its media type."""

    status: int
    body: bytes = b""
    media_type: str = ""


def content_of(store: BlobStore, key: str, start: int = 0, end: int | None = None) -> bytes:
    with store.open(key, start, end) as stream:
        return stream.read()


def keys_of(store: BlobStore, prefix: str = "", after: str = "") -> list[str]:
    return [stored.key for stored in store.list(prefix, after)]


def pieces_of(store: BlobStore, *contents: bytes) -> list[Piece]:
    """The contents, each put as a piece of one upload."""
    pieces = [Piece(f"{UPLOAD}/{number}", len(content)) for number, content in enumerate(contents)]
    for piece, content in zip(pieces, contents, strict=True):
        store.put(piece.key, content)
    return pieces


class WholeContract:
    """Objects put whole, and proofs of them."""

    @pytest.mark.parametrize("content", [b"", b"manifest", b"0123456789" * 50_000], ids=["empty", "small", "larger"])
    def test_put_is_read_back(self, store: BlobStore, content: bytes) -> None:
        store.put(KEY, content)
        assert content_of(store, KEY) == content
        assert [(stored.key, stored.size) for stored in store.list("")] == [(KEY, len(content))]

    def test_the_same_bytes_again_are_harmless(self, store: BlobStore) -> None:
        for _ in range(3):
            store.put(KEY, b"manifest")
            assert content_of(store, KEY) == b"manifest"
        assert store.check(KEY, Digest.of(b"manifest")) == 8

    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    @pytest.mark.parametrize("content", [b"", b"layer", b"0123456789" * 50_000], ids=["empty", "small", "larger"])
    def test_a_check_tells_the_right_digest_from_others(self, store: BlobStore, algorithm: str, content: bytes) -> None:
        store.put(KEY, content)
        for _ in range(2):
            assert store.check(KEY, Digest.of(content, algorithm)) == len(content)
            assert store.check(KEY, Digest.of(b"something else", algorithm)) is None
            assert store.check(KEY, Digest.of(content + b"\0", algorithm)) is None
        assert content_of(store, KEY) == content

    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    def test_a_check_within_its_limit_is_made(self, store: BlobStore, algorithm: str) -> None:
        """Beyond it, whether it is made depends on what the store knows already."""
        content = b"0123456789" * 1_000
        store.put(KEY, content)
        for limit in (len(content), len(content) + 1):
            assert store.check(KEY, Digest.of(content, algorithm), limit=limit) == len(content)
            assert store.check(KEY, Digest.of(b"something else", algorithm), limit=limit) is None
        for limit in (0, len(content) - 1):
            with suppress(ProofLong):
                assert store.check(KEY, Digest.of(content, algorithm), limit=limit) == len(content)
            with suppress(ProofLong):
                assert store.check(KEY, Digest.of(b"something else", algorithm), limit=limit) is None

    def test_nothing_to_check(self, store: BlobStore) -> None:
        with pytest.raises(BlobMissing):
            store.check(KEY, WRONG)
        with pytest.raises(BlobMissing):
            store.check(KEY, WRONG, limit=0)
        store.put(KEY, b"layer")
        store.delete(KEY)
        for algorithm in ("sha256", "sha512"):
            with pytest.raises(BlobMissing):
                store.check(KEY, Digest.of(b"layer", algorithm))

    @pytest.mark.parametrize("key", HOSTILE_KEYS)
    def test_what_is_no_key_is_refused(self, store: BlobStore, key: str) -> None:
        refuses_everywhere(store, key)

    def test_no_text_is_a_way_out(self, store: BlobStore) -> None:
        @settings(deadline=None, max_examples=60)
        @given(st.text(max_size=40) | st.text("./a~%\\:", max_size=12))
        @example("a/.../b")
        @example("a:b/:")
        def check(key: str) -> None:
            if set(key) <= set(KEY_CHARACTERS) and {"", ".", ".."}.isdisjoint(key.split("/")):
                assert key in unquote(store.link(key, "GET", Shown()))
            else:
                refuses_everywhere(store, key)

        check()


def refuses_everywhere(store: BlobStore, key: str) -> None:
    store.put(KEY, b"x")
    calls: tuple[Callable[[], object], ...] = (
        lambda: store.put(key, b"x"),
        lambda: store.check(key, WRONG),
        lambda: store.assemble([Piece(KEY, 1)], key, Digest.of(b"x")),
        lambda: store.assemble([Piece(KEY, 1), Piece(key, 1)], KEY + "2", Digest.of(b"xx")),
        lambda: store.stat(key),
        lambda: store.open(key),
        lambda: store.link(key, "GET", Shown()),
        lambda: store.delete(key),
    )
    for call in calls:
        with pytest.raises(ValueError, match="not a key"):
            call()


ASSEMBLED = [
    [],
    [b""],
    [b"one"],
    [b"one ", b"two ", b"three"],
    [b"", b"a", b"", b"", b"b", b""],
    [b"x" * (5 * MIB + 1), b"tail"],
    [b"head", b"y" * (5 * MIB)],
    [b"a", b"b" * (6 * MIB), b"", b"c", b"d" * (6 * MIB), b"e" * 3, b"f"],
    [b"%d," % number for number in range(30)],
]


class AssembleContract:
    """One object of many pieces."""

    @pytest.mark.parametrize("contents", ASSEMBLED, ids=lambda contents: "+".join(str(len(each)) for each in contents)[:40])
    def test_the_pieces_in_order_make_one_object(self, store: BlobStore, contents: list[bytes]) -> None:
        pieces, whole = pieces_of(store, *contents), b"".join(contents)
        assert store.assemble(pieces, KEY, Digest.of(whole)) == len(whole)
        assert content_of(store, KEY) == whole
        stored = store.stat(KEY)
        assert stored is not None
        assert stored.size == len(whole)
        assert [content_of(store, piece.key) for piece in pieces] == contents
        assert keys_of(store) == sorted([KEY, *(piece.key for piece in pieces)])

    def test_of_any_algorithm(self, store: BlobStore) -> None:
        pieces, whole = pieces_of(store, b"one ", b"two"), b"one two"
        assert store.assemble(pieces, KEY, Digest.of(whole, "sha512")) == 7
        for algorithm in ("sha256", "sha512"):
            assert store.check(KEY, Digest.of(whole, algorithm)) == 7
            assert store.check(KEY, Digest.of(b"two one ", algorithm)) is None

    def test_the_object_stays_when_its_pieces_go(self, store: BlobStore) -> None:
        pieces = pieces_of(store, b"one ", b"two")
        store.assemble(pieces, KEY, Digest.of(b"one two"))
        for piece in pieces:
            store.delete(piece.key)
        assert keys_of(store) == [KEY]
        assert content_of(store, KEY) == b"one two"

    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    @pytest.mark.parametrize("contents", [[], [b"one ", b"two"], [b"x" * (5 * MIB), b"y"]], ids=["none", "small", "larger"])
    def test_a_wrong_digest_leaves_nothing(self, store: BlobStore, contents: list[bytes], algorithm: str) -> None:
        pieces, whole = pieces_of(store, *contents), b"".join(contents)
        assert store.assemble(pieces, KEY, Digest.of(b"something else", algorithm)) is None
        assert store.stat(KEY) is None
        assert keys_of(store) == [piece.key for piece in pieces]
        assert [content_of(store, piece.key) for piece in pieces] == contents
        assert store.assemble(pieces, KEY, Digest.of(whole, algorithm)) == len(whole)

    def test_the_order_counts(self, store: BlobStore) -> None:
        pieces = pieces_of(store, b"one ", b"two")
        assert store.assemble(pieces[::-1], KEY, Digest.of(b"one two")) is None
        assert store.assemble(pieces[::-1], KEY, Digest.of(b"twoone ")) == 7

    @pytest.mark.parametrize("place", [0, 1, 2])
    @pytest.mark.parametrize("content", [b"", b"two ", b"x" * (5 * MIB)], ids=["empty", "small", "larger"])
    def test_a_piece_that_is_missing(self, store: BlobStore, place: int, content: bytes) -> None:
        contents = [b"one ", b"three"]
        contents.insert(place, content)
        pieces = pieces_of(store, *contents)
        store.delete(pieces[place].key)
        with pytest.raises(BlobMissing):
            store.assemble(pieces, KEY, Digest.of(b"".join(contents)))
        assert store.stat(KEY) is None

    @pytest.mark.parametrize("place", [0, 1, 2])
    @pytest.mark.parametrize("off_by", [-4, -1, 1, 5 * MIB])
    def test_a_piece_of_another_size(self, store: BlobStore, place: int, off_by: int) -> None:
        """Even where the digest would be that of what is there."""
        pieces = pieces_of(store, b"one ", b"two ", b"four")
        pieces[place] = Piece(pieces[place].key, pieces[place].size + off_by)
        with pytest.raises(BlobMissing):
            store.assemble(pieces, KEY, Digest.of(b"one two four"))
        assert store.stat(KEY) is None

    def test_assembling_again_is_harmless(self, store: BlobStore) -> None:
        pieces = pieces_of(store, b"one ", b"two")
        for _ in range(3):
            assert store.assemble(pieces, KEY, Digest.of(b"one two")) == 7
            assert content_of(store, KEY) == b"one two"

    @pytest.mark.parametrize("size", [3, 5 * MIB])
    def test_several_at_once_all_succeed(self, store: BlobStore, size: int) -> None:
        pieces, whole = pieces_of(store, b"1" * size, b"22", b"333"), b"1" * size + b"22333"
        start = Barrier(4)

        def assemble(_: int) -> int | None:
            start.wait()
            return store.assemble(pieces, KEY, Digest.of(whole))

        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(assemble, range(4))) == [len(whole)] * 4
        assert content_of(store, KEY) == whole
        assert len(keys_of(store)) == 4

    def test_one_wrong_does_not_hurt_others(self, store: BlobStore) -> None:
        """Each finish of an upload has a key of its own."""
        pieces, start = pieces_of(store, b"one ", b"two"), Barrier(6)

        def assemble(number: int) -> int | None:
            start.wait()
            return store.assemble(pieces, f"{KEY}{number}", WRONG if number % 2 else Digest.of(b"one two"))

        with ThreadPoolExecutor(6) as threads:
            assert list(threads.map(assemble, range(6))) == [7, None] * 3
        assert keys_of(store, KEY) == [f"{KEY}{number}" for number in (0, 2, 4)]


class ReadContract:
    """Reading, listing, deleting."""

    @pytest.mark.parametrize("assembled", [False, True], ids=["put", "assembled"])
    def test_ranges(self, store: BlobStore, *, assembled: bool) -> None:
        content = b"0123456789"
        _digits(store, assembled=assembled)
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

    @pytest.mark.parametrize("assembled", [False, True], ids=["put", "assembled"])
    def test_a_stream_is_read_bit_by_bit(self, store: BlobStore, *, assembled: bool) -> None:
        _digits(store, assembled=assembled)
        with store.open(KEY, 1, 9) as stream:
            assert [stream.read(3), stream.read(3), stream.read(3), stream.read(3)] == [b"123", b"456", b"78", b""]

    def test_what_is_not_there(self, store: BlobStore) -> None:
        assert store.stat(KEY) is None
        assert keys_of(store, "data/") == []
        store.delete(KEY)
        for span in ((0, None), (0, 1), (0, 0)):
            with pytest.raises(BlobMissing):
                store.open(KEY, *span)

    def test_stat_tells_when(self, store: BlobStore) -> None:
        store.put(KEY, b"x")
        store.assemble([Piece(KEY, 1)] * 2, KEY + "2", Digest.of(b"xx"))
        for key in (KEY, KEY + "2"):
            stored = store.stat(key)
            assert stored is not None
            assert stored.key == key
            assert abs(stored.modified - datetime.now(UTC)) < timedelta(minutes=5)

    def test_list_is_in_key_order_whatever_lies_there(self, store: BlobStore) -> None:
        keys = ["a", "a-b", "a.b", "a/b", "a/b/c", "a0", "a:", "a:b/c", "a_", "b/a", "b/a-", "b/a/a", "b/ab", "c"]
        for number, key in enumerate(reversed(keys)):
            store.put(key, b"x" * number)
        sizes = {key: len(keys) - 1 - number for number, key in enumerate(keys)}
        for prefix in ("", "a", "a/", "a/b", "a/b/", "a:", "b/a", "b/", "c", "d", "a-", ".", "b/a/a"):
            expected = sorted(key for key in keys if key.startswith(prefix))
            assert [(found.key, found.size) for found in store.list(prefix)] == [(key, sizes[key]) for key in expected], prefix

    @pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", "b/", "b/a", "d/"])
    def test_a_list_goes_on_after_any_text(self, store: BlobStore, prefix: str) -> None:
        keys = ["a", "a-b", "a.b", "a/b", "a/b/c", "a/b/d", "a0", "a:", "a_", "b/a", "b/a-", "b/a/a", "b/ab", "c"]
        for key in keys:
            store.put(key, b"")
        others = ["-", "0", "a/", "a/a", "a/b-", "a/b/", "a/b/c0", "a/c", "aa", "b", "b/", "b/a/", "b/z", "b0", "d", "z/z"]
        for after in ["", *keys, *others]:
            expected = sorted(key for key in keys if key.startswith(prefix) and key > after)
            assert keys_of(store, prefix, after) == expected, after

    @pytest.mark.parametrize("text", HOSTILE_PREFIXES)
    def test_what_begins_no_key_is_refused(self, store: BlobStore, text: str) -> None:
        for prefix, after in ((text, ""), ("", text)):
            with pytest.raises(ValueError, match="not a"):
                next(store.list(prefix, after), None)

    def test_delete_removes_that_key_alone(self, store: BlobStore) -> None:
        for key in ("a", "a/b", "a/b/c", "a/b/d", "ab"):
            store.put(key, key.encode())
        for gone in ("a/b/d", "a/b", "a"):
            store.delete(gone)
            store.delete(gone)
        assert keys_of(store) == ["a/b/c", "ab"]
        assert content_of(store, "a/b/c") == b"a/b/c"

    def test_a_key_may_hold_a_digest(self, store: BlobStore) -> None:
        key = f"direct/0123456789ab/{Digest.of(b'layer')}/0123456789abcdef"
        store.put(key, b"layer")
        assert keys_of(store, "direct/0123456789ab/sha256:") == [key]
        assert store.check(key, Digest.of(b"layer")) == 5
        assert content_of(store, key, 1, 3) == b"ay"
        store.delete(key)
        assert store.stat(key) is None


def _digits(store: BlobStore, *, assembled: bool) -> None:
    """The ten digits under KEY."""
    if assembled:
        store.assemble(pieces_of(store, b"0123", b"456789"), KEY, Digest.of(b"0123456789"))
    else:
        store.put(KEY, b"0123456789")


class LinkContract:
    """Links, fetched."""

    def fetch(self, store: BlobStore, url: str, method: str, byte_range: str = "") -> Fetched:
        raise NotImplementedError

    @pytest.mark.parametrize("assembled", [False, True], ids=["put", "assembled"])
    def test_a_link_gives_the_bytes(self, store: BlobStore, *, assembled: bool) -> None:
        _digits(store, assembled=assembled)
        got = self.fetch(store, store.link(KEY, "GET", Shown()), "GET")
        assert (got.status, got.body, got.media_type) == (200, b"0123456789", "application/octet-stream")
        part = self.fetch(store, store.link(KEY, "GET", Shown()), "GET", "bytes=2-4")
        assert (part.status, part.body) == (206, b"234")
        head = self.fetch(store, store.link(KEY, "HEAD", Shown()), "HEAD")
        assert (head.status, head.body) == (200, b"")

    def test_a_link_to_a_key_that_holds_a_digest(self, store: BlobStore) -> None:
        key = f"direct/0123456789ab/{Digest.of(b'layer')}/0123456789abcdef"
        store.put(key, b"layer")
        got = self.fetch(store, store.link(key, "GET", Shown()), "GET")
        assert (got.status, got.body) == (200, b"layer")

    def test_a_link_shows_the_media_type_asked_for(self, store: BlobStore) -> None:
        store.put(KEY, b"{}")
        shown = Shown("application/vnd.oci.image.config.v1+json", str(Digest.of(b"{}")))
        assert self.fetch(store, store.link(KEY, "GET", shown), "GET").media_type == shown.media_type

    def test_a_link_is_made_without_a_look(self, store: BlobStore) -> None:
        assert store.link("data/nothing", "GET", Shown())

    def test_a_link_is_for_its_method(self, store: BlobStore) -> None:
        store.put(KEY, b"0123456789")
        assert self.fetch(store, store.link(KEY, "HEAD", Shown()), "GET").status == 403
        assert self.fetch(store, store.link(KEY, "GET", Shown()), "HEAD").status == 403

    def test_an_altered_link_is_refused(self, store: BlobStore) -> None:
        store.put(KEY, b"0123456789")
        store.put(KEY + "2", b"other")
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
        store.put(KEY, b"0123456789")
        clock.advance(-601)
        old = store.link(KEY, "GET", Shown())
        clock.advance(30)
        younger = store.link(KEY, "GET", Shown())
        clock.advance(571)
        assert self.fetch(store, old, "GET").status == 403
        assert self.fetch(store, younger, "GET").status == 200


class RaceContract:
    """Threads."""

    def test_the_same_bytes_at_once(self, store: BlobStore) -> None:
        content, start = b"0123456789" * 20_000, Barrier(4)

        def put(_: int) -> None:
            start.wait()
            store.put(KEY, content)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(put, range(4)))
        assert content_of(store, KEY) == content

    def test_keys_do_not_touch_each_other(self, store: BlobStore) -> None:
        def upload(number: int) -> bool:
            contents = [b"%d.%d;" % (number, step) * 1000 for step in range(4)]
            pieces = [Piece(f"data/{number}/{step}", len(content)) for step, content in enumerate(contents)]
            for piece, content in zip(pieces, contents, strict=True):
                store.put(piece.key, content)
            key, whole = f"data/{number}/whole", b"".join(contents)
            made = store.assemble(pieces, key, Digest.of(whole))
            for piece in pieces:
                store.delete(piece.key)
            return made == len(whole) and content_of(store, key) == whole

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(upload, range(12)))
        assert keys_of(store) == sorted(f"data/{number}/whole" for number in range(12))

    @pytest.mark.parametrize("way", ["put", "assembled"])
    def test_a_reader_sees_all_of_an_object_or_none(self, store: BlobStore, way: str) -> None:
        content = b"0123456789" * 200_000
        pieces = pieces_of(store, content[:700_000], content[700_000:])

        def write() -> None:
            if way == "put":
                store.put(KEY, content)
            else:
                store.assemble(pieces, KEY, Digest.of(content))

        with ThreadPoolExecutor(1) as threads:
            writing = threads.submit(write)
            for stored in _seen(store, writing):
                assert stored in {None, len(content)}
            writing.result()
        assert content_of(store, KEY) == content


def _seen(store: BlobStore, writing: Future[None]) -> Iterator[int | None]:
    """How many bytes can be read under KEY, time and again until the writing ends, and once more."""
    done = False
    while not done:
        done = writing.done()
        try:
            yield len(content_of(store, KEY))
        except BlobMissing:
            yield None


class BlobStoreContract(WholeContract, AssembleContract, ReadContract, LinkContract, RaceContract):
    """One suite for all adapters. The clock shows the real time until a test moves it: emulators have their own."""

    @pytest.fixture
    def clock(self) -> FrozenClock:
        return FrozenClock(datetime.now(UTC))

    @pytest.fixture
    def store(self, clock: FrozenClock) -> BlobStore:
        raise NotImplementedError
