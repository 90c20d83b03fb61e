"""The memory of a server while something goes on."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.endurance.server import Server

_EVERY_SECONDS = 0.05
_PROC = Path("/proc")


class MemoryWatch:
    """The peak of all the server's processes together, looked at every 50 ms until the block is left.

    ``peak`` is the sum of their proportional set sizes (a page that two share counts once); ``highest`` is the kernel's own
    record of the server process's resident memory since it began, which misses no moment. Both in bytes.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory")
        self.peak = 0
        self.samples = 0
        self.highest = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self.highest = _kilobytes(_PROC / str(self._server.pid) / "status", "VmHWM:")

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY_SECONDS):
            held = sum(_kilobytes(_PROC / str(process) / "smaps_rollup", "Pss:") for process in self._server.processes())
            self.peak = max(self.peak, held)
            self.samples += 1


def _kilobytes(path: Path, field: str) -> int:
    """The value of a line of a file of /proc, in bytes; 0 for a process that has ended."""
    try:
        lines = path.read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)
