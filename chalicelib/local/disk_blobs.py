"""Blobs in a folder: a local disk or a network mount, written by one process with many threads.

A key is a path below the folder, and its file says by its ending what it is; ``~`` is in no key, so nothing can collide:

    <folder>/
      data/
        <upload>~staged      grows by append; nobody has vouched for it
        <upload>~sealed      proven or put: fsynced, then renamed to this name, then the folder fsynced; never written again
        <upload>~new         half of a put; a crash may leave it, the next put or delete of the key takes it away

So a crash at any moment leaves either the staged file or the whole sealed one, and what ``prove`` answered outlives it.
"""

from __future__ import annotations

import hashlib
import heapq
import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

from chalicelib.local.disk import Disk, SystemDisk, full_disk_told
from chalicelib.local.held import Kept, KeyLocks
from chalicelib.local.links import Linked, Links
from chalicelib.registry.keys import checked_key, checked_prefix
from chalicelib.registry.ports import BlobMissing, Clock, Shown, Stored, WrongOffset

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from chalicelib.registry.names import Digest

OPEN_FILES = 64
"""Staged files kept open between appends: a network mount flushes on each close. A process may often open 1,024 at all."""

RUNNING_HASHES = 4096
"""Uploads whose hash runs along, below 1 KB each. One beyond is read again when it is proven."""

WRITE_BACK = 8 << 20
"""Bytes after which the kernel is asked to begin writing, so that the fsync of 5 GB at the end finds little left to do."""

NAMES_AT_ONCE = 50_000
"""Names of one folder that ``list`` holds in memory at most."""

_STAGED, SEALED, _NEW = "~staged", "~sealed", "~new"


@dataclass(slots=True)
class _Running:
    """The SHA-256 of a staged file's first ``size`` bytes, all written by this process."""

    sha256: hashlib._Hash
    size: int = 0


@dataclass(slots=True)
class _Opened:
    """A staged file open for writing; write-back was begun for the bytes before ``begun``."""

    path: Path
    file: int
    inode: int
    begun: int


class DiskBlobs:
    """The BlobStore of one machine; see the module's docstring for the files.

    ``link_secret`` (32 random bytes) signs links, so it has to outlive a restart. One process owns the folder: appends to a
    key are put in order by a lock in memory. Reading and deleting from another process is fine. ``open_files``,
    ``running_hashes`` and ``names_at_once`` are the limits of those names above.
    """

    def __init__(
        self,
        folder: Path,
        link_secret: bytes,
        clock: Clock,
        disk: Disk | None = None,
        *,
        open_files: int = OPEN_FILES,
        running_hashes: int = RUNNING_HASHES,
        names_at_once: int = NAMES_AT_ONCE,
    ) -> None:
        self._folder = folder
        self._links = Links(link_secret, clock)
        self._clock = clock
        self._disk: Disk = disk or SystemDisk()
        self._names_at_once = names_at_once
        self._locks = KeyLocks()
        self._opened: Kept[_Opened] = Kept(open_files)
        self._running: Kept[_Running] = Kept(running_hashes)

    # ------------------------------------------------------------------------------------------------------- writing

    def append(self, key: str, offset: int, content: bytes) -> int:
        """See BlobStore. Nothing is fsynced: an upload cut short by a power cut goes on from what ``stat`` finds."""
        path = self._path(key, _STAGED)
        with self._locks.hold(key), full_disk_told():
            size = self._staged_size(key)
            if size is None and (sealed := self.stat(key)):
                raise WrongOffset(sealed.size)
            if not 0 <= offset <= (size or 0):
                raise WrongOffset(size or 0)
            running = self._running.take(key)
            opened = self._open_staged(path)
            try:
                if size and offset < size:
                    self._disk.truncate(opened.file, offset)
                self._write(opened.file, content, offset)
                self._begin_write_back(opened, offset + len(content))
            except BaseException:
                self._undo(opened, None if size is None else offset)
                raise
            self._keep_open(opened)
            self._hash_along(key, running, offset, content)
            return offset + len(content)

    def prove(self, key: str, digest: Digest) -> int | None:
        """See BlobStore. Reads the bytes only if they did not all come through this process in order, or for sha512."""
        staged, sealed = self._path(key, _STAGED), self._path(key, SEALED)
        with self._locks.hold(key), full_disk_told():
            if self._staged_size(key) is None:
                return self._prove_again(key, sealed, digest)
            running, opened = self._running.take(key), self._open_staged(staged)
            try:
                size = os.fstat(opened.file).st_size
                good = _hash(opened.file, size, running, digest.algorithm) == digest.hex
                if good:
                    self._seal(opened.file, staged, sealed)
            except BaseException:
                os.close(opened.file)
                raise
            if good:
                os.close(opened.file)
                return size
            self._keep_open(opened)
            if running:
                self._running.keep(key, running)
            return None

    def put(self, key: str, content: bytes) -> None:
        """See BlobStore. Written beside, then renamed into place: a reader sees all of it or none."""
        new, sealed = self._path(key, _NEW), self._path(key, SEALED)
        with self._locks.hold(key), full_disk_told():
            file = self._create(new, os.O_TRUNC)
            try:
                self._write(file, content, 0)
                self._disk.fsync(file)
            except BaseException:
                new.unlink(missing_ok=True)
                raise
            finally:
                os.close(file)
            self._forget(key)
            self._path(key, _STAGED).unlink(missing_ok=True)
            self._disk.rename(new, sealed)
            self._fsync_folders(sealed)

    def delete(self, key: str) -> None:
        """See BlobStore. Folders left empty go too; a deletion may come undone in a power cut, as garbage to collect."""
        paths = [self._path(key, ending) for ending in (_STAGED, SEALED, _NEW)]
        with self._locks.hold(key):
            self._forget(key)
            for path in paths:
                path.unlink(missing_ok=True)
            folder = paths[0].parent
            with suppress(OSError):  # not empty, or gone: somebody else's
                while folder != self._folder:
                    folder.rmdir()
                    folder = folder.parent

    def drop_staged(self, unless: Callable[[str], bool]) -> int:
        """Remove what is staged under keys that ``unless`` does not know; how many there were. Only while nobody writes: it
        is for the start, when a crash, or an upload cancelled while its bytes came, has left some that no record names."""
        dropped = 0
        for path in self._folder.rglob(f"*{_STAGED}"):
            if not unless(path.relative_to(self._folder).as_posix().removesuffix(_STAGED)):
                path.unlink()
                dropped += 1
        return dropped

    def close(self) -> None:
        """Close the files kept open between appends; the store goes on working."""
        for opened in self._opened.take_all():
            os.close(opened.file)

    # ------------------------------------------------------------------------------------------------------- reading

    def stat(self, key: str) -> Stored | None:
        """See BlobStore."""
        for path in self._places(key):
            with suppress(FileNotFoundError):
                found = path.stat()
                return Stored(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))
        return None

    def open(self, key: str, start: int = 0, end: int | None = None) -> IO[bytes]:
        """See BlobStore. Of all bytes to the last the stream is a plain file, fit for ``sendfile``."""
        for path in self._places(key):
            with suppress(FileNotFoundError):
                file = path.open("rb", buffering=0)
                if end is not None:
                    return io.BufferedReader(_Range(file, start, end), 1 << 16)
                file.seek(start)
                return file
        raise BlobMissing(key)

    def list(self, prefix: str) -> Iterator[Stored]:
        """See BlobStore. What is sealed, put or deleted meanwhile may be missed. Raises ValueError as for a key."""
        base, slash, begins = checked_prefix(prefix).rpartition("/")
        return self._walk(self._folder / base, base + slash, begins)

    # --------------------------------------------------------------------------------------------------------- links

    def link(self, key: str, method: str, shown: Shown) -> str:
        """See BlobStore: a path on the registry's own host."""
        return self._links.make(checked_key(key), method, shown)

    def linked(self, method: str, path: str, query: str) -> Linked | None:
        """What this request's link stands for, or None; see ``Links.read``."""
        return self._links.read(method, path, query)

    # ------------------------------------------------------------------------------------------------- paths, folders

    def _path(self, key: str, ending: str) -> Path:
        return self._folder / (checked_key(key) + ending)

    def _places(self, key: str) -> Iterable[Path]:
        """Where the bytes may be. Sealed twice: a prove between the first two looks moves them from one to the other."""
        sealed = self._path(key, SEALED)
        return sealed, self._path(key, _STAGED), sealed

    def _create(self, path: Path, flags: int = 0) -> int:
        if not self._folder.exists():
            self._make_folder()
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            # a delete may take the empty folder away again before the file is in it
            with suppress(FileNotFoundError):
                return self._disk.open(path, os.O_RDWR | os.O_CREAT | flags)

    def _make_folder(self) -> None:
        """Make the store's own folder, durably; those below it are made durable by each proof."""
        missing = [folder for folder in (self._folder, *self._folder.parents) if not folder.exists()]
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in missing:
            self._disk.fsync_folder(folder.parent)

    def _fsync_folders(self, path: Path) -> None:
        """Make the file's name durable, and those of its folders: an earlier run may have made them and crashed."""
        for folder in path.parents:
            self._disk.fsync_folder(folder)
            if folder == self._folder:
                return

    def _walk(self, folder: Path, base: str, begins: str) -> Iterator[Stored]:
        """Keys below ``folder`` in order: a folder sorts as its name and "/", which is how its keys go on."""
        after = ""
        while names := _next_names(folder, begins, after, self._names_at_once):
            for name in names:
                if name.endswith("/"):
                    yield from self._walk(folder / name, base + name, "")
                elif stored := self.stat(base + name):
                    yield stored
            after = names[-1]

    # ---------------------------------------------------------------------------- staged files, under their key's lock

    def _staged_size(self, key: str) -> int | None:
        try:
            return self._path(key, _STAGED).stat().st_size
        except FileNotFoundError:
            return None

    def _open_staged(self, path: Path) -> _Opened:
        """The staged file, open; it comes into being. The caller closes it or keeps it."""
        if opened := self._opened.take(str(path)):
            with suppress(FileNotFoundError):
                if path.stat().st_ino == opened.inode:
                    return opened
            os.close(opened.file)  # another process deleted the file that was kept open
        file = self._create(path)
        found = os.fstat(file)
        return _Opened(path, file, found.st_ino, found.st_size)

    def _keep_open(self, opened: _Opened) -> None:
        if oldest := self._opened.keep(str(opened.path), opened):
            os.close(oldest.file)

    def _forget(self, key: str) -> None:
        self._running.take(key)
        if opened := self._opened.take(str(self._path(key, _STAGED))):
            os.close(opened.file)

    def _write(self, file: int, content: bytes, offset: int) -> None:
        rest = memoryview(content)
        while rest:
            written = self._disk.write(file, rest, offset)
            rest, offset = rest[written:], offset + written

    def _begin_write_back(self, opened: _Opened, end: int) -> None:
        opened.begun = min(opened.begun, end)
        if end - opened.begun >= WRITE_BACK:
            self._disk.begin_write_back(opened.file, opened.begun, end - opened.begun)
            opened.begun = end

    def _undo(self, opened: _Opened, size: int | None) -> None:
        """After a failed append: close the file, cut off at ``size`` bytes or, if it was not there before (None), removed."""
        with suppress(OSError):  # what cannot be cut off now lies beyond the acknowledged bytes, and the next append does it
            if size is None:
                opened.path.unlink()
            else:
                self._disk.truncate(opened.file, size)
        os.close(opened.file)

    def _hash_along(self, key: str, running: _Running | None, offset: int, content: bytes) -> None:
        if offset == 0:
            running = _Running(hashlib.sha256())
        if running and running.size == offset:
            running.sha256.update(content)
            running.size += len(content)
            self._running.keep(key, running)

    def _seal(self, file: int, staged: Path, sealed: Path) -> None:
        try:
            self._disk.fsync(file)
        except OSError:
            # The kernel may now count bytes as written that never were, and the next fsync would succeed: these bytes
            # can never be vouched for again, so the upload has to begin anew.
            staged.unlink(missing_ok=True)
            raise
        self._disk.rename(staged, sealed)
        self._fsync_folders(sealed)

    def _prove_again(self, key: str, sealed: Path, digest: Digest) -> int | None:
        """Prove what is sealed. Its folders are fsynced once more: the first time may have failed or been cut short."""
        try:
            file = self._disk.open(sealed, os.O_RDONLY)
        except FileNotFoundError:
            raise BlobMissing(key) from None
        try:
            size = os.fstat(file).st_size
            if _hash(file, size, None, digest.algorithm) != digest.hex:
                return None
            self._disk.fsync(file)
        finally:
            os.close(file)
        self._fsync_folders(sealed)
        return size


class _Range(io.RawIOBase):
    """The bytes of a file from ``start`` up to ``end``; closing it closes the file."""

    def __init__(self, file: io.FileIO, start: int, end: int) -> None:
        self._file = file
        self._left = max(0, end - start)
        file.seek(start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        read = self._file.readinto(memoryview(buffer).cast("B")[: self._left])
        self._left -= read
        return read

    def close(self) -> None:
        self._file.close()
        super().close()


def _names(folder: Path) -> Iterator[str]:
    """Names in the folder, in no order, perhaps twice: of keys' last segments, and of folders with "/" behind them."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            name, ending = entry.name.partition("~")[::2]
            if not ending and entry.is_dir(follow_symlinks=False):
                yield name + "/"
            elif ending in {_STAGED[1:], SEALED[1:]}:
                yield name


def _next_names(folder: Path, begins: str, after: str, most: int) -> list[str]:
    """The next names in order, each once. The folder is read once for each so many names rather than held whole."""
    found = (name for name in _names(folder) if name > after and name.startswith(begins))
    return list(dict.fromkeys(heapq.nsmallest(most, found)))


def _hash(file: int, size: int, running: _Running | None, algorithm: str) -> str:
    """The hash in hex of the open file's ``size`` bytes, without reading them if the running one has seen them all."""
    if running and algorithm == "sha256" and running.size == size:
        return running.sha256.hexdigest()
    with io.FileIO(file, closefd=False) as content:
        content.seek(0)
        return hashlib.file_digest(content, algorithm).hexdigest()
