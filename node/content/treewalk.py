"""Walking directories as their blocks arrive, with the files in them: `unixfs.DagWalk` for any UnixFS content."""

from swarmd.node.content.pbnode import DIRECTORY, HAMT, SYMLINK, PbNode, decode_node
from swarmd.node.content.unixfs import DagWalk
from swarmd.protocol.cids import DAG_PB, cid_text, codec_of
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.limits import MAX_CONTENT_BYTES


class TreeWalk(DagWalk):
    """A walk from a file, a directory, sharded or not, or a symbolic link. `max_bytes` bounds all files together, by
    what they declare; a block that a directory names is counted once, however often it is named."""

    def __init__(self, root: bytes, *, max_bytes: int = MAX_CONTENT_BYTES) -> None:
        super().__init__(root, max_bytes=max_bytes)
        self._left = max_bytes

    def add(self, cid: bytes, block: bytes) -> list[bytes]:
        if self._sizes[cid] is not None:
            return super().add(cid, block)  # a part of a file
        if codec_of(cid) == DAG_PB:
            node = decode_node(block)
            if node.unixfs and node.kind in (DIRECTORY, HAMT, SYMLINK):
                return self._add_directory(node)
        found = super().add(cid, block)
        self._left -= self._sizes[cid] or 0
        if self._left < 0:
            raise RemoteFault(
                "content-too-big", f"the files of {cid_text(self._root)} are too large together"
            )
        return found

    def _add_directory(self, node: PbNode) -> list[bytes]:
        found = []
        for link in node.links:
            if link.cid not in self._sizes:
                self._sizes[link.cid] = None
                found.append(link.cid)
        self._check_count()
        return found
