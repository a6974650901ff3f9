"""Writing a small file of the home: whole or not at all, and never readable by anybody else."""

import errno
import os
from collections.abc import Callable
from pathlib import Path


def write_private(path: Path, data: bytes) -> None:
    """Write beside `path` (0600 from the start), sync, rename: a crash leaves the whole file or none. OSError."""
    _write(path, data, os.rename)


def create_private(path: Path, data: bytes) -> None:
    """As `write_private`, but FileExistsError if there is such a file: it is never written over. OSError."""
    _write(path, data, _put_new)


def _put_new(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.rename(draft, path)


def _write(path: Path, data: bytes, put: Callable[[Path, Path], None]) -> None:
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        put(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
