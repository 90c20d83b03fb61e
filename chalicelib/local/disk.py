"""What is asked of the operating system where order and failure matter, so that a test can write down the order."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from chalicelib.registry.ports import StoreFull


class Disk(Protocol):
    """What is asked of the operating system where order and failure matter; all may raise OSError."""

    def open(self, path: Path, flags: int) -> int:
        """A file descriptor; a file that comes into being is its owner's alone."""

    def write(self, file: int, content: memoryview, offset: int) -> int:
        """Write some of the content; how many bytes."""

    def truncate(self, file: int, size: int) -> None:
        """Cut the file off at ``size`` bytes."""

    def begin_write_back(self, file: int, offset: int, size: int) -> None:
        """Ask for these bytes to be on their way to the disk; does not wait."""

    def fsync(self, file: int) -> None:
        """Return when the file's bytes would outlive a power cut."""

    def rename(self, old: Path, new: Path) -> None:
        """Give the file its new name, over any other that has it, atomically."""

    def fsync_folder(self, folder: Path) -> None:
        """Return when the names in the folder would outlive a power cut."""


class SystemDisk:
    """The real disk."""

    def open(self, path: Path, flags: int) -> int:
        return os.open(path, flags | os.O_CLOEXEC, 0o600)

    def write(self, file: int, content: memoryview, offset: int) -> int:
        return os.pwrite(file, content, offset)

    def truncate(self, file: int, size: int) -> None:
        os.ftruncate(file, size)

    def begin_write_back(self, file: int, offset: int, size: int) -> None:
        # Python has no sync_file_range. Linux answers DONTNEED on dirty pages by starting to write them, asynchronously,
        # and drops only those already clean: the blob mostly stays in the cache for the pull that follows a push.
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file, offset, size, os.POSIX_FADV_DONTNEED)

    def fsync(self, file: int) -> None:
        os.fsync(file)

    def rename(self, old: Path, new: Path) -> None:
        old.replace(new)

    def fsync_folder(self, folder: Path) -> None:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


@contextmanager
def full_disk_told() -> Iterator[None]:
    """A full disk, or a used-up quota, within the block is StoreFull."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreFull from error
        raise


def create_file(disk: Disk, root: Path, path: Path, flags: int = 0) -> int:
    """A descriptor to read and write the file, which comes into being, and the folders down to it; ``root``, the uppermost
    that is ours, comes into being durably."""
    while True:
        with suppress(FileNotFoundError):
            return disk.open(path, os.O_RDWR | os.O_CREAT | flags)
        make_folders(disk, root, path.parent)


def make_folders(disk: Disk, root: Path, folder: Path) -> None:
    """Make what is missing of the folder and those above it. A delete may take an empty one away again at any moment."""
    if not root.exists():
        missing = [each for each in (root, *root.parents) if not each.exists()]
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in missing:
            disk.fsync_folder(each.parent)
    with suppress(FileNotFoundError):
        folder.mkdir(parents=True, exist_ok=True)


def rename_into_folder(disk: Disk, root: Path, old: Path, new: Path) -> None:
    """Give the file its new name, in a folder that comes into being."""
    while True:
        make_folders(disk, root, new.parent)
        try:
            return disk.rename(old, new)
        except FileNotFoundError:
            if not old.exists():
                raise


def write_all(disk: Disk, file: int, content: bytes | memoryview, offset: int) -> None:
    """Write the whole content at the offset."""
    rest = memoryview(content)
    while rest:
        written = disk.write(file, rest, offset)
        rest, offset = rest[written:], offset + written
