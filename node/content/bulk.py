"""Large files into the store and out of it, as fast as hashing and the disk go, at constant memory.

`unixfs.import_file` makes the same blocks; here chunks are hashed and written where they were read to. A fresh 256 KiB
object a chunk costs more in page faults than hashing it does (docs/content.md has the figures).
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final

from swarmd.node.content.unixfs import CHUNK_BYTES, LINKS_PER_NODE, FileRoot, Readable, Tree, check_layout
from swarmd.protocol.cids import raw_cid
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.limits import MAX_CONTENT_BYTES

WINDOW_BYTES: Final = 8 * 1_048_576
_RAW_PREFIX: Final = raw_cid(b"")[:4]

# Stores blocks whose CIDs are right; done with the buffers when it returns.
Write = Callable[[Mapping[bytes, bytes | memoryview]], None]


def import_stream(
    stream: Readable,
    write: Write,
    *,
    chunk_bytes: int = CHUNK_BYTES,
    links_per_node: int = LINKS_PER_NODE,
    max_bytes: int = MAX_CONTENT_BYTES,
    progress: Callable[[int], None] = lambda _: None,
    window: bytearray | None = None,
) -> FileRoot:
    """Cut `stream` into blocks and `write` them in groups, children before parents; as `unixfs.import_file`.

    `progress` is told how many bytes more are stored; `window` (see `window_for`) is used again. LocalFault `content-too-big` past `max_bytes`.
    """
    check_layout(chunk_bytes, links_per_node)
    group: dict[bytes, bytes | memoryview] = {}
    tree = Tree(group.__setitem__, links_per_node)
    view = memoryview(window_for(chunk_bytes) if window is None else window)
    size = 0
    while True:
        filled = _fill(stream, view)
        size += filled
        if size > max_bytes:
            raise LocalFault("content-too-big", f"more than {max_bytes} bytes", fix="split the file")
        for at in range(0, filled, chunk_bytes):
            chunk = view[at : min(at + chunk_bytes, filled)]
            cid = _RAW_PREFIX + sha256(chunk).digest()
            group[cid] = chunk
            tree.add(0, (cid, len(chunk), len(chunk)))
        last = filled < len(view)
        if last and size == 0:
            empty = raw_cid(b"")
            write({empty: b""})
            return FileRoot(empty, 0, 0)
        root = tree.finish() if last else None
        write(group)
        group.clear()
        progress(filled)
        if root is not None:
            return root


def window_for(chunk_bytes: int) -> bytearray:
    return bytearray(WINDOW_BYTES - WINDOW_BYTES % chunk_bytes)


def _fill(stream: Readable, view: memoryview) -> int:
    """Read until `view` is full or the stream ends: pipes hand over less than one asks for."""
    read_into: Any = getattr(stream, "readinto", None)
    filled = 0
    while filled < len(view):
        if read_into is not None:
            count = read_into(view[filled:]) or 0
        else:
            part = stream.read(len(view) - filled)
            count = len(part)
            view[filled : filled + count] = part
        if count == 0:
            break
        filled += count
    return filled
