"""Processor time of a process and all below it, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
# Fields of proc_pid_stat(5) behind the name, which may itself hold spaces and brackets.
_PARENT, _TIMES, _OWN_TIMES = 1, slice(11, 15), slice(11, 13)


def own_cpu_seconds(process: int) -> float:
    """The same of the process alone."""
    return sum(map(int, _fields(process)[_OWN_TIMES])) / _TICKS


def cpu_seconds(root: int) -> float:
    """User and system time so far of ``root``, its descendants, and those of them that ended and were waited for.

    The kernel counts in hundredths of a second, so only differences of many of them say anything.
    """
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = _fields(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        parents[int(folder.name)] = int(fields[_PARENT])
        ticks[int(folder.name)] = sum(map(int, fields[_TIMES]))
    return sum(count for process, count in ticks.items() if _is_below(process, root, parents)) / _TICKS


def _fields(process: int) -> list[str]:
    return (_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()


def _is_below(process: int, root: int, parents: dict[int, int]) -> bool:
    while process not in {root, 0}:
        process = parents.get(process, 0)
    return process == root
