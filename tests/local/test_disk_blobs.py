"""A folder as BlobStore and Staging: the contracts, and what only a disk does: fill up, fail, lose power, lose its process."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import tracemalloc
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
from chalicelib.registry.ports import BlobMissing, BlobStore, Piece, ProofLong, Sealed, Shown, StoreFull, WrongOffset
from tests.contracts.blob_store import KEY, BlobStoreContract, Fetched, content_of, keys_of, pieces_of
from tests.contracts.staging import StagingContract, sealed, sealed_as
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


class TestDiskBlobs(BlobStoreContract, StagingContract):
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
    """Nothing is remembered between appends, so every seal reads the file."""

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

STAGED = hashlib.sha256(b"data/u/x").hexdigest()
NEW = STAGED + "~new"
FOLDERS = [("fsync_folder", "u"), ("fsync_folder", "data")]
"""What makes a name durable once something lies in ``data``."""


def test_a_seal_fsyncs_the_file_then_renames_it_then_fsyncs_the_folders(blobs: DiskBlobs, disk: RecordingDisk) -> None:
    blobs.append("data/u/x", 0, b"layer")
    disk.done.clear()
    blobs.seal("data/u/x")
    assert disk.done == [("fsync", STAGED), ("rename", "x~sealed"), *FOLDERS, ("fsync_folder", "blobs")]


def test_a_put_does_so_too(blobs: DiskBlobs, disk: RecordingDisk) -> None:
    blobs.put("data/first", b"manifest")
    disk.done.clear()
    blobs.put("data/u/x", b"manifest")
    assert disk.done == [("open", NEW), ("write", NEW), ("fsync", NEW), ("rename", "x~sealed"), *FOLDERS]


def test_an_assembly_does_so_too(blobs: DiskBlobs, disk: RecordingDisk) -> None:
    pieces = pieces_of(blobs, b"one ", b"two")
    disk.done.clear()
    blobs.assemble(pieces, "data/u/x", Digest.of(b"one two"))
    assert disk.done == [("open", NEW), *[("write", NEW)] * 2, ("fsync", NEW), ("rename", "x~sealed"), *FOLDERS]


def test_what_a_check_answers_is_durable(blobs: DiskBlobs, disk: RecordingDisk) -> None:
    blobs.put("data/u/x", b"manifest")
    disk.done.clear()
    assert blobs.check("data/u/x", Digest.of(b"manifest")) == 8
    assert disk.done[1:] == [("fsync", "x~sealed"), *FOLDERS]


def test_no_more_than_its_limit_is_read_for_a_check(blobs: DiskBlobs, disk: RecordingDisk) -> None:
    blobs.put("data/u/x", b"manifest")
    disk.done.clear()
    with pytest.raises(ProofLong):
        blobs.check("data/u/x", Digest.of(b"manifest"), limit=7)
    assert disk.done == []


def test_the_uppermost_folder_s_name_is_made_durable_once(blobs: DiskBlobs, disk: RecordingDisk) -> None:
    disk.failures["fsync_folder"] = 3, errno.EIO  # the one above the store, "u" and "data" work, the store itself does not
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        blobs.put("data/u/x", b"manifest")
    for uppermost in ("data", "other", "data"):
        blobs.put(f"{uppermost}/u/y", b"manifest")
        blobs.delete(f"{uppermost}/u/y")
    folders = [name for operation, name in disk.done if operation == "fsync_folder"]
    assert folders[-8:] == ["u", "data", "blobs", "u", "other", "blobs", "u", "data"]


def test_a_first_append_makes_the_store_itself_durable(tmp_path: Path, clock: FrozenClock, disk: RecordingDisk) -> None:
    blobs = DiskBlobs(tmp_path / "new" / "deep", SECRET, clock, disk)
    blobs.append("x", 0, b"layer")
    assert [name for operation, name in disk.done if operation == "fsync_folder"] == ["new", tmp_path.name]


def test_an_append_waits_for_no_disk(blobs: DiskBlobs, disk: RecordingDisk) -> None:
    blobs.append("data/first", 0, b"x")
    disk.done.clear()
    for offset in range(4):
        blobs.append("data/u/x", offset, b"x")
    assert disk.done == [("open", STAGED), *[("write", STAGED)] * 4]


def test_a_seal_is_repeated_in_full_if_its_end_failed(blobs: DiskBlobs, disk: RecordingDisk) -> None:
    blobs.append("data/u/x", 0, b"layer")
    disk.failures["fsync_folder"] = 0, errno.EIO
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        blobs.seal("data/u/x")
    disk.done.clear()
    assert blobs.seal("data/u/x") == sealed_as(b"layer")
    assert disk.done[1:] == [("fsync", "x~sealed"), *FOLDERS, ("fsync_folder", "blobs")]


@pytest.mark.parametrize(("code", "raised"), [(errno.EIO, OSError), (errno.ENOSPC, StoreFull)])
def test_bytes_whose_fsync_failed_are_never_vouched_for(
    blobs: DiskBlobs, disk: RecordingDisk, code: int, raised: type[Exception]
) -> None:
    blobs.append("data/x", 0, b"layer")
    disk.failures["fsync"] = 0, code
    with pytest.raises(raised):
        blobs.seal("data/x")
    with pytest.raises(BlobMissing):
        blobs.seal("data/x")
    assert blobs.append("data/x", 0, b"again") == 5
    assert blobs.seal("data/x") == sealed_as(b"again")


CHILD = """
import sys
from pathlib import Path
from chalicelib.local.disk_blobs import DiskBlobs
from chalicelib.local.system_clock import SystemClock
from chalicelib.registry.names import Digest
from chalicelib.registry.ports import Piece

blobs = DiskBlobs(Path(sys.argv[1]), b"s" * 32, SystemClock())
for number in range(1_000_000):
    content = b"%d," % number * 20_000
    for offset in range(0, len(content), 50_000):
        blobs.append(f"data/{number}/piece", offset, content[offset : offset + 50_000])
    piece = Piece(f"data/{number}/piece", blobs.seal(f"data/{number}/piece").size)
    assert blobs.assemble([piece, piece], f"data/{number}/whole", Digest.of(content + content)) == 2 * len(content)
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
            content = b"%d," % number * 20_000
            assert blobs.check(f"data/{number}/piece", Digest.of(content))
            assert blobs.check(f"data/{number}/whole", Digest.of(content + content))
        assert len(keys_of(blobs)) - 2 * len(numbers) in {0, 1, 2}
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
    assert blobs.append("data/x", offset, b"!") == offset + 1
    assert blobs.seal("data/x") == sealed_as(b"received"[:offset] + b"!")


def test_what_found_no_room_at_its_beginning_leaves_nothing(blobs: DiskBlobs, disk: RecordingDisk, tmp_path: Path) -> None:
    disk.write_at_most = 2
    disk.failures["write"] = 2, errno.ENOSPC
    with pytest.raises(StoreFull):
        blobs.append("data/x", 0, b"more bytes")
    assert files_in(tmp_path) == []
    disk.failures["open"] = 0, errno.ENOSPC
    with pytest.raises(StoreFull):
        blobs.append("data/x", 0, b"more bytes")
    assert blobs.append("data/x", 0, b"more bytes") == 10


@pytest.mark.parametrize("operation", ["fsync", "rename", "fsync_folder"])
def test_a_seal_that_found_no_room_is_told(blobs: DiskBlobs, disk: RecordingDisk, operation: str) -> None:
    blobs.append("data/x", 0, b"layer")
    disk.failures[operation] = 0, errno.ENOSPC
    with pytest.raises(StoreFull):
        blobs.seal("data/x")


@pytest.mark.parametrize("operation", ["open", "write", "fsync", "rename"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_put_that_failed_leaves_nothing(
    blobs: DiskBlobs, disk: RecordingDisk, tmp_path: Path, operation: str, code: int
) -> None:
    disk.failures[operation] = 0, code
    with pytest.raises(StoreFull if code == errno.ENOSPC else OSError):
        blobs.put("data/x", b"manifest")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("operation", ["open", "write", "fsync", "rename"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_an_assembly_that_failed_leaves_its_pieces(
    blobs: DiskBlobs, disk: RecordingDisk, tmp_path: Path, operation: str, code: int
) -> None:
    pieces = pieces_of(blobs, b"one ", b"two")
    disk.failures[operation] = 0, code
    with pytest.raises(StoreFull if code == errno.ENOSPC else OSError):
        blobs.assemble(pieces, KEY, Digest.of(b"one two"))
    assert files_in(tmp_path) == ["0~sealed", "1~sealed"]
    assert blobs.assemble(pieces, KEY, Digest.of(b"one two")) == 7


def test_an_assembly_of_other_bytes_takes_no_room(blobs: DiskBlobs, tmp_path: Path) -> None:
    pieces = pieces_of(blobs, b"one ", b"two")
    assert blobs.assemble(pieces, KEY, Digest.of(b"something else")) is None
    assert files_in(tmp_path) == ["0~sealed", "1~sealed"]


def test_other_failures_pass_and_leave_what_was_received(blobs: DiskBlobs, disk: RecordingDisk) -> None:
    blobs.append("data/x", 0, b"received")
    disk.write_at_most = 2
    disk.failures["write"] = 1, errno.EIO
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        blobs.append("data/x", 8, b"more")
    assert blobs.seal("data/x") == sealed_as(b"received")


def files_in(folder: Path) -> list[str]:
    """The names of all files below the folder."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# ------------------------------------------------------------------------------------------------------- restarts, limits


def test_a_start_drops_all_that_is_no_object(tmp_path: Path, clock: FrozenClock) -> None:
    blobs = DiskBlobs(tmp_path, SECRET, clock)
    assert blobs.drop_staged() == 0
    for key in ("data/left", "data/deep/left"):
        blobs.append(key, 0, b"staged")
    sealed(blobs, "data/sealed", b"layer")
    (tmp_path / "~staged" / NEW).write_bytes(b"half")
    assert blobs.drop_staged() == 3
    assert files_in(tmp_path) == ["sealed~sealed"]
    with pytest.raises(BlobMissing):
        blobs.seal("data/left")
    sealed(blobs, "data/left", b"again")


def test_what_is_staged_goes_on_in_another_process(tmp_path: Path, clock: FrozenClock) -> None:
    DiskBlobs(tmp_path, SECRET, clock).append("data/x", 0, b"first ")
    restarted = DiskBlobs(tmp_path, SECRET, clock)
    assert restarted.append("data/x", 6, b"second") == 12
    assert restarted.seal("data/x") == sealed_as(b"first second")


def test_a_file_that_another_process_deleted_is_not_written_to(tmp_path: Path, clock: FrozenClock) -> None:
    here, elsewhere = DiskBlobs(tmp_path, SECRET, clock), DiskBlobs(tmp_path, SECRET, clock)
    here.append("data/x", 0, b"first")
    elsewhere.delete("data/x")
    with pytest.raises(WrongOffset):
        here.append("data/x", 5, b"second")
    assert here.append("data/x", 0, b"again") == 5
    assert elsewhere.seal("data/x") == sealed_as(b"again")


def test_much_that_is_staged_keeps_few_files_open(tmp_path: Path, clock: FrozenClock) -> None:
    blobs, opened = DiskBlobs(tmp_path, SECRET, clock, open_files=4), Path("/proc/self/fd")
    before = len(list(opened.iterdir()))
    for step in range(3):
        for number in range(20):
            blobs.append(f"data/{number}", step, b"x")
    assert len(list(opened.iterdir())) <= before + 4
    blobs.close()
    assert len(list(opened.iterdir())) == before
    assert all(blobs.seal(f"data/{number}") == sealed_as(b"xxx") for number in range(20))


def test_no_file_is_left_open(tmp_path: Path, clock: FrozenClock) -> None:
    blobs, opened = DiskBlobs(tmp_path, SECRET, clock), Path("/proc/self/fd")
    before = len(list(opened.iterdir()))
    for number in range(3):
        sealed(blobs, f"{KEY}{number}", b"layer")
        pieces = pieces_of(blobs, b"one ", b"two")
        blobs.assemble(pieces, KEY, Digest.of(b"one two"))
        blobs.assemble(pieces, KEY + "2", Digest.of(b"something else"))
        blobs.check(KEY, Digest.of(b"one two"))
        blobs.append("data/x", 0, b"given up")
        blobs.delete("data/x")
    assert len(list(opened.iterdir())) == before


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


def test_empty_folders_go_and_strangers_stay(tmp_path: Path, clock: FrozenClock) -> None:
    blobs = DiskBlobs(tmp_path, SECRET, clock)
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "readme").write_text("not a blob")
    blobs.put("direct/repository/digest/upload", b"x")
    assert keys_of(blobs) == ["direct/repository/digest/upload"]
    blobs.delete("direct/repository/digest/upload")
    assert list((tmp_path / "direct").iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} >= {"lost+found", "readme"}


def test_files_are_their_owners_alone(tmp_path: Path, clock: FrozenClock) -> None:
    blobs = DiskBlobs(tmp_path, SECRET, clock)
    sealed(blobs, KEY, b"layer")
    blobs.put(KEY + "2", b"manifest")
    blobs.append(KEY + "3", 0, b"staged")
    assert [path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()] == [0o600] * 3


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


def test_a_large_body_is_hashed_along_and_assembled_in_little_memory(tmp_path: Path, clock: FrozenClock) -> None:
    """40 MiB: past the point where write-back begins, and read by ranges afterwards."""
    blobs, block, hashing = DiskBlobs(tmp_path, SECRET, clock), os.urandom(1 << 20), hashlib.sha256()
    for number in range(40):
        blobs.append("data/u/x", number << 20, block)
        hashing.update(block)
    assert blobs.seal("data/u/x") == Sealed(40 << 20, hashing.hexdigest())
    assert content_of(blobs, "data/u/x", (1 << 20) - 5, (1 << 20) + 5) == block[-5:] + block[:5]
    hashing.update(block * 40)
    tracemalloc.start()
    try:
        piece = Piece("data/u/x", 40 << 20)
        assert blobs.assemble([piece, piece], KEY, Digest("sha256", hashing.hexdigest())) == 80 << 20
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert content_of(blobs, KEY, (40 << 20) - 5, (40 << 20) + 5) == block[-5:] + block[:5]
