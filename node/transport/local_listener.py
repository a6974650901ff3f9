"""The listening Unix socket: private, one daemon per path, a stale one replaced in one atomic step."""

import contextlib
import fcntl
import os
import socket
import stat
from pathlib import Path
from types import TracebackType

from swarmd.node.transport.local_wire import short_address
from swarmd.protocol.faults import LocalFault

_BACKLOG = 128


class Listener:
    """A context manager that owns `path` while open. Creates its folder (0700) if needed.

    A lock on `path.lock`, held to the end and freed by the kernel even after kill -9, says which daemon
    owns the path; a socket found there without it is stale. The new socket is bound under another name
    and renamed over it, so a client finds either nothing or a socket that listens.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_fd: int | None = None
        self._inode: int | None = None
        self.socket: socket.socket

    def __enter__(self) -> "Listener":
        _private_folder(self.path.parent)
        try:
            self._lock_fd = _lock(self.path)
            _refuse_foreign(self.path)
            self.socket = self._bind()
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()
        with contextlib.suppress(OSError):
            if os.lstat(self.path).st_ino == self._inode:
                os.unlink(self.path)
        self._unlock()

    def _bind(self) -> socket.socket:
        fresh = self.path.with_name(f".{self.path.name}.new")
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with short_address(fresh) as address:
                sock.bind(address)
            os.chmod(fresh, 0o600)
            sock.listen(_BACKLOG)
            sock.setblocking(False)
            os.replace(fresh, self.path)
            self._inode = os.lstat(self.path).st_ino
        except OSError as error:
            sock.close()
            raise LocalFault(
                "socket-folder",
                f"cannot make the socket {self.path}: {error}",
                fix="check the folder's file system",
            ) from None
        except BaseException:
            sock.close()
            raise
        return sock

    def _unlock(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None


def _private_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if found.st_uid != os.geteuid():
            raise LocalFault(
                "socket-folder",
                f"{folder} belongs to another user",
                fix="choose a home of your own with --home",
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            # Not ours to change: it may be /tmp.
            raise LocalFault(
                "socket-folder",
                f"{folder} is open to other users",
                fix=f"run `chmod 700 {folder}`, or use --home",
            )
    except OSError as error:
        raise LocalFault(
            "socket-folder", f"cannot use {folder}: {error.strerror}", fix="choose another home with --home"
        ) from None


def _lock(path: Path) -> int:
    lock_path = path.with_name(path.name + ".lock")
    try:
        fd = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise LocalFault("socket-folder", f"cannot open {lock_path}: {error.strerror}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise _already_running(path) from None
    return fd


def _refuse_foreign(path: Path) -> None:
    """Leave alone what is no stale socket of ours: another kind of file, or a socket somebody answers on."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise LocalFault(
            "socket-path-taken",
            f"{path} is there and is no socket",
            fix="move it away, or choose another home",
        )
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.setblocking(False)
    try:
        with short_address(path) as address:
            probe.connect(address)
    except BlockingIOError:
        raise _already_running(path) from None  # its backlog is full, so somebody listens
    except OSError:
        return
    finally:
        probe.close()
    raise _already_running(path)


def _already_running(path: Path) -> LocalFault:
    return LocalFault(
        "already-running",
        f"another daemon serves {path}",
        fix="stop it first, or give this one a home of its own with --home",
    )
