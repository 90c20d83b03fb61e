"""Objects in a folder: a local disk or a network mount, written by one process with many threads.

A key is a path below the folder, and its file says by its ending that it is whole; ``~`` is in no key, so nothing can collide:

    <folder>/
      data/
        <upload>/
          <object>~sealed    put, assembled or sealed: fsynced, then renamed to this name, then the folders fsynced; never
                             written again
      ~staged/
        <hash of the key>      grows by append; nobody has vouched for it
        <hash of the key>~new  half of a put or of an assembly

So a crash at any moment leaves either no object or the whole of it, and what was answered outlives it. What lies in
``~staged`` then is of no use to anybody, and a start drops it (``drop_staged``).
"""

from __future__ import annotations

import hashlib
import heapq
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

from chalicelib.local.disk import Disk, SystemDisk, create_file, full_disk_told, rename_into_folder, write_all
from chalicelib.local.held import KeyLocks
from chalicelib.local.links import Linked, Links
from chalicelib.local.staged import WRITE_BACK, StagedFiles
from chalicelib.registry.keys import checked_key, checked_prefix
from chalicelib.registry.ports import BlobMissing, Clock, Piece, ProofLong, Sealed, Shown, Stored, WrongOffset

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from chalicelib.registry.names import Digest

OPEN_FILES = 64
"""Staged files kept open between appends: a network mount flushes on each close. A process may often open 1,024 at all."""

RUNNING_HASHES = 4096
"""Staged files whose hash runs along, below 1 KB each. One beyond is read again when it is sealed."""

NAMES_AT_ONCE = 50_000
"""Names of one folder that ``list`` holds in memory at most."""

COPIED_AT_ONCE = 1 << 20
"""Bytes of a piece that ``assemble`` holds in memory."""

SEALED = "~sealed"
"""How the name of a whole object's file ends."""


class DiskBlobs:
    """The BlobStore and Staging of one machine; see the module's docstring for the files.

    ``link_secret`` (32 random bytes) signs links, so it has to outlive a restart. One process owns the folder: writers of a
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
        self._disk: Disk = disk or SystemDisk()
        self._names_at_once = names_at_once
        self._locks = KeyLocks()
        self._staged = StagedFiles(folder, self._disk, open_files, running_hashes)
        self._lasting: set[Path] = set()

    # ------------------------------------------------------------------------------------------------------- staging

    def append(self, key: str, offset: int, content: bytes) -> int:
        """See Staging. Nothing is fsynced."""
        checked_key(key)
        with self._locks.hold(key), full_disk_told():
            size = self._staged.size(key)
            if size is None and (sealed := self.stat(key)):
                raise WrongOffset(sealed.size)
            if not 0 <= offset <= (size or 0):
                raise WrongOffset(size or 0)
            self._staged.append(key, size, offset, content)
            return offset + len(content)

    def seal(self, key: str) -> Sealed:
        """See Staging. Reads the bytes only if they did not all come through this process in order."""
        path = self._path(key)
        with self._locks.hold(key), full_disk_told():
            if finished := self._staged.finish(key):
                self._publish(finished.path, path)
                return Sealed(finished.size, finished.sha256)
            size, sha256 = self._read_through(key, "sha256")
            self._fsync_again(path)
            return Sealed(size, sha256)

    def drop_staged(self) -> int:
        """Remove all that is staged, and halves of objects; how many files there were. Only while nobody writes: it is for the
        start, when nobody will go on with them."""
        return self._staged.delete_all()

    # ------------------------------------------------------------------------------------------------------- objects

    def put(self, key: str, content: bytes) -> None:
        """See BlobStore. Written beside, then renamed into place: a reader sees all of it or none."""
        path = self._path(key)
        with self._locks.hold(key), full_disk_told(), self._new(key) as (new, file):
            write_all(self._disk, file, content, 0)
            self._disk.fsync(file)
            self._staged.delete(key)
            self._publish(new, path)

    def check(self, key: str, digest: Digest, *, limit: int | None = None) -> int | None:
        """See BlobStore. Reads the bytes."""
        path = self._path(key)
        with self._locks.hold(key), full_disk_told():
            if limit is not None and (stored := self.stat(key)) and stored.size > limit:
                raise ProofLong
            size, found = self._read_through(key, digest.algorithm)
            if found != digest.hex:
                return None
            self._fsync_again(path)
            return size

    def assemble(self, pieces: Sequence[Piece], key: str, digest: Digest) -> int | None:
        """See BlobStore. Copies the pieces, hashing along."""
        path, hashing = self._path(key), hashlib.new(digest.algorithm)
        for piece in pieces:  # told before anything is copied
            stored = self.stat(piece.key)
            if stored is None or stored.size != piece.size:
                raise BlobMissing(piece.key)
        with self._locks.hold(key), full_disk_told(), self._new(key) as (new, file):
            size = self._copy(pieces, file, hashing)
            if hashing.hexdigest() != digest.hex:
                return None
            self._disk.fsync(file)
            self._publish(new, path)
            return size

    def delete(self, key: str) -> None:
        """See BlobStore. Folders left empty go too, but the uppermost; a deletion may come undone in a power cut, as garbage to
        collect."""
        path = self._path(key)
        with self._locks.hold(key):
            self._staged.delete(key)
            path.unlink(missing_ok=True)
            folder = path.parent
            with suppress(OSError):  # not empty, or gone: somebody else's
                while self._folder not in {folder, folder.parent}:
                    folder.rmdir()
                    folder = folder.parent

    def close(self) -> None:
        """Close the files kept open between appends; the store goes on working."""
        self._staged.close()

    # ------------------------------------------------------------------------------------------------------- reading

    def stat(self, key: str) -> Stored | None:
        """See BlobStore."""
        with suppress(FileNotFoundError):
            found = self._path(key).stat()
            return Stored(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))
        return None

    def open(self, key: str, start: int = 0, end: int | None = None) -> IO[bytes]:
        """See BlobStore. Of all bytes to the last the stream is a plain file, fit for ``sendfile``."""
        file = self._opened(key)
        if end is not None:
            return io.BufferedReader(_Range(file, start, end), 1 << 16)
        file.seek(start)
        return file

    def list(self, prefix: str, after: str = "") -> Iterator[Stored]:
        """See BlobStore. What is put or deleted meanwhile may be missed. Raises ValueError as for a key."""
        base, slash, begins = checked_prefix(prefix).rpartition("/")
        base += slash
        if checked_prefix(after) > base and not after.startswith(base):
            return iter(())
        return self._walk(self._folder / base, base, begins, after.removeprefix(base) if after.startswith(base) else "")

    # --------------------------------------------------------------------------------------------------------- links

    def link(self, key: str, method: str, shown: Shown) -> str:
        """See BlobStore: a path on the registry's own host."""
        return self._links.make(checked_key(key), method, shown)

    def linked(self, method: str, path: str, query: str) -> Linked | None:
        """What this request's link stands for, or None; see ``Links.read``."""
        return self._links.read(method, path, query)

    # ------------------------------------------------------------------------------------------------- files, folders

    def _path(self, key: str) -> Path:
        return self._folder / (checked_key(key) + SEALED)

    def _opened(self, key: str) -> io.FileIO:
        """The object's file, unbuffered. Raises BlobMissing."""
        try:
            return self._path(key).open("rb", buffering=0)
        except FileNotFoundError:
            raise BlobMissing(key) from None

    @contextmanager
    def _new(self, key: str) -> Iterator[tuple[Path, int]]:
        """A new file, empty, for the block to write and publish; it is gone if the block does not."""
        path = self._staged.path(key)
        path = path.with_name(path.name + "~new")
        file = create_file(self._disk, self._folder, path, os.O_TRUNC)
        try:
            yield path, file
        finally:
            os.close(file)
            path.unlink(missing_ok=True)

    def _publish(self, written: Path, path: Path) -> None:
        """Make the object of a file that was written and fsynced."""
        rename_into_folder(self._disk, self._folder, written, path)
        self._fsync_folders(path)

    def _fsync_folders(self, path: Path) -> None:
        """Make the file's name durable, and those of its folders: an earlier run may have made them and crashed."""
        below = path
        for folder in path.parents:
            self._disk.fsync_folder(folder)
            if folder in self._lasting:
                return
            if folder == self._folder:
                break
            below = folder
        if below != path:
            # Uppermost folders are never removed, so that their names have to be made durable but once.
            self._lasting.add(below)

    def _fsync_again(self, path: Path) -> None:
        """Fsync an object and its name once more: the first time may have failed or been cut short."""
        file = self._disk.open(path, os.O_RDONLY)
        try:
            self._disk.fsync(file)
        finally:
            os.close(file)
        self._fsync_folders(path)

    def _read_through(self, key: str, algorithm: str) -> tuple[int, str]:
        """Size and hash in hex of an object's bytes. Raises BlobMissing."""
        with self._opened(key) as content:
            return os.fstat(content.fileno()).st_size, hashlib.file_digest(content, algorithm).hexdigest()

    def _copy(self, pieces: Sequence[Piece], file: int, hashing: hashlib._Hash) -> int:
        """Write the pieces one after the other into the file; how many bytes. Raises BlobMissing."""
        block, end, begun = memoryview(bytearray(COPIED_AT_ONCE)), 0, 0
        for piece in pieces:
            start = end
            with self._opened(piece.key) as source:
                while read := source.readinto(block):
                    hashing.update(block[:read])
                    write_all(self._disk, file, block[:read], end)
                    end += read
                    if end - begun >= WRITE_BACK:
                        self._disk.begin_write_back(file, begun, end - begun)
                        begun = end
            if end - start != piece.size:
                raise BlobMissing(piece.key)
        return end

    def _walk(self, folder: Path, base: str, begins: str, after: str) -> Iterator[Stored]:
        """Objects below ``folder`` in order whose keys, but for ``base``, begin so and come after: a folder sorts as its name
        and "/", which is how its keys go on."""
        seen = after.partition("/")[0]
        while names := _next_names(folder, begins, seen, self._names_at_once):
            for name in names:
                if name.endswith("/") and (name > after or after.startswith(name)):
                    yield from self._walk(folder / name, base + name, "", after[len(name) :] if name <= after else "")
                elif name > after and (stored := self.stat(base + name)):
                    yield stored
            seen = names[-1]


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
            elif ending == SEALED[1:]:
                yield name


def _next_names(folder: Path, begins: str, seen: str, most: int) -> list[str]:
    """The next names in order. The folder is read once for each so many names rather than held whole."""
    return heapq.nsmallest(most, (name for name in _names(folder) if name > seen and name.startswith(begins)))
