"""Pack files: large blocks one after another in append-only files, found through the index of the store.

SQLite writes what it stores twice (its log, then the database); a pack is written once, and only what a crash of the
machine could have torn is looked at again (docs/adr/0024-packs-beside-the-index.md). A pack knows nothing of blocks:
where each one lies and how much of a file counts is in the index, so bytes behind that are overwritten.
"""

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from swarmd.protocol.faults import LocalFault

PACK_BYTES: Final = 256 * 1_048_576
SUFFIX: Final = ".pack"
# So much may wait in the page cache before a thread begins to push it to the disk: at the end of an import there is
# little left to wait for.
WRITEBACK_BYTES: Final = 64 * 1_048_576
_OPEN_FILES: Final = 32
_IOV: Final = 512


class Packs:
    """The files of one folder. Appending is for one thread at a time; reading for any."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._lock = threading.Lock()
        self._readers: OrderedDict[int, int] = OrderedDict()  # pack -> fd, the last used at the end
        self._writer: tuple[int, int] | None = None  # (pack, fd)
        self._pushed = 0
        self._pusher = ThreadPoolExecutor(1, "swarmd-writeback")
        self._push: Future[None] | None = None

    def path(self, pack: int) -> Path:
        return self._folder / f"{pack:08d}{SUFFIX}"

    def on_disk(self) -> list[int]:
        return sorted(int(path.stem) for path in self._folder.glob(f"*{SUFFIX}") if path.stem.isdecimal())

    def append(self, pack: int, at: int, parts: Sequence[bytes | memoryview]) -> None:
        """Write `parts` from the byte `at` on. OSError when the disk is full; nothing that counts is harmed."""
        fd = self._writer_of(pack)
        os.lseek(fd, at, os.SEEK_SET)
        size = 0
        for first in range(0, len(parts), _IOV):
            group = parts[first : first + _IOV]
            wanted = sum(map(len, group))
            written = os.writev(fd, group)
            if written < wanted:
                rest = memoryview(b"".join(group))[written:]
                while rest:
                    rest = rest[os.write(fd, rest) :]
            size += wanted
        self._pushed += size
        if self._pushed >= WRITEBACK_BYTES and (self._push is None or self._push.done()):
            self._pushed = 0
            self._push = self._pusher.submit(_push, os.dup(fd))

    def _writer_of(self, pack: int) -> int:
        if self._writer is not None and self._writer[0] == pack:
            return self._writer[1]
        if self._writer is not None:
            os.close(self._writer[1])
            self._writer = None
        fd = os.open(self.path(pack), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._writer = (pack, fd)
        return fd

    def read(self, pack: int, at: int, size: int) -> bytes | None:
        """The bytes, or None if the file is not there. They may be fewer, or others: the reader verifies them."""
        with self._lock:
            fd = self._readers.get(pack)
            if fd is None:
                try:
                    fd = os.open(self.path(pack), os.O_RDONLY | os.O_CLOEXEC)
                except FileNotFoundError:
                    return None
                self._readers[pack] = fd
                if len(self._readers) > _OPEN_FILES:
                    os.close(self._readers.popitem(last=False)[1])
            else:
                self._readers.move_to_end(pack)
            return os.pread(fd, size, at)

    @contextmanager
    def writing(self, pack: int) -> Iterator[Callable[[Sequence[bytes]], None]]:
        """Write a pack that nobody else appends to; on disk at the end."""
        fd = os.open(self.path(pack), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

        def write(parts: Sequence[bytes]) -> None:
            rest = memoryview(b"".join(parts))
            while rest:
                rest = rest[os.write(fd, rest) :]

        try:
            yield write
        finally:
            os.close(fd)
        self.sync(pack)

    def sync(self, pack: int) -> None:
        """What was appended before survives a power cut once this returns, the file's name included."""
        try:
            fd = os.open(self.path(pack), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return  # collected meanwhile
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def remove(self, pack: int) -> None:
        with self._lock:
            fd = self._readers.pop(pack, None)
            if fd is not None:
                os.close(fd)
            if self._writer is not None and self._writer[0] == pack:
                os.close(self._writer[1])
                self._writer = None
            self.path(pack).unlink(missing_ok=True)

    def close(self) -> None:
        self._pusher.shutdown()
        with self._lock:
            for fd in self._readers.values():
                os.close(fd)
            self._readers.clear()
            if self._writer is not None:
                os.close(self._writer[1])
                self._writer = None


def _push(fd: int) -> None:
    try:
        os.fdatasync(fd)
    except OSError:
        pass  # `sync` will meet the same error, and somebody listens there
    finally:
        os.close(fd)


def disk_fault(error: OSError, where: Path) -> LocalFault:
    """The fault of an operating system's error at `where`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return LocalFault(
            "disk-full",
            f"no room at {where}; what was stored before is whole",
            fix="free space on its disk, or swarmd content gc",
        )
    return LocalFault("block-store", f"{where}: {error.strerror}", fix="check the disk and its rights")
