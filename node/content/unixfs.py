"""UnixFS files, streamed in and out at constant memory, with the CIDs that kubo gives.

The layout is kubo's `--cid-version=1 --raw-leaves`: leaves of 256 KiB as raw blocks, up to 174 links a node,
balanced. A file of one leaf is that one raw block. A 4 GiB file is 16,384 leaves and a tree of depth 2.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Final, Protocol

from swarmd.node.content.dagpb import MAX_LINKS, FileNode, Link, decode_file_node, encode_file_node
from swarmd.protocol.cids import DAG_CBOR, DAG_PB, RAW, cid_of, cid_text, codec_of, is_cid, raw_cid
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.limits import MAX_BLOCK_BYTES, MAX_CONTENT_BYTES

CHUNK_BYTES: Final = 262_144
LINKS_PER_NODE: Final = 174
MAX_DEPTH: Final = 8

Put = Callable[[bytes, bytes], object]
Get = Callable[[bytes], bytes | None]


class Readable(Protocol):
    """A binary stream; `read(n)` may return fewer bytes, and b"" only at the end."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class FileRoot:
    """An imported file: its root CID (binary), its length in bytes, and the bytes of its blocks (a link's Tsize)."""

    cid: bytes
    size: int
    dag_bytes: int


def import_file(
    stream: Readable,
    put: Put,
    *,
    chunk_bytes: int = CHUNK_BYTES,
    links_per_node: int = LINKS_PER_NODE,
    max_bytes: int = MAX_CONTENT_BYTES,
) -> FileRoot:
    """Cut `stream` into blocks, `put(cid, block)` each, children before parents.

    Holds one chunk and one unfinished node a level. LocalFault `content-too-big` past `max_bytes`.
    """
    check_layout(chunk_bytes, links_per_node)
    tree = Tree(put, links_per_node)
    size = 0
    while chunk := _read_chunk(stream, chunk_bytes):
        size += len(chunk)
        if size > max_bytes:
            raise LocalFault("content-too-big", f"more than {max_bytes} bytes", fix="split the file")
        cid = raw_cid(chunk)
        put(cid, chunk)
        tree.add(0, (cid, len(chunk), len(chunk)))
        if len(chunk) < chunk_bytes:
            break
    if size == 0:
        empty = raw_cid(b"")
        put(empty, b"")
        return FileRoot(empty, 0, 0)
    return tree.finish()


def check_layout(chunk_bytes: int, links_per_node: int) -> None:
    """LocalFault `bad-layout` for what nobody could read back."""
    if not 0 < chunk_bytes <= MAX_BLOCK_BYTES or not 2 <= links_per_node <= MAX_LINKS:
        raise LocalFault(
            "bad-layout", f"{chunk_bytes} bytes a chunk, {links_per_node} links", fix="use the defaults"
        )


def import_bytes(data: bytes, put: Put) -> FileRoot:
    """`import_file` of bytes at hand."""
    return import_file(BytesIO(data), put)


def read_file(cid: bytes, get: Get, *, max_bytes: int = MAX_CONTENT_BYTES) -> Iterator[bytes]:
    """The file's bytes, in order, a leaf at a time (never an empty one).

    `get` must return verified bytes, as a `BlockStore` does. Every size a node declares is checked against
    what is there before any byte under it is given. LocalFault `content-missing` names a block that is not
    here; RemoteFault (`bad-dag-pb`, `bad-dag`, `not-a-file`, `content-too-big`) a DAG that is no file.
    """
    visits = 0
    limit = visit_limit(max_bytes)
    stack: list[tuple[bytes, int | None, int]] = [(cid, None, 0)]
    while stack:
        current, declared, depth = stack.pop()
        visits += 1
        if depth > MAX_DEPTH or visits > limit:
            raise RemoteFault("bad-dag", f"{cid_text(cid)} is deeper or finer than any file needs")
        block = get(current)
        if block is None:
            raise LocalFault(
                "content-missing", f"block {cid_text(current)} is not here", fix="fetch the content first"
            )
        node = file_node(current, block, declared, max_bytes)
        if declared is None:
            limit = visit_limit(node.size)
        if node.data:
            yield node.data
        stack.extend((link.cid, link.size, depth + 1) for link in reversed(node.links))


def missing(
    cid: bytes, get: Get, has: Callable[[bytes], bool] | None = None, *, walk: "DagWalk | None" = None
) -> list[bytes]:
    """CIDs of the DAG that are known of (from the nodes at hand) but not here, in file order by level.

    Empty means complete. Give `has` to look for leaves without reading them, and a fresh `treewalk.TreeWalk(cid)` if
    it may be a directory. RemoteFault as `read_file`.
    """
    walk = walk or DagWalk(cid)
    absent: list[bytes] = []
    todo = [cid]
    while todo:
        found: list[bytes] = []
        for current in todo:
            if has is not None and walk.is_known_leaf(current):
                if not has(current):
                    absent.append(current)
                continue
            block = get(current)
            if block is None:
                absent.append(current)
            else:
                found += walk.add(current, block)
        todo = found
    return absent


class DagWalk:
    """Walks a DAG from its root as blocks arrive, in any order, each block once.

    Hashes rule out cycles, but not a small DAG that names itself many times over (a billion laughs): so
    every node's declared size is checked, sizes of the same block must agree, and the number of distinct
    blocks is bounded by the size of the file.
    """

    def __init__(self, root: bytes, *, max_bytes: int = MAX_CONTENT_BYTES) -> None:
        if not is_cid(root):
            raise RemoteFault("bad-cid", "not a binary sha2-256 CIDv1 of raw, dag-pb or dag-cbor")
        self._root = root
        self._max_bytes = max_bytes
        self._max_blocks = visit_limit(max_bytes)
        self._sizes: dict[bytes, int | None] = {root: None}

    def size_of(self, cid: bytes) -> int | None:
        """How many bytes of the file lie under `cid`, by its parent; None for the root."""
        return self._sizes[cid]

    def is_known_leaf(self, cid: bytes) -> bool:
        """A raw block that a parent named: it has no children and its length is known."""
        return codec_of(cid) == RAW and self._sizes[cid] is not None

    def add(self, cid: bytes, block: bytes) -> list[bytes]:
        """Take a verified block that the walk asked for; returns the children not seen before.

        RemoteFault if the DAG is bad: that is its author's fault, not of the peer that handed it over.
        """
        if codec_of(cid) == DAG_CBOR:
            if cid == self._root:
                return []  # a record: one block; its links are its reader's business
            raise RemoteFault("bad-dag", "a file cannot hold dag-cbor")
        node = file_node(cid, block, self._sizes[cid], self._max_bytes)
        if cid == self._root:
            self._max_blocks = visit_limit(node.size)
        self._sizes[cid] = node.size
        found = []
        for link in node.links:
            if link.cid not in self._sizes:
                found.append(link.cid)
            elif self._sizes[link.cid] not in (None, link.size):
                raise RemoteFault("bad-dag", f"{cid_text(link.cid)} is given two sizes")
            self._sizes[link.cid] = link.size
        self._check_count()
        return found

    def _check_count(self) -> None:
        if len(self._sizes) > self._max_blocks:
            raise RemoteFault("bad-dag", f"{cid_text(self._root)} is finer than any file needs")


def visit_limit(size: int) -> int:
    """How many blocks a file of `size` bytes may have: generous, and finite."""
    return 65_536 + size // 2_048


def file_node(cid: bytes, block: bytes, declared: int | None, max_bytes: int) -> FileNode:
    """A verified block as a part of a file, its size held against what its parent `declared`."""
    if not is_cid(cid) or codec_of(cid) not in (RAW, DAG_PB):
        raise RemoteFault("not-a-file", "a file is made of raw and dag-pb blocks")
    node = FileNode((), block, len(block)) if codec_of(cid) == RAW else decode_file_node(block)
    if declared is not None and node.size != declared:
        raise RemoteFault(
            "bad-dag", f"{cid_text(cid)} holds {node.size} bytes where its parent says {declared}"
        )
    if node.size > max_bytes:
        raise RemoteFault("content-too-big", f"{node.size} bytes; at most {max_bytes} are taken")
    return node


class Tree:
    """The balanced tree, built from the left: one unfinished node a level is all that is held."""

    def __init__(self, put: Put, links_per_node: int) -> None:
        self._put = put
        self._links_per_node = links_per_node
        self._levels: list[list[tuple[bytes, int, int]]] = [[]]

    def add(self, level: int, child: tuple[bytes, int, int]) -> None:
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append(child)
        if len(self._levels[level]) == self._links_per_node:
            self._close(level)

    def finish(self) -> FileRoot:
        """Of a file that has bytes. Close what is open, from the leaves up; a lone tail leaf still gets its own parent, as in kubo."""
        level = 0
        while level < len(self._levels) - 1 or len(self._levels[level]) > 1:
            if self._levels[level]:
                self._close(level)
            level += 1
        cid, dag_bytes, size = self._levels[level][0]
        return FileRoot(cid, size, dag_bytes)

    def _close(self, level: int) -> None:
        children = self._levels[level]
        size = sum(part for _, _, part in children)
        block = encode_file_node(children, size)
        cid = cid_of(DAG_PB, block)
        self._put(cid, block)
        self._levels[level] = []
        self.add(level + 1, (cid, len(block) + sum(dag_bytes for _, dag_bytes, _ in children), size))


def _read_chunk(stream: Readable, chunk_bytes: int) -> bytes:
    """Exactly `chunk_bytes`, or what is left: pipes and sockets hand over less than one asks for."""
    chunk = stream.read(chunk_bytes)
    if not chunk or len(chunk) == chunk_bytes:
        return chunk
    parts = [chunk]
    room = chunk_bytes - len(chunk)
    while room and (part := stream.read(room)):
        parts.append(part)
        room -= len(part)
    return b"".join(parts)


__all__ = [
    "CHUNK_BYTES",
    "DagWalk",
    "FileNode",
    "FileRoot",
    "LINKS_PER_NODE",
    "Link",
    "import_bytes",
    "import_file",
    "missing",
    "read_file",
]
