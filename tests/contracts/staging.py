"""What every Staging does, beside the BlobStore that it is as well. A test class of an adapter inherits this and overrides
``store``."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier
from typing import Protocol

import pytest

from chalicelib.registry.names import Digest
from chalicelib.registry.ports import BlobMissing, BlobStore, Piece, Sealed, Staging, WrongOffset
from tests.contracts.blob_store import HOSTILE_KEYS, KEY, content_of, keys_of


class StagingStore(BlobStore, Staging, Protocol):
    """Both ports: what was staged is an object once it is sealed."""


def sealed_as(content: bytes) -> Sealed:
    """What ``seal`` answers of this content."""
    return Sealed(len(content), hashlib.sha256(content).hexdigest())


def sealed(store: StagingStore, key: str, content: bytes) -> None:
    store.append(key, 0, content)
    assert store.seal(key) == sealed_as(content)


def is_no_object(store: StagingStore, key: str) -> None:
    assert store.stat(key) is None
    assert key not in keys_of(store)
    for ask in (lambda: store.open(key), lambda: store.check(key, Digest.of(b""))):
        with pytest.raises(BlobMissing):
            ask()


class StagingContract:
    """One suite for all adapters."""

    def test_appends_add_up(self, store: StagingStore) -> None:
        assert store.append(KEY, 0, b"one ") == 4
        assert store.append(KEY, 4, b"two ") == 8
        assert store.append(KEY, 8, b"three") == 13
        assert store.seal(KEY) == sealed_as(b"one two three")
        assert content_of(store, KEY) == b"one two three"

    def test_an_empty_append_stages_nothing_but_itself(self, store: StagingStore) -> None:
        assert store.append(KEY, 0, b"") == 0
        assert store.append(KEY, 0, b"begun") == 5
        assert store.append(KEY + "2", 0, b"") == 0
        assert store.seal(KEY) == sealed_as(b"begun")
        assert store.seal(KEY + "2") == sealed_as(b"")
        assert content_of(store, KEY + "2") == b""

    @pytest.mark.parametrize("offset", [1, 4, 10**12, -1])
    def test_an_append_beyond_the_end_writes_nothing(self, store: StagingStore, offset: int) -> None:
        with pytest.raises(WrongOffset) as absent:
            store.append(KEY, offset, b"xyz")
        assert absent.value.size == 0
        with pytest.raises(BlobMissing):
            store.seal(KEY)
        staged = b"123" if offset == 4 else b""
        store.append(KEY, 0, staged)
        with pytest.raises(WrongOffset) as short:
            store.append(KEY, offset, b"xyz")
        assert short.value.size == len(staged)
        assert store.seal(KEY) == sealed_as(staged)

    @pytest.mark.parametrize("offset", [0, 2, 4, 6, 8])
    def test_what_lies_beyond_the_offset_is_cut_off(self, store: StagingStore, offset: int) -> None:
        store.append(KEY, 0, b"abcd")
        store.append(KEY, 4, b"efgh")
        assert store.append(KEY, offset, b"X") == offset + 1
        expected = b"abcdefgh"[:offset] + b"X"
        assert store.seal(KEY) == sealed_as(expected)
        assert content_of(store, KEY) == expected

    def test_an_empty_append_cuts_off(self, store: StagingStore) -> None:
        store.append(KEY, 0, b"abcd")
        assert store.append(KEY, 2, b"") == 2
        assert store.append(KEY, 2, b"CD") == 4
        assert store.seal(KEY) == sealed_as(b"abCD")

    def test_any_sequence_of_appends_is_what_a_bytes_object_would_be(self, store: StagingStore) -> None:
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
        assert store.seal(KEY) == sealed_as(expected)
        assert content_of(store, KEY) == expected

    def test_what_is_staged_is_no_object(self, store: StagingStore) -> None:
        store.append(KEY, 0, b"layer")
        is_no_object(store, KEY)
        with pytest.raises(BlobMissing):
            store.assemble([Piece(KEY, 5)], KEY + "2", Digest.of(b"layer"))
        assert store.seal(KEY) == sealed_as(b"layer")
        assert store.check(KEY, Digest.of(b"layer")) == 5
        assert keys_of(store) == [KEY]
        assert store.assemble([Piece(KEY, 5)], KEY + "2", Digest.of(b"layer")) == 5

    def test_what_is_sealed_is_an_object_like_others(self, store: StagingStore) -> None:
        content = b"0123456789" * 50_000
        store.append(KEY, 0, content[:7])
        store.append(KEY, 7, content[7:])
        store.seal(KEY)
        assert content_of(store, KEY, 5, 12) == content[5:12]
        assert store.check(KEY, Digest.of(content, "sha512")) == len(content)
        assert store.check(KEY, Digest.of(b"something else")) is None
        store.delete(KEY)
        is_no_object(store, KEY)

    def test_delete_removes_what_is_staged(self, store: StagingStore) -> None:
        store.append(KEY, 0, b"layer")
        store.delete(KEY)
        with pytest.raises(BlobMissing):
            store.seal(KEY)
        with pytest.raises(WrongOffset) as gone:
            store.append(KEY, 5, b"more")
        assert gone.value.size == 0
        sealed(store, KEY, b"again")

    def test_nothing_to_seal(self, store: StagingStore) -> None:
        with pytest.raises(BlobMissing):
            store.seal(KEY)
        sealed(store, KEY, b"layer")
        store.delete(KEY)
        with pytest.raises(BlobMissing):
            store.seal(KEY)

    def test_sealing_again_is_harmless(self, store: StagingStore) -> None:
        sealed(store, KEY, b"layer")
        assert store.seal(KEY) == sealed_as(b"layer")
        assert content_of(store, KEY) == b"layer"

    @pytest.mark.parametrize("offset", [0, 2, 5, 6])
    @pytest.mark.parametrize("way", ["sealed", "put"])
    def test_an_object_takes_no_append(self, store: StagingStore, way: str, offset: int) -> None:
        if way == "put":
            store.put(KEY, b"layer")
        else:
            sealed(store, KEY, b"layer")
        for content in (b"", b"more"):
            with pytest.raises(WrongOffset) as refused:
                store.append(KEY, offset, content)
            assert refused.value.size == 5
        assert content_of(store, KEY) == b"layer"

    @pytest.mark.parametrize("key", HOSTILE_KEYS)
    def test_what_is_no_key_is_not_staged(self, store: StagingStore, key: str) -> None:
        calls: tuple[Callable[[], object], ...] = (lambda: store.append(key, 0, b"x"), lambda: store.seal(key))
        for call in calls:
            with pytest.raises(ValueError, match="not a key"):
                call()

    def test_writers_at_one_offset_never_mix(self, store: StagingStore) -> None:
        store.append(KEY, 0, b"head")
        candidates = [bytes([65 + number]) * (200_000 + number) for number in range(6)]
        start = Barrier(len(candidates))

        def write(content: bytes) -> int:
            start.wait()
            return store.append(KEY, 4, content)

        with ThreadPoolExecutor(len(candidates)) as threads:
            assert sorted(threads.map(write, candidates)) == [4 + len(content) for content in candidates]
        assert store.seal(KEY) in [sealed_as(b"head" + content) for content in candidates]
        assert store.seal(KEY) == sealed_as(content_of(store, KEY))

    def test_what_is_staged_does_not_touch_other_keys(self, store: StagingStore) -> None:
        def upload(number: int) -> bool:
            key, content = f"data/{number}/x", b""
            for step in range(4):
                block = b"%d.%d;" % (number, step) * 1000
                store.append(key, len(content), block)
                content += block
            return store.seal(key) == sealed_as(content) and content_of(store, key) == content

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(upload, range(12)))

    def test_a_late_writer_never_changes_what_was_sealed(self, store: StagingStore) -> None:
        store.append(KEY, 0, b"good")

        def disturb(_: int) -> None:
            with suppress(WrongOffset):
                for _ in range(5):
                    store.append(KEY, 4, b"bad")
                    store.append(KEY, 4, b"")

        with ThreadPoolExecutor(4) as threads:
            disturbing = [threads.submit(disturb, number) for number in range(3)]
            told = {store.seal(KEY) for _ in range(8)}
            for each in disturbing:
                each.result()
        assert told <= {sealed_as(b"good"), sealed_as(b"goodbad")}
        assert told == {sealed_as(content_of(store, KEY))}
        with pytest.raises(WrongOffset):
            store.append(KEY, 4, b"bad")

    def test_seals_at_once_all_succeed(self, store: StagingStore) -> None:
        store.append(KEY, 0, b"good")
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(lambda _: store.seal(KEY), range(4))) == [sealed_as(b"good")] * 4
