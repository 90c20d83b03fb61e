"""What every Multipart does. A test class of an adapter inherits this and overrides ``store``, ``blobs`` and ``send``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.registry.names import Digest
from chalicelib.registry.ports import BlobStore, Multipart, Part, PartsInvalid
from tests.contracts.blob_store import HOSTILE_KEYS, HOSTILE_PREFIXES, KEY, content_of
from tests.frozen_clock import FrozenClock

SMALLEST = 5 << 20
"""Bytes of a part that is not the last, at least."""

FIRST, SECOND = b"1" * SMALLEST, b"2" * (SMALLEST + 1)


@dataclass(frozen=True, slots=True)
class Sent:
    """How sending a part was answered: the status (403 for a URL that is no good), and the part's ETag."""

    status: int
    etag: str = ""


class MultipartContract:
    """One suite for all adapters. The clock shows the real time until a test moves it: emulators have their own."""

    @pytest.fixture
    def clock(self) -> FrozenClock:
        return FrozenClock(datetime.now(UTC))

    @pytest.fixture
    def store(self, clock: FrozenClock) -> Multipart:
        raise NotImplementedError

    @pytest.fixture
    def blobs(self, clock: FrozenClock) -> BlobStore:
        """The objects of the same place."""
        raise NotImplementedError

    def send(self, store: Multipart, url: str, content: bytes, md5: bytes | None = None) -> Sent:
        """PUT a part, with Content-MD5 if ``md5`` (the hash) is given."""
        raise NotImplementedError

    def sent(self, store: Multipart, upload: str, *contents: bytes, key: str = KEY) -> list[Part]:
        """The contents sent as the parts from 1 on."""
        parts = []
        urls = store.part_urls(key, upload, 1, len(contents))
        for number, (url, content) in enumerate(zip(urls, contents, strict=True), 1):
            sent = self.send(store, url, content, hashlib.md5(content, usedforsecurity=False).digest())
            assert sent.status == 200
            parts.append(Part(number, sent.etag, len(content)))
        return parts

    # ------------------------------------------------------------------------------------------------------- objects

    @pytest.mark.parametrize("contents", [[b""], [b"small"], [FIRST, b"tail"], [FIRST, SECOND, b""]], ids=len)
    def test_parts_become_one_object(self, store: Multipart, blobs: BlobStore, contents: list[bytes]) -> None:
        upload, whole = store.begin(KEY), b"".join(contents)
        parts = self.sent(store, upload, *contents)
        assert blobs.stat(KEY) is None
        store.complete(KEY, upload, parts)
        assert content_of(blobs, KEY) == whole
        for algorithm in ("sha256", "sha512"):
            assert blobs.check(KEY, Digest.of(whole, algorithm)) == len(whole)
            assert blobs.check(KEY, Digest.of(b"something else", algorithm)) is None

    def test_a_key_may_hold_a_digest(self, store: Multipart, blobs: BlobStore) -> None:
        key = f"direct/0123456789ab/{Digest.of(b'layer')}/0123456789abcdef"
        upload = store.begin(key)
        store.complete(key, upload, self.sent(store, upload, b"layer", key=key))
        assert content_of(blobs, key) == b"layer"

    def test_parts_may_come_in_any_order_and_again(self, store: Multipart, blobs: BlobStore) -> None:
        upload = store.begin(KEY)
        one, two, three = store.part_urls(KEY, upload, 1, 3)
        for url, content in ((three, b"tail"), (one, b"x"), (two, SECOND), (one, FIRST)):
            assert self.send(store, url, content).status == 200
        parts = store.parts(KEY, upload)
        assert [(part.number, part.size) for part in parts] == [(1, len(FIRST)), (2, len(SECOND)), (3, 4)]
        store.complete(KEY, upload, parts)
        assert content_of(blobs, KEY) == FIRST + SECOND + b"tail"

    def test_numbers_may_be_left_out(self, store: Multipart, blobs: BlobStore) -> None:
        upload = store.begin(KEY)
        [last] = store.part_urls(KEY, upload, 10_000, 1)
        self.send(store, last, b"tail")
        self.sent(store, upload, FIRST)
        store.complete(KEY, upload, store.parts(KEY, upload))
        assert content_of(blobs, KEY) == FIRST + b"tail"

    def test_only_the_named_parts_count(self, store: Multipart, blobs: BlobStore) -> None:
        upload = store.begin(KEY)
        store.complete(KEY, upload, self.sent(store, upload, FIRST, b"more")[:1])
        assert content_of(blobs, KEY) == FIRST

    def test_completing_again_is_harmless(self, store: Multipart, blobs: BlobStore) -> None:
        upload = store.begin(KEY)
        parts = self.sent(store, upload, FIRST, b"tail")
        for _ in range(3):
            store.complete(KEY, upload, parts)
            assert content_of(blobs, KEY) == FIRST + b"tail"

    def test_completing_at_once_is_harmless(self, store: Multipart, blobs: BlobStore) -> None:
        upload = store.begin(KEY)
        parts = self.sent(store, upload, FIRST, b"tail")
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: store.complete(KEY, upload, parts), range(4)))
        assert content_of(blobs, KEY) == FIRST + b"tail"

    def test_an_object_that_is_there_never_changes(self, store: Multipart, blobs: BlobStore) -> None:
        uploads = [store.begin(KEY), store.begin(KEY)]
        first, second = (self.sent(store, upload, content) for upload, content in zip(uploads, (b"one", b"two"), strict=True))
        store.complete(KEY, uploads[0], first)
        with pytest.raises(PartsInvalid):
            store.complete(KEY, uploads[1], second)
        assert content_of(blobs, KEY) == b"one"

    # ----------------------------------------------------------------------------------------------- what is refused

    def test_parts_that_are_not_as_said(self, store: Multipart, blobs: BlobStore) -> None:
        upload = store.begin(KEY)
        one, two = self.sent(store, upload, FIRST, b"tail")
        wrong: list[Sequence[Part]] = [
            [],
            [one, Part(2, one.etag, two.size)],
            [one, Part(2, "0" * 32, two.size)],
            [one, two, Part(3, two.etag, two.size)],
            [one, Part(2, two.etag, two.size + 1)],
            [Part(1, one.etag, one.size + 1), two],
            [two, one],
            [one, one],
            [one, two, two],
        ]
        for parts in wrong:
            with pytest.raises(PartsInvalid):
                store.complete(KEY, upload, parts)
            assert blobs.stat(KEY) is None
        assert len(store.parts(KEY, upload)) == 2
        store.complete(KEY, upload, [one, two])
        assert content_of(blobs, KEY) == FIRST + b"tail"

    def test_a_part_that_is_too_small_is_no_use_before_others(self, store: Multipart, blobs: BlobStore) -> None:
        upload = store.begin(KEY)
        with pytest.raises(PartsInvalid):
            store.complete(KEY, upload, self.sent(store, upload, FIRST[1:], b"tail"))
        assert blobs.stat(KEY) is None

    def test_what_is_no_upload(self, store: Multipart, blobs: BlobStore) -> None:
        gone = store.begin(KEY)
        parts = self.sent(store, gone, b"layer")
        store.abort(KEY, gone)
        other = store.begin(KEY + "2")
        for upload in (gone, other, "no-such-upload"):
            with pytest.raises(PartsInvalid):
                store.parts(KEY, upload)
            with pytest.raises(PartsInvalid):
                store.complete(KEY, upload, parts)
            store.abort(KEY, upload)
        assert blobs.stat(KEY) is None
        assert store.parts(KEY + "2", other) == []

    def test_an_object_is_not_aborted(self, store: Multipart, blobs: BlobStore) -> None:
        upload = store.begin(KEY)
        store.complete(KEY, upload, self.sent(store, upload, b"layer"))
        store.abort(KEY, upload)
        assert content_of(blobs, KEY) == b"layer"

    @pytest.mark.parametrize("key", HOSTILE_KEYS)
    def test_what_is_no_key_is_refused(self, store: Multipart, key: str) -> None:
        upload = store.begin(KEY)
        calls = (
            lambda: store.begin(key),
            lambda: store.part_urls(key, upload, 1, 0),
            lambda: store.part_urls(key, upload, 1, 1),
            lambda: store.parts(key, upload),
            lambda: store.complete(key, upload, [Part(1, "0" * 32, 1)]),
            lambda: store.abort(key, upload),
        )
        for call in calls:
            with pytest.raises(ValueError, match="not a key"):
                call()

    # ---------------------------------------------------------------------------------------------------------- URLs

    @pytest.mark.parametrize(("first", "count"), [(0, 1), (-1, 1), (10_001, 1), (10_000, 2), (1, 10_001), (1, -1)])
    def test_numbers_that_no_part_has(self, store: Multipart, first: int, count: int) -> None:
        with pytest.raises(ValueError, match="not numbers of parts"):
            store.part_urls(KEY, "upload", first, count)

    def test_there_is_a_url_for_each_number(self, store: Multipart) -> None:
        upload = store.begin(KEY)
        urls = store.part_urls(KEY, upload, 7, 3)
        assert len(set(urls)) == 3
        for url in urls:
            assert self.send(store, url, b"x").status == 200
        assert [part.number for part in store.parts(KEY, upload)] == [7, 8, 9]
        assert store.part_urls(KEY, upload, 1, 0) == []
        assert len(store.part_urls(KEY, upload, 1, 10_000)) == 10_000

    def test_a_part_that_was_altered_on_the_way_is_refused(self, store: Multipart) -> None:
        upload = store.begin(KEY)
        [url] = store.part_urls(KEY, upload, 1, 1)
        assert self.send(store, url, b"lager", hashlib.md5(b"layer", usedforsecurity=False).digest()).status == 400
        assert store.parts(KEY, upload) == []

    def test_a_url_is_for_its_part_alone(self, store: Multipart) -> None:
        upload, other = store.begin(KEY), store.begin(KEY)
        [url] = store.part_urls(KEY, upload, 7, 1)
        for altered in (url.replace("artNumber=7", "artNumber=8"), url.replace(upload, other), url.replace(KEY, KEY + "2")):
            assert altered != url
            assert self.send(store, altered, b"x").status == 403
        assert [*store.parts(KEY, upload), *store.parts(KEY, other)] == []

    def test_a_url_expires(self, store: Multipart, clock: FrozenClock) -> None:
        upload = store.begin(KEY)
        clock.advance(-3601)
        [old] = store.part_urls(KEY, upload, 1, 1)
        clock.advance(60)
        [younger] = store.part_urls(KEY, upload, 1, 1)
        clock.advance(3541)
        assert self.send(store, old, b"x").status == 403
        assert self.send(store, younger, b"x").status == 200

    def test_a_url_of_an_upload_that_is_over(self, store: Multipart, blobs: BlobStore) -> None:
        done, gone = store.begin(KEY), store.begin(KEY + "2")
        urls = [*store.part_urls(KEY, done, 1, 1), *store.part_urls(KEY + "2", gone, 1, 1)]
        store.complete(KEY, done, self.sent(store, done, b"layer"))
        store.abort(KEY + "2", gone)
        for url in urls:
            assert self.send(store, url, b"late").status == 404
        assert content_of(blobs, KEY) == b"layer"
        assert blobs.stat(KEY + "2") is None

    # ------------------------------------------------------------------------------------------------------- listing

    def test_uploads_under_way_are_listed(self, store: Multipart) -> None:
        keys = ["data/a/1", "data/a/2", "data/a/2", "data/ab/1", "direct/1"]
        uploads = [(key, store.begin(key)) for key in keys]
        for prefix in ("", "data/", "data/a", "data/a/", "data/a/2", "direct/", "x"):
            listed = list(store.unfinished(prefix))
            expected = [each for each in uploads if each[0].startswith(prefix)]
            assert sorted((key, upload) for key, upload, _ in listed) == sorted(expected), prefix
            assert all(abs(begun - datetime.now(UTC)) < timedelta(minutes=5) for _, _, begun in listed)
        store.abort(*uploads[0])
        store.complete(*uploads[4], self.sent(store, uploads[4][1], b"x", key=uploads[4][0]))
        assert sorted(store.unfinished(""))[0][:2] in uploads[1:3]
        assert {key for key, _, _ in store.unfinished("")} == {"data/a/2", "data/ab/1"}

    @pytest.mark.parametrize("prefix", HOSTILE_PREFIXES)
    def test_what_begins_no_key_is_refused(self, store: Multipart, prefix: str) -> None:
        with pytest.raises(ValueError, match="not a"):
            next(store.unfinished(prefix), None)
