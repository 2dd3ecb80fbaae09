"""Processor time of processes, all their threads included."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def process_cpu_s(pid: int) -> float:
    """Seconds of processor time that a running process has used, user and system.

    Linux gives every process a clock, whose number clock_getcpuclockid(3) makes from the pid as
    below; it counts nanoseconds where /proc/PID/stat counts ticks of 10 ms.

    Raises:
        ProcessLookupError: No such process.
    """
    if pid == os.getpid():
        return time.process_time()
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return _ticks(pid) / _TICKS_PER_S


def cpu_of_each(pids: Iterable[int]) -> dict[int, float]:
    """:func:`process_cpu_s` of processes, those left out that have ended."""
    found = {}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            found[pid] = process_cpu_s(pid)
    return found


def total_cpu_s(pids: Iterable[int]) -> float:
    """The sum of :func:`process_cpu_s` over processes that run.

    Raises:
        ProcessLookupError: One has ended.
    """
    return sum(process_cpu_s(pid) for pid in pids)


def descendants(pid: int) -> set[int]:
    """A process and all processes below it that run now."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, left = set(), [pid]
    while left:
        one = left.pop()
        found.add(one)
        left += parents.get(one, ())
    return found


def parse_stat_ticks(stat: str) -> int:
    """User and system ticks out of the text of /proc/PID/stat."""
    # The name, field 2, is in parentheses and may hold spaces and parentheses itself.
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _ticks(pid: int) -> int:
    try:
        return parse_stat_ticks(Path(f"/proc/{pid}/stat").read_text())
    except FileNotFoundError as error:
        raise ProcessLookupError(f"process {pid} has ended") from error
