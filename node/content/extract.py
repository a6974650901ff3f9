"""Content out of a store into files and folders of this host: all of it under the name asked for, or nothing.

What is written was made by somebody else. Names that lead elsewhere are refused (`..`, slashes), links may point only
into the tree they lie in, nothing that is there already is written over or through, and the bytes and entries written are
counted as they are written: a DAG of a few blocks can name itself a billion times.
"""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from swarmd.node.content.directories import Get, kind_of, list_directory, read_symlink
from swarmd.node.content.packs import disk_fault
from swarmd.node.content.unixfs import read_file
from swarmd.protocol.cids import cid_text
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.limits import MAX_CONTENT_BYTES

PARTIAL_SUFFIX: Final = ".partial"
MAX_DEPTH: Final = 128


@dataclass(frozen=True, slots=True)
class Limits:
    """Of what is written, counted as it is written."""

    max_bytes: int = 1 << 40
    max_file_bytes: int = MAX_CONTENT_BYTES
    max_entries: int = 1_000_000


@dataclass(slots=True)
class Written:
    bytes: int = 0
    files: int = 0
    entries: int = 0


def write_stream(
    cid: bytes,
    out: BinaryIO,
    get: Get,
    limits: Limits = Limits(),
    progress: Callable[[int], None] = lambda _: None,
) -> Written:
    """A file's bytes into `out`. RemoteFault `not-a-file` for a directory."""
    if (kind := kind_of(cid, get)) != "file":
        raise RemoteFault("not-a-file", f"{cid_text(cid)} is a {kind}")
    done = Written(files=1, entries=1)
    for part in read_file(cid, get, max_bytes=min(limits.max_bytes, limits.max_file_bytes)):
        out.write(part)
        done.bytes += len(part)
        progress(len(part))
    return done


def write_tree(
    cid: bytes,
    target: Path,
    get: Get,
    limits: Limits = Limits(),
    progress: Callable[[int], None] = lambda _: None,
) -> Written:
    """Write a file or a directory as `target`, which must not exist yet.

    LocalFault `file-exists`, `content-missing`, `disk-full`; RemoteFault for content that is no file or directory, or
    that wants out of its place. After any of them `target` is not there; what kill -9 leaves is `target`.partial, which
    the next attempt writes over.
    """
    if os.path.lexists(target):
        raise LocalFault("file-exists", f"{target} is there already", fix="choose another name with --output")
    partial = target.with_name(target.name + PARTIAL_SUFFIX)
    writer = _Writer(get, limits, progress)
    try:
        _remove(partial)
        try:
            writer.write(cid, partial, PurePosixPath(), 0)
            os.rename(partial, target)
        except BaseException:
            _remove(partial)
            raise
    except OSError as error:
        raise disk_fault(error, target) from None
    return writer.done


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A new file `path` with all that the block writes, or none. LocalFault `file-exists`, `disk-full`."""
    if os.path.lexists(path):
        raise LocalFault("file-exists", f"{path} is there already", fix="choose another name")
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        try:
            with open(partial, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.rename(partial, path)
        except BaseException:
            _remove(partial)
            raise
    except OSError as error:
        raise disk_fault(error, path) from None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class _Writer:
    def __init__(self, get: Get, limits: Limits, progress: Callable[[int], None]) -> None:
        self._get = get
        self._limits = limits
        self._progress = progress
        self.done = Written()

    def write(self, cid: bytes, path: Path, place: PurePosixPath, depth: int) -> None:
        """`place`: where `path` is in the tree that is written."""
        self.done.entries += 1
        if self.done.entries > self._limits.max_entries:
            raise RemoteFault("bad-dag", f"more than {self._limits.max_entries} files and folders")
        if depth > MAX_DEPTH:
            raise RemoteFault("bad-dag", f"folders deeper than {MAX_DEPTH}")
        kind = kind_of(cid, self._get)
        if kind == "directory":
            path.mkdir()
            for entry in list_directory(cid, self._get):
                self.write(entry.cid, path / entry.name, place / entry.name, depth + 1)
        elif kind == "symlink":
            os.symlink(self._target(cid, place, depth), path)
        else:
            self._file(cid, path)

    def _file(self, cid: bytes, path: Path) -> None:
        left = self._limits.max_bytes - self.done.bytes
        # O_EXCL does not follow a link that somebody put there.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with open(fd, "wb", buffering=0) as file:
            for part in read_file(cid, self._get, max_bytes=min(left, self._limits.max_file_bytes)):
                rest = memoryview(part)
                while rest:
                    rest = rest[file.write(rest) or 0 :]
                self.done.bytes += len(part)
                self._progress(len(part))
        self.done.files += 1

    def _target(self, cid: bytes, place: PurePosixPath, depth: int) -> str:
        """Of a link, if it stays within the tree: `..` only at its beginning, and no more of them than folders. Behind
        another name `..` would be that of wherever this name, itself a link, leads to."""
        target = read_symlink(cid, self._get)
        steps = [step for step in target.split("/") if step not in ("", ".")]
        up = next((at for at, step in enumerate(steps) if step != ".."), len(steps))
        if target.startswith("/") or up > depth - 1 or ".." in steps[up:]:
            raise RemoteFault("bad-name", f"the link {str(place)!r} may point out of its tree, to {target!r}")
        return target


def is_terminal(out: BinaryIO) -> bool:
    """Would bytes written to `out` be shown to somebody?"""
    try:
        return stat.S_ISCHR(os.fstat(out.fileno()).st_mode) and out.isatty()
    except OSError:
        return False
