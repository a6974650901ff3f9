"""Files, directories and streams of this host into a store, with the CIDs of `ipfs add -r --cid-version=1 --raw-leaves`."""

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

from swarmd.node.content.bulk import Write, import_stream, window_for
from swarmd.node.content.directories import Node, make_directory, make_symlink
from swarmd.node.content.unixfs import CHUNK_BYTES, LINKS_PER_NODE, Readable, check_layout, import_file
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.limits import MAX_CONTENT_BYTES

# What is gathered of small files and directories before it is written.
_GROUP_BYTES: Final = 8 * 1_048_576
_GROUP_BLOCKS: Final = 16_384
_SMALL_BYTES: Final = 1_048_576
MAX_DEPTH: Final = 128


@dataclass(frozen=True, slots=True)
class Layout:
    """How files are cut. kubo's defaults; 1 MiB and 1,024 are those of its newer profile."""

    chunk_bytes: int = CHUNK_BYTES
    links_per_node: int = LINKS_PER_NODE
    max_bytes: int = MAX_CONTENT_BYTES  # of one file
    hidden: bool = False  # take names that begin with a dot

    def check(self) -> None:
        check_layout(self.chunk_bytes, self.links_per_node)


@dataclass(frozen=True, slots=True)
class Added:
    """What was added: its root, the bytes of its files, and how many files."""

    cid: bytes
    size: int
    dag_bytes: int
    files: int
    kind: str  # "file" | "directory"


class Adder:
    """Adds to a store through `write` (`ContentRepo.put_group`, or the like at the daemon's socket)."""

    def __init__(
        self,
        write: Write,
        layout: Layout = Layout(),
        *,
        progress: Callable[[int], None] = lambda _: None,
        skipped: Callable[[Path, str], None] = lambda path, why: None,
    ) -> None:
        """`progress`: bytes of files read since the last call. `skipped`: what is neither file, folder nor link."""
        layout.check()
        self._write = write
        self._layout = layout
        self._progress = progress
        self._skipped = skipped
        self._group: dict[bytes, bytes | memoryview] = {}
        self._group_bytes = 0
        self._window: bytearray | None = None
        self._size = self._files = 0

    def add(self, path: Path) -> Added:
        """Add a file or a whole folder. LocalFault `no-file`, `unreadable`, `bad-name`, `content-too-big`."""
        self._size = self._files = 0
        try:
            mode = path.stat().st_mode
            node = self._folder(path, 0) if stat.S_ISDIR(mode) else self._file(path)
        except OSError as error:
            code = "no-file" if isinstance(error, FileNotFoundError) else "unreadable"
            raise LocalFault(
                code, f"{error.filename or path}: {error.strerror}", fix="check the path and its rights"
            ) from None
        self._flush()
        kind = "directory" if stat.S_ISDIR(mode) else "file"
        return Added(node.cid, self._size, node.dag_bytes, self._files, kind)

    def add_stream(self, stream: Readable) -> Added:
        self._size = self._files = 0
        node = self._stream(stream)
        self._flush()
        return Added(node.cid, self._size, node.dag_bytes, 1, "file")

    def wrap(self, entries: Mapping[str, Node]) -> Node:
        """A directory of what was added before."""
        node = make_directory(entries, self._put)
        self._flush()
        return node

    def _folder(self, folder: Path, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise LocalFault("too-deep", f"{folder} is {depth} folders deep", fix="add a part of it")
        entries: dict[str, Node] = {}
        with os.scandir(folder) as found:
            names = sorted(found, key=lambda entry: entry.name)
        for entry in names:
            if entry.name.startswith(".") and not self._layout.hidden:
                continue
            path = Path(entry.path)
            if entry.is_symlink():
                entries[entry.name] = make_symlink(os.readlink(path), self._put)
            elif entry.is_dir():
                entries[entry.name] = self._folder(path, depth + 1)
            elif entry.is_file():
                entries[entry.name] = self._file(path)
            else:
                self._skipped(path, "neither a file, a folder nor a link")
        return make_directory(entries, self._put)

    def _file(self, path: Path) -> Node:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size > _SMALL_BYTES:
                return self._stream(file)
            data = file.read(_SMALL_BYTES + 1)
            if len(data) > _SMALL_BYTES:  # it grew
                file.seek(0)
                return self._stream(file)
        layout = self._layout
        root = import_file(
            BytesIO(data), self._put, chunk_bytes=layout.chunk_bytes, links_per_node=layout.links_per_node
        )
        self._count(len(data))
        self._files += 1
        return Node(root.cid, root.dag_bytes)

    def _stream(self, stream: Readable) -> Node:
        layout = self._layout
        if self._window is None:
            self._window = window_for(layout.chunk_bytes)
        root = import_stream(
            stream,
            self._write,
            chunk_bytes=layout.chunk_bytes,
            links_per_node=layout.links_per_node,
            max_bytes=layout.max_bytes,
            progress=self._count,
            window=self._window,
        )
        self._files += 1
        return Node(root.cid, root.dag_bytes)

    def _count(self, size: int) -> None:
        self._size += size
        self._progress(size)

    def _put(self, cid: bytes, block: bytes) -> None:
        self._group[cid] = block
        self._group_bytes += len(block)
        if self._group_bytes >= _GROUP_BYTES or len(self._group) >= _GROUP_BLOCKS:
            self._flush()

    def _flush(self) -> None:
        if self._group:
            self._write(self._group)
            self._group.clear()
            self._group_bytes = 0
