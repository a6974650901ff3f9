"""What trees of processes use (Linux): brokers fork, Celery has a pool, Ray starts a dozen."""

import os
from collections.abc import Iterable
from pathlib import Path

from swarmd.node.process_usage import stat_fields

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; nothing of a process that is gone."""
    try:
        return stat_fields(pid)
    except OSError:
        return []


def tree(roots: Iterable[int]) -> set[int]:
    """The roots that live, their children, and theirs."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(int(entry))):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found: set[int] = set()
    left = [pid for pid in roots if _stat(pid)]
    while left:
        pid = left.pop()
        if pid not in found:
            found.add(pid)
            left += children.get(pid, [])
    return found


def started_ticks(pid: int) -> int | None:
    """When it was started, which with its number tells it from any other process; None if it is gone."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def cpu_s(pids: Iterable[int]) -> float:
    """User and system CPU seconds, with those of children that have ended."""
    return sum(sum(map(int, fields[11:15])) for pid in pids if (fields := _stat(pid))) / _TICKS_PER_S


def memory_mb(pids: Iterable[int]) -> float:
    """Proportional set size: a page that several processes share counts once, for all of them together."""
    total_kb = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total_kb += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total_kb / 1024
