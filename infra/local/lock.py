"""One process per data folder: SQLite would bear two, the staged bytes and the collector would not."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from infra.local.settings import CannotStart


class AlreadyRunning(CannotStart):
    """Another process holds the folder; the message names it."""


class FolderLock:
    """An exclusive lock on ``<folder>/lock``, held until released or until the process ends, however it ends.

    The kernel drops it with the process, so a killed server leaves nothing to clean up; the pid inside the file is only
    for the message.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._descriptor = -1

    def acquire(self) -> None:
        """Take the lock or raise AlreadyRunning at once."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise AlreadyRunning(f"{self._path.parent} is in use by another slipway process (pid {holder})") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give it back. The file stays: removing it would let two processes lock two files of one name."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
