"""What a process uses, as Linux says in /proc. Elsewhere there is no /proc: OSError, as for a process that is gone."""

import os
import resource
from pathlib import Path


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; the name before it may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def cpu_seconds(pid: int, *, with_reaped: bool = False) -> float:
    """User and system CPU seconds of all its threads; `with_reaped`: and of the children that it has waited for."""
    return sum(map(int, stat_fields(pid)[11 : 15 if with_reaped else 13])) / os.sysconf("SC_CLK_TCK")


def rss_bytes(pid: int) -> int:
    """What it has in memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def own_rss_bytes() -> int:
    """The same of this process; where there is no /proc, the most that it had."""
    try:
        return rss_bytes(os.getpid())
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
