"""A folder as BlobStore: the contract, and what only a disk does: fill up, fail, lose power, lose its process."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from chalicelib.local.disk import SystemDisk
from chalicelib.local.disk_blobs import DiskBlobs
from chalicelib.local.held import KeyLocks
from chalicelib.local.links import LINK_PATH, Linked
from chalicelib.registry.names import Digest
from chalicelib.registry.ports import BlobMissing, BlobStore, Shown, StoreFull, WrongOffset
from tests.contracts.blob_store import KEY, BlobStoreContract, Fetched, content_of, proven
from tests.frozen_clock import FrozenClock

ROOT = Path(__file__).resolve().parents[2]
SECRET = b"s" * 32


class RecordingDisk(SystemDisk):
    """Tells what was asked for, by file name, and fails where it is told to: ``failures`` maps an operation to the number
    of calls that still work, and the errno of the one after."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.failures: dict[str, tuple[int, int]] = {}
        self.write_at_most = 1 << 30
        self._names: dict[int, str] = {}

    def _do(self, operation: str, name: str) -> None:
        self.done.append((operation, name))
        working, error = self.failures.get(operation, (1, 0))
        if not working:
            del self.failures[operation]
            raise OSError(error, os.strerror(error))
        if error:
            self.failures[operation] = working - 1, error

    def open(self, path: Path, flags: int) -> int:
        self._do("open", path.name)
        file = super().open(path, flags)
        self._names[file] = path.name
        return file

    def write(self, file: int, content: memoryview, offset: int) -> int:
        self._do("write", self._names[file])
        return super().write(file, content[: self.write_at_most], offset)

    def fsync(self, file: int) -> None:
        self._do("fsync", self._names[file])
        super().fsync(file)

    def rename(self, old: Path, new: Path) -> None:
        self._do("rename", new.name)
        super().rename(old, new)

    def fsync_folder(self, folder: Path) -> None:
        self._do("fsync_folder", folder.name)
        super().fsync_folder(folder)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def disk() -> RecordingDisk:
    return RecordingDisk()


@pytest.fixture
def blobs(tmp_path: Path, clock: FrozenClock, disk: RecordingDisk) -> Iterator[DiskBlobs]:
    with closing(DiskBlobs(tmp_path / "blobs", SECRET, clock, disk)) as blobs:
        yield blobs


class TestDiskBlobs(BlobStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path, clock: FrozenClock) -> Iterator[DiskBlobs]:
        with closing(DiskBlobs(tmp_path / "blobs", SECRET, clock)) as store:
            yield store

    def fetch(self, store: BlobStore, url: str, method: str, byte_range: str = "") -> Fetched:
        assert isinstance(store, DiskBlobs)
        return _fetch(store, url, method, byte_range)


class TestDiskBlobsWithTightLimits(TestDiskBlobs):
    @pytest.fixture
    def store(self, tmp_path: Path, clock: FrozenClock) -> Iterator[DiskBlobs]:
        with closing(DiskBlobs(tmp_path / "blobs", SECRET, clock, open_files=1, names_at_once=2)) as store:
            yield store


class TestDiskBlobsRestartedAllTheTime(TestDiskBlobs):
    """Nothing is remembered between appends, so every proof reads the file."""

    @pytest.fixture
    def store(self, tmp_path: Path, clock: FrozenClock) -> Iterator[DiskBlobs]:
        with closing(DiskBlobs(tmp_path / "blobs", SECRET, clock, open_files=0, running_hashes=0)) as store:
            yield store


def _fetch(store: DiskBlobs, url: str, method: str, byte_range: str = "") -> Fetched:
    """As the one-machine server answers."""
    path, _, query = url.partition("?")
    linked = store.linked(method, path, query)
    if linked is None:
        return Fetched(403)
    first, last = byte_range.removeprefix("bytes=").split("-") if byte_range else ("0", "99")
    body = content_of(store, linked.key, int(first), int(last) + 1) if method == "GET" else b""
    return Fetched(206 if byte_range else 200, body, linked.shown.media_type)


# ------------------------------------------------------------------------------------------------------------ durability


def test_a_proof_fsyncs_the_file_then_renames_it_then_fsyncs_the_folders(blobs: DiskBlobs, disk: RecordingDisk) -> None:
    blobs.append("data/x", 0, b"layer")
    disk.done.clear()
    blobs.prove("data/x", Digest.of(b"layer"))
    assert disk.done == [
        ("fsync", "x~staged"),
        ("rename", "x~sealed"),
        ("fsync_folder", "data"),
        ("fsync_folder", "blobs"),
    ]


def test_a_put_does_so_too(blobs: DiskBlobs, disk: RecordingDisk) -> None:
    blobs.put("data/first", b"manifest")
    disk.done.clear()
    blobs.put("data/x", b"manifest")
    assert [step for step in disk.done if step[0] != "open"] == [
        ("write", "x~new"),
        ("fsync", "x~new"),
        ("rename", "x~sealed"),
        ("fsync_folder", "data"),
        ("fsync_folder", "blobs"),
    ]


def test_a_first_proof_makes_the_store_itself_durable(tmp_path: Path, clock: FrozenClock, disk: RecordingDisk) -> None:
    blobs = DiskBlobs(tmp_path / "new" / "deep", SECRET, clock, disk)
    blobs.append("x", 0, b"layer")
    assert [name for operation, name in disk.done if operation == "fsync_folder"] == ["new", tmp_path.name]


def test_an_append_waits_for_no_disk(blobs: DiskBlobs, disk: RecordingDisk) -> None:
    blobs.append("data/first", 0, b"x")
    disk.done.clear()
    for offset in range(4):
        blobs.append("data/x", offset, b"x")
    assert disk.done == [("open", "x~staged")] + [("write", "x~staged")] * 4


def test_a_proof_is_repeated_in_full_if_its_end_failed(blobs: DiskBlobs, disk: RecordingDisk) -> None:
    blobs.append("data/x", 0, b"layer")
    disk.failures["fsync_folder"] = 0, errno.EIO
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        blobs.prove("data/x", Digest.of(b"layer"))
    disk.done.clear()
    assert blobs.prove("data/x", Digest.of(b"layer")) == 5
    assert disk.done[1:] == [("fsync", "x~sealed"), ("fsync_folder", "data"), ("fsync_folder", "blobs")]


@pytest.mark.parametrize(("code", "raised"), [(errno.EIO, OSError), (errno.ENOSPC, StoreFull)])
def test_bytes_whose_fsync_failed_are_never_vouched_for(
    blobs: DiskBlobs, disk: RecordingDisk, code: int, raised: type[Exception]
) -> None:
    blobs.append("data/x", 0, b"layer")
    disk.failures["fsync"] = 0, code
    with pytest.raises(raised):
        blobs.prove("data/x", Digest.of(b"layer"))
    with pytest.raises(BlobMissing):
        blobs.prove("data/x", Digest.of(b"layer"))


CHILD = """
import sys
from pathlib import Path
from chalicelib.local.disk_blobs import DiskBlobs
from chalicelib.local.system_clock import SystemClock
from chalicelib.registry.names import Digest

blobs = DiskBlobs(Path(sys.argv[1]), b"s" * 32, SystemClock())
for number in range(1_000_000):
    content = b"%d," % number * 20_000
    for offset in range(0, len(content), 50_000):
        blobs.append(f"data/{number}", offset, content[offset : offset + 50_000])
    assert blobs.prove(f"data/{number}", Digest.of(content)) == len(content)
    print(number, flush=True)
"""


def test_whatever_was_acknowledged_outlives_a_kill(tmp_path: Path, clock: FrozenClock) -> None:
    for wanted in (1, 7, 20):
        folder = tmp_path / str(wanted)
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder)], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            acknowledged = [child.stdout.readline() for _ in range(wanted)]
            child.kill()
            acknowledged += child.stdout.readlines()
        numbers = [int(line) for line in acknowledged if line.endswith(b"\n")]
        assert numbers == list(range(len(numbers)))
        blobs = DiskBlobs(folder, SECRET, clock)
        for number in numbers:
            assert blobs.prove(f"data/{number}", Digest.of(b"%d," % number * 20_000))
            with pytest.raises(WrongOffset):
                blobs.append(f"data/{number}", 0, b"")
        assert len(list(blobs.list(""))) - len(numbers) in {0, 1}
        blobs.close()


# ------------------------------------------------------------------------------------------------------------- full disk


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("offset", [3, 8])
def test_a_full_disk_cuts_off_half_an_append(blobs: DiskBlobs, disk: RecordingDisk, code: int, offset: int) -> None:
    blobs.append("data/x", 0, b"received")
    disk.write_at_most = 2
    disk.failures["write"] = 2, code
    with pytest.raises(StoreFull):
        blobs.append("data/x", offset, b"more bytes")
    assert content_of(blobs, "data/x") == b"received"[:offset]
    assert blobs.append("data/x", offset, b"!") == offset + 1
    assert blobs.prove("data/x", Digest.of(b"received"[:offset] + b"!")) == offset + 1


def test_an_upload_that_found_no_room_leaves_nothing(blobs: DiskBlobs, disk: RecordingDisk) -> None:
    disk.write_at_most = 2
    disk.failures["write"] = 2, errno.ENOSPC
    with pytest.raises(StoreFull):
        blobs.append("data/x", 0, b"more bytes")
    assert blobs.stat("data/x") is None
    disk.failures["open"] = 0, errno.ENOSPC
    with pytest.raises(StoreFull):
        blobs.append("data/x", 0, b"more bytes")
    assert blobs.append("data/x", 0, b"more bytes") == 10


@pytest.mark.parametrize("operation", ["open", "write", "fsync", "rename"])
def test_a_put_that_found_no_room_changes_nothing(blobs: DiskBlobs, disk: RecordingDisk, operation: str) -> None:
    blobs.put("data/x", b"before")
    disk.failures[operation] = 0, errno.ENOSPC
    with pytest.raises(StoreFull):
        blobs.put("data/x", b"after")
    assert content_of(blobs, "data/x") == b"before"
    blobs.delete("data/x")
    assert list(blobs.list("")) == []


def test_other_failures_pass_and_leave_what_was_received(blobs: DiskBlobs, disk: RecordingDisk) -> None:
    blobs.append("data/x", 0, b"received")
    disk.write_at_most = 2
    disk.failures["write"] = 1, errno.EIO
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        blobs.append("data/x", 8, b"more")
    assert content_of(blobs, "data/x") == b"received"


# ------------------------------------------------------------------------------------------------------- restarts, limits


def test_what_no_record_names_is_dropped_but_nothing_that_is_sealed(blobs: DiskBlobs) -> None:
    for key in ("data/known", "data/left", "data/deep/left"):
        blobs.append(key, 0, b"staged")
    blobs.append("data/sealed", 0, b"layer")
    blobs.prove("data/sealed", Digest.of(b"layer"))
    assert blobs.drop_staged(unless=lambda key: key == "data/known") == 2
    assert [stored.key for stored in blobs.list("")] == ["data/known", "data/sealed"]


def test_an_upload_goes_on_after_a_restart(tmp_path: Path, clock: FrozenClock) -> None:
    DiskBlobs(tmp_path, SECRET, clock).append("data/x", 0, b"first ")
    restarted = DiskBlobs(tmp_path, SECRET, clock)
    assert restarted.append("data/x", 6, b"second") == 12
    assert restarted.prove("data/x", Digest.of(b"first second")) == 12


def test_a_file_that_another_process_deleted_is_not_written_to(tmp_path: Path, clock: FrozenClock) -> None:
    here, elsewhere = DiskBlobs(tmp_path, SECRET, clock), DiskBlobs(tmp_path, SECRET, clock)
    here.append("data/x", 0, b"first")
    elsewhere.delete("data/x")
    with pytest.raises(WrongOffset):
        here.append("data/x", 5, b"second")
    assert here.append("data/x", 0, b"again") == 5
    assert elsewhere.prove("data/x", Digest.of(b"again")) == 5


def test_many_uploads_keep_few_files_open(tmp_path: Path, clock: FrozenClock) -> None:
    blobs, opened = DiskBlobs(tmp_path, SECRET, clock, open_files=4), Path("/proc/self/fd")
    before = len(list(opened.iterdir()))
    for step in range(3):
        for number in range(20):
            blobs.append(f"data/{number}", step, b"x")
    assert len(list(opened.iterdir())) <= before + 4
    blobs.close()
    assert len(list(opened.iterdir())) == before
    assert all(blobs.prove(f"data/{number}", Digest.of(b"xxx")) == 3 for number in range(20))


def test_locks_are_for_keys_in_use_only() -> None:
    locks = KeyLocks()
    for number in range(100):
        with locks.hold(f"data/{number}"), locks.hold("data/other"):
            assert len(locks) == 2
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: _lock_once(locks), range(100)))
    assert len(locks) == 0


def _lock_once(locks: KeyLocks) -> None:
    with locks.hold("data/x"):
        assert len(locks) == 1


def test_a_key_is_listed_once_whatever_a_crash_left(tmp_path: Path, clock: FrozenClock) -> None:
    blobs = DiskBlobs(tmp_path, SECRET, clock)
    blobs.put("data/x", b"sealed")
    for ending in ("staged", "new"):
        (tmp_path / "data" / f"x~{ending}").write_bytes(b"leftover")
    assert [(found.key, found.size) for found in blobs.list("")] == [("data/x", 6)]
    assert content_of(blobs, "data/x") == b"sealed"
    blobs.delete("data/x")
    assert list(tmp_path.iterdir()) == []


def test_empty_folders_go_and_strangers_stay(tmp_path: Path, clock: FrozenClock) -> None:
    blobs = DiskBlobs(tmp_path, SECRET, clock)
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "readme").write_text("not a blob")
    blobs.put("direct/repository/digest/upload", b"x")
    assert [found.key for found in blobs.list("")] == ["direct/repository/digest/upload"]
    blobs.delete("direct/repository/digest/upload")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lost+found", "readme"]


def test_files_are_their_owners_alone(tmp_path: Path, clock: FrozenClock) -> None:
    blobs = DiskBlobs(tmp_path, SECRET, clock)
    proven(blobs, KEY, b"layer")
    assert [path.stat().st_mode & 0o777 for path in tmp_path.rglob("*~*")] == [0o600]


# ----------------------------------------------------------------------------------------------------------------- links


def test_a_link_is_a_path_of_unreserved_characters(blobs: DiskBlobs) -> None:
    shown = Shown("text/plain; charset=utf-8", str(Digest.of(b"")))
    path, _, query = blobs.link(KEY, "GET", shown).partition("?")
    assert path == LINK_PATH + KEY
    assert set(query) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%&=")
    assert blobs.linked("GET", path, query) == Linked(KEY, shown)


def test_every_character_of_a_link_counts(blobs: DiskBlobs) -> None:
    url = blobs.link(KEY, "GET", Shown("text/plain", str(Digest.of(b""))))
    for place in range(len(url)):
        for other in ("x" + url[place], "", "0" if url[place] != "0" else "1", "é", "%", "&", "?"):
            altered = url[:place] + other + url[place + 1 :]
            path, _, query = altered.partition("?")
            assert altered == url or blobs.linked("GET", path, query) is None


@pytest.mark.parametrize(
    "query", ["", "&&&", "expires=&type=&digest=&mac=", "expires=1&type=%ff&digest=%zz&mac=é", "\ud800&&&"]
)
def test_nonsense_is_no_link(blobs: DiskBlobs, query: str) -> None:
    assert blobs.linked("GET", LINK_PATH + KEY, query) is None
    assert blobs.linked("GET", "/v2/", query) is None


def test_fields_cannot_pass_for_one_another(blobs: DiskBlobs) -> None:
    links = {
        blobs.link("a", "GET", shown).partition("mac=")[2]
        for shown in (Shown("b", "c"), Shown("bc", ""), Shown("", "bc"), Shown("b&digest=c", ""), Shown("b\nc", ""))
    }
    assert len(links) == 5


def test_another_secret_makes_other_links(tmp_path: Path, blobs: DiskBlobs, clock: FrozenClock) -> None:
    other = DiskBlobs(tmp_path / "blobs", b"t" * 32, clock)
    assert _fetch(other, blobs.link(KEY, "GET", Shown()), "GET").status == 403


def test_a_large_upload_is_hashed_along(tmp_path: Path, clock: FrozenClock) -> None:
    """40 MiB: past the point where write-back begins, and read by ranges afterwards."""
    blobs, block, hashing = DiskBlobs(tmp_path, SECRET, clock), os.urandom(1 << 20), hashlib.sha256()
    for number in range(40):
        blobs.append(KEY, number << 20, block)
        hashing.update(block)
    assert blobs.prove(KEY, Digest("sha256", hashing.hexdigest())) == 40 << 20
    assert content_of(blobs, KEY, (1 << 20) - 5, (1 << 20) + 5) == block[-5:] + block[:5]
