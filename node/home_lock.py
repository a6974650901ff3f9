"""One process a home: the daemon, or a command while no daemon runs."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swarmd.protocol.faults import LocalFault

PROBED_S = 0.2  # whoever only looks (`running_pid`) holds the lock for less
_RETRY_S = 0.02


@contextmanager
def home_lock(home: Path) -> Iterator[None]:
    """One daemon a home. LocalFault `already-running` naming the other's pid."""
    try:
        fd = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        raise LocalFault(
            "no-home", f"{home} does not exist", fix="make a node there: swarmd up --init"
        ) from None
    try:
        if not _taken(fd):
            pid = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            raise already_running(home, pid)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def already_running(home: Path, pid: int | str) -> LocalFault:
    fix = f"use it (swarmd status), stop it (swarmd --home {home} down), or use another --home"
    return LocalFault("already-running", f"a daemon (pid {pid}) runs on {home}", fix=fix)


def _taken(fd: int) -> bool:
    give_up_at = time.monotonic() + PROBED_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > give_up_at:
                return False
        time.sleep(_RETRY_S)


def running_pid(home: Path) -> int | None:
    """The process that holds the home's lock; None if nobody does."""
    try:
        fd = os.open(home / "lock", os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        text = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        return int(text) if text.isdigit() else 0  # 0: between taking the lock and writing its pid
    finally:
        os.close(fd)
