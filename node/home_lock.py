"""One process a home: the daemon, or a command while no daemon runs."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swarmd.protocol.faults import LocalFault


@contextmanager
def home_lock(home: Path) -> Iterator[None]:
    """One daemon a home. LocalFault `already-running` naming the other's pid."""
    try:
        fd = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        raise LocalFault("no-home", f"{home} does not exist", fix="run swarmd init") from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            raise LocalFault(
                "already-running",
                f"a daemon (pid {pid}) runs on {home}",
                fix="stop it, or use another --home",
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)
