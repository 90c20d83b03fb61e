"""Files that grow by appends, before they are objects: one for each key, in a folder of their own."""

from __future__ import annotations

import hashlib
import io
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from chalicelib.local.disk import Disk, create_file, write_all
from chalicelib.local.held import Kept

WRITE_BACK = 8 << 20
"""Bytes after which the kernel is asked to begin writing, so that the fsync of 5 GB at the end finds little left to do."""


class Finished(NamedTuple):
    """A staged file whose bytes are durable: where it is, its size in bytes, and its SHA-256 in hex."""

    path: Path
    size: int
    sha256: str


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


class StagedFiles:
    """What is staged below ``root``, the store's folder. Whoever calls about a key holds that key's lock.

    Files stay open and hashes run along between appends, as many as ``open_files`` and ``running_hashes`` say. A file's name
    is the hash of its key: keys are longer than names may be.
    """

    def __init__(self, root: Path, disk: Disk, open_files: int, running_hashes: int) -> None:
        self._root = root
        self._folder = root / "~staged"
        self._disk = disk
        self._opened: Kept[_Opened] = Kept(open_files)
        self._running: Kept[_Running] = Kept(running_hashes)

    def path(self, key: str) -> Path:
        """The key's staged file; a name that begins with it is the key's as well."""
        return self._folder / hashlib.sha256(key.encode()).hexdigest()

    def size(self, key: str) -> int | None:
        """Bytes staged under the key, None if nothing is, not even an empty file."""
        try:
            return self.path(key).stat().st_size
        except FileNotFoundError:
            return None

    def append(self, key: str, size: int | None, offset: int, content: bytes) -> None:
        """Write the content at ``offset`` and cut off what lies beyond; ``size`` is what ``size()`` told. If it fails, the
        bytes before ``offset`` are still there, and nothing comes into being."""
        running = self._running.take(key)
        opened = self._open(self.path(key))
        try:
            if size and offset < size:
                self._disk.truncate(opened.file, offset)
            write_all(self._disk, opened.file, content, offset)
            self._begin_write_back(opened, offset + len(content))
        except BaseException:
            self._undo(opened, None if size is None else offset)
            raise
        if oldest := self._opened.keep(str(opened.path), opened):
            os.close(oldest.file)
        self._hash_along(key, running, offset, content)

    def finish(self, key: str) -> Finished | None:
        """Make the staged bytes durable and close their file, to be renamed; None if nothing is staged. They are read only if
        they did not all come through this process in order."""
        if self.size(key) is None:
            return None
        running, opened = self._running.take(key), self._open(self.path(key))
        try:
            size = os.fstat(opened.file).st_size
            sha256 = running.sha256.hexdigest() if running and running.size == size else _sha256_of(opened.file)
            try:
                self._disk.fsync(opened.file)
            except OSError:
                # The kernel may now count bytes as written that never were, and the next fsync would succeed: these bytes
                # can never be vouched for again, so they have to come anew.
                opened.path.unlink(missing_ok=True)
                raise
        finally:
            os.close(opened.file)
        return Finished(opened.path, size, sha256)

    def delete(self, key: str) -> None:
        """Remove what is staged under the key, if anything."""
        self._running.take(key)
        path = self.path(key)
        if opened := self._opened.take(str(path)):
            os.close(opened.file)
        path.unlink(missing_ok=True)

    def delete_all(self) -> int:
        """Remove every file of the folder, by whatever name; how many there were. Only while nobody writes."""
        self.close()
        gone = 0
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                Path(entry).unlink()
                gone += 1
        return gone

    def close(self) -> None:
        """Close the files kept open."""
        for opened in self._opened.take_all():
            os.close(opened.file)

    def _open(self, path: Path) -> _Opened:
        """The staged file, open; it comes into being. The caller closes it or keeps it."""
        if opened := self._opened.take(str(path)):
            with suppress(FileNotFoundError):
                if path.stat().st_ino == opened.inode:
                    return opened
            os.close(opened.file)  # another process deleted the file that was kept open
        file = create_file(self._disk, self._root, path)
        found = os.fstat(file)
        return _Opened(path, file, found.st_ino, found.st_size)

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


def _sha256_of(file: int) -> str:
    """The SHA-256 in hex of all the open file's bytes, read block by block."""
    with io.FileIO(file, closefd=False) as content:
        content.seek(0)
        return hashlib.file_digest(content, "sha256").hexdigest()
