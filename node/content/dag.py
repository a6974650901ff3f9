"""Walking DAGs of any kind: what a block links to, and every block below a root, each once.

Hashes rule out real cycles, but not a small DAG that names itself many times over; a walk that visits each block once
costs what the DAG really holds.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from swarmd.node.content.pbnode import decode_node
from swarmd.protocol.cbor import Link, decode
from swarmd.protocol.cids import DAG_CBOR, DAG_PB, cid_text, codec_of
from swarmd.protocol.faults import RemoteFault

# 64 GiB in 256 KiB leaves, or a directory of hundreds of thousands of files. A walk holds 100 bytes a block.
MAX_WALK_BLOCKS: Final = 1_000_000


def links_of(cid: bytes, block: bytes) -> list[bytes]:
    """The CIDs that a verified block links to, in order. RemoteFault if the block is not what its codec says."""
    codec = codec_of(cid)
    if codec == DAG_PB:
        return [link.cid for link in decode_node(block).links]
    if codec == DAG_CBOR:
        return list(_cbor_links(decode(block)))
    return []


def _cbor_links(value: Any) -> Iterator[bytes]:
    # The decoder has bounded the depth.
    if type(value) is Link:
        yield bytes(value)
    elif type(value) is dict:
        for each in value.values():
            yield from _cbor_links(each)
    elif type(value) is list:
        for each in value:
            yield from _cbor_links(each)


def walk(
    root: bytes,
    get: Callable[[bytes], bytes | None],
    *,
    max_blocks: int = MAX_WALK_BLOCKS,
) -> Iterator[bytes]:
    """Every CID under `root`, itself first, then children in their order; below what is not here nothing is known.

    Raw blocks are not read: whether they are here is for the caller to see. RemoteFault `dag-too-big` past `max_blocks`.
    """
    seen = {root}
    stack = [root]
    while stack:
        cid = stack.pop()
        yield cid
        if codec_of(cid) not in (DAG_PB, DAG_CBOR):
            continue
        block = get(cid)
        if block is None:
            continue
        for child in reversed(links_of(cid, block)):
            if child not in seen:
                seen.add(child)
                stack.append(child)
        if len(seen) > max_blocks:
            raise RemoteFault("dag-too-big", f"{cid_text(root)} has more than {max_blocks} blocks")
